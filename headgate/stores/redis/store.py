"""Limits counted in Redis or Valkey: exact over all gateways that share it.

Laws:
- One script call decides all asks of a request; in a Cluster one for each, and what was admitted beside a refusal is
  taken back. All calls of one turn of the loop leave in one write.
- A request waits `timeout` for a server at most. When one is late, all that wait for it are decided by `on_error`
  at once, and later ones without waiting, until a new connection has proven that it counts.
- Time is the server's, so gateways need not agree on theirs.
- A change from working to failing, and back, is told once.
"""

from __future__ import annotations

import asyncio
from binascii import hexlify
from collections.abc import Sequence
from random import Random, SystemRandom
from typing import Final

from headgate.core.steps import Reply
from headgate.stores.fallback import Fallback, OnChange
from headgate.stores.memory import MemoryStore
from headgate.stores.redis.address import parse_all, server_names
from headgate.stores.redis.call import Admission, Charge, Part, Together, Undo, given_back
from headgate.stores.redis.cluster import Cluster
from headgate.stores.redis.connection import Link
from headgate.stores.redis.dial import Dialer
from headgate.stores.redis.node import Node
from headgate.stores.redis.script import Frames, Operation
from headgate.stores.redis.single import BySentinel, ByUrl, Single, Topology
from headgate.stores.settings import RedisStoreSettings
from headgate.stores.store import Ask, Told

# A limit of concurrency knows a worker by its number; doubles hold it.
_OWNERS: Final = 2**52


class RedisStore:
    """The store of one worker. Make it in the worker's running loop; `await ready()` before the first request."""

    __slots__ = ("_failing", "_frames", "_takes_now", "_topology", "fallback")

    def __init__(
        self,
        settings: RedisStoreSettings,
        local: MemoryStore,
        on_change: OnChange,
        *,
        owner: int | None = None,
        chance: Random | None = None,
        server_time: bool = True,
    ) -> None:
        """Begin to connect.

        `local` counts for groups that enforce their worker's share while servers are away; make it with the source
        "local". `owner` names this worker to limits of concurrency, among all workers of all gateways; drawn by
        default. Without `server_time` the caller's `now` is the time.

        Raises:
            ValueError: with a sentence, if a URL or the prefix cannot be.
        """
        chance = SystemRandom() if chance is None else chance
        self.fallback = Fallback(local, on_change)
        self._failing: set[Node | None] = set()
        self._takes_now = not server_time
        self._frames = Frames(settings.prefix, chance.randrange(1, _OWNERS) if owner is None else owner)
        self._topology = self._begin(settings, chance)

    async def ready(self) -> None:
        """Wait until the first attempts to connect have ended, well or not: for `connect_timeout`, about, at most."""
        await self._topology.ready()

    def close(self) -> None:
        """Let go of all connections; what waits is decided without them."""
        self._topology.close()

    def sweep(self, now: int) -> None:
        """Forget what has expired of what was counted here; servers forget by themselves."""
        self.fallback.local.sweep(now)

    # -- requests -------------------------------------------------------------------------------------------------

    def admit(self, asks: Sequence[Ask], now: int) -> list[Told] | Reply[list[Told]]:
        """Hold a request against all asks."""
        if len(asks) == 1:
            ask = asks[0]
            tag = hexlify(ask.key)
            link = self._topology.link(tag)
            if link is not None:
                call = Admission(self, asks, now)
                if link.send(self._frames.admit(ask, tag, now if self._takes_now else None), call):
                    return call.reply
        elif self._topology.spread:
            return self._admit_together(asks, now)
        else:
            link = self._topology.link(b"")
            if link is not None:
                call = Admission(self, asks, now)
                if link.send(self.frame("admit", asks, now), call):
                    return call.reply
        return self.instead(asks, now)

    def settle(self, asks: Sequence[Ask], now: int, *, local: bool = False) -> None:
        """Charge the costs of the asks after the fact; what a server that is away was to be told is lost."""
        if local:
            self.fallback.settle(asks, now)
        elif self._topology.spread:
            for ask in asks:
                self._charge((ask,), hexlify(ask.key), now)
        else:
            self._charge(asks, b"", now)

    def _charge(self, asks: Sequence[Ask], tag: bytes, now: int) -> None:
        link = self._topology.link(tag)
        if link is not None:
            link.send(self.frame("settle", asks, now), Charge(self, asks, now))

    def _admit_together(self, asks: Sequence[Ask], now: int) -> list[Told] | Reply[list[Told]]:
        together = Together(self, asks, now)
        for place, ask in enumerate(asks):
            call = Part(self, together, place)
            link = self._topology.link(hexlify(ask.key))
            if link is None or not link.send(self.frame("admit", call.asks, now), call):
                call.on_lost()
        return together.tolds if together.reply.done else together.reply

    # -- for calls (see Calling) ----------------------------------------------------------------------------------

    def frame(self, operation: Operation, asks: Sequence[Ask], now: int) -> bytes:
        """Write a call."""
        return self._frames.call(operation, asks, now if self._takes_now else None)

    def redirected(self, words: Sequence[str]) -> tuple[Link | None, bool] | None:
        """Return where a server sends us, and whether to say ASKING."""
        return self._topology.redirected(words)

    def instead(self, asks: Sequence[Ask], now: int) -> list[Told]:
        """Decide in the servers' place."""
        if not self.fallback.failing:
            self.fallback.fails(self._topology.away)
            self._topology.doubt()
        return self.fallback.admit(asks, now)

    def undo(self, together: Together, place: int) -> None:
        """Take back what one of several calls counted, where it was counted."""
        ask, told = together.asks[place], together.tolds[place]
        if told.source == "store":
            call = Undo(self, together, place)
            link = self._topology.link(hexlify(ask.key))
            if link is not None and link.send(self.frame("undo", (ask,), together.now), call):
                return
        elif told.source == "local":
            self.fallback.settle((given_back(ask),), together.now)
        together.undone(place, None)

    # -- for nodes (see Watch) ------------------------------------------------------------------------------------

    def fails(self, node: Node | None, reason: str) -> None:
        """Know that a server fails."""
        self._failing.add(node)
        self.fallback.fails(reason)
        self._topology.doubt()

    def works(self, node: Node | None) -> None:
        """Know that a server works, or is not needed any more."""
        self._failing.discard(node)
        if not self._failing:
            self.fallback.works()

    # -- inside ---------------------------------------------------------------------------------------------------

    def _begin(self, settings: RedisStoreSettings, chance: Random) -> Topology:
        loop = asyncio.get_running_loop()
        dialer = Dialer(loop, settings)
        servers = parse_all(settings.url, settings.username, settings.password)
        if settings.mode == "cluster":
            return Cluster(loop, dialer, servers, self._frames.trial_key, self, chance)
        if settings.mode == "sentinel":
            sentinels = [
                server._replace(username=settings.sentinel_username, password=settings.sentinel_password, database=0)
                for server in servers
            ]
            master = servers[0]
            opening = BySentinel(dialer, sentinels, settings.sentinel_master, master, self._frames.trial_key)
            return Single(settings.sentinel_master, loop, opening, self, chance)
        return Single(server_names(servers), loop, ByUrl(dialer, servers, self._frames.trial_key), self, chance)

    def __repr__(self) -> str:
        return f"<RedisStore {self._topology} {self.fallback}>"
