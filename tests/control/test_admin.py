"""The admin listener: what it shows, in which form, and who may tell the gateway to do something."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Coroutine
from typing import Any

import httpx
import pytest

from headgate.control.admin import make_app
from headgate.control.audit import Audit, Cause
from headgate.control.fleet import Fleet, Outcome
from headgate.control.log import Log
from headgate.control.parts import Parts
from headgate.stores.board import Board
from headgate.telemetry.cells import Sample, SlotRegion, SlotWriter, read
from tests.control.driver import Rig, until
from tests.proxy.stage import resolved, to

LOCAL = {"host": "127.0.0.1:8081"}


def never(work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """Start nothing: what is shown here does not live."""
    raise AssertionError(work)


class Subject:
    """A gateway that does nothing but be shown."""

    def __init__(self, token: str = "", board: Board | None = None, **snapshot: Any) -> None:
        self.token = token
        self.reloads: list[str] = []
        self.outcome = Outcome(5, 2)
        worker = {"worker": 1, "pid": 11, "uptime": 3.0, "alive": True}
        self._snapshot = {"plan": 4, "draining": False, "workers": [worker], "control_uptime": 3.0, **snapshot}
        region = SlotRegion.create(4096, 64)
        writer = SlotWriter(region)
        writer.cells[writer.counter("headgate_request_bytes_total", ("rig",))] += 7
        self._regions = [region]
        board = board or Board.create()
        log = Log("control")
        self.parts = Parts(board, log, never, Fleet(log), None)
        self.audit = Audit(Log("control"))

    @property
    def draining(self) -> bool:
        return bool(self._snapshot["draining"])

    def snapshot(self) -> dict[str, Any]:
        return self._snapshot

    def samples(self) -> list[Sample]:
        return read(self._regions)

    async def reload(self, cause: Cause) -> Outcome:
        self.reloads.append(cause.reason)
        return self.outcome


def ask(
    subject: Subject,
    method: str,
    path: str,
    headers: dict[str, str] | None = None,
    peer: str = "127.0.0.1",
    body: bytes = b"",
) -> httpx.Response:
    async def asked() -> httpx.Response:
        transport = httpx.ASGITransport(make_app(subject), client=(peer, 40000))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8081") as client:
            return await client.request(method, path, headers=headers, content=body)

    return asyncio.run(asked())


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "text/plain"),
        ("*/*", "text/plain"),
        ("application/json", "application/json"),
        ("application/json, */*;q=0.1", "application/json"),
        ("text/plain;version=0.0.4;q=0.5, application/json;q=0.1, */*;q=0.1", "text/plain"),
        ("text/html", "text/plain"),
    ],
)
def test_metrics_in_the_form_that_is_asked_for(accept: str | None, kind: str) -> None:
    answer = ask(Subject(), "GET", "/metrics", {"accept": accept} if accept else {"accept": ""})
    assert answer.headers["content-type"].startswith(kind)
    if kind == "text/plain":
        assert 'headgate_request_bytes_total{route="rig"} 7\n' in answer.text
    else:
        assert answer.json()[0]["value"] == 7


@pytest.mark.parametrize(
    ("snapshot", "status"),
    [
        ({}, 200),
        ({"plan": 0}, 503),
        ({"draining": True}, 503),
        ({"workers": [{"alive": False}, {"alive": False}]}, 503),
        ({"workers": [{"alive": False}, {"alive": True}]}, 200),
    ],
)
def test_ready_needs_a_plan_a_living_worker_and_no_drain(snapshot: dict[str, Any], status: int) -> None:
    answer = ask(Subject(**snapshot), "GET", "/ready")
    assert answer.status_code == status
    assert answer.json()["ready"] is (status == 200)


@pytest.mark.parametrize(
    ("snapshot", "health"),
    [({}, "healthy"), ({"plan": 0}, "degraded"), ({"workers": [{"alive": False}, {"alive": True}]}, "degraded")],
)
def test_health_shows_the_last_known_state(snapshot: dict[str, Any], health: str) -> None:
    answer = ask(Subject(**snapshot), "GET", "/health")
    assert (answer.status_code, answer.json()["status"]) == (200, health)


def disable(subject: Subject, body: object = None, **more: Any) -> httpx.Response:
    asked = {"service": "api", "endpoint": "a:80", "enabled": False} if body is None else body
    return ask(subject, "POST", "/endpoints", body=json.dumps(asked).encode(), **more)


def test_an_endpoint_is_taken_out_and_shown_so() -> None:
    subject = Subject()
    subject.parts.endpoints.follow(resolved(to("http://a", "http://b")))
    assert disable(subject).json()["state"] == "disabled"
    shown = ask(subject, "GET", "/endpoints").json()["endpoints"]
    assert [(each["endpoint"], each["state"]) for each in shown] == [("a:80", "disabled"), ("b:80", "healthy")]


@pytest.mark.parametrize(
    ("body", "status"),
    [
        ({"service": "api", "endpoint": "b:80", "enabled": False}, 404),
        ({"service": "api", "endpoint": "a:80", "enabled": 0}, 400),
        ({"service": "api", "endpoint": "a:80"}, 400),
        (["api"], 400),
        ("", 400),
    ],
)
def test_what_is_no_endpoint_is_refused(body: object, status: int) -> None:
    subject = Subject()
    subject.parts.endpoints.follow(resolved(to("http://a")))
    answer = disable(subject, body)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])


def test_with_the_board_full_an_endpoint_is_not_taken_out_and_a_sentence_says_why() -> None:
    subject = Subject(board=Board.create(records=1))
    subject.parts.endpoints.follow(resolved(to("http://a", "http://b")))
    assert disable(subject).status_code == 200
    refused = disable(subject, {"service": "api", "endpoint": "b:80", "enabled": False})
    assert refused.status_code == 507
    assert refused.json()["error"].endswith("1 breakers and endpoints are the most there can be")
    assert subject.parts.endpoints.describe()[1]["state"] == "healthy"


def with_breaker(token: str = "") -> Subject:
    subject = Subject(token)
    subject.parts.breakers.follow(resolved(to("http://a", service={"circuit_breaker": {"threshold": 3}})))
    return subject


def test_breakers_are_shown_and_steered() -> None:
    subject = with_breaker()
    shown = ask(subject, "GET", "/breakers").json()
    assert list(shown) == ["api"]
    assert (shown["api"]["state"], shown["api"]["failure_count"], shown["api"]["threshold"]) == ("closed", 0, 3)
    for action, state in {"open": "open", "close": "closed", "reset": "closed"}.items():
        told = ask(subject, "POST", f"/breakers/api/{action}", LOCAL)
        assert (told.status_code, told.json()["service"], told.json()["state"]) == (200, "api", state)
        assert ask(subject, "GET", "/breakers").json()["api"]["state"] == state


@pytest.mark.parametrize("path", ["/breakers/shop/reset", "/breakers/api/explode", "/breakers/api"])
def test_what_is_no_breaker_is_refused(path: str) -> None:
    assert ask(with_breaker(), "POST", path, LOCAL).status_code == 404


def test_a_service_of_any_name_has_its_breaker_steered() -> None:
    subject = Subject()
    named = {"name": "a/b c", "circuit_breaker": {}}
    subject.parts.breakers.follow(resolved(to("http://a", service=named)))
    assert ask(subject, "POST", "/breakers/a%2Fb%20c/open", LOCAL).json()["service"] == "a/b c"


def test_strangers_steer_no_breaker() -> None:
    subject = with_breaker("secret")
    assert ask(subject, "POST", "/breakers/api/open", LOCAL).status_code == 401
    assert ask(with_breaker(), "POST", "/breakers/api/open", {"origin": "http://page"}).status_code == 403
    assert ask(subject, "GET", "/breakers").json()["api"]["state"] == "closed"


def test_strangers_take_no_endpoint_out() -> None:
    subject = Subject("secret")
    subject.parts.endpoints.follow(resolved(to("http://a")))
    assert disable(subject).status_code == 401
    assert disable(subject, peer="203.0.113.9", headers={"authorization": "Bearer secret"}).status_code == 200


@pytest.mark.parametrize(
    ("token", "headers", "peer", "status"),
    [
        ("secret", {"authorization": "Bearer secret"}, "203.0.113.9", 200),
        ("secret", {"authorization": "bearer secret"}, "127.0.0.1", 200),
        ("secret", {}, "127.0.0.1", 401),
        ("secret", {"authorization": "Bearer secreT"}, "127.0.0.1", 401),
        ("secret", {"authorization": "Bearer "}, "127.0.0.1", 401),
        ("secret", {"authorization": "Basic secret"}, "127.0.0.1", 401),
        ("geheim\u00e4", {"authorization": "Bearer geheim"}, "127.0.0.1", 401),
        ("", {}, "127.0.0.1", 200),
        ("", {"host": "localhost:8081"}, "127.0.0.1", 200),
        ("", {"host": "[::1]:8081"}, "::1", 200),
        ("", {}, "203.0.113.9", 403),
        ("", {"host": "rebound.example"}, "127.0.0.1", 403),
        ("", {"origin": "https://page.example"}, "127.0.0.1", 403),
        ("", {"x-forwarded-for": "203.0.113.9"}, "127.0.0.1", 403),
        ("", {"forwarded": "for=203.0.113.9"}, "127.0.0.1", 403),
        ("", {"via": "1.1 proxy"}, "127.0.0.1", 403),
        ("", {"authorization": "Bearer anything"}, "203.0.113.9", 403),
    ],
)
def test_who_may_reload(token: str, headers: dict[str, str], peer: str, status: int) -> None:
    subject = Subject(token)
    answer = ask(subject, "POST", "/reload", headers, peer)
    assert answer.status_code == status
    assert bool(subject.reloads) == (status == 200)
    if token:
        assert token not in answer.text
    if status == 401:
        assert answer.headers["www-authenticate"] == "Bearer"


def test_a_refused_reload_says_why() -> None:
    subject = Subject()
    subject.outcome = Outcome(4, problems=("gateway.yaml:3:5: error: unknown key",))
    answer = ask(subject, "POST", "/reload", LOCAL)
    assert answer.status_code == 422
    assert answer.json() == {
        "ok": False,
        "plan": 4,
        "workers": 0,
        "problems": ["gateway.yaml:3:5: error: unknown key"],
    }


def test_no_reload_while_stopping() -> None:
    subject = Subject(draining=True)
    assert ask(subject, "POST", "/reload", LOCAL).status_code == 409
    assert subject.reloads == []


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/"])
def test_nothing_else_is_there(path: str) -> None:
    assert ask(Subject(), "GET", path).status_code == 404


def test_a_running_gateway_shows_itself_and_reloads_when_asked(rig: Rig) -> None:
    rig.start(token="secret")
    rig.texts()
    path = rig.folder / "admin.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    with httpx.Client(transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost", timeout=20) as client:
        shown = client.get("/health").json()
        assert shown["status"] == "healthy"
        assert {worker["pid"] for worker in shown["workers"]} < set(rig.children())
        assert 'headgate_request_bytes_total{route="rig"}' in client.get("/metrics").text
        assert client.post("/reload").status_code == 401
        rig.write(text="two")
        answer = client.post("/reload", headers={"authorization": "Bearer secret"})
        assert answer.json()["ok"]
        assert rig.texts() == {"two"}
        # Shutdown is seen here too, as long as something is still in flight.
        held = rig.connect()
        held.send("/hold/release")
        rig.signal(signal.SIGTERM)
        until(lambda: client.get("/ready").status_code == 503, "not ready while draining")
        (rig.folder / "release").touch()
        assert held.receive().status == 200
    assert rig.wait() == 0


def test_totals_survive_a_killed_worker_and_its_open_requests_do_not(rig: Rig) -> None:
    rig.start(workers=1)
    victim = rig.get()
    held = rig.connect()
    held.send("/hold/never")
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=str(rig.folder / "admin.sock")), base_url="http://localhost", timeout=20
    ) as client:

        def values() -> dict[str, float]:
            points = client.get("/metrics", headers={"accept": "application/json"}).json()
            return {point["name"]: point["value"] for point in points}

        until(lambda: values()["headgate_requests_in_flight"] == 1, "the held request is counted")
        before = values()["headgate_request_bytes_total"]
        os.kill(victim.pid, signal.SIGKILL)
        assert rig.get().pid != victim.pid
        until(lambda: values()["headgate_requests_in_flight"] == 0, "what was open died with the worker")
        assert values()["headgate_request_bytes_total"] > before > 0
