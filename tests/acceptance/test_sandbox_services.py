"""The services of the preset sandbox: breakers, health checks, balancing, registration, services that a user adds.

What a test waits for is made short by variables, and what must not happen meanwhile far away; the defaults are held to
by a clock of the tests' own. The numbers in docstrings are those of the cases of the description.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest

from headgate.client import Client
from headgate.config.resolve import ResolvedService
from headgate.policy.breaker import FAILED, OK
from tests.acceptance.gateway import TOKEN, headgate
from tests.acceptance.sandbox import NOBODY, PRESET, SECRET, SERVICES, Scene, resolved, scene
from tests.acceptance.stub import Stub
from tests.control.driver import until
from tests.policy.test_breaker import Rig
from tests.stores.redis.servers import RedisServer

QUICK = {
    "HEALTH_CHECK_INTERVAL": "0.1",
    "HEALTH_CHECK_TIMEOUT": "60",
    "CIRCUIT_BREAKER_RECOVERY_TIMEOUT": "1h",
    "RATE_LIMIT_REQUESTS": "100000",
    # Turns, what is in flight and breakers are of both together.
    "WORKERS": "2",
}
NEW = {"name": "new_service", "health_path": "/health", "routes": [{"name": "new", "match": {"path": "/api/v1/new"}}]}
NEW["routes"][0]["rewrite"] = {"strip_prefix": "/api/v1/new"}  # type: ignore[index]


@pytest.fixture(scope="module")
def added() -> Iterator[Stub]:
    """A service that the user's file adds."""
    with Stub("added") as stub:
        yield stub


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, redis: RedisServer, added: Stub) -> Iterator[Scene]:
    """Three services of three instances each, in the three ways of choosing one, and four of the user's file.

    One that is well, one that registers, one that nobody listens for, and one that takes connections and says nothing.
    """
    silent = socket.create_server(("127.0.0.1", 0))
    hanging = {"name": "hanging", "url": f"http://127.0.0.1:{silent.getsockname()[1]}"}
    more = {
        "services": [
            {**NEW, "url": added.url},
            {"name": "joining"},
            {"name": "away", "url": NOBODY, "retry": {"attempts": 0}},
            {**hanging, "timeout": {"response": 0.1}, "health": {"timeout": 0.1}},
            {"name": "sms", "balancer": "least_connections"},
            # Its breaker is half open in a moment, and stays so until somebody comes.
            {"name": "llm", "balancer": "random", "circuit_breaker": {"timeout": 0.05}},
        ]
    }
    with silent, scene(tmp_path_factory.mktemp("gateway"), redis, more, env=QUICK, instances=3) as made:
        yield made


@pytest.fixture(autouse=True)
def as_new(running: Scene) -> None:
    """Let all be well before each test."""
    for stub in (each for of in running.stubs.values() for each in of):
        stub.forget()
    for name in SERVICES:
        assert running.gateway.tell("POST", f"/api/v1/circuit-breakers/{name}/reset").status == 200
    states = running.gateway.shown
    until(
        lambda: all(states("/api/v1/services/status")[name]["healthy_instances"] == 3 for name in SERVICES),
        "all are well",
    )


def answered_by(running: Scene, path: str, times: int) -> Counter[str]:
    """Count which instances answered."""
    return Counter(running.send("GET", path).json["stub"] for _ in range(times))


def service(name: str, **env: str) -> ResolvedService:
    """Return a service of the preset as it comes into force."""
    return next(each for each in resolved(**env).services if each.name == name)


# -- breakers ------------------------------------------------------------------------------------------------------


def fail(running: Scene, service: str, times: int = 1) -> None:
    """Let calls end without an answer; a POST that a service may have begun to work on is not sent again."""
    for _ in range(times):
        assert running.send("POST", f"/api/v1/{service}/x", {}, {"X-Stub-Close": "head"}).status == 502


