"""A store on a server as the contract wants it: whatever is called waits for the answer."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar

import uvloop

from headgate.core.steps import Reply
from headgate.stores.cache.redis import RedisCache
from headgate.stores.cache.settings import RedisCacheSettings
from headgate.stores.cache.store import Cached, Place, Purge, Statistics
from tests.stores.redis.gates import awaited

T = TypeVar("T")


class Waiting:
    """The store of a worker, and what it said of its changes."""

    def __init__(self, loop: uvloop.Loop, url: str, **values: Any) -> None:
        """Connect, and wait until that has ended well or not."""
        self.loop = loop
        self.changes: list[tuple[str, str]] = []
        # Patient: a busy machine may hold a server up for as long as it likes.
        settings = RedisCacheSettings(url=url, **{"timeout": 60.0, "connect_timeout": 60.0} | values)
        self.store: RedisCache = self.run(self._open(settings))

    async def _open(self, settings: RedisCacheSettings) -> RedisCache:
        loop = asyncio.get_running_loop()
        store = RedisCache(settings, lambda state, reason: self.changes.append((state, reason)), loop)
        await asyncio.shield(store.proven)
        return store

    def run(self, work: Any) -> Any:
        return self.loop.run_until_complete(work)

    def wait(self, name: str, *given: Any) -> Any:
        """Call a method and wait for what it returns."""

        async def call() -> Any:
            found = getattr(self.store, name)(*given)
            return await awaited(found) if isinstance(found, Reply) else found

        return self.run(call())

    def done(self) -> None:
        """Wait until all that was sent has been done: the server answers in order."""
        self.wait("statistics")

    @property
    def moment(self) -> int:
        return self.store.moment

    @property
    def failing(self) -> bool:
        return self.store.failing

    def get(self, key: bytes) -> Cached | None:
        found: Cached | None = self.wait("get", key)
        return found

    def put(self, key: bytes, cached: Cached, place: Place, keep: float, since: int) -> None:
        self.wait("put", key, cached, place, keep, since)
        self.done()

    def renew(self, key: bytes, before: bytes, cached: Cached, place: Place, keep: float, since: int) -> None:
        self.wait("renew", key, before, cached, place, keep, since)
        self.done()

    def drop(self, key: bytes) -> None:
        self.wait("drop", key)
        self.done()

    def claim(self, key: bytes, seconds: float) -> bool:
        return bool(self.wait("claim", key, seconds))

    def yield_(self, key: bytes) -> None:
        self.wait("yield_", key)
        self.done()

    def purged(self, place: Place, since: int) -> bool:
        return self.store.purged(place, since)

    def invalidate(self, url: str) -> None:
        self.wait("invalidate", url)
        self.done()

    def purge(self, what: Purge) -> int:
        return int(self.wait("purge", what))

    def statistics(self) -> Statistics | None:
        found: Statistics | None = self.wait("statistics")
        return found

    def close(self) -> None:
        """Let go, and let the loop see to it."""
        self.wait("close")
        self.run(asyncio.sleep(0))
