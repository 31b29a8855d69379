"""The preset ai-microservices: its token buckets, its breakers and its retries, against a real Redis.

Times that a test waits for are made short, and those that must not pass meanwhile long; that they are what the
description says where nobody sets them is seen in the configuration that results (test_ai_microservices_settings.py).
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from tests.acceptance.ai_services import PRESET, Scene, caller, scene
from tests.acceptance.gateway import mint
from tests.acceptance.stub import Stub
from tests.control.driver import LONGEST, until
from tests.stores.redis.servers import RedisServer

SECRET = "the secret of the tokens of all these tests"
RESET = "/api/v1/circuit-breakers/{}/reset"
FRAUD = {"name": "fraud-service", "circuit_breaker": {"threshold": 3}}
CHATBOT = {"name": "chatbot-service", "circuit_breaker": {"timeout": 0.05}}
PER_MINUTE = ("x-ratelimit-limit-minute", "x-ratelimit-remaining-minute", "x-ratelimit-reset-minute")
PER_HOUR = ("x-ratelimit-limit-hour", "x-ratelimit-remaining-hour", "x-ratelimit-reset-hour")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, redis: RedisServer) -> Iterator[Scene]:
    """A gateway whose breakers stay open, but for that of the chatbot, and with one service that never answers."""
    env = {
        "SECRET_KEY": SECRET,
        "CIRCUIT_BREAKER_TIMEOUT": "1h",
        "RETRY_BASE_DELAY": "1ms",
        "RATE_LIMIT_PER_DAY": "500",
    }
    folder = tmp_path_factory.mktemp("gateway")
    env |= {"SERVICE_AUTH_SECRET_VISION": "seven", "BACKEND_SERVICE_URL": "http://127.0.0.1:1"}
    with Stub("silent") as silent, silent.holding():
        slow = {"name": "slow", "url": silent.url, "timeout": {"response": 0.1}}
        with scene(folder, redis, {"services": [FRAUD, CHATBOT, slow]}, env=env) as made:
            yield made


# -- limits --------------------------------------------------------------------------------------------------------


def test_sixty_requests_in_a_minute_and_not_one_more(running: Scene) -> None:
    """S2-11, S2-13, S2-15: all of the bucket at once, over both workers; the refusal says when to come back."""
    mine, before = caller(), int(time.time())
    first = running.send("GET", "/api/v1/search/x", None, mine)
    told = first.headers
    assert (told["x-ratelimit-limit-minute"], told["x-ratelimit-remaining-minute"]) == ("60", "59")
    assert (told["x-ratelimit-limit-hour"], told["x-ratelimit-remaining-hour"]) == ("1000", "999")
    assert before <= int(told["x-ratelimit-reset-minute"]) <= time.time() + 3
    answers = [first]
    # One token comes back each second, so a slow machine is given some more of them.
    while answers[-1].status == 200:
        answers.append(running.send("POST", "/api/v1/search/x", b"", mine))
        assert len(answers) <= 62 + time.time() - before
    refused = answers[-1]
    assert len(answers) > 60
    assert refused.status == 429
    wait = int(refused.headers["retry-after"])
    assert wait == 1
    assert refused.json == {
        "detail": {
            "error": "Rate limit exceeded",
            "limit_per_minute": 60,
            "limit_per_hour": 1000,
            "retry_after": wait,
        }
    }
    assert {*PER_MINUTE, *PER_HOUR, "x-correlation-id"} <= refused.headers.keys()
    assert refused.headers["x-ratelimit-remaining-minute"] == "0"
    assert running.send("GET", "/api/v1/search/x").status == 200
    # With the next token it goes on: no cliff at the end of a minute.
    until(lambda: running.send("GET", "/api/v1/search/x", None, mine).status == 200, "a token has come back")
    running.until_counted("rate_limit_exceeded_total", identifier="address")
    shown = running.gateway.metrics(public=True)["rate_limit_exceeded_total"]
    assert {tuple(labels) for labels, _ in shown} == {("identifier",)}
    line = running.logged(refused.headers["x-correlation-id"])
    assert (line["status_code"], line["level"], line["error"]) == (429, "WARNING", "rate_limited")


def test_users_are_told_apart_by_their_tokens(running: Scene, redis: RedisServer) -> None:
    """Tracked by user id or address; what is counted stands in Redis, with an end, and names nobody."""
    token, where = mint(SECRET, sub="ada", email="ada@example.com"), caller()
    # Of a day, so that nothing comes back between the two.
    for left in ("499", "498"):
        answer = running.gateway.ask("GET", "/api/v1/search/x", None, caller(), bearer=token)
        assert (answer.status, answer.headers["x-ratelimit-remaining-day"]) == (200, left)
    for sub in ("grace", "edsger"):
        answer = running.gateway.ask("GET", "/api/v1/search/x", None, where, bearer=mint(SECRET, sub=sub))
        assert answer.headers["x-ratelimit-remaining-minute"] == "59"
    keys = redis.call("KEYS", "*")
    assert keys
    assert all(redis.call("PTTL", key) > 0 for key in keys)
    assert not any(b"ada" in key or b"198.51" in key for key in keys)


def test_a_token_that_is_wrong_is_refused(running: Scene) -> None:
    for token in (mint(SECRET[::-1], sub="ada"), mint(SECRET, sub="ada", expires=-1), "nonsense"):
        answer = running.send("GET", "/api/v1/search/x", bearer=token)
        assert (answer.status, answer.json["error"]["type"]) == (401, "unauthorized")
    assert running.send("GET", "/api/v1/search/x").status == 200


# -- breakers ------------------------------------------------------------------------------------------------------


def test_a_breaker_opens_tries_and_closes(running: Scene) -> None:
    """S2-23: closed, open, half-open, closed after two successes; open again where a trial fails."""
    name, path, stub = "chatbot-service", "/api/v1/chat/x", running.stubs["chatbot-service"]
    running.fail(path, 4)
    assert running.send("GET", path).status == 200
    assert running.breakers()[name]["state"] == "closed"
    # Not in a row, but among the last hundred calls.
    running.fail(path, 1)
    _opened(running, name, 1)

    asked = len(stub.seen)
    with ThreadPoolExecutor() as crowd, stub.holding():
        trial = crowd.submit(running.send, "GET", path)
        until(lambda: len(stub.seen) > asked, "a trial is under way")
        assert running.until_state(name, "half_open")["trials_in_flight"] == 1
        assert running.counted("circuit_breaker_state", service=name) == 2
    assert trial.result().status == 200
    said = until(lambda: (found := running.breakers()[name])["trials_in_flight"] == 0 and found, "it is over")
    assert (said["state"], said["success_threshold"]) == ("half_open", 2)
    assert running.send("GET", path).status == 200
    assert running.until_state(name, "closed")["recent_failures"] == 0

    running.fail(path, 5)
    _opened(running, name, 2)
    running.fail(path, 1)
    _opened(running, name, 3)


def _opened(running: Scene, name: str, times: int) -> None:
    """Wait until it has opened so often, and its time is over: so it stays until somebody comes."""
    running.until_counted("gateway_circuit_breaker_state_changes", least=times, service=name, state="open")
    running.until_state(name, "half_open")


def test_an_open_breaker_answers_at_once(running: Scene) -> None:
    """A service that failed three times of its own threshold is not asked any more; nobody else is touched (S2-25)."""
    name, path, stub = "fraud-service", "/api/v1/fraud/check", running.stubs["fraud-service"]
    running.fail(path, 2)
    assert running.send("POST", path, b"").status == 200
    running.fail(path, 1)
    running.until_state(name, "open")
    asked = len(stub.seen)
    refused = running.send("POST", path, b"", {"X-Correlation-ID": "abc-123"})
    assert (refused.status, len(stub.seen)) == (503, asked)
    assert refused.json == {
        "error": {
            "type": "service_unavailable",
            "message": "Circuit breaker 'fraud-service' is OPEN",
            "correlation_id": "abc-123",
        }
    }
    assert 0 < int(refused.headers["retry-after"]) <= 3600
    assert refused.headers["x-correlation-id"] == "abc-123"
    assert running.send("GET", "/api/v1/pricing/x").status == 200
    assert running.counted("circuit_breaker_state", service=name) == 1
    assert running.counted("gateway_circuit_breaker_state", service=name, state="open") == 1
    assert running.counted("gateway_circuit_breaker_state", service=name, state="closed") == 0
    assert running.counted("circuit_breaker_state", service="pricing-service") == 0
    running.until_counted("gateway_circuit_breaker_state_changes", service=name, state="open")
    running.until_counted("gateway_proxy_requests_total", service=name, status="circuit_open")
    line = running.logged("abc-123")
    assert (line["status_code"], line["error"]) == (503, "breaker_open")
    _reset(running, name)


def _reset(running: Scene, name: str) -> None:
    """S2-29: over HTTP, by whoever is an administrator."""
    path = RESET.format(name)
    assert running.send("POST", path).status == 401
    assert running.send("POST", path, bearer=mint(SECRET, sub="ada", scopes=["read"])).status == 403
    told = running.send("POST", path, bearer=mint(SECRET, sub="boss", scopes=["admin"]))
    assert (told.status, set(told.json)) == (200, {"message", "timestamp"})
    said = running.breakers()[name]
    counts = ("failure_count", "recent_failures", "success_count", "total_calls", "failure_rate")
    assert (said["state"], *(said[each] for each in counts)) == ("closed", 0, 0, 0, 0, 0)
    # Every worker dials it again.
    assert {running.send("POST", "/api/v1/fraud/check", b"").status for _ in range(6)} == {200}


def test_resetting_in_other_ways(running: Scene) -> None:
    """S2-29: by the command line, by an operator's API key; an unknown name is 404, a GET 405."""
    name, path = "vision-service", "/api/v1/vision/x"
    running.gateway.command("breaker", "open", name, "--admin", running.gateway.admin)
    running.until_state(name, "open")
    assert running.send("GET", path).status == 503
    reset = running.gateway.command("breaker", "reset", name, "--admin", running.gateway.admin)
    assert reset.returncode == 0, reset.stderr
    assert running.breakers()[name]["state"] == "closed"
    assert running.send("GET", path).status == 200
    made = running.gateway.command("keys", "create", "--role", "admin", "--owner", "ops", "--preset", PRESET)
    key = {"X-API-Key": made.stdout.strip()}
    until(lambda: running.send("POST", RESET.format(name), None, key).status == 200, "the key is known")
    unknown = running.send("POST", RESET.format("nobody"), None, key | {"X-Correlation-ID": "abc-123"})
    assert (unknown.status, unknown.json["error"]["type"]) == (404, "not_found")
    assert unknown.json["error"]["correlation_id"] == "abc-123"
    assert running.send("GET", RESET.format(name), None, key).status == 405
    assert running.send("GET", path, None, {"X-API-Key": "a service's own key"}).status == 200


