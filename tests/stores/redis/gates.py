"""Stores of limits on real servers, as gateways have them: opened in a loop, asked, and put under load.

async with opened(server.url) as gate:
    assert (await gate.ask(asks)).allowed
"""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal, TypeVar

from headgate.core.steps import Reply, Steps
from headgate.policy.limit.group import Group
from headgate.stores.memory import MemoryStore
from headgate.stores.redis.store import RedisStore
from headgate.stores.settings import RedisStoreSettings
from headgate.stores.store import Ask, Told
from tests.proxy.peers import CEILING, eventually
from tests.stores.contract import SECOND, ask, group, limit

NOW = 1000 * SECOND
T = TypeVar("T")


class Gate:
    """A store, what it said of its changes, and how it is asked."""

    def __init__(self, settings: RedisStoreSettings, owner: int | None = None, *, server_time: bool = True) -> None:
        self.changes: list[tuple[str, str]] = []
        self.store = RedisStore(
            settings,
            secrets.randbelow(2**48) if owner is None else owner,
            MemoryStore(10_000, 1),
            lambda state, reason: self.changes.append((state, reason)),
            asyncio.get_running_loop(),
            server_time=server_time,
        )

    async def ready(self) -> None:
        """Wait until the first attempts to connect have ended."""
        await asyncio.shield(self.store._topology.proven)

    async def ask(self, asks: Sequence[Ask], now: int = NOW) -> list[Told]:
        """Ask, and wait as the exchange does."""
        answer = self.store.admit(asks, now)
        if not isinstance(answer, Reply):
            return answer
        return await awaited(answer)

    async def one(self, of: Group, name: str = "one") -> Told:
        return (await self.ask([ask(of, name)]))[0]

    async def forget(self, keys: Sequence[bytes]) -> int:
        """Begin afresh with these keys, and wait until that is done."""
        found = self.store.forget(keys)
        return await awaited(found) if isinstance(found, Reply) else found

    @property
    def states(self) -> list[str]:
        return [state for state, _ in self.changes]

    async def works_again(self) -> int:
        """Wait until it has come back from its last failure; return how many changes it has told of so far."""
        await eventually(lambda: not self.store.fallback.failing)
        return len(self.changes)


async def awaited(reply: Reply[T]) -> T:
    """Wait for a reply as an exchange waits, in steps."""
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()

    async def wait() -> None:
        future.set_result(await reply)

    Steps(wait()).go_on()
    return await future


def settings_of(*urls: str, **values: Any) -> RedisStoreSettings:
    """Return settings for these URLs, patient ones: a busy machine may hold a server up for as long as it likes."""
    return RedisStoreSettings(url=list(urls), **{"timeout": 60.0, "connect_timeout": 60.0} | values)


@asynccontextmanager
async def opened(*urls: str, server_time: bool = True, owner: int | None = None, **values: Any) -> AsyncIterator[Gate]:
    """Open a store for the time of a test."""
    gate = Gate(settings_of(*urls, **values), owner, server_time=server_time)
    try:
        await gate.ready()
        yield gate
    finally:
        gate.store.close()


def counted(
    requests: int = 1_000_000, on_error: Literal["local", "open", "closed"] = "open", kind: str = "token_bucket"
) -> Group:
    """Return a group of one limit."""
    return group(limit(kind, requests), on_error=on_error)


@asynccontextmanager
async def load(gate: Gate, of: Group, callers: int = 8) -> AsyncIterator[Counter[str]]:
    """Keep asking for as long as the context lasts, counting who decided; at its end no request may hang."""
    sources: Counter[str] = Counter()
    going = True

    async def call(number: int) -> None:
        while going:
            told = await gate.one(of, f"caller {number}")
            sources[told.source] += 1
            await asyncio.sleep(0.002)

    tasks = [asyncio.create_task(call(number)) for number in range(callers)]
    try:
        yield sources
    finally:
        going = False
        async with asyncio.timeout(CEILING):
            await asyncio.gather(*tasks)


async def more(sources: Counter[str], source: str, count: int = 20) -> None:
    """Wait until so many more requests were decided by `source`."""
    before = sources[source]
    await eventually(lambda: sources[source] >= before + count)


async def counts_again(gate: Gate, of: Group) -> None:
    """Ask until the server has answered; a connection that nobody waited on is replaced without a word."""
    async with asyncio.timeout(CEILING):
        while True:
            if (await gate.one(of)).source == "store":
                return
            await asyncio.sleep(0.001)
