"""The preset `vocelio`: so many requests an hour by tier, exactly, and told on every answer."""

from __future__ import annotations

import http.client
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from headgate.policy.limit.algorithm import Algorithm
from headgate.policy.limit.quota import algorithm
from tests.acceptance.vocelio import SEVEN, Running, resolved, running, token
from tests.control.driver import CEILING
from tests.stores.redis.servers import RedisServer

HOUR = 3_600_000_000
MINUTE = 60_000_000
OWN = {
    "services": [
        {
            "name": "analytics",
            "routes": [
                {"name": "public", "match": {"path": "/public"}, "auth": "optional"},
                {"name": "admins", "match": {"path": "/admins"}, "auth": {"roles": "admin"}},
            ],
        },
        {
            "name": "voice-lab",
            "limits": [{"name": "voice-lab", "key": "identity", "requests": 50, "window": "1h"}],
        },
    ]
}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    options = ("--workers", "2")
    with running(tmp_path_factory.mktemp("vocelio"), OWN, only=("analytics", "voice-lab"), options=options) as found:
        yield found


def many(run: Running, count: int, path: str, **headers: str) -> Counter[int]:
    """Ask so often, on one connection."""
    connection = http.client.HTTPConnection("127.0.0.1", run.gateway.port, timeout=CEILING)
    found: Counter[int] = Counter()
    try:
        for _ in range(count):
            connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            answer.read()
            found[answer.status] += 1
    finally:
        connection.close()
    return found


def counting(tier: str, **env: str) -> Algorithm:
    """Return what counts a caller of a tier."""
    (limit,) = resolved(**env).limits
    made = algorithm(limit, limit.tiers.get(tier))
    assert made is not None
    return made


class Clock:
    """A caller at moments of one's choice."""

    def __init__(self, counts: Algorithm) -> None:
        self._counts = counts
        self._state = b""

    def passes(self, now: int, times: int = 1) -> int:
        """Ask so often at a moment; return how many passed."""
        found = 0
        for _ in range(times):
            allowed, self._state, _ = self._counts.admit(self._state, now, 1, 0)
            found += allowed
        return found


@pytest.mark.parametrize(
    ("tier", "requests"),
    [("anonymous", 1000), ("user", 5000), ("api_key", 5000), ("premium", 10000), ("webhooks", 10000)],
)
def test_the_table_of_tiers(tier: str, requests: int) -> None:
    """S1-17 to S1-20: exactly so many in an hour, whatever its hour is."""
    caller = Clock(counting(tier))
    assert caller.passes(7 * MINUTE, requests + 1) == requests
    assert caller.passes(66 * MINUTE) == 0
    assert caller.passes(7 * MINUTE + 2 * HOUR) == 1


@pytest.mark.parametrize("tier", ["anonymous", "user", "api_key"])
def test_the_hour_slides(tier: str) -> None:
    """S1-21: a thousand at once, none 59 minutes later, and one a second after the hour."""
    counts = counting(tier)
    caller = Clock(counts)
    assert caller.passes(0, counts.numbers[0]) == counts.numbers[0]
    assert caller.passes(59 * MINUTE) == 0
    assert caller.passes(60 * MINUTE + 1_000_000) == 1


def test_it_is_no_hour_of_the_calendar() -> None:
    """S1-22: half before the full hour, half behind it, and nothing is given back by it."""
    caller = Clock(counting("anonymous"))
    assert caller.passes(59 * MINUTE, 500) == 500
    assert caller.passes(61 * MINUTE, 501) == 500
    assert caller.passes(119 * MINUTE, 501) == 500


