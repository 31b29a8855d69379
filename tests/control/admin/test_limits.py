"""Limits over the admin API: listed with their settings, and the counts of one key begun afresh."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.control.fleet import Fleet
from headgate.control.limits import key_parts
from headgate.control.messages import Forget
from headgate.policy.limit.key import address_part, value_part
from headgate.proxy.limit_stage import Part, Stages
from headgate.telemetry.cells import SlotRegion, SlotWriter
from headgate.telemetry.metrics import Metrics
from headgate.telemetry.settings import MetricForm
from headgate.telemetry.settings import Metrics as MetricsSettings
from tests.control.admin.subject import Subject, as_role, ask
from tests.proxy.stage import resolved, to

PATH = "/api/v1/limits"
LIMITS = [
    {"name": "each", "requests": 5},
    {"name": "user", "key": ["user", "path"], "requests": 7, "window": 3600, "tiers": {"gold": 70}},
    {"name": "same", "key": "user", "requests": 3, "type": "concurrency"},
]
ROUTE = {"limits": [{"name": "each", "key": [], "requests": 9}]}
NAMES = MetricsSettings(
    enabled=False, names={"headgate_limit_refused_total": [MetricForm(name="hits_total", labels={"who": "caller"})]}
)
SERVICE = {"rate_limit": {"requests": 4, "window": 10}}


def subject() -> Subject:
    return Subject(config=to("http://a", route=ROUTE, service=SERVICE, limits=LIMITS))


def test_all_limits_are_listed_with_where_they_stand() -> None:
    shown = ask(subject(), "GET", PATH, as_role("read")).json()["limits"]
    assert [(each["scope"], each["limit"], each["requests"], each["window"]) for each in shown] == [
        ("gateway", "each", 5, 60),
        ("gateway", "user", 7, 3600),
        ("gateway", "same", 3, None),
        ("service api", "api", 4, 10),
        ("route all", "each", 9, 60),
    ]
    assert (shown[1]["key"], shown[1]["tiers"], shown[1]["store"]) == (["user", "path"], ["gold"], "memory")


def test_what_became_of_requests_is_shown_under_whatever_names_metrics_have(monkeypatch: pytest.MonkeyPatch) -> None:
    made = subject()
    regions = [SlotRegion.create(), SlotRegion.create()]
    for region in regions:
        metrics = Metrics(SlotWriter(region))
        metrics.follow(NAMES)
        metrics.limit_refused("each", "user", "all", "api", "GET")
        metrics.limit_refused("each", "anonymous", "all", "api", "POST")
        metrics.cells[metrics.counter("headgate_limit_delayed_total", "user")] += 3
        metrics.limit_refused("gone", "user", "all", "api", "GET")
    monkeypatch.setattr(made.parts.limits, "_regions", regions)
    shown = ask(made, "GET", PATH).json()["limits"]
    nothing = {"refused": 0, "shadow": 0, "delayed": 0}
    each, user = {**nothing, "refused": 4}, {**nothing, "delayed": 6}
    assert [limit["counts"] for limit in shown] == [each, user, nothing, nothing, each]


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"limit": "none", "key": {}}, 404),
        ({"limit": "each", "scope": "service api", "key": {}}, 404),
        ({"limit": "each", "scope": "gateway", "key": {}}, 422),
        ({"limit": "each", "scope": "gateway", "key": {"user": "ada"}}, 422),
        ({"limit": "each", "scope": "gateway", "key": {"address": "10.0.0.1", "user": "ada"}}, 422),
        ({"limit": "user", "key": {"user": "ada"}}, 422),
        ({"limit": "each", "key": {"address": 5}}, 422),
        ({"limit": "each", "key": {"address": ""}}, 422),
        ({"limit": "each", "key": {"address": "x" * 5000}}, 422),
        ({"limit": "each", "key": {f"header:{number}": "x" for number in range(17)}}, 422),
        ({"key": {}}, 422),
        ([], 422),
    ],
)
def test_what_is_no_key_of_a_limit_is_refused_with_a_sentence(asked: object, status: int) -> None:
    answer = ask(subject(), "POST", f"{PATH}/reset", json=asked)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert "ada" not in answer.text


def part(limit: dict[str, Any], **more: Any) -> Part:
    config = resolved(to("http://a", limits=[limit], **more))
    stages = Stages(config)
    stages.of(config.routes[0], "api")
    (found,) = [each for each in stages.parts() if limit["name"] in each.names]
    return found


@pytest.mark.parametrize(
    ("key", "given", "expected"),
    [
        ([], {}, []),
        (["address"], {"address": "10.0.0.1"}, [address_part("10.0.0.1")]),
        (["address"], {"address": "2001:db8::7"}, [address_part("2001:db8::")]),
        (["user"], {"user": "ada"}, [value_part(b"ada")]),
        (["user"], {"address": "10.0.0.1"}, [address_part("10.0.0.1")]),
        (["identity"], {"identity": "api_key:k1"}, [value_part(b"k1", b"a")]),
        (["identity"], {"identity": "user:a:b"}, [value_part(b"a:b", b"u")]),
        (["header:X-Who", "route"], {"route": "all", "header:X-Who": "me"}, [value_part(b"me"), value_part(b"all")]),
        (["header:X-Who", "address"], {"address": "10.0.0.1"}, [address_part("10.0.0.1")] * 2),
    ],
)
def test_the_parts_of_a_key_are_those_that_workers_count_by(
    key: list[str], given: dict[str, str], expected: list[bytes]
) -> None:
    assert key_parts(part({"name": "few", "key": key, "requests": 5}), given) == expected


@pytest.mark.parametrize("identity", ["ada", "user:", "ghost:ada", ""])
def test_an_identity_is_written_with_its_kind(identity: str) -> None:
    with pytest.raises(ValueError, match="user:ID"):
        key_parts(part({"name": "few", "key": "identity", "requests": 5}), {"identity": identity})


def test_the_limit_of_a_service_needs_no_key_for_it_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Forget] = []

    def tell(_: Fleet, message: Forget, among: int | None = None) -> tuple[int, ...]:
        told.append(message)
        return ()

    monkeypatch.setattr(Fleet, "tell_once", tell)
    answer = ask(subject(), "POST", f"{PATH}/reset", as_role("operate"), json={"limit": "api"})
    assert answer.json() == {"limits": ["api"], "scopes": ["service api"], "found": 0}
    assert len(told[0].keys) == 1


@pytest.mark.parametrize("said", [[(1, -1)], [(1, 3), (2, -1)], [(1, 3)], [(3, 3)], []])
def test_what_not_every_worker_has_done_is_not_said_to_be_done(
    monkeypatch: pytest.MonkeyPatch, said: list[tuple[int, int]]
) -> None:
    made = subject()

    def tell(_: Fleet, message: Forget, among: int | None = None) -> tuple[int, ...]:
        for worker, found in said:
            made.parts.limits.on_said(worker, {"type": "forgotten", "number": message.number, "found": found})
        return (1, 2)

    monkeypatch.setattr(Fleet, "tell_once", tell)
    monkeypatch.setattr("headgate.control.limits.PATIENCE", 0.01)
    assert ask(made, "POST", f"{PATH}/reset", json={"limit": "api"}).status_code == 503
