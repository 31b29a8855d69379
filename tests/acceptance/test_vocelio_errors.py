"""The preset `vocelio`: what callers get when something is wrong, always in one form; breakers, retries, timeouts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import datetime
from pathlib import Path

import pytest

from headgate.policy.breaker import FAILED, OK, Breaker
from headgate.stores.board import OWN_CELLS
from tests.acceptance.gateway import Answer
from tests.acceptance.stub import Stub, Wanted
from tests.acceptance.vocelio import SECRET, SEVEN, Running, problems, resolved, running, token, variable
from tests.control.driver import until

HERE = str(Path(__file__).parents[2])
USED = ("overview", "ai-agents", "call-center", "voice-lab", "team-management", "workflows")
OWN = {
    "services": [
        {
            "name": "overview",
            "routes": [
                {
                    "name": "validated",
                    "match": {"path": "/api/v1/overview/validated"},
                    "plugins": [{"module": "tests.acceptance.broken_gate", "class": "Objects"}],
                },
                {
                    "name": "broken",
                    "match": {"path": "/api/v1/overview/broken"},
                    "plugins": [{"module": "tests.acceptance.broken_gate", "class": "Broken"}],
                },
                {"name": "admins", "match": {"path": "/api/v1/overview/admins"}, "auth": {"roles": "admin"}},
                {"name": "posts", "match": {"path": "/api/v1/overview/posts", "method": "POST"}},
                {
                    "name": "one",
                    "match": {"path": "/api/v1/overview/one"},
                    "limits": [{"name": "one", "key": "identity", "requests": 1, "window": "1h"}],
                },
            ],
        },
        {"name": "workflows", "timeout": {"response": "100ms"}},
    ]
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    env = {"SERVICE_TIMEOUT": "60", "MAX_REQUEST_SIZE": "10kB", "PYTHONPATH": HERE}
    # A breaker that opens stays so.
    env["CIRCUIT_BREAKER_TIMEOUT"] = "1h"
    with Stub("first") as first, Stub("second") as second:
        env[variable("marketplace")] = f"{first.url},{second.url}"
        with running(tmp_path_factory.mktemp("vocelio"), OWN, env=env, only=USED) as found:
            yield Running(found.gateway, {**found.stubs, "first": first, "second": second})


@pytest.fixture
def run(whole: Running) -> Running:
    whole.forget()
    return whole


def seven(answer: Answer, status: int, *, waits: bool = False) -> None:
    """See that an answer has the body of the description."""
    said = answer.json
    assert answer.status == said["status_code"] == status
    assert list(said) == [each for each in SEVEN if waits or each != "retry_after"]
    assert said["timestamp"].endswith("Z")
    assert datetime.fromisoformat(said["timestamp"]).year > 2020
    assert re.fullmatch(r"req_[0-9a-f]+", said["request_id"])
    assert said["request_id"] == answer.headers["x-request-id"]
    assert said["support"] == "Contact support@vocelio.ai with this request ID"
    assert answer.headers["content-type"] == "application/json"
    assert (answer.headers.get("retry-after") == str(said.get("retry_after"))) is waits


def test_a_service_that_is_down(run: Running) -> None:
    """S1-33: to the letter."""
    answer = run.gateway.get("/api/v1/smart-campaigns/x", bearer=token())
    seven(answer, 503, waits=True)
    assert answer.json["error"] == "Service unavailable"
    assert answer.json["message"] == "The smart-campaigns service is temporarily unavailable"
    assert answer.json["retry_after"] == 30


def test_400_for_what_cannot_be_read(run: Running) -> None:
    """S1-35: by a gate of one's own that judges bodies, and by the gateway."""
    refused = run.gateway.ask("POST", "/api/v1/overview/validated", b'{"a": ', bearer=token())
    seven(refused, 400)
    assert (refused.json["error"], refused.json["message"]) == ("Bad Request", "The body is no JSON.")
    assert run.gateway.ask("POST", "/api/v1/overview/validated", {"a": 1}, bearer=token()).status == 200
    seven(run.gateway.get("/api/v1/overview/%2e%2e/%2e%2e/%2e%2e/%2e%2e/x", bearer=token()), 400)


def test_401_without_a_credential(run: Running) -> None:
    answer = run.gateway.get("/api/v1/overview/x")
    seven(answer, 401)
    assert answer.json["error"] == "Unauthorized"