def test_the_python_of_the_description(running: Scene) -> None:
    """S2-29: the lines that the description shows, run as they stand there, beside a gateway that runs."""
    running.fail("/api/v1/search/x", 5)
    running.until_state("search-service", "open")
    lines = (
        "from circuit_breaker import CircuitBreakerConfig",
        "config = CircuitBreakerConfig(failure_threshold=5, success_threshold=2, timeout=60, window_size=100)",
        "from circuit_breaker import circuit_breaker_registry",
        'circuit_breaker_registry.reset_breaker("recommendation-service")',
        'circuit_breaker_registry.reset_breaker("search-service")',
        'print(config.settings(), circuit_breaker_registry.get_state("search-service"))',
    )
    done = subprocess.run(
        [sys.executable, "-c", "\n".join(lines)],
        cwd=Path("examples/compat/ai-microservices"),
        env=running.gateway.env | {"HEADGATE_ADMIN": running.gateway.admin},
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "{'failure_threshold': 5, 'success_threshold': 2, 'timeout': 60, 'window_size': 100} closed\n"
    )
    assert running.breakers()["search-service"]["recent_failures"] == 0


def test_what_counts_as_a_failure(running: Scene) -> None:
    """Errors of a service's own from 500 to 504 do, what is the client's fault does not."""
    name, path = "recommendation-service", "/api/v1/recommendations/x"
    for status in ("400", "404", "422", "429", "505"):
        assert running.send("PUT", path, b"", {"X-Stub-Status": status}).status == int(status)
    for status in ("500", "501", "502", "503"):
        assert running.send("PUT", path, b"", {"X-Stub-Status": status}).status == int(status)
    found = until(lambda: (said := running.breakers()[name])["recent_failures"] == 4 and said, "four are counted")
    assert found["state"] == "closed"
    assert running.send("PUT", path, b"", {"X-Stub-Status": "504"}).status == 504
    running.until_state(name, "open")