def test_a_breaker_opens_and_nobody_is_asked_any_more(running: Scene) -> None:
    """S3-28, S3-43: five failures in a row open it; others go on."""
    fail(running, "sms", 5)
    running.until_state("sms", "open")
    health = running.gateway.shown
    until(lambda: health("/health")["circuit_breakers"]["sms"]["state"] == "open", "/health says so, too")
    seen = sum(len(stub.seen) for stub in running.stubs["sms"])
    refused = running.send("POST", "/api/v1/sms/x", {})
    assert (refused.status, refused.json) == (503, {"detail": "Service temporarily unavailable"})
    assert int(refused.headers["retry-after"]) >= 1
    assert sum(len(stub.seen) for stub in running.stubs["sms"]) == seen
    running.until_counted("api_gateway_circuit_breaker_state", 1, service="sms")
    assert running.counted("api_gateway_circuit_breaker_state", service="auth") == 0
    assert running.send("GET", "/api/v1/auth/x").status == 200
    running.gateway.wait_log("breaker sms is open")


def test_a_breaker_lets_one_trial_through_and_opens_again_when_that_fails(running: Scene) -> None:
    """S3-29, S3-43: a trial that goes well closes it."""
    opened = "headgate_breaker_transitions_total"
    before = running.counted(opened, service="llm", to="open")
    fail(running, "llm", 5)
    running.until_counted(opened, before + 1, service="llm", to="open")
    running.until_state("llm", "half_open")
    fail(running, "llm")
    running.until_counted(opened, before + 2, service="llm", to="open")
    running.until_state("llm", "half_open")
    assert running.send("POST", "/api/v1/llm/x", {}).status == 200
    assert running.until_state("llm", "closed")["total_requests"] >= 7


def test_a_service_that_nobody_listens_for_is_unavailable(running: Scene) -> None:
    """S3-30: 503, and when to ask again; then the breaker refuses."""
    for _ in range(5):
        answer = running.send("GET", "/api/v1/away/x")
        assert (answer.status, answer.json) == (503, {"detail": "Service unavailable"})
        assert answer.headers["retry-after"] == "30"
    found = running.until_state("away", "open")
    assert (found["failure_count"], found["total_requests"], found["failure_rate"]) == (5, 5, 100.0)
    running.until_counted("api_gateway_service_requests_total", 5, service="away", status_code="error")
    told = until(
        lambda: (said := running.gateway.shown("/health")["circuit_breakers"]["away"])["state"] != "closed" and said,
        "health tells of it",
    )
    assert told["failure_count"] == 5
    assert told["last_failure_time"] > 0
    assert told["last_success_time"] is None


def test_breakers_are_read_and_told_by_python(running: Scene) -> None:
    """What the migration page shows."""
    with Client(running.gateway.admin, token=TOKEN) as gateway:
        assert set(SERVICES) <= gateway.breakers().keys()
        gateway.steer_breaker("sms", "open")
        try:
            assert gateway.breakers()["sms"]["state"] == "open"
            assert running.send("GET", "/api/v1/sms/x").status == 503
        finally:
            gateway.steer_breaker("sms", "reset")
        assert running.send("GET", "/api/v1/sms/x").status == 200
        states = {(each["service"], each["state"]) for each in gateway.endpoints()}
        assert ("auth", "healthy") in states


def test_an_error_of_a_service_is_an_answer_and_opens_nothing(running: Scene) -> None:
    for _ in range(8):
        assert running.send("GET", "/api/v1/sms/x", None, {"X-Stub-Status": "500"}).status == 500
    assert running.breaker("sms")["state"] == "closed"


def test_a_success_forgets_failures_and_the_defaults_are_five_and_sixty_seconds() -> None:
    """S3-28, S3-29 at the values of the description, by a clock of the test's own."""
    settings = service("auth").breaker
    assert settings is not None
    assert (settings.threshold, settings.timeout, settings.success_threshold, settings.jitter) == (5, 60, 1, 0)
    rig = Rig(threshold=settings.threshold, timeout=settings.timeout, jitter=settings.jitter)
    assert rig.calls("xxxx.xxxx") == "ccccccccc"
    assert rig.calls("x") == "o"
    rig.now += 59_900_000
    assert not rig.call(OK)
    rig.now += 200_000
    assert rig.state() == "half_open"
    rig.call(FAILED)
    assert rig.state() == "open"
    rig.now += 60_100_000
    rig.call(OK)
    assert rig.state() == "closed"


