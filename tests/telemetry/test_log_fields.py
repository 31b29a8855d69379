"""The access log in a form of the operator's own: what a template makes of a record, and one harmless line of it."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.identity import Identity
from headgate.core.message import RequestHead
from headgate.telemetry.access_log import JsonLines, json_fragment
from headgate.telemetry.log_fields import PLACEHOLDERS, OwnLines, unknown_placeholders
from headgate.telemetry.trace import Trace
from tests.telemetry.test_access_log import FULL, AccessRecord


@dataclasses.dataclass(slots=True)
class Stream:
    head: RequestHead


@dataclasses.dataclass(slots=True)
class Record(AccessRecord):
    stream: Stream = dataclasses.field(default_factory=lambda: Stream(RequestHead("GET", b"/", "http")))


def record(query: bytes | None = None, fields: tuple[tuple[bytes, bytes], ...] = (), **values: Any) -> Record:
    head = RequestHead("GET", b"/", "http")
    head.query, head.fields = query, list(fields)
    plain = {each.name: getattr(FULL, each.name) for each in dataclasses.fields(FULL) if each.init}
    return Record(stream=Stream(head), **{**plain, **values})


def told(template: dict[str, Any], wanted: Record, *without: str) -> Any:
    line = OwnLines(template, without).line(wanted)
    assert line.endswith(b"}\n")
    assert line.count(b"\n") == 1
    return json.loads(line)


def test_a_line_in_the_words_of_another_gateway() -> None:
    template = {
        "timestamp": "{timestamp}",
        "level": "{level_lower}",
        "message": "{message}",
        "fields": {
            "status": "{status_code}",
            "latency_ms": "{duration_ms}",
            "ip": "{client}",
            "user_agent": "{user_agent}",
            "what": "{method} {path}",
            "fixed": 1,
            "sure": True,
        },
        "empty": {"tenant": "{tenant}", "error": "{error}", "what": "in {tenant}"},
    }
    assert told(template, record(fields=((b"User-Agent", b"curl/8"),))) == {
        "timestamp": "2025-11-27T10:30:00.123Z",
        "level": "info",
        "message": "Request completed",
        "fields": {
            "status": 200,
            "latency_ms": 145.23,
            "ip": "192.0.2.10",
            "user_agent": "curl/8",
            "what": "POST /api/v1/recommendations",
            "fixed": 1,
            "sure": True,
        },
    }


def test_what_the_usual_form_has_is_the_same_here() -> None:
    identity = Identity("user", "ada", "acme", frozenset(), "", frozenset(), {}, "jwt")
    full = record(
        identity=identity,
        error="no_endpoint",
        detail="chat",
        status=503,
        cache="miss",
        grpc_status=14,
        request_id="other",
        route=json_fragment("a → b"),
        trace=Trace("ab" * 16, "cd" * 8),
    )
    usual = json.loads(JsonLines().line(full))
    names = {name: f"{{{name}}}" for name in usual}
    assert told(names, full) == usual
    assert names.keys() <= PLACEHOLDERS.keys()


@pytest.mark.parametrize(
    ("query", "shown"),
    [
        (None, None),
        (b"limit=5&q=a%20b", "limit=5&q=a%20b"),
        (b"limit=5&access_token=abc&flag", "limit=5&access_token=***&flag"),
        (b"a%70i_key=abc&Signature=x", "a%70i_key=***&Signature=***"),
    ],
)
def test_a_query_is_told_without_its_secrets(query: bytes | None, shown: str | None) -> None:
    assert told({"query": "{query}", "always": 1}, record(query)).get("query") == shown


def test_what_is_left_out_is_left_out() -> None:
    assert told({"query": "{query}", "path": "{path}"}, record(b"x=1", path=""), "query") == {}
    assert told({"query": "{query:-none}", "what": "? {query:-}"}, record(b"x=1"), "query") == {}


@pytest.mark.parametrize(("query", "shown", "line"), [(None, "", "GET?-"), (b"x=1", "x=1", "GET?x=1")])
def test_something_may_stand_for_what_has_no_value(query: bytes | None, shown: str, line: str) -> None:
    template = {"query": "{query:-}", "line": "{method:-none}?{query:--}", "tenant": '{tenant:-"no" one}'}
    assert told(template, record(query, method="GET")) == {"query": shown, "line": line, "tenant": '"no" one'}


@given(st.binary(max_size=600), st.text(max_size=600))
def test_a_client_cannot_break_a_line(raw: bytes, text: str) -> None:
    template = {name: f"{{{name}}}" for name in PLACEHOLDERS}
    latin = raw.decode("latin-1")
    wanted = record(raw, ((b"user-agent", raw),), path=latin, host=latin, client=text, correlation_id=latin)
    line = OwnLines(template).line(wanted)
    assert all(32 <= byte < 127 for byte in line[:-1])
    assert len(json.loads(line).get("user_agent", "")) <= 256


def test_names_that_nobody_knows_are_found() -> None:
    template = {"a": "{status:-0}", "b": {"c": "x {client:-} {nobody}"}, "d": 1}
    assert unknown_placeholders(template) == ["status", "nobody"]