# -- retries ---------------------------------------------------------------------------------------------------------


def test_a_request_is_sent_again_where_that_is_safe(running: Scene) -> None:
    """S2-21: what reached nobody is tried four times, what a service has seen is not; each ends in a typed error."""
    answer = running.send("POST", "/backend/x", b"", {"X-Correlation-ID": "nobody-there"})
    assert (answer.status, answer.json["error"]["type"]) == (502, "bad_gateway")
    line = running.logged("nobody-there")
    assert (line["attempts"], line["error"]) == (4, "connect_refused")
    running.until_counted("gateway_proxy_retries_total", least=3, service="backend")
    stub = running.stubs["forecasting-service"]
    before = len(stub.seen)
    answer = running.send("POST", "/api/v1/forecast/x", b"", {"X-Stub-Close": "head"})
    assert (answer.status, answer.json["error"]["type"], len(stub.seen) - before) == (502, "bad_gateway", 1)
    # A GET may be sent twice, also to the only one who could answer it.
    before = len(stub.seen)
    answer = running.send("GET", "/api/v1/forecast/x", None, {"X-Stub-Close": "head"})
    assert (answer.status, answer.json["error"]["type"], len(stub.seen) - before) == (502, "bad_gateway", 4)


def test_a_slow_service_is_504(running: Scene) -> None:
    answer = running.send("POST", "/api/v1/slow/x", b"")
    assert (answer.status, answer.json["error"]["type"]) == (504, "gateway_timeout")


