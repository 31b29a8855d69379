"""Whatever a worker tells: what passes can be kept, shown and sent, and what cannot does not pass."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans

from headgate.control.telemetry.otlp_spans import SpanMaker
from headgate.control.telemetry.part import line_item
from headgate.control.telemetry.requests import log_item, spans_of
from headgate.control.telemetry.told import MOST_FIELDS, MOST_LINE, MOST_TEXT, as_count, as_line, as_record
from headgate.telemetry.settings import Otlp
from tests.control.telemetry.records import attempt, record

ALL: dict[str, Any] = json.loads(
    json.dumps(
        record(
            correlation_id="c",
            parent_id="b" * 16,
            trace_state="a=b",
            cache="miss",
            grpc_status=14,
            breaker="closed",
            error="connect_failed",
            detail="words",
            identity={"kind": "user", "id": "a", "tenant": "t", "tier": "gold", "roles": ["x"], "method": "jwt"},
            gates=[{"gate": "limits", "verdict": "delay", "detail": "d", "at": 0.1, "seconds": 1}],
            candidates=[{"endpoint": "10.0.0.1:80", "weight": 1, "in_flight": 2}],
            attempts=[attempt(reused=True, error="timeout", retried="status")],
        )
    )
)
LINE: dict[str, Any] = {
    "type": "log",
    "at": 1.5,
    "level": "error",
    "message": "m",
    "fields": {"a": "b", "n": 1, "l": ["x"]},
}


def changed(**more: Any) -> dict[str, Any]:
    return {**copy.deepcopy(ALL), **more}


def test_what_a_worker_tells_passes_with_all_that_may_stand_in_it() -> None:
    assert as_record(ALL, 1) == ALL
    assert as_record(json.loads(json.dumps(record())), 1) is not None


@pytest.mark.parametrize("name", sorted(record()))
def test_what_is_required_is_missed(name: str) -> None:
    told = changed()
    del told[name]
    optional = name in ("route", "pattern", "service", "balancer", "identity")
    assert (as_record(told, 1) is not None) == optional


@pytest.mark.parametrize(
    "told",
    [
        None,
        [],
        changed(more="than known"),
        changed(request_id=["a"]),
        changed(path="x" * (MOST_TEXT + 1)),
        changed(host="\ud800"),
        changed(status="200"),
        changed(status=True),
        changed(traced=1),
        changed(bytes_in=2**63),
        changed(started=float("nan")),
        changed(duration=float("inf")),
        changed(started=-1.5),
        changed(duration=10**400),
        changed(trace_id="A" * 32),
        changed(trace_id="a" * 31),
        changed(span_id="a" * 16 + "\n"),
        changed(parent_id=None),
        changed(limits={}),
        changed(limits=[{}]),
        changed(gates=[{"gate": "limits", "verdict": "perhaps"}]),
        changed(gates=[{"gate": "limits", "verdict": ["pass"]}]),
        changed(candidates=[{"endpoint": "a", "weight": 1.0}] * 65),
        changed(attempts=[{**attempt(), "span_id": "no"}]),
        changed(identity={"kind": "user", "id": "a", "roles": "admin"}),
        changed(worker=2),
    ],
    ids=range(26),
)
def test_what_is_no_record_of_this_worker_does_not_pass(told: Any) -> None:
    assert as_record(told, 1) is None


@pytest.mark.parametrize(
    ("change", "passes"),
    [
        ({}, True),
        ({"fields": {}}, True),
        ({"fields": {"a": None, "b": True}}, True),
        ({"at": "now"}, False),
        ({"at": float("inf")}, False),
        ({"level": "loud"}, False),
        ({"level": ["error"]}, False),
        ({"message": 1}, False),
        ({"message": "x" * (MOST_LINE + 1)}, False),
        ({"message": "\udfff"}, False),
        ({"fields": None}, False),
        ({"fields": {str(number): 1 for number in range(MOST_FIELDS + 1)}}, False),
        ({"fields": {"deep": {}}}, False),
        ({"fields": {"list": [1]}}, False),
    ],
    ids=range(14),
)
def test_lines(change: dict[str, Any], passes: bool) -> None:
    line = as_line({**LINE, **change}, "worker-1")
    assert (line is not None) == passes
    if line is not None:
        assert (line.process, line.level, line_item(line)["message"]) == ("worker-1", "error", "m")


@pytest.mark.parametrize(("told", "count"), [(0, 0), (5, 5), (-1, None), (True, None), ("5", None), (2**63, None)])
def test_counts(told: object, count: int | None) -> None:
    assert as_count(told) == count


SPANS = SpanMaker(Otlp(endpoint="http://127.0.0.1:4318"), "1")
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.just([]), st.just({}), st.just(["a"])
)


@given(st.data(), VALUES)
def test_what_passes_can_be_shown_and_sent(data: st.DataObject, value: Any) -> None:
    told = changed()
    within: Any = told
    while True:
        place = data.draw(st.sampled_from(sorted(within) if isinstance(within, dict) else range(len(within))))
        inner = within[place]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            within[place] = value
            break
        within = inner
    found = as_record(told, 1)
    if found is None:
        return
    ways: list[Callable[[Any], object]] = [spans_of, log_item, lambda each: each]
    for way in ways:
        json.dumps(way(found), ensure_ascii=False, allow_nan=False).encode()
    encode_spans(SPANS.spans(found))