# -- health checks -------------------------------------------------------------------------------------------------


def test_an_instance_that_fails_its_checks_gets_nothing_until_it_is_well(running: Scene) -> None:
    """S3-15, S3-35: three failures take it out, one good check brings it back, however few are left."""
    ill = running.stubs["sms"][1]
    ill.health = running.stubs["sms"][2].health = 500

    def shown(path: str) -> dict[str, object]:
        found: dict[str, object] = running.gateway.shown(f"/api/v1/services/{path}")
        return found

    until(lambda: shown("status")["sms"]["healthy_instances"] == 1, "it is found out")  # type: ignore[index]
    whole = shown("health")
    entry = whole["services"]["sms"]  # type: ignore[index]
    assert (whole["overall_status"], entry["status"], entry["status_code"]) == ("degraded", "degraded", 500)
    assert "unhealthy" in entry["error"]
    instances = {each["url"]: each for each in shown("status")["sms"]["instances"]}  # type: ignore[index]
    assert instances[ill.url]["is_healthy"] is False
    assert instances[ill.url]["failure_count"] >= 3
    assert set(answered_by(running, "/api/v1/sms/x", 12)) == {"sms-0"}
    ill.health = running.stubs["sms"][2].health = 200
    until(lambda: shown("status")["sms"]["healthy_instances"] == 3, "it is well again")  # type: ignore[index]
    assert set(answered_by(running, "/api/v1/sms/x", 12)) == {"sms-0", "sms-1", "sms-2"}


def test_where_all_fail_their_checks_all_are_tried(running: Scene) -> None:
    """S3-35: it may be the checks that are wrong. The gateway itself is as well as ever."""
    for stub in running.stubs["auth"]:
        stub.health = 503
    until(lambda: running.gateway.shown("/api/v1/services/auth/health")["status"] == "unhealthy", "all are ill")
    assert set(answered_by(running, "/api/v1/auth/x", 6)) == {"auth-0", "auth-1", "auth-2"}
    health = until(
        lambda: (
            (said := running.gateway.shown("/health"))["services"]["services"]["auth"]["status"] == "unhealthy" and said
        ),
        "health tells of it",
    )
    assert (health["status"], health["services"]["overall_status"]) == ("healthy", "degraded")


def test_health_answers_while_a_service_hangs(running: Scene) -> None:
    """S3-13: nobody who asks makes anybody look; what is told is the last check of each."""
    told = until(
        lambda: (said := running.gateway.shown("/api/v1/services/hanging/health"))["status"] == "unhealthy" and said,
        "its checks fail",
    )
    assert "error" in told
    health = until(
        lambda: (
            (said := running.gateway.shown("/health"))["services"]["services"]["hanging"]["status"] != "healthy"
            and said
        ),
        "health tells of it",
    )
    assert health["status"] == "healthy"
    assert running.gateway.get("/ready").status == 200


def test_checks_are_those_of_the_description() -> None:
    """Every 30 seconds, 10 at most, out after three failures, back after one good one; each is variable."""
    health = service("llm").health
    assert health is not None
    assert (health.path, health.interval, health.timeout) == ("/health", 30, 10)
    assert (health.unhealthy_threshold, health.healthy_threshold) == (3, 1)


# -- balancing -----------------------------------------------------------------------------------------------------


def test_instances_take_turns(running: Scene) -> None:
    """S3-32: round robin, evenly."""
    assert set(answered_by(running, "/api/v1/auth/x", 30).values()) == {10}


