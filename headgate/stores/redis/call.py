"""Calls of the script on their way: what is sent, what is made of the reply, and what when there is none.

Law: a call ends once. It is sent again after NOSCRIPT, MOVED and ASK, MOST_HOPS times at most; any other error ends the
connection it came over, because a server that cannot count is as good as away.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Final, Protocol

from hiredis import ReplyError

from headgate.core.steps import Reply
from headgate.stores.redis.connection import Link
from headgate.stores.redis.script import ASKING, SCRIPT, Operation
from headgate.stores.store import Ask, Told

MOST_HOPS: Final = 3


class Calling(Protocol):
    """What a call asks of its store."""

    def frame(self, operation: Operation, asks: Sequence[Ask], now: int) -> bytes:
        """Write a call."""

    def redirected(self, words: Sequence[str]) -> tuple[Link | None, bool] | None:
        """Return where a server sends us, and whether to say ASKING."""

    def instead(self, asks: Sequence[Ask], now: int) -> list[Told]:
        """Decide in the server's place."""

    def misses(self) -> None:
        """Know that there was no connection for a call."""

    def undo(self, together: Together, place: int) -> None:
        """Take back what one of several calls counted."""


class Call:
    """One call."""

    __slots__ = ("_hops", "asks", "now", "store")

    operation: ClassVar[Operation] = "settle"

    def __init__(self, store: Calling, asks: Sequence[Ask], now: int) -> None:
        self.store = store
        self.asks = asks
        self.now = now
        self._hops = 0

    def on_told(self, told: list[Told]) -> None:
        """Take what the script told."""
        raise NotImplementedError

    def on_lost(self) -> None:
        """Do without."""
        raise NotImplementedError

    def on_reply(self, reply: Any, link: Link) -> None:
        """Take the reply, or follow where it points."""
        if reply.__class__ is ReplyError:
            self._on_error(str(reply), link)
            return
        told = read(reply, self.asks)
        if told is None:
            link.end("the script's reply is malformed")
            self.on_lost()
        else:
            self.on_told(told)

    def _on_error(self, error: str, link: Link) -> None:
        words = error.split(" ")
        if self._hops < MOST_HOPS:
            self._hops += 1
            if words[0] == "NOSCRIPT":
                # It comes again behind it.
                SCRIPT.bring(link)
                return self.send(link)
            if words[0] in ("MOVED", "ASK"):
                found = self.store.redirected(words)
                if found is not None:
                    return self.send(*found)
        link.end(error)
        return self.on_lost()

    def send(self, link: Link | None, asking: bool = False) -> None:
        """Send it over a connection, or do without when there is none; `asking` follows an ASK."""
        if link is None:
            self.store.misses()
            return self.on_lost()
        frame = self.store.frame(self.operation, self.asks, self.now)
        if not (link.send(ASKING + frame, self, 2) if asking else link.send(frame, self)):
            self.on_lost()
        return None


class Charge(Call):
    """A settling: nobody waits for it, and it is lost with its connection."""

    __slots__ = ()

    def on_reply(self, reply: Any, link: Link) -> None:
        """See that it was done."""
        if reply.__class__ is ReplyError:
            self._on_error(str(reply), link)

    def on_lost(self) -> None:
        """Let it go."""


class Forgetting(Call):
    """Begins afresh with one of several keys."""

    __slots__ = ("_all",)

    operation: ClassVar[Operation] = "forget"

    def __init__(self, store: Calling, ask: Ask, all_: Forgotten) -> None:
        super().__init__(store, (ask,), 0)
        self._all = all_

    def on_reply(self, reply: Any, link: Link) -> None:
        """Learn whether there was such a key."""
        if reply.__class__ is ReplyError:
            self._on_error(str(reply), link)
        else:
            self._all.add(reply if reply.__class__ is int else -1)

    def on_lost(self) -> None:
        """Know that nobody knows."""
        self._all.add(-1)


class Forgotten:
    """How many of some keys there were; -1 when that is not known of one of them."""

    __slots__ = ("_found", "_missing", "reply")

    def __init__(self, keys: int) -> None:
        self._missing = keys
        self._found = 0
        self.reply: Reply[int] = Reply()

    def add(self, found: int) -> None:
        """Take what is known of one more."""
        self._missing -= 1
        self._found = -1 if found < 0 or self._found < 0 else self._found + found
        if not self._missing:
            self.reply.set(self._found)


