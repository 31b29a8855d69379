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
import os
from binascii import hexlify
from random import SystemRandom
from typing import Final

from headgate.core.steps import Reply
from headgate.stores.cache.purges import encoded, hashed
from headgate.stores.cache.redis_call import MARKS, SCRIPT, Call, Claiming, Counted, Get, Marked, Purging, Write
from headgate.stores.cache.settings import MOST_IN_REDIS, RedisCacheSettings
from headgate.stores.cache.store import MOST_TAGS, Cached, OnChange, Place, Purge, Statistics
from headgate.stores.fallback import FAILING, WORKING
from headgate.stores.redis.address import parse
from headgate.stores.redis.connection import Link, packed
from headgate.stores.redis.dial import Dialer
from headgate.stores.redis.node import Node
from headgate.stores.redis.single import ByUrl, Single

# Bytes of all entries that are on their way.
MOST_UNDER_WAY: Final = 64 << 20

_MOST_KEEP: Final = 10 * 366 * 86400


class RedisCache:
    """The store of one worker."""

    __slots__ = (
        "_counts", "_failing", "_node", "_on_change", "_owner", "_prefix", "_purges", "_trial", "_under_way", "moment",
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
        self._trial = self._prefix + b"trial"
        self._owner = hexlify(os.urandom(8))
        self._failing = False
        self._under_way = 0
        # As the server last said; what was asked for before it said anything is not kept.
        self.moment = 0
        server = parse(settings.url, settings.username, settings.password)
        opening = ByUrl(Dialer(loop, settings, SCRIPT), server, lambda: self._trial)
        self._node = Single(server.name, loop, opening, self, SystemRandom())

    @property
    def failing(self) -> bool:
        """Tell whether the server is away."""
        return self._node.link(b"") is None

    @property
    def proven(self) -> asyncio.Future[None]:
        """Done when the first attempt to connect has ended, well or not."""
        return self._node.proven

    # -- requests -------------------------------------------------------------------------------------------------

    def get(self, key: bytes) -> Reply[Cached | None] | None:
        """Look an entry up."""
        call = Get(self)
        return call.reply if self.send(call, self._entry(key), "get") else None

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
        if size > MOST_IN_REDIS or self._under_way + size > MOST_UNDER_WAY or len(place.tags) > MOST_TAGS:
            # What is under that key is replaced, as it would have been.
            self.drop(key)
            return
        marks = b",".join(b"%d" % hashed(scope, text, MARKS) for scope, text in _names(place))
        milliseconds = max(1, int(min(keep, _MOST_KEEP) * 1000))
        call = Write(self, size)
        words = since, milliseconds, cached.head, cached.body, encoded(place.url), marks
        if self.send(call, self._entry(key), operation, *words, *more):
            self._under_way += size

    def drop(self, key: bytes) -> None:
        """Forget an entry."""
        link = self._link()
        if link is not None:
            link.send(packed("DEL", self._entry(key)), Call(self))

    def claim(self, key: bytes, seconds: float) -> bool | Reply[bool]:
        """Be the one who fetches an entry, for `seconds` at most; False while somebody else is."""
        call = Claiming(self)
        sent = self.send(call, self._claimed(key), "claim", self._owner, max(1, int(seconds * 1000)))
        return call.reply if sent else True

    def yield_(self, key: bytes) -> None:
        """Fetch it no more, whatever came of it."""
        self.send(Call(self), self._claimed(key), "yield", self._owner)

    def invalidate(self, url: str) -> None:
        """Forget all entries of a URL, and wait for nothing."""
        self.send(Marked(self), None, "purge", "url", hashed("url", url, MARKS))

    def purged(self, place: Place, since: int) -> bool:
        """Tell whether anything was purged since, as far as the server has said."""
        return self.moment != since

    # -- for operators --------------------------------------------------------------------------------------------

    def purge(self, what: Purge) -> Reply[int]:
        """Forget all that this names; return how many there were, -1 when the server was away before it was done."""
        call = Purging(self, what)
        call.begin()
        return call.reply

    def statistics(self) -> Reply[Statistics | None] | None:
        """Tell what the server has counted for all gateways together; None while it is away."""
        call = Counted(self)
        return call.reply if self.send(call, None, "statistics") else None

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

    def send(self, call: Call, key: bytes | None, *words: str | bytes | int) -> bool:
        """Send a call of the script, of an entry or a claim or of neither; False when it was not taken."""
        key = self._trial if key is None else key
        link = self._link()
        if link is None:
            return False
        return link.send(packed("EVALSHA", SCRIPT.sha, 3, self._purges, self._counts, key, *words), call)

    def arrived(self, size: int) -> None:
        """Know that so many bytes are not under way any more."""
        self._under_way -= size

    @property
    def pattern(self) -> bytes:
        """Return what the keys of all entries match."""
        special = b"\\[]*?^-"
        return b"".join(b"\\%c" % byte if byte in special else b"%c" % byte for byte in self._prefix) + b"e:*"

    # -- inside ---------------------------------------------------------------------------------------------------

    def _link(self) -> Link | None:
        link = self._node.link(b"")
        if link is None and self._node.proven.done():
            self._change(True, self._node.away)
        return link

    def _entry(self, key: bytes) -> bytes:
        return b"%be:%b" % (self._prefix, hexlify(key))

    def _claimed(self, key: bytes) -> bytes:
        return b"%bc:%b" % (self._prefix, hexlify(key))

    def __repr__(self) -> str:
        return f"<RedisCache {self._node}>"


def _names(place: Place) -> list[tuple[str, str]]:
    return [("url", place.url), *(("tag", tag) for tag in place.tags)]