def test_the_least_busy_instance_is_asked(running: Scene) -> None:
    """S3-33: while A holds five slow calls, the next five go to B and C."""
    stubs = running.stubs["sms"]

    def seen() -> list[int]:
        return [len(stub.seen) for stub in stubs]

    with ThreadPoolExecutor(15) as crowd, stubs[0].holding(), stubs[1].holding(), stubs[2].holding():
        slow = []
        for _ in range(15):
            before = sum(seen())
            slow.append(crowd.submit(running.send, "GET", "/api/v1/sms/slow"))
            until(partial(lambda before: sum(seen()) > before, before), "it waits")
        assert seen() == [5, 5, 5]
        for stub in stubs[1:]:
            stub.released.set()
        until(lambda: sum(each.done() for each in slow) == 10, "two of them are done")
        assert set(answered_by(running, "/api/v1/sms/next", 5)) == {"sms-1", "sms-2"}
    assert {each.result().status for each in slow} == {200}


def test_an_instance_may_be_chosen_by_chance(running: Scene) -> None:
    """S3-34: all are asked, in no order."""
    found = [running.send("GET", "/api/v1/llm/x").json["stub"] for _ in range(60)]
    assert set(found) == {"llm-0", "llm-1", "llm-2"}
    assert any(one == other for one, other in pairwise(found)), "they do not take turns"


def test_a_service_that_is_too_slow_is_a_timeout(running: Scene) -> None:
    """S3-30: it takes the connection, and says nothing."""
    late = running.send("POST", "/api/v1/hanging/x", {})
    assert (late.status, late.json) == (504, {"detail": "Gateway timeout"})


# -- services that are added ---------------------------------------------------------------------------------------


def test_a_service_is_added_by_configuration_alone(running: Scene, added: Stub) -> None:
    """S3-37: name, url and health_path; a route of one's own beside /api/v1/NAME, which each service has."""
    for path in ("/api/v1/new_service/x", "/api/v1/new/things/7?a=1", "/api/v1/new"):
        assert running.gateway.get(path).status == 401, "what holds for the others holds for it"
        assert running.send("PUT", path, {"a": 1}).json["stub"] == "added"
    assert [each.path for each in added.seen[-2:]] == ["/things/7", "/"]
    assert running.gateway.shown("/api/v1/services/new_service/health")["status"] == "healthy"
    assert running.breaker("new_service")["state"] == "closed"
    assert running.send("GET", "/api/v1/away/x").status == 503


def test_instances_register_and_leave(running: Scene) -> None:
    """S3-36; README: dynamic service registration and discovery. POST /services of the admin address."""
    assert running.send("GET", "/api/v1/joining/x").json == {"detail": "Service unavailable"}
    with Stub("joined") as stub:
        instance = {"name": "joining", "host": "127.0.0.1", "port": stub.port, "health_check": "/health"}
        made = running.gateway.tell("POST", "/services", instance)
        assert made.status == 201
        until(lambda: running.send("GET", "/api/v1/joining/a").json.get("stub") == "joined", "it is asked")
        until(
            lambda: running.gateway.shown("/api/v1/services/status")["joining"]["total_instances"] == 1,
            "it is one of those that are told",
        )
        assert running.gateway.tell("DELETE", f"/services/{made.json['id']}").status == 204
        until(lambda: running.send("GET", "/api/v1/joining/c").status == 503, "it is asked no more")


def test_a_service_cannot_have_the_name_of_the_own_endpoints(tmp_path: Path) -> None:
    """S3-19: refused before anything starts, by a sentence."""
    own = tmp_path / "own.yaml"
    own.write_text("services: [{name: services, url: 'http://127.0.0.1:1'}]\n")
    told = headgate(tmp_path, "check", str(own), "--preset", PRESET, env={"JWT_SECRET_KEY": SECRET})
    assert told.returncode == 1
    assert "/api/v1/services" in told.stderr
    assert "Traceback" not in told.stderr


def test_who_asks_for_a_service_needs_a_credential_whatever_its_name(running: Scene) -> None:
    for name in (*SERVICES, "joining", "away", "new_service"):
        assert running.gateway.get(f"/api/v1/{name}/x").status == 401
