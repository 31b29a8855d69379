"""The limits of the preset ai-edge: three algorithms on a real Redis, for each caller, over several gateways.

How they go on with time is seen on the very limits that the preset makes, with a clock of the test's.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.client import Client
from headgate.policy.limit.quota import group
from tests.acceptance.edge import edge, refused, token, upstreams
from tests.acceptance.gateway import TOKEN, Answer, Gateway
from tests.acceptance.stub import Stub
from tests.acceptance.test_ai_edge_start import config_of
from tests.control.driver import until
from tests.stores.redis.servers import RedisServer

SECOND = 1_000_000
WINDOW = {"RATELIMIT_ALGORITHM": "sliding_window", "RATELIMIT_BUCKET_SIZE": "10", "RATELIMIT_WINDOW_SIZE": "1h"}


@pytest.fixture(scope="module")
def chat() -> Iterator[Stub]:
    with Stub("chat") as stub:
        yield stub


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, redis: RedisServer, chat: Stub) -> Iterator[tuple[Gateway, Gateway]]:
    """Two gateways with two workers each, and one Redis."""
    env = WINDOW | upstreams("chat", chat) | {"RATELIMIT_KEY_PREFIX": "gw:"}
    made = [edge(tmp_path_factory.mktemp("edge"), redis, env=env, ready=False) for _ in range(2)]
    try:
        for each in made:
            each.wait_ready()
        yield made[0], made[1]
    finally:
        for each in made:
            each.close()


@pytest.fixture(autouse=True)
def afresh(redis: RedisServer) -> None:
    redis.call("FLUSHALL")


def used_up(gateways: tuple[Gateway, ...], **ask: Any) -> tuple[int, Answer]:
    """Ask until the answer is 429; return how many passed, and that answer."""
    passed = 0
    while True:
        answer = gateways[passed % len(gateways)].get("/v1/chat/x", **ask)
        if answer.status == 429:
            return passed, answer
        passed += 1
        assert passed < 1000


# -- callers --------------------------------------------------------------------------------------------------------


def test_one_budget_over_all_gateways(pair: tuple[Gateway, Gateway]) -> None:
    """S4-26: exactly as many as the limit says, over four workers of two gateways"""
    passed, answer = used_up(pair, bearer=token("ada"))
    assert passed == 10
    refused(answer, 429, "Too Many Requests", "Too many requests; try again later.")


def test_headers(pair: tuple[Gateway, Gateway]) -> None:
    """S4-24: on every answer of a limited route; Reset is a moment, Retry-After seconds"""
    first = pair[0].get("/v1/chat/x", bearer=token("ada"))
    assert (first.headers["x-ratelimit-limit"], first.headers["x-ratelimit-remaining"]) == ("10", "9")
    assert int(first.headers["x-ratelimit-reset"]) > 1_600_000_000
    assert "retry-after" not in first.headers
    nobody = pair[0].get("/v1/chat/x")
    assert (nobody.status, nobody.headers["x-ratelimit-remaining"]) == (401, "9")
    _, answer = used_up(pair, bearer=token("ada"))
    assert (answer.headers["x-ratelimit-limit"], answer.headers["x-ratelimit-remaining"]) == ("10", "0")
    assert 0 < int(answer.headers["retry-after"]) <= 3600
    assert "x-ratelimit-limit" not in pair[0].get("/health").headers


def test_callers_have_budgets_of_their_own(pair: tuple[Gateway, Gateway]) -> None:
    """S4-25: two users at one address; and who shows nothing that is good is counted by it"""
    assert used_up(pair, bearer=token("ada"))[0] == 10
    assert used_up(pair, bearer=token("bob"))[0] == 10
    assert used_up(pair)[0] == 10
    refused(pair[0].get("/v1/chat/x", bearer="nonsense"), 429, "Too Many Requests")
    refused(pair[0].get("/v1/nobody/x"), 429, "Too Many Requests")
    assert pair[0].get("/v1/chat/x", bearer=token("eve")).status == 200
    assert pair[0].get("/health").status == 200
    assert pair[0].get("/metrics").status == 200


def test_keys_in_redis(pair: tuple[Gateway, Gateway], redis: RedisServer) -> None:
    """S4-27: each begins with the prefix, once, and ends by itself"""
    pair[0].get("/v1/chat/x", bearer=token("ada-lovelace"))
    pair[0].get("/v1/chat/x")
    keys = redis.call("KEYS", "*")
    assert len(keys) == 2
    for key in keys:
        assert key.startswith(b"gw:")
        assert key.count(b"gw:") == 1
        assert b"ada-lovelace" not in key
        assert b"127.0.0.1" not in key
        assert 0 < redis.call("PTTL", key) <= 2 * 3600 * 1000


def test_refusals_are_counted_by_the_kind_of_key(pair: tuple[Gateway, Gateway]) -> None:
    """S4-36: rate_limit_hits_total{key,algorithm}, where key is never a user or an address"""
    used_up(pair[:1], bearer=token("ada"))
    used_up(pair[:1])

    def counted() -> list[dict[str, str]]:
        return [labels for labels, value in pair[0].metrics(public=True).get("rate_limit_hits_total", []) if value]

    until(lambda: len(counted()) == 2, "both are counted")
    assert counted() == [
        {"key": "ip", "algorithm": "sliding_window"},
        {"key": "user", "algorithm": "sliding_window"},
    ]


def test_an_operator_looks_at_limits_and_begins_afresh_with_one_caller(pair: tuple[Gateway, Gateway]) -> None:
    """As docs/migrate/ai-edge.md does it; in the description's own code this was not to be reached."""
    used_up(pair, bearer=token("ada"))
    used_up(pair, bearer=token("bob"))
    with Client(pair[0].admin, TOKEN) as operator:
        (limit,) = operator.limits()
        assert (limit["limit"], limit["type"], limit["requests"], limit["window"]) == (
            *("caller", "sliding_window"),
            *(10, 3600),
        )
        operator.reset_limit("caller", {"identity": "user:ada"})
    assert pair[1].get("/v1/chat/x", bearer=token("ada")).status == 200
    assert pair[1].get("/v1/chat/x", bearer=token("bob")).status == 429


