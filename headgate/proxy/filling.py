"""What is being fetched for the cache in one worker: who asks the service, and who waits for the answer.

    asked -> live (its head is here, and may be kept) -> whole
          -> whole (an entry that was validated, or that another worker fetched)
          -> passed (not to be kept: everybody asks for themselves) | failed | left (somebody else asks)

Laws: for one key one request asks at a time; everything here is bounded; a fill whose URL was changed or purged
meanwhile is joined by nobody any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Literal

from headgate.core.clock import monotonic
from headgate.core.failure import Failure
from headgate.core.steps import Reply
from headgate.policy.cache.entry import Entry
from headgate.proxy.fanout import Gathered, Reader, Room
from headgate.wire.timers import NEVER

if TYPE_CHECKING:
    from headgate.proxy.cache_store import CacheOpening
    from headgate.stores.cache.store import CacheStore, Place

State = Literal["asked", "live", "whole", "passed", "failed", "left"]

# Bytes of bodies that a worker gathers at a time, two of the largest; what finds no room goes through, and is not kept.
ROOM: Final = 128 << 20
# Keys whose answers were found not to be kept, and for how long nobody waits for one of them (Varnish: hit-for-miss).
_MOST_PASSING: Final = 16_384
_PASSING_SECONDS: Final = 10.0
# And after one that several had begun to read when it turned out too large: they went at the pace of the slowest.
TOO_LARGE_SECONDS: Final = 600.0
# Bytes up to which an answer is fetched to its end though nobody waits for it.
_WORTH: Final = 65_536


class Fill:
    """An answer that is being fetched. `key` is the one it was looked for under, `final` the one it is kept under.

    `since`: the moment of the store at which it was asked for. `abandon` ends the fetching. `alone_until`: the moment
    (monotonic seconds) up to which whoever asks for the same waits for it.
    """

    __slots__ = (
        "_abandon",
        "_deserted",
        "_waiters",
        "alone_until",
        "body",
        "entry",
        "failure",
        "final",
        "key",
        "length",
        "names",
        "outdated",
        "place",
        "since",
        "state",
        "store",
        "whole",
    )

    def __init__(
        self, key: bytes, place: Place, since: int, store: CacheStore | None, abandon: Callable[[Failure], None]
    ) -> None:
        self.key = self.final = key
        self.place = place
        self.store = store
        self.alone_until = NEVER
        # What it asks for was changed or purged since it was asked for.
        self.outdated = False
        self.since = since
        self.state: State = "asked"
        self.names: tuple[bytes, ...] = ()
        self.entry: Entry | None = None
        self.body: Gathered | None = None
        self.whole = b""
        # Of the body, -1 while it is not known.
        self.length = -1
        self.failure: Failure | None = None
        self._waiters: list[Reply[None]] = []
        self._abandon = abandon
        # Why its own client does not wait any more.
        self._deserted: Failure | None = None

    # -- who fetches -----------------------------------------------------------------------------------------------

    def settle(self, state: State) -> None:
        """Come to another state; who waits for that goes on before this returns."""
        self.state = state
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            waiter.set(None)

    def fail(self, failure: Failure) -> None:
        """Come to nothing."""
        self.failure = failure
        self.settle("failed")

    @property
    def deserted(self) -> Failure | None:
        """Return why the client that began it does not wait any more, if so."""
        return self._deserted

    def desert(self, failure: Failure) -> None:
        """Learn that the client that began it has left; it is given up unless others wait, or the rest is little."""
        self._deserted = failure
        self._consider()

    def _consider(self) -> None:
        if self._deserted is None or self._waiters:
            return
        body = self.body
        if body is not None:
            if body.read or body.ended:
                return
            left = self.length - body.size
            if body.keeping and self.length >= 0 and (left <= body.size or self.length <= _WORTH):
                return
        self._abandon(self._deserted)

    # -- who waits -------------------------------------------------------------------------------------------------

    async def settled(self, loop: asyncio.AbstractEventLoop, until: float, late: str) -> None:
        """Wait for its next state, until then (monotonic seconds) at most.

        Raises:
            Failure: `late`, or whatever ends the request that waits.
        """
        waiter: Reply[None] = Reply()
        self._waiters.append(waiter)
        timer = None
        if until != NEVER:
            timer = loop.call_later(max(0.0, until - monotonic()), waiter.fail, Failure(late))
        try:
            await waiter
        except Failure:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                self._consider()
            raise
        finally:
            if timer is not None:
                timer.cancel()

    def leave(self, reader: Reader) -> None:
        """Let somebody read it no more."""
        reader.leave()
        self._consider()


class Lent:
    """A body from the store, one copy for all `users` that have it at a time."""

    __slots__ = ("body", "users")

    def __init__(self, body: bytes) -> None:
        self.body = body
        self.users = 0


class Caching:
    """The cache as one worker sees it; `fills` are by key."""

    __slots__ = ("_lent", "_opening", "_passing", "fills", "room")

    def __init__(self, opening: CacheOpening) -> None:
        self._opening = opening
        self.fills: dict[bytes, Fill] = {}
        self.room = Room(ROOM)
        # Until when, in seconds of the monotonic clock.
        self._passing: dict[bytes, float] = {}
        self._lent: dict[bytes, Lent] = {}

    @property
    def store(self) -> CacheStore | None:
        """Return the store, None where there is none."""
        return self._opening.store

    def passes(self, key: bytes, now: float) -> bool:
        """Tell whether nobody shall wait for an answer under this key: it would not be kept."""
        until = self._passing.get(key)
        if until is None:
            return False
        if now < until:
            return True
        del self._passing[key]
        return False

    def let_pass(self, key: bytes, now: float, seconds: float = _PASSING_SECONDS) -> None:
        """Remember for a moment that an answer was not to be kept."""
        if len(self._passing) >= _MOST_PASSING:
            self._passing.clear()
        self._passing[key] = now + seconds

    def lend(self, key: bytes, body: bytes) -> Lent:
        """Take a body of an entry for as long as a client needs it: not each that is slow shall hold a copy."""
        lent = self._lent.get(key)
        if lent is None or lent.body != body:
            self._lent[key] = lent = Lent(body)
        lent.users += 1
        return lent

    def take_back(self, key: bytes, lent: Lent) -> None:
        """Learn that somebody is done with a body."""
        lent.users -= 1
        if not lent.users and self._lent.get(key) is lent:
            del self._lent[key]

    def changed(self, url: str) -> None:
        """Forget what is known of a URL: a request has changed what is there."""
        store = self.store
        for fill in [each for each in self.fills.values() if each.place.url == url]:
            self.leave_behind(fill)
        if store is not None:
            store.invalidate(url)

    def leave_behind(self, fill: Fill) -> None:
        """Let what is being fetched go to those who wait for it already, and to nobody else."""
        fill.outdated = True
        if self.fills.get(fill.key) is fill:
            del self.fills[fill.key]
        if self.store is not None:
            self.store.yield_(fill.key)

    def joinable(self, key: bytes, now: float) -> Fill | None:
        """Return what is being fetched under this key, if those who ask now may have it, and it is not late."""
        fill, store = self.fills.get(key), self.store
        if fill is None:
            return None
        if fill.store is not store or (store is not None and store.purged(fill.place, fill.since)):
            self.leave_behind(fill)
            return None
        # What makes one request slow may be its own: after a while another one has its try, for those behind it.
        return None if fill.state == "asked" and now >= fill.alone_until else fill