class Admission(Call):
    """All asks of a request in one call."""

    __slots__ = ("reply",)

    operation: ClassVar[Operation] = "admit"

    def __init__(self, store: Calling, asks: Sequence[Ask], now: int) -> None:
        self.store = store
        self.asks = asks
        self.now = now
        self._hops = 0
        self.reply: Reply[list[Told]] = Reply()

    def on_told(self, told: list[Told]) -> None:
        """Bring it to the request."""
        self.reply.set(told)

    def on_lost(self) -> None:
        """Decide without the server."""
        self.on_told(self.store.instead(self.asks, self.now))


class Part(Call):
    """One ask of several that are decided together."""

    __slots__ = ("_place", "_together")

    operation: ClassVar[Operation] = "admit"

    def __init__(self, store: Calling, together: Together, place: int) -> None:
        super().__init__(store, (together.asks[place],), together.now)
        self._together = together
        self._place = place

    def on_told(self, told: list[Told]) -> None:
        """Bring it to the others."""
        self._together.decided(self._place, told[0])

    def on_lost(self) -> None:
        """Decide without the server."""
        self.on_told(self.store.instead(self.asks, self.now))


class Undo(Part):
    """Takes an ask back, and brings what holds without it."""

    __slots__ = ()

    operation: ClassVar[Operation] = "undo"

    def on_told(self, told: list[Told]) -> None:
        """Put it in the place of what was told before."""
        self._together.undone(self._place, told[0])

    def on_lost(self) -> None:
        """Leave it at what was told before."""
        self._together.undone(self._place, None)


class Together:
    """Asks whose keys lie on different servers: what was admitted beside a refusal is taken back.

    Until that is done others may be refused that need not be; nobody ever passes too much.
    """

    __slots__ = ("_missing", "_store", "asks", "now", "reply", "tolds")

    def __init__(self, store: Calling, asks: Sequence[Ask], now: int) -> None:
        self._store = store
        self.asks = asks
        self.now = now
        self.reply: Reply[list[Told]] = Reply()
        self.tolds: list[Told] = [Told(False, (), "closed")] * len(asks)
        self._missing = len(asks)

    def decided(self, place: int, told: Told) -> None:
        """Take what became of one ask; the last one concludes."""
        self.tolds[place] = told
        self._missing -= 1
        if self._missing:
            return
        counted = [told.allowed and not ask.group.shadow for ask, told in zip(self.asks, self.tolds, strict=True)]
        if all(told.allowed or ask.group.shadow for ask, told in zip(self.asks, self.tolds, strict=True)):
            self.reply.set(self.tolds)
            return
        # One more, so that what is undone at once does not conclude before the last was begun.
        self._missing = sum(counted) + 1
        for place, is_counted in enumerate(counted):
            if is_counted:
                self._store.undo(self, place)
        self._is_undone()

    def undone(self, place: int, told: Told | None) -> None:
        """Take what holds without an ask; None when nobody knows."""
        if told is not None:
            self.tolds[place] = told
        self._is_undone()

    def _is_undone(self) -> None:
        self._missing -= 1
        if not self._missing:
            self.reply.set(self.tolds)


def given_back(ask: Ask) -> Ask:
    """Return the ask that gives back what this one counted."""
    return ask._replace(costs=tuple(-max(0, cost) for cost in ask.costs))


def read(reply: Any, asks: Sequence[Ask]) -> list[Told] | None:
    """Return what the script told of each ask; None when the reply is none of the script's."""
    if reply.__class__ is not list:
        return None
    if len(reply) == 4 and len(asks) == 1:
        # The most frequent case by far, without a loop.
        allowed, first, second, third = reply
        if allowed.__class__ is first.__class__ is second.__class__ is third.__class__ is int:
            return [Told(allowed == 1, ((first, second, third),), "store")]
        return None
    if len(reply) != sum(1 + 3 * len(ask.group.algorithms) for ask in asks):
        return None
    if not all(number.__class__ is int for number in reply):
        return None
    told = []
    place = 0
    for ask in asks:
        numbers = iter(reply[place + 1 : place + 1 + 3 * len(ask.group.algorithms)])
        told.append(Told(reply[place] == 1, tuple(zip(numbers, numbers, numbers, strict=True)), "store"))
        place += 1 + 3 * len(ask.group.algorithms)
    return told