@pytest.mark.parametrize("scale", [1, 200_000_000])
def test_numbers_are_variables(scale: int) -> None:
    """A load test may set them as high as it likes."""
    tiers = ("anonymous", "user", "api_key", "premium", "webhooks")
    names = ("REQUESTS", "AUTHENTICATED", "API_KEY", "PREMIUM", "WEBHOOKS")
    env = {f"RATE_LIMIT_{name}": str(number * scale) for number, name in enumerate(names, 1)}
    found = {tier: counting(tier, **env, RATE_LIMIT_WINDOW="1h30m").numbers[:2] for tier in tiers}
    assert found == {tier: (number * scale, HOUR * 3 // 2) for number, tier in enumerate(tiers, 1)}


def test_limits_can_be_switched_off() -> None:
    assert not resolved(RATE_LIMIT_ENABLED="false").limits


@pytest.mark.parametrize("plan", ["professional", "enterprise", "pro", "premium"])
def test_who_is_premium(run: Running, plan: str) -> None:
    """S1-19: by the plan in the token; by the tier of the key in test_vocelio_callers.py."""
    answer = run.gateway.get("/api/v1/analytics/x", bearer=token(user_id=f"of-{plan}", plan=plan))
    assert answer.headers["x-ratelimit-limit"] == "10000"
    assert resolved(PREMIUM_PLANS="gold").identity.tiers[0].values == ["gold"]


def test_who_pays_nothing_is_not(run: Running) -> None:
    for plan in ("free", "starter", "basic"):
        answer = run.gateway.get("/api/v1/analytics/x", bearer=token(user_id=f"of-{plan}", plan=plan))
        assert answer.headers["x-ratelimit-limit"] == "5000"


def test_a_user_counts_down(run: Running) -> None:
    """S1-23"""
    answers = [run.gateway.get("/api/v1/analytics/x", bearer=token(user_id="counted")) for _ in range(3)]
    assert [each.headers["x-ratelimit-remaining"] for each in answers] == ["4999", "4998", "4997"]
    assert {each.headers["x-ratelimit-limit"] for each in answers} == {"5000"}
    assert {each.headers["x-ratelimit-policy"] for each in answers} == {"sliding-window"}
    # Seconds since 1970, an hour ahead.
    assert 3500 < int(answers[0].headers["x-ratelimit-reset"]) - time.time() <= 3602


def test_limits_are_told_on_every_answer(run: Running) -> None:
    """S1-24: refusals and own endpoints, too."""
    bearer = token(user_id="told")
    asked: dict[int, list[tuple[str, str, str | None]]] = {
        200: [("GET", "/", None), ("GET", "/health", None), ("GET", "/ready", None), ("GET", "/live", None)],
        401: [("GET", "/api/v1/voice-lab/x", None), ("GET", "/api/v1/voice-lab/x", "not.a.token")],
        400: [("GET", "/%zz", None), ("GET", "/%zz", bearer)],
        403: [("GET", "/admins/x", bearer)],
        404: [("GET", "/nowhere", None), ("GET", "/nowhere", bearer)],
        405: [("DELETE", "/status", bearer)],
        # A service that is away, and a key that nobody could be asked about.
        503: [("GET", "/api/v1/billing/x", bearer), ("GET", "/api/v1/voice-lab/x", "voc_nobody_knows")],
    }
    asked[200] += [("GET", path, bearer) for path in ("/api/v1/voice-lab/x", "/status", "/metrics", "/docs")]
    for status, requests in asked.items():
        for method, path, shown in requests:
            answer = run.gateway.ask(method, path, bearer=shown)
            assert answer.status == status, (path, answer)
            names = ("x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset")
            assert all(answer.headers.get(name, "").isdigit() for name in names), (path, answer.headers)
    # No moment is more than a window away, of those that are counted by two counters neither.
    for plan in ("free", "enterprise"):
        answer = run.gateway.get("/api/v1/voice-lab/x", bearer=token(user_id=f"told-{plan}", plan=plan))
        assert 0 < int(answer.headers["x-ratelimit-reset"]) - time.time() <= 3601


def test_a_caller_without_a_credential_and_beyond(run: Running) -> None:
    """S1-17, S1-45: 1,001 requests of one address, and then 429 before 401; users of that address are not concerned."""
    before = int(run.gateway.get("/public/x").headers["x-ratelimit-remaining"])
    assert many(run, before + 1, "/public/x") == {200: before, 429: 1}
    refused = run.gateway.get("/public/x")
    said = refused.json
    assert (refused.status, said["error"], said["status_code"]) == (429, "Too Many Requests", 429)
    assert list(said) == SEVEN
    assert said["message"] == "Rate limit of 1000 requests per 3600 seconds exceeded"
    assert 3000 < said["retry_after"] == int(refused.headers["retry-after"]) <= 3600
    assert (refused.headers["x-ratelimit-limit"], refused.headers["x-ratelimit-remaining"]) == ("1000", "0")
    for path in ("/api/v1/analytics/x", "/nowhere", "/public/x"):
        assert run.gateway.get(path, bearer="not.a.token").status == 429, path
    assert run.gateway.get("/public/x", bearer=token(user_id="another")).status == 200
    # Who asks how the gateway is must not be told that it asks too often.
    health = run.gateway.get("/health")
    assert (health.status, health.headers["x-ratelimit-remaining"]) == (200, "0")


def test_the_smaller_of_two_limits_decides_and_is_told(run: Running) -> None:
    """S1-25: a limit of one service, below the tier."""
    bearer = token(user_id="voice")
    answer = run.gateway.get("/api/v1/voice-lab/x", bearer=bearer)
    assert (answer.headers["x-ratelimit-limit"], answer.headers["x-ratelimit-remaining"]) == ("50", "49")
    found = many(run, 50, "/voice-lab/v1/x", Authorization=f"Bearer {bearer}")
    assert found == {200: 49, 429: 1}
    assert run.gateway.get("/api/v1/analytics/x", bearer=bearer).headers["x-ratelimit-limit"] == "5000"


def test_two_gateways_on_one_redis_let_exactly_the_limit_pass(
    tmp_path_factory: pytest.TempPathFactory, redis: RedisServer
) -> None:
    """S1-27"""
    env = {"REDIS_URL": redis.url, "RATE_LIMIT_AUTHENTICATED": "200"}
    options = ("--workers", "1", "--set", "store.timeout=10", "--set", "store.connect_timeout=60")
    with ExitStack() as stack:
        runs = [
            stack.enter_context(
                running(tmp_path_factory.mktemp(f"redis-{each}"), only=("overview",), env=env, options=options)
            )
            for each in range(2)
        ]
        bearer = f"Bearer {token(user_id='shared')}"
        found = [many(run, 100 + number, "/api/v1/overview/x", Authorization=bearer) for number, run in enumerate(runs)]
        assert sum(found, Counter()) == {200: 200, 429: 1}