def test_403_without_the_role(run: Running) -> None:
    answer = run.gateway.get("/api/v1/overview/admins", bearer=token(role="viewer"))
    seven(answer, 403)
    assert answer.json["error"] == "Forbidden"


def test_404_for_what_is_not_there(run: Running) -> None:
    for path in ("/api/v1/nobody/x", "/nobody/v1/x", "/elsewhere"):
        answer = run.gateway.get(path, bearer=token())
        seven(answer, 404)
        assert answer.json["error"] == "Not Found"


def test_429_beyond_the_limit(run: Running) -> None:
    bearer = token(user_id="limited")
    assert run.gateway.get("/api/v1/overview/one", bearer=bearer).status == 200
    answer = run.gateway.get("/api/v1/overview/one", bearer=bearer)
    seven(answer, 429, waits=True)
    assert answer.json["error"] == "Too Many Requests"


def test_500_for_a_fault_of_the_gateway(run: Running) -> None:
    answer = run.gateway.get("/api/v1/overview/broken", bearer=token())
    seven(answer, 500)
    assert answer.json["error"] == "Internal Server Error"
    assert "RuntimeError" not in answer.text
    assert "a fault that a test wants" not in answer.text


def test_502_for_what_is_no_answer(run: Running) -> None:
    run.stubs["team-management"].answer = Wanted(close="head")
    answer = run.gateway.ask("POST", "/api/v1/team-management/x", {}, bearer=token())
    seven(answer, 502)
    assert answer.json["error"] == "Bad Gateway"
    assert answer.json["message"] == "The team-management service closed the connection before answering"


def test_504_for_a_service_that_is_too_slow(run: Running) -> None:
    with run.stubs["workflows"].holding():
        answer = run.gateway.ask("POST", "/api/v1/workflows/x", {}, bearer=token())
    seven(answer, 504)
    assert answer.json["error"] == "Gateway Timeout"
    assert answer.json["message"] == "The workflows service did not answer in time"


def test_other_statuses_have_the_same_form(run: Running) -> None:
    seven(run.gateway.ask("POST", "/api/v1/overview/x", b"x" * 10_001, bearer=token()), 413)
    refused = run.gateway.ask("DELETE", "/status", bearer=token())
    seven(refused, 405)
    assert refused.headers["allow"]


def test_what_a_service_says_of_an_error_stays_its_own(run: Running) -> None:
    answer = run.gateway.get("/api/v1/voice-lab/x", {"X-Stub-Status": "422"}, bearer=token())
    assert (answer.status, answer.json["stub"]) == (422, "voice-lab")


def test_five_failures_open_the_breaker(run: Running) -> None:
    """S1-37: of that service, and of no other."""
    gateway, agents = run.gateway, run.stubs["call-center"]
    for _ in range(5):
        assert gateway.get("/api/v1/call-center/x", {"X-Stub-Status": "503"}, bearer=token()).status == 503
    until(
        lambda: gateway.shown("/proxy/load-balancer/status")["circuit_breakers"]["call-center"]["state"] == "open",
        "it is open",
    )
    asked = len(agents.seen)
    answer = gateway.get("/api/v1/call-center/x", bearer=token())
    seven(answer, 503, waits=True)
    assert answer.json["message"] == "The call-center service is temporarily unavailable"
    assert 0 < answer.json["retry_after"] <= 3600
    assert len(agents.seen) == asked
    assert gateway.get("/api/v1/ai-agents/x", bearer=token()).status == 200


def test_the_breaker_at_moments_of_ones_choice() -> None:
    """S1-36, S1-37: 30 s later trials go through, and three that go well close it."""
    settings = resolved().services[3].breaker
    assert settings is not None
    assert (settings.threshold, settings.timeout, settings.success_threshold, settings.jitter) == (5, 30, 3, 0)
    assert set(settings.failures) == {"connect", "timeout", "protocol", 502, 503, 504}
    assert settings.window_size is None
    cells, changes = memoryview(bytearray(8 * OWN_CELLS)).cast("q"), list[str]()
    breaker = Breaker(settings, cells, 0, nullcontext(), lambda: 0.5, changes.append)
    second = 1_000_000

    def call(now: int, outcome: int) -> int:
        ticket = breaker.admit(now)
        if ticket >= 0:
            breaker.settle(ticket, outcome, now)
        return ticket

    for now in range(4):
        call(now, FAILED)
    call(4, OK)
    # In a row: what went well between them counts.
    for now in range(5, 10):
        assert breaker.state(now) == "closed"
        call(now, FAILED)
    assert breaker.state(10) == "open"
    assert call(29 * second, OK) < 0
    for trial in range(3):
        assert breaker.state(31 * second) != "closed", trial
        assert call(31 * second, OK) >= 0
    assert changes == ["open", "half_open", "closed"]
    changed = resolved(
        CIRCUIT_BREAKER_FAILURE_THRESHOLD="2", CIRCUIT_BREAKER_TIMEOUT="7", CIRCUIT_BREAKER_ENABLED="true"
    )
    other = changed.services[0].breaker
    assert other is not None
    assert (other.threshold, other.timeout) == (2, 7)
    assert all(each.breaker is None for each in resolved(CIRCUIT_BREAKER_ENABLED="false").services)


