"""Calls of the script of cached answers on their way: what is made of the reply, and what when there is none.

Law: a call ends once. A server that answers with an error, or with what the script never says, is as good as away, and
its connection ends; but one that is only full can still be read.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final, Protocol

from hiredis import ReplyError

from headgate.core.steps import Reply
from headgate.stores.cache.purges import encoded, hashed
from headgate.stores.cache.store import Cached, Purge, Statistics
from headgate.stores.redis.connection import Link
from headgate.stores.redis.node import Node
from headgate.stores.redis.script import script_in

MARKS: Final = 1 << 17

_LONGEST_PREFIX: Final = 1000
_FULL: Final = "OOM command not allowed"

SCRIPT: Final = script_in(Path(__file__).with_name("cache.lua"))


class Calling(Protocol):
    """What a call asks of its store."""

    moment: int

    @property
    def pattern(self) -> bytes:
        """Return what the keys of all entries match."""

    def send(self, call: Call, key: bytes | None, *words: str | bytes | int) -> bool:
        """Send a call of the script, of an entry or a claim or of neither; False when it was not taken."""

    def arrived(self, size: int) -> None:
        """Know that so many bytes are not under way any more."""

    def fails(self, node: Node | None, reason: str) -> None:
        """Know that the server fails."""


class Call:
    """A call whose reply nobody waits for."""

    __slots__ = ("_store",)

    def __init__(self, store: Calling) -> None:
        self._store = store

    def on_reply(self, reply: Any, link: Link) -> None:
        if reply.__class__ is not ReplyError:
            if self.is_well(reply):
                return self.on_told(reply)
            self._end(link, "the script's reply is malformed")
        elif str(reply).startswith("NOSCRIPT"):
            # It is lost; those to come are behind it.
            SCRIPT.bring(link)
        elif _FULL not in str(reply):
            self._end(link, str(reply))
        return self.on_lost()

    def _end(self, link: Link, reason: str) -> None:
        link.end(reason)
        # A connection that ends with nothing outstanding ends without a word; this was the last thing outstanding.
        self._store.fails(None, reason)

    def is_well(self, reply: Any) -> bool:
        """Tell whether a reply is one that the script gives."""
        return reply.__class__ is int

    def on_told(self, reply: Any) -> None:
        """Take what the script says."""

    def on_lost(self) -> None:
        """Do without."""


class Marked(Call):
    """Something is purged; nobody waits for it."""

    __slots__ = ()

    def is_well(self, reply: Any) -> bool:
        return _is_number(reply)

    def on_told(self, reply: Any) -> None:
        self._store.moment = int(reply)


class Get(Call):
    """An entry is looked up."""

    __slots__ = ("reply",)

    def __init__(self, store: Calling) -> None:
        super().__init__(store)
        self.reply: Reply[Cached | None] = Reply()

    def is_well(self, reply: Any) -> bool:
        return _all_bytes(reply) and len(reply) in (1, 3) and reply[0].isdigit()

    def on_told(self, reply: Any) -> None:
        self._store.moment = int(reply[0])
        self.reply.set(Cached(reply[1], reply[2]) if len(reply) == 3 else None)

    def on_lost(self) -> None:
        self.reply.set(None)


class Write(Call):
    """An entry is put or renewed; `size` bytes are under way until that is answered or lost."""

    __slots__ = ("_size",)

    def __init__(self, store: Calling, size: int) -> None:
        super().__init__(store)
        self._size = size

    def on_told(self, reply: Any) -> None:
        self._store.arrived(self._size)

    def on_lost(self) -> None:
        self._store.arrived(self._size)


class Claiming(Call):
    """An entry is claimed."""

    __slots__ = ("reply",)

    def __init__(self, store: Calling) -> None:
        super().__init__(store)
        self.reply: Reply[bool] = Reply()

    def on_told(self, reply: Any) -> None:
        self.reply.set(reply == 1)

    def on_lost(self) -> None:
        self.reply.set(True)


class Counted(Call):
    """What was counted is asked for."""

    __slots__ = ("reply",)

    def __init__(self, store: Calling) -> None:
        super().__init__(store)
        self.reply: Reply[Statistics | None] = Reply()

    def is_well(self, reply: Any) -> bool:
        return reply.__class__ is list and len(reply) == 3 and all(each is None or _is_number(each) for each in reply)

    def on_told(self, reply: Any) -> None:
        stored, refused, purged = (int(each or 0) for each in reply)
        self.reply.set(Statistics(None, None, None, stored, None, refused, purged))

    def on_lost(self) -> None:
        self.reply.set(None)


class Purging(Call):
    """First what was purged is said, which holds at once; then entries are looked through, some at a time."""

    __slots__ = ("_found", "_moment", "_what", "reply")

    def __init__(self, store: Calling, what: Purge) -> None:
        super().__init__(store)
        self._what = what._replace(value=what.value[:_LONGEST_PREFIX]) if what.scope == "prefix" else what
        self._found = 0
        self._moment = b""
        self.reply: Reply[int] = Reply()

    def begin(self) -> None:
        """Say what is purged."""
        scope, value = self._what
        mark = encoded(value) if scope == "prefix" else b"%d" % hashed(scope, value, MARKS)
        self._go_on("purge", scope, mark)

    def is_well(self, reply: Any) -> bool:
        if not self._moment:
            return _is_number(reply)
        return reply.__class__ is list and len(reply) == 2 and _is_number(reply[0]) and reply[1].__class__ is int

    def on_told(self, reply: Any) -> None:
        if not self._moment:
            self._moment = reply
            cursor = b"0"
        else:
            cursor = reply[0]
            self._found += reply[1]
            if cursor == b"0":
                self.reply.set(self._found)
                return
        scope, value = self._what
        named = b"%d" % hashed(scope, value, MARKS) if scope == "tag" else encoded(value)
        self._go_on("sweep", cursor, self._store.pattern, scope, named, self._moment)

    def on_lost(self) -> None:
        self.reply.set(-1)

    def _go_on(self, *words: str | bytes | int) -> None:
        if not self._store.send(self, None, *words):
            self.on_lost()


def _is_number(reply: Any) -> bool:
    return reply.__class__ is bytes and reply.isdigit()


def _all_bytes(reply: Any) -> bool:
    return reply.__class__ is list and all(each.__class__ is bytes for each in reply)