# -- algorithms -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["token_bucket", "leaky_bucket"])
def test_a_bucket_on_redis(algorithm: str, tmp_path: Path, redis: RedisServer, chat: Stub) -> None:
    """S4-20, S4-22: as many at once as it holds"""
    env = {"RATELIMIT_ALGORITHM": algorithm, "RATELIMIT_BUCKET_SIZE": "20", "RATELIMIT_REFILL_RATE": "1"}
    with edge(tmp_path, redis, env=env | upstreams("chat", chat)) as gateway:
        assert gateway.get("/v1/chat/x", bearer=token("ada")).headers["x-ratelimit-limit"] == "20"
        passed, answer = used_up((gateway,), bearer=token("ada"))
        assert passed >= 19
        assert answer.headers["retry-after"] == "1"
        refused(answer, 429, "Too Many Requests")


class Limited:
    """The limit that the preset makes of some variables, with a clock."""

    def __init__(self, **environ: str) -> None:
        found = group(list(config_of(**environ).limits), "")
        assert found is not None
        self._group = found
        self._record = b""

    def ask(self, seconds: float, times: int = 1) -> int:
        """Ask so often at a moment; return how many passed."""
        passed = 0
        for _ in range(times):
            allowed, self._record, _ = self._group.admit(self._record, int((1000 + seconds) * SECOND), (1,), 1)
            passed += allowed
        return passed


def test_a_token_bucket_is_refilled_evenly() -> None:
    """S4-20, S4-21: 100 at once, then 10 a second, and not only at whole seconds"""
    limited = Limited()
    assert limited.ask(0, 150) == 100
    assert limited.ask(0.25, 10) == 2
    assert limited.ask(1.25, 20) == 10
    assert limited.ask(100, 150) == 100


def test_a_leaky_bucket_leaks_evenly() -> None:
    """S4-22: what finds it full is refused; it leaks 10 a second"""
    limited = Limited(RATELIMIT_ALGORITHM="leaky_bucket", RATELIMIT_BUCKET_SIZE="5")
    assert limited.ask(0, 10) == 5
    assert limited.ask(0.05) == 0
    assert limited.ask(0.1, 3) == 1
    assert limited.ask(10, 10) == 5


def test_a_sliding_window_holds_in_every_window() -> None:
    """S4-23"""
    limited = Limited(RATELIMIT_ALGORITHM="sliding_window", RATELIMIT_WINDOW_SIZE="60s")
    assert limited.ask(0, 101) == 100
    assert limited.ask(59.9) == 0
    assert limited.ask(60.1) == 1
    limited = Limited(RATELIMIT_ALGORITHM="sliding_window", RATELIMIT_WINDOW_SIZE="60s")
    assert limited.ask(0, 50) == 50
    assert limited.ask(50, 50) == 50
    assert limited.ask(50.1) == 0
    assert limited.ask(61) == 1
    # Of large ones, too, every request is remembered for as long as it counts, and no longer.
    large = Limited(RATELIMIT_ALGORITHM="sliding_window", RATELIMIT_WINDOW_SIZE="60s", RATELIMIT_BUCKET_SIZE="1000")
    assert large.ask(1, 1001) == 1000
    assert large.ask(60.9) == 0
    assert large.ask(61.1, 1001) == 1000


# -- without Redis --------------------------------------------------------------------------------------------------


def test_redis_goes_away_and_comes_back(tmp_path: Path, chat: Stub) -> None:
    """S4-05, S4-28: not ready, but healthy, and its workers go on counting together; ready again when it is back"""
    (tmp_path / "redis").mkdir()
    server = RedisServer(tmp_path / "redis")
    env = WINDOW | upstreams("chat", chat)
    with server, edge(tmp_path / "edge", server, env=env) as gateway:
        until(lambda: gateway.get("/ready").status == 200, "it is ready")
        server.kill()
        until(lambda: gateway.get("/ready").status == 503, "Redis is missed")
        answer = gateway.get("/ready")
        assert answer.json == {"status": "not_ready", "message": "redis does not answer"}
        health = gateway.get("/health")
        assert (health.status, health.json["status"]) == (200, "healthy")
        assert used_up((gateway,), bearer=token("ada"))[0] == 10
        server.start()
        until(lambda: gateway.get("/ready").status == 200, "it is ready again")
        until(lambda: gateway.get("/v1/chat/x", bearer=token("ada")).status == 200, "Redis counts again")


def test_it_starts_without_redis(tmp_path: Path, chat: Stub) -> None:
    with edge(tmp_path, None, env={"REDIS_URL": "redis://127.0.0.1:1", **upstreams("chat", chat)}) as gateway:
        assert gateway.get("/v1/chat/x", bearer=token()).status == 200
        until(lambda: gateway.get("/ready").status == 503, "Redis is missed")
