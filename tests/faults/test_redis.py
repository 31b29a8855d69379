"""Limits are counted in Redis, and Redis is away: refused, reset, silent, slow, emptied. Nobody's request hangs.

What the store itself makes of it stands in tests/stores/redis; here it is a whole gateway, and what its clients see.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from bench import client
from bench.client import Outcome
from tests.faults.proxy import UNHARMED, Fault, FaultProxy, Lane
from tests.faults.scene import Tally, ask_all, upstream
from tests.proxy.peers import eventually
from tests.proxy.stage import Rig, gateway, on_loop, to
from tests.stores.redis.servers import RedisServer

PLENTY = 1_000_000
LOST = "the store of the limits fails; each limit's on_error decides"
FOUND = "the store of the limits works again"


def refused(proxy: FaultProxy) -> None:
    proxy.refuse()
    proxy.reset_all()


AWAY: dict[str, Callable[[FaultProxy], None]] = {
    "refused": refused,
    "reset": FaultProxy.reset_all,
    "silent": FaultProxy.hold,
}
# Seconds: only silence is told by time, and a server that a busy machine holds up is not away.
PATIENCE = {"refused": 10.0, "reset": 10.0, "silent": 1.0}


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


class Scene:
    """A gateway whose limit is counted in Redis, behind a fault proxy."""

    def __init__(self, rig: Rig, redis: RedisServer, proxy: FaultProxy) -> None:
        self.rig = rig
        self.redis = redis
        self.proxy = proxy

    async def crowd(self, count: int = 20) -> Tally:
        """Send so many requests at once."""
        return await ask_all(self.rig, (client.small() for _ in range(count)))

    @property
    def failing(self) -> bool:
        """Whether the gateway knows that Redis is away."""
        return bool(self.rig.counted("store_failing"))

    async def away(self, how: str) -> None:
        """Take Redis away; the requests by which the gateway learns of it are answered as well."""
        AWAY[how](self.proxy)
        while not self.failing:
            await self.crowd(1)

    async def back(self) -> None:
        """Bring it back, and wait until the gateway has found it."""
        self.proxy.let_go()
        self.proxy.refuse()
        await self.proxy.listen()
        await eventually(lambda: not self.failing)
        # One line for each change, however many requests met it.
        assert self.rig.said == [LOST, FOUND]


@asynccontextmanager
async def limited(
    redis: RedisServer, requests: int, on_error: str, timeout: float, fault: Fault = UNHARMED
) -> AsyncIterator[Scene]:
    async with upstream() as server, FaultProxy(redis.port, fault) as proxy:
        store = {"type": "redis", "url": f"redis://127.0.0.1:{proxy.port}", "timeout": timeout, "connect_timeout": 60}
        limit = {"name": "all", "key": [], "requests": requests, "window": 3600, "on_error": on_error}
        async with gateway(to(f"http://127.0.0.1:{server.port}", store=store, limits=[limit])) as rig:
            scene = Scene(rig, redis, proxy)
            await eventually(lambda: proxy.alive > 0 and not scene.failing)
            yield scene


@pytest.mark.parametrize("how", AWAY)
@on_loop
async def test_open_lets_all_pass_until_it_is_found_again(redis: RedisServer, how: str) -> None:
    async with limited(redis, PLENTY, "open", PATIENCE[how]) as at:
        await at.away(how)
        for _ in range(5):
            assert (await at.crowd()).outcomes == {Outcome.GOOD: 20}
        await at.back()
        at.redis.call("FLUSHALL")
        assert (await at.crowd()).outcomes == {Outcome.GOOD: 20}
        assert at.redis.call("DBSIZE") == 1


@pytest.mark.parametrize("how", AWAY)
@on_loop
async def test_closed_says_so_to_everybody(redis: RedisServer, how: str) -> None:
    async with limited(redis, PLENTY, "closed", PATIENCE[how]) as at:
        assert (await at.crowd()).outcomes == {Outcome.GOOD: 20}
        await at.away(how)
        # A reset is over before it is felt, and a server that answers again closes nothing.
        if how != "reset":
            assert (await at.crowd()).words == {"503 limits_unavailable": 20}
        await at.back()
        assert (await at.crowd()).outcomes == {Outcome.GOOD: 20}


@pytest.mark.parametrize("how", ["refused", "silent"])
@on_loop
async def test_local_enforces_the_share_of_the_worker(redis: RedisServer, how: str) -> None:
    async with limited(redis, 30, "local", PATIENCE[how]) as at:
        await at.away(how)
        tally = await at.crowd(100)
        assert tally[Outcome.GOOD] <= 33
        assert tally.words == {"429 rate_limited": 100 - tally[Outcome.GOOD]}
        await at.back()


@on_loop
async def test_exactly_the_limit_passes_and_again_after_it_was_emptied(redis: RedisServer) -> None:
    async with limited(redis, 30, "open", timeout=10) as at:
        for _ in range(2):
            tally = await at.crowd(100)
            assert (tally[Outcome.GOOD], tally.words) == (30, {"429 rate_limited": 70})
            at.redis.call("FLUSHALL")
            at.redis.call("SCRIPT", "FLUSH")


@on_loop
async def test_a_slow_one_is_waited_for_as_long_as_it_may_take(redis: RedisServer) -> None:
    async with limited(redis, 30, "open", timeout=10, fault=Fault(down=Lane(delay=0.02))) as at:
        tally = await at.crowd(100)
        assert (tally[Outcome.GOOD], tally.words) == (30, {"429 rate_limited": 70})
