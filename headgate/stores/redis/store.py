"""Limits counted in Redis or Valkey: exact over all gateways that share it.

Laws:
- One script call decides all asks of a request; in a Cluster one for each, and what was admitted beside a refusal is
  taken back. All calls of one turn of the loop leave in one write.
- A request waits `timeout` for a server at most, also for the first connection. When one is late, all that wait for it
  are decided by `on_error` at once, and later ones without waiting, until a new connection has proven that it counts.
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
from headgate.policy.limit.group import Group
from headgate.stores.fallback import Fallback, OnChange, Standby
from headgate.stores.redis.address import parse
from headgate.stores.redis.call import (
    Admission,
    Call,
    Charge,
    Forgetting,
    Forgotten,
    Part,
    Together,
    Undo,
    given_back,
)
from headgate.stores.redis.cluster import Cluster
from headgate.stores.redis.connection import MOST_OUTSTANDING, Link
from headgate.stores.redis.dial import Dialer
from headgate.stores.redis.node import Node
from headgate.stores.redis.script import Frames, Operation
from headgate.stores.redis.single import BySentinel, ByUrl, Single, Topology
from headgate.stores.settings import RedisStoreSettings
from headgate.stores.store import Ask, Told

# Forgetting needs a key only.
_NO_GROUP: Final = Group((), (), b"")
# The wait for the first connection is made of so many pieces: a loop that is held up misses one of them, not all.
_TICKS: Final = 5


class RedisStore:
    """The store of one worker."""

    __slots__ = (
        "_early", "_early_timer", "_failing", "_frames", "_loop", "_on_change", "_takes_now", "_timeout", "_topology",
        "fallback",
    )  # fmt: skip

    def __init__(
        self,
        settings: RedisStoreSettings,
        owner: int,
        local: Standby,
        on_change: OnChange,
        loop: asyncio.AbstractEventLoop,
        *,
        server_time: bool = True,
    ) -> None:
        """Begin to connect; requests that come before wait for that as they would for an answer.

        `owner`, below 2**53, names this worker to limits of concurrency among all workers of all gateways. `local`
        counts for groups that enforce their share by themselves while servers are away. Without `server_time` the
        caller's `now` is the time.

        Raises:
            ValueError: with a sentence, if a URL or the prefix cannot be.
        """
        self._on_change: OnChange | None = on_change
        self.fallback = Fallback(local, self._changed)
        self._loop = loop
        self._timeout = settings.timeout
        self._takes_now = not server_time
        self._failing: set[Node | None] = set()
        self._frames = Frames(settings.prefix, owner)
        # What came before the first attempts to connect had ended, with its hash tag; None from then on.
        self._early: list[tuple[Call, bytes]] | None = []
        self._early_timer: asyncio.TimerHandle | None = None
        self._topology = self._begin(settings, SystemRandom())
        self._topology.proven.add_done_callback(lambda _: self._end_of_beginning())

    @property
    def evicted(self) -> int:
        """Servers tell nobody whom they forget."""
        return 0

    @property
    def elsewhere(self) -> int:
        """Asks that the fallback decided."""
        return self.fallback.decided

    def close(self) -> None:
        """Let go of all connections, once what is outstanding has been answered; what comes now is decided without."""
        # Another store is in force now, of which alone there is something to say.
        self._on_change = None
        self._end_of_beginning()
        self._topology.close()
        self.fallback.local.close()

    def sweep(self, now: int) -> None:
        """Forget what has expired of what was counted here; servers forget by themselves."""
        self.fallback.local.sweep(now)

    # -- requests -------------------------------------------------------------------------------------------------

    def admit(self, asks: Sequence[Ask], now: int) -> list[Told] | Reply[list[Told]]:
        """Hold a request against all asks."""
        tag = b""
        if len(asks) == 1:
            tag = hexlify(asks[0].key)
        elif self._topology.spread:
            return self._admit_together(asks, now)
        link = self._topology.link(tag)
        if link is not None:
            call = Admission(self, asks, now)
            if link.send(self._frames.admit(asks, tag, now if self._takes_now else None), call):
                return call.reply
        else:
            call = Admission(self, asks, now)
            if self._waits(call, tag):
                return call.reply
            self.misses()
        return self.instead(asks, now)

    def settle(self, asks: Sequence[Ask], now: int, *, local: bool = False) -> None:
        """Charge the costs of the asks after the fact; what a server that is away was to be told is lost."""
        if local:
            self.fallback.settle(asks, now)
        elif self._topology.spread:
            for ask in asks:
                Charge(self, (ask,), now).send(self._topology.link(hexlify(ask.key)))
        else:
            Charge(self, asks, now).send(self._topology.link(b""))

    def forget(self, keys: Sequence[bytes]) -> int | Reply[int]:
        """Begin afresh with these keys; return how many of them there were, -1 when a server is away."""
        self.fallback.local.forget(keys)
        if not keys:
            return 0
        forgotten = Forgotten(len(keys))
        for key in keys:
            Forgetting(self, Ask(_NO_GROUP, key, ()), forgotten).send(self._topology.link(hexlify(key)))
        return forgotten.reply

    def _admit_together(self, asks: Sequence[Ask], now: int) -> list[Told] | Reply[list[Told]]:
        together = Together(self, asks, now)
        for place, ask in enumerate(asks):
            call = Part(self, together, place)
            tag = hexlify(ask.key)
            link = self._topology.link(tag)
            if link is not None or not self._waits(call, tag):
                call.send(link)
        return together.tolds if together.reply.done else together.reply

    # -- before the first connection ------------------------------------------------------------------------------

    def _waits(self, call: Call, tag: bytes) -> bool:
        """Let a call wait for the first connection, as long as it would for an answer."""
        early = self._early
        if early is None or len(early) >= MOST_OUTSTANDING:
            return False
        early.append((call, tag))
        if self._early_timer is None:
            self._early_timer = self._loop.call_later(self._timeout / _TICKS, self._on_tick, _TICKS - 1)
        return True

    def _on_tick(self, left: int) -> None:
        if left:
            self._early_timer = self._loop.call_later(self._timeout / _TICKS, self._on_tick, left - 1)
        else:
            self._end_of_beginning()

    def _end_of_beginning(self) -> None:
        """Send what has waited; from here on nobody waits for a connection."""
        early, self._early = self._early, None
        if self._early_timer is not None:
            self._early_timer.cancel()
            self._early_timer = None
        for call, tag in early or ():
            call.send(self._topology.link(tag))

    # -- for calls (see Calling) ----------------------------------------------------------------------------------

    def frame(self, operation: Operation, asks: Sequence[Ask], now: int) -> bytes:
        """Write a call."""
        return self._frames.call(operation, asks, now if self._takes_now else None)

    def redirected(self, words: Sequence[str]) -> tuple[Link | None, bool] | None:
        """Return where a server sends us, and whether to say ASKING."""
        return self._topology.redirected(words)

    def instead(self, asks: Sequence[Ask], now: int) -> list[Told]:
        """Decide in the servers' place."""
        return self.fallback.admit(asks, now)

    def misses(self) -> None:
        """Know that there was no connection for a call."""
        if not self.fallback.failing:
            self.fallback.fails(self._topology.away)
            self._topology.doubt()

    def undo(self, together: Together, place: int) -> None:
        """Take back what one of several calls counted, where it was counted."""
        ask, told = together.asks[place], together.tolds[place]
        if told.source == "store":
            Undo(self, together, place).send(self._topology.link(hexlify(ask.key)))
            return
        if told.source == "local":
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

    def _changed(self, state: str, reason: str) -> None:
        if self._on_change is not None:
            self._on_change(state, reason)

    # -- inside ---------------------------------------------------------------------------------------------------

    def _begin(self, settings: RedisStoreSettings, chance: Random) -> Topology:
        loop = self._loop
        dialer = Dialer(loop, settings)
        servers = [parse(url, settings.username, settings.password) for url in settings.url]
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
        return Single(servers[0].name, loop, ByUrl(dialer, servers[0], self._frames.trial_key), self, chance)

    def __repr__(self) -> str:
        return f"<RedisStore {self._topology} {self.fallback}>"