def test_a_request_is_tried_again_where_that_is_safe(run: Running) -> None:
    """S1-36: at another instance, and only if it may be sent twice."""
    both = run.stubs["first"], run.stubs["second"]
    both[0].answer = Wanted(close="head")
    answers = [run.gateway.get("/api/v1/marketplace/x", bearer=token()) for _ in range(4)]
    assert {(each.status, each.json["stub"]) for each in answers} == {(200, "second")}
    assert "2" in {each.headers["x-attempt-count"] for each in answers}
    assert "2" in {seen.headers["x-attempt"] for seen in both[1].seen}
    run.forget()
    both[0].answer = both[1].answer = Wanted(close="head")
    assert run.gateway.ask("POST", "/api/v1/marketplace/x", {}, bearer=token()).status == 502
    assert sum(len(each.seen) for each in both) == 1
    retry = resolved().routes[0].retry
    assert (retry.attempts, retry.backoff.base, retry.backoff.max) == (2, 0.1, 0.4)


def test_webhooks_are_tried_three_times(run: Running) -> None:
    stub = run.stubs["voice-lab"]
    stub.answer = Wanted(status=503)
    answer = run.gateway.ask("POST", "/webhooks/voice-lab/done", {"id": 1})
    assert answer.status == 503
    assert [seen.headers["x-attempt"] for seen in stub.seen] == ["1", "2", "3"]
    assert {seen.body for seen in stub.seen} == {b'{"id": 1}'}
    stub.forget()
    stub.answer = Wanted(close="head")
    seven(run.gateway.ask("POST", "/webhooks/voice-lab/done", {"id": 1}), 502)
    assert [seen.headers["x-attempt"] for seen in stub.seen] == ["1", "2", "3"]
    away = run.gateway.ask("POST", "/webhooks/billing/done", {"id": 1})
    seven(away, 502)
    assert away.json["error"] == "Bad Gateway"
    (route,) = [each for each in resolved().routes if each.name == "voice-lab-webhooks"]
    assert (route.timeout.response, route.retry.attempts, route.retry.backoff.base) == (15, 2, 0.5)


def test_how_long_a_service_may_take() -> None:
    timeout = resolved().routes[0].timeout
    assert (timeout.response, timeout.head, timeout.total) == (10, 30, 0)
    timeout = resolved(SERVICE_TIMEOUT="1m30s", REQUEST_TIMEOUT="120").routes[0].timeout
    assert (timeout.response, timeout.head) == (90, 120)


@pytest.mark.parametrize(
    ("strategy", "kind"),
    [("round_robin", "round_robin"), ("least_connections", "least_connections"), ("weighted", "weighted")],
)
def test_how_instances_are_chosen(strategy: str, kind: str) -> None:
    config = resolved(LOAD_BALANCER_STRATEGY=strategy)
    assert {each.balancer.type for each in config.services} == {kind}


@pytest.mark.parametrize(
    ("env", "sentence"),
    [
        ({"PORT": "eighty"}, "PORT: expected a whole number"),
        ({"ENVIRONMENT": "testing"}, "ENVIRONMENT: expected one of development, staging, production"),
        ({"CIRCUIT_BREAKER_TIMEOUT": "soon"}, "CIRCUIT_BREAKER_TIMEOUT: expected seconds"),
        ({"LOAD_BALANCER_STRATEGY": "best"}, "LOAD_BALANCER_STRATEGY: expected one of"),
        ({"ENABLE_CACHING": "maybe"}, "ENABLE_CACHING: expected true or false"),
    ],
)
def test_a_variable_that_cannot_be_read_is_named(env: dict[str, str], sentence: str) -> None:
    assert any(each.startswith(sentence) for each in problems(JWT_SECRET_KEY=SECRET, **env))
