"""Cached answers in Redis or Valkey, shared by several gateways.

Laws:
- Each step is one call of the script (cache.lua), so nobody sees half of one; all calls of one turn of the loop leave
  in one write, and what one worker sends is done in that order.
- Nobody waits longer than `timeout`: when the server is late the connection ends, and all that wait for it have found
  nothing; later ones do not wait until a new connection has proven that it works.
- A claim that cannot be made is granted: without the server each worker fetches for itself.
- What is on the way to the server is bounded, and so is an entry: a large one would make all others late.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
from binascii import hexlify
from pathlib import Path
from random import SystemRandom
from typing import Any, Final

from hiredis import ReplyError

from headgate.core.steps import Reply
from headgate.stores.cache.purges import encoded, hashed
from headgate.stores.cache.settings import RedisCacheSettings
from headgate.stores.cache.store import MOST_TAGS, Cached, OnChange, Place, Purge, Statistics
from headgate.stores.fallback import FAILING, WORKING
from headgate.stores.redis.address import parse
from headgate.stores.redis.connection import Link, packed
from headgate.stores.redis.dial import Dialer
from headgate.stores.redis.node import Node
from headgate.stores.redis.script import Script
from headgate.stores.redis.single import ByUrl, Single

# Bytes of an entry, and of all that are on their way.
MOST_ENTRY: Final = 4 << 20
MOST_UNDER_WAY: Final = 64 << 20

_MARKS: Final = 1 << 17
_FULL: Final = "OOM command not allowed"
_LONGEST_PREFIX: Final = 1024
_MOST_KEEP: Final = 10 * 366 * 86400


def _load() -> Script:
    text = Path(__file__).with_name("cache.lua").read_text(encoding="utf-8")
    return Script(text, hashlib.sha1(text.encode(), usedforsecurity=False).hexdigest())


SCRIPT: Final = _load()
LOAD: Final = packed("SCRIPT", "LOAD", SCRIPT.text)


class RedisCache:
    """The store of one worker."""

    __slots__ = (
        "_counts", "_failing", "_node", "_on_change", "_owner", "_prefix", "_purges", "_under_way", "moment",
    )  # fmt: skip

    def __init__(self, settings: RedisCacheSettings, on_change: OnChange, loop: asyncio.AbstractEventLoop) -> None:
        """Begin to connect; who asks before that finds nothing.

        Raises:
            ValueError: with a sentence, if the URL cannot be.
        """
        self._on_change: OnChange | None = on_change
        self._prefix = settings.prefix.encode()
        self._purges = self._prefix + b"purges"
        self._counts = self._prefix + b"counts"
        self._owner = hexlify(os.urandom(8))
        self._failing = False
        self._under_way = 0
        # As the server last said; what was asked for before it said anything is not kept.
        self.moment = 0
        server = parse(settings.url, settings.username, settings.password)
        opening = ByUrl(Dialer(loop, settings, SCRIPT), server, lambda: self._prefix + b"trial")
        self._node = Single(server.name, loop, opening, self, SystemRandom())

    @property
    def failing(self) -> bool:
        """Tell whether the server is away."""
        return self._node.link(b"") is None

    # -- requests -------------------------------------------------------------------------------------------------

    def get(self, key: bytes) -> Reply[Cached | None] | None:
        """Look an entry up."""
        call: _Get = _Get(self)
        return call.reply if self._send(call, self._entry(key), "get") else None

    def put(self, key: bytes, cached: Cached, place: Place, keep: float, since: int) -> None:
        """Keep an entry for `keep` seconds at most; an older one under this key is replaced."""
        self._write("put", key, cached, place, keep, since)

    def renew(self, key: bytes, before: bytes, cached: Cached, place: Place, keep: float, since: int) -> None:
        """Give an entry another head; nothing where its head is not `before` any more."""
        self._write("renew", key, cached, place, keep, since, before)

    def _write(
        self, operation: str, key: bytes, cached: Cached, place: Place, keep: float, since: int, *more: bytes
    ) -> None:
        size = len(cached.head) + len(cached.body)
        if size > MOST_ENTRY or self._under_way + size > MOST_UNDER_WAY or len(place.tags) > MOST_TAGS:
            # What is under that key is replaced, as it would have been.
            self.drop(key)
            return
        marks = b",".join(b"%d" % hashed(scope, text, _MARKS) for scope, text in _names(place))
        milliseconds = max(1, int(min(keep, _MOST_KEEP) * 1000))
        call = _Write(self, size)
        words = since, milliseconds, cached.head, cached.body, encoded(place.url), marks
        if self._send(call, self._entry(key), operation, *words, *more):
            self._under_way += size

    def drop(self, key: bytes) -> None:
        """Forget an entry."""
        link = self._link()
        if link is not None:
            link.send(packed("DEL", self._entry(key)), _Call(self))

    def claim(self, key: bytes, seconds: float) -> bool | Reply[bool]:
        """Be the one who fetches an entry, for `seconds` at most; False while somebody else is."""
        call = _Claim(self)
        sent = self._send(call, self._claim(key), "claim", self._owner, max(1, int(seconds * 1000)))
        return call.reply if sent else True

    def yield_(self, key: bytes) -> None:
        """Fetch it no more, whatever came of it."""
        self._send(_Call(self), self._claim(key), "yield", self._owner)

    def invalidate(self, url: str) -> None:
        """Forget all entries of a URL, and wait for nothing."""
        self._send(_Marked(self), b"", "purge", "url", hashed("url", url, _MARKS))

    # -- for operators --------------------------------------------------------------------------------------------

    def purge(self, what: Purge) -> Reply[int]:
        """Forget all that this names; return how many there were, -1 when the server was away before it was done."""
        call = _Purge(self, what)
        call.begin()
        return call.reply

    def statistics(self) -> Reply[Statistics | None] | None:
        """Tell what the server has counted for all gateways together; None while it is away."""
        call = _Statistics(self)
        return call.reply if self._send(call, b"", "statistics") else None

    def close(self) -> None:
        """Let go of the connection, once what is outstanding has been answered."""
        self._on_change = None
        self._node.close()

    # -- for the connection (see Watch) ---------------------------------------------------------------------------

    def fails(self, node: Node | None, reason: str) -> None:
        """Know that the server fails."""
        self._change(True, reason)

    def works(self, node: Node | None) -> None:
        """Know that the server works."""
        self._change(False, "")

    def _change(self, failing: bool, reason: str) -> None:
        if failing != self._failing:
            self._failing = failing
            if self._on_change is not None:
                self._on_change(FAILING if failing else WORKING, reason)

    # -- for calls ------------------------------------------------------------------------------------------------

    def send(self, call: _Call, key: bytes, *words: str | bytes | int) -> bool:
        """Send a call of the script; False when it was not taken."""
        return self._send(call, key, *words)

    def arrived(self, size: int) -> None:
        """Know that so many bytes are not under way any more."""
        self._under_way -= size

    @property
    def pattern(self) -> bytes:
        """Return what the keys of all entries match."""
        special = b"\\[]*?^-"
        return b"".join(b"\\%c" % byte if byte in special else b"%c" % byte for byte in self._prefix) + b"e:*"

    # -- inside ---------------------------------------------------------------------------------------------------

    def _send(self, call: _Call, key: bytes, *words: str | bytes | int) -> bool:
        link = self._link()
        if link is None:
            return False
        return link.send(packed("EVALSHA", SCRIPT.sha, 3, self._purges, self._counts, key, *words), call)

    def _link(self) -> Link | None:
        link = self._node.link(b"")
        if link is None and self._node.proven.done():
            self._change(True, self._node.away)
        return link

    def _entry(self, key: bytes) -> bytes:
        return b"%be:%b" % (self._prefix, hexlify(key))

    def _claim(self, key: bytes) -> bytes:
        return b"%bc:%b" % (self._prefix, hexlify(key))

    def __repr__(self) -> str:
        return f"<RedisCache {self._node}>"


class _Call:
    """A call whose reply nobody waits for. A server that answers with an error is as good as away, if it is not full."""

    __slots__ = ("_store",)

    def __init__(self, store: RedisCache) -> None:
        self._store = store

    def on_reply(self, reply: Any, link: Link) -> None:
        if reply.__class__ is not ReplyError:
            if self.is_well(reply):
                return self.on_told(reply)
            link.end("the script's reply is malformed")
        elif str(reply).startswith("NOSCRIPT"):
            # Once for all calls that found it missing. They are lost; those to come are behind it.
            if not link.loading:
                link.loading = link.send(LOAD, _Loaded())
        elif _FULL not in str(reply):
            link.end(str(reply))
        return self.on_lost()

    def is_well(self, reply: Any) -> bool:
        """Tell whether a reply is one that the script gives."""
        return reply.__class__ is int

    def on_told(self, reply: Any) -> None:
        """Take what the script says."""

    def on_lost(self) -> None:
        """Do without."""


class _Marked(_Call):
    __slots__ = ()

    def is_well(self, reply: Any) -> bool:
        return _is_number(reply)


class _Get(_Call):
    __slots__ = ("reply",)

    def __init__(self, store: RedisCache) -> None:
        super().__init__(store)
        self.reply: Reply[Cached | None] = Reply()

    def is_well(self, reply: Any) -> bool:
        return _all_bytes(reply) and len(reply) in (1, 3) and reply[0].isdigit()

    def on_told(self, reply: Any) -> None:
        self._store.moment = int(reply[0])
        self.reply.set(Cached(reply[1], reply[2]) if len(reply) == 3 else None)

    def on_lost(self) -> None:
        self.reply.set(None)


class _Write(_Call):
    __slots__ = ("_size",)

    def __init__(self, store: RedisCache, size: int) -> None:
        super().__init__(store)
        self._size = size

    def on_told(self, reply: Any) -> None:
        self._store.arrived(self._size)

    def on_lost(self) -> None:
        self._store.arrived(self._size)


class _Claim(_Call):
    __slots__ = ("reply",)

    def __init__(self, store: RedisCache) -> None:
        super().__init__(store)
        self.reply: Reply[bool] = Reply()

    def on_told(self, reply: Any) -> None:
        self.reply.set(reply == 1)

    def on_lost(self) -> None:
        self.reply.set(True)


class _Statistics(_Call):
    __slots__ = ("reply",)

    def __init__(self, store: RedisCache) -> None:
        super().__init__(store)
        self.reply: Reply[Statistics | None] = Reply()

    def is_well(self, reply: Any) -> bool:
        return reply.__class__ is list and len(reply) == 3 and all(each is None or _is_number(each) for each in reply)

    def on_told(self, reply: Any) -> None:
        stored, refused, purged = (int(each or 0) for each in reply)
        self.reply.set(Statistics(None, None, None, stored, None, refused, purged))

    def on_lost(self) -> None:
        self.reply.set(None)


class _Purge(_Call):
    """First what was purged is said, which holds at once; then entries are looked through, some at a time."""

    __slots__ = ("_found", "_moment", "_what", "reply")

    def __init__(self, store: RedisCache, what: Purge) -> None:
        super().__init__(store)
        self._what = what._replace(value=what.value[:_LONGEST_PREFIX]) if what.scope == "prefix" else what
        self._found = 0
        self._moment = b""
        self.reply: Reply[int] = Reply()

    def begin(self) -> None:
        """Say what is purged."""
        scope, value = self._what
        mark = encoded(value) if scope == "prefix" else b"%d" % hashed(scope, value, _MARKS)
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
        named = b"%d" % hashed(scope, value, _MARKS) if scope == "tag" else encoded(value)
        self._go_on("sweep", cursor, self._store.pattern, scope, named, self._moment)

    def on_lost(self) -> None:
        self.reply.set(-1)

    def _go_on(self, *words: str | bytes | int) -> None:
        if not self._store.send(self, b"", *words):
            self.on_lost()


class _Loaded:
    """Takes the reply to SCRIPT LOAD; whether it helped is seen by the calls behind it."""

    __slots__ = ()

    def on_reply(self, reply: Any, link: Link) -> None:
        link.loading = False

    def on_lost(self) -> None:
        pass


def _is_number(reply: Any) -> bool:
    return reply.__class__ is bytes and reply.isdigit()


def _all_bytes(reply: Any) -> bool:
    return reply.__class__ is list and all(each.__class__ is bytes for each in reply)


def _names(place: Place) -> list[tuple[str, str]]:
    return [("url", place.url), *(("tag", tag) for tag in place.tags)]