def test_a_client_that_leaves_is_not_the_services_failure(running: Scene) -> None:
    """S2-43: the call is cancelled, and its breaker is not charged."""
    stub, gateway = running.stubs["pricing-service"], running.gateway
    before = running.breakers()["pricing-service"]
    asked = len(stub.seen)
    with stub.holding():
        with closing(gateway.connect()) as client:
            client.sendall(b"POST /api/v1/pricing/leave HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
            until(lambda: len(stub.seen) > asked, "the service was asked")
        line = until(
            lambda: next((each for each in gateway.access_log() if each["path"].endswith("/leave")), None), "the line"
        )
    assert (line["status_code"], line["error"]) == (499, "client_closed")
    assert running.breakers()["pricing-service"]["recent_failures"] == before["recent_failures"]


def test_each_service_has_a_secret_of_its_own(running: Scene) -> None:
    running.send("GET", "/api/v1/vision/x", None, {"X-Service-Auth": "mine"})
    assert running.stubs["vision-service"].seen[-1].headers["x-service-auth"] == "seven"
    # Where there is none, a client cannot say that it is the gateway.
    running.send("GET", "/api/v1/pricing/x", None, {"X-Service-Auth": "mine"})
    assert "x-service-auth" not in running.stubs["pricing-service"].seen[-1].headers
    assert "seven" not in running.gateway.stderr + running.gateway.stdout
