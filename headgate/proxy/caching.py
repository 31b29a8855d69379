"""The cache's part in a request: behind all gates, before the breaker.

    read what the request asks of the cache -> look for an entry -> fresh? answer
        -> stale, and may be used so? answer, and fetch anew behind it (proxy.refresh)
        -> is it being fetched? wait for that, and answer with it as it arrives (proxy.following)
        -> fetch it, for oneself and everybody who waits (proxy.fetching)

Laws: what is kept is what the service sent; ids, CORS, security headers, limits, plugins' edits and compression belong
to each answer. Who gets an answer that another request fetched may have it by the rules of his own. A store that is
away is a miss.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Final, cast

from headgate.core.clock import monotonic, wall
from headgate.core.failure import Failure
from headgate.core.message import UNKNOWN_LENGTH, ResponseHead, may_have_body
from headgate.core.steps import Reply
from headgate.policy.cache import status
from headgate.policy.cache.answering import answer
from headgate.policy.cache.entry import Entry, Varies, decode
from headgate.policy.cache.reuse import ERRORS, Verdict, refuted
from headgate.proxy import guards, sharing
from headgate.proxy.fanout import PIECE, Gathered, Reader, Room, read
from headgate.proxy.fetching import Fetch
from headgate.proxy.following import followed
from headgate.proxy.forward import upstream_request
from headgate.proxy.tries import Tries
from headgate.wire.compression import EncodingSink

if TYPE_CHECKING:
    from headgate.proxy.cached_route import CachedRoute
    from headgate.proxy.cluster import Cluster
    from headgate.proxy.exchange import Exchange
    from headgate.proxy.filling import Caching
    from headgate.proxy.plan import RouteRuntime
    from headgate.stores.cache.store import Cached, CacheStore

# How often a request looks for an entry again after what it waited for came to nothing, before it asks by itself.
_MOST_TURNS: Final = 4


def serve(exchange: Exchange, way: RouteRuntime, cache: CachedRoute, cluster: Cluster) -> Awaitable[None] | None:
    """Answer from the cache, or by the service; what is returned, if anything, is to be waited for."""
    return Lookup(exchange, way, cache, cluster).serve()


class Lookup:
    """What the cache knows of one request.

    `key` is what its entry is kept under, `names` the fields of requests that its answers vary by, as far as is known;
    `entry`, `kept` and `body` what was found there; `reason` says why that is no answer.
    """

    __slots__ = (
        "asked",
        "body",
        "cache",
        "caching",
        "client",
        "cluster",
        "entry",
        "exchange",
        "kept",
        "key",
        "names",
        "passing",
        "primary",
        "reason",
        "since",
        "single",
        "store",
        "warned",
        "way",
    )

    def __init__(self, exchange: Exchange, way: RouteRuntime, cache: CachedRoute, cluster: Cluster) -> None:
        head = exchange.stream.head
        self.exchange = exchange
        self.way = way
        self.cache = cache
        self.cluster = cluster
        self.caching: Caching = exchange.gateway.caching
        # The one it began with: moments of another one mean nothing to it.
        self.store = self.caching.store
        # Whether it has waited for a request that failed.
        self.warned = False
        if exchange.forwarded:
            # The service sees these fields, and may vary by them.
            head.fields = [*head.fields, *exchange.forwarded]
            exchange.forwarded = []
        self.asked = cache.rules.read(head)
        # Whether a client waits.
        self.client = True
        self.primary = self.key = self.kept = self.body = b""
        self.names: tuple[bytes, ...] = ()
        self.entry: Entry | None = None
        self.reason: status.Forward = "uri-miss"
        # The moment of the store before it was looked into.
        self.since = 0
        # Whether its answer will hardly be one to keep: the service is asked as the client has asked.
        self.passing = False
        # Whether it goes its way without the others that ask for the same.
        self.single = not cache.settings.collapse or self.asked.forced

    def serve(self) -> Awaitable[None] | None:
        """Answer the request; what is returned, if anything, is to be waited for, and may be a Failure."""
        asked = self.asked
        if asked.bypass:
            return self._forward(cast(status.Forward, asked.bypass), "bypass")
        self.identify()
        pending = self.find()
        if pending is None:
            verdict = self._verdict()
            if verdict is not None:
                return self._give_found(verdict)
        return self._go_on(pending)

    async def _go_on(self, pending: Awaitable[None] | None) -> None:
        """Answer once what is `pending` has been found, or by the service.

        Raises:
            Failure: as of the service; not_cached.
        """
        for _ in range(_MOST_TURNS):
            if pending is not None:
                await pending
            verdict = self._verdict()
            if verdict is not None:
                given = self._give_found(verdict)
                if given is not None:
                    await given
                return
            self.exchange.cache = "miss"
            if self.asked.only_if_cached:
                raise Failure("not_cached")
            if self.exchange.method == "HEAD":
                await self._forward(self.reason, "miss")
                return
            if self.caching.passes(self.key, monotonic()):
                self.single = self.passing = True
            fill = None if self.single else self.caching.joinable(self.key, monotonic())
            if fill is None:
                break
            if await followed(self, fill):
                return
            pending = self.find()
        await Fetch(self).run()

    def identify(self) -> None:
        """Work out what the request's entry is kept under."""
        self.primary = sharing.primary(self.exchange, self.way, self.cache, self.cluster.name)

    def variant(self, names: tuple[bytes, ...]) -> bytes:
        """Return what an answer to the request is kept under that varies by these names."""
        return self.cache.keys.variant(self.primary, names, sharing.shown(self.exchange, self.way, names))

    # -- the store -------------------------------------------------------------------------------------------------

    def find(self) -> Awaitable[None] | None:
        """Look for the entry of the request; what is returned, if anything, is to be waited for."""
        self.key, self.names, self.entry, self.reason = self.primary, (), None, "uri-miss"
        store = self.store
        if store is None or store.failing:
            return None
        self.since = store.moment
        found = store.get(self.primary)
        if isinstance(found, Reply):
            return self._find_later(store, found)
        if self._varies(found):
            found = store.get(self.key)
            if isinstance(found, Reply):
                return self._find_later(store, found)
            self._varies(found)
        return None

    async def _find_later(self, store: CacheStore, found: Reply[Cached | None]) -> None:
        cached = await found
        # What is elsewhere says with each answer what has been purged by then.
        self.since = store.moment
        if self._varies(cached):
            again = store.get(self.key)
            self._varies(await again if isinstance(again, Reply) else again)

    def _varies(self, cached: Cached | None) -> bool:
        """Take what was found; tell whether it only says by what answers vary."""
        if cached is None:
            return False
        found = decode(cached.head)
        if isinstance(found, Varies):
            if self.names:
                return False
            self.names = found.names
            self.key = self.variant(found.names)
            self.reason = "vary-miss"
            return True
        # One of another length is no answer: what follows it on the connection would be taken for a part of it.
        if found is not None and found.length == len(cached.body):
            self.entry, self.kept, self.body = found, cached.head, cached.body
            self.reason = "stale"
        return False

    # -- answers ---------------------------------------------------------------------------------------------------

    def _verdict(self) -> Verdict | None:
        """Tell what the entry that was found is good for; None if it is no answer as it is."""
        entry = self.entry
        if entry is None:
            return None
        verdict = self.cache.rules.judge(entry, self.asked, wall())
        if verdict.use == "fresh" or verdict.use == "revalidate":
            return verdict
        if verdict.ttl > 0:
            self.reason = "request"
        return None

    def _give_found(self, verdict: Verdict) -> Awaitable[None] | None:
        """Answer with the entry that was found."""
        entry = self.entry
        assert entry is not None
        fresh = verdict.use == "fresh"
        if not fresh:
            self.exchange.gateway.refreshes.begin(self)
        return self.give(entry, self.body, verdict.age, status.hit(verdict.ttl), "hit" if fresh else "stale")

    def give(self, entry: Entry, body: bytes, age: int, member: bytes, result: str) -> Awaitable[None] | None:
        """Answer with an entry; `member` is for Cache-Status, `result` for the log."""
        exchange, stream = self.exchange, self.exchange.stream
        made = answer(entry, self.asked, age)
        start, stop = made.start, made.stop
        head = ResponseHead(made.status, made.fields, stop - start)
        exchange.cache = result
        self.sign(head, member)
        exchange.prepare(head)
        if not may_have_body(exchange.method, head.status):
            if head.status in (204, 304):
                head.length = UNKNOWN_LENGTH
            stream.respond(head, b"", True)
        elif stop - start <= PIECE:
            exchange.give(head, body if stop - start == len(body) else body[start:stop])
        else:
            return self._give_large(head, body, start, stop)
        return None

    async def _give_large(self, head: ResponseHead, body: bytes, start: int, stop: int) -> None:
        lent = self.caching.lend(self.key, body)
        self.body = body = lent.body
        try:
            whole = Gathered(0, Room(0))
            reader = self.reader(whole, head, start, stop)
            whole.write(body)
            whole.finish()
            await read(reader)
        finally:
            self.caching.take_back(self.key, lent)

    def begin(self, entry: Entry, body: Gathered, age: int, member: bytes, length: int) -> Reader | None:
        """Begin to answer with an entry whose body is arriving; `length` is below zero while it is not known.

        None: the answer has no part of that body, and is over.
        """
        exchange, stream = self.exchange, self.exchange.stream
        if length < 0:
            # Which part of the whole that is, nobody can say.
            self.asked.range = b""
        made = answer(entry, self.asked, age)
        head = ResponseHead(made.status, made.fields, made.stop - made.start if length >= 0 else UNKNOWN_LENGTH)
        self.sign(head, member)
        exchange.prepare(head)
        if may_have_body(exchange.method, head.status) and head.status != 416:
            return self.reader(body, head, made.start, made.stop if length >= 0 else -1)
        if head.status != 416:
            head.length = UNKNOWN_LENGTH
        stream.respond(head, b"", True)
        return None

    def reader(self, body: Gathered, head: ResponseHead, start: int = 0, stop: int = -1) -> Reader:
        """Send a head that is prepared; the body follows it at the client's pace."""
        exchange, stream = self.exchange, self.exchange.stream
        stream.respond(head, b"", False)
        reader = Reader(
            body, stream if exchange.encoder is None else EncodingSink(exchange.encoder, stream), start, stop
        )
        stream.source = reader
        return reader

    def sign(self, head: ResponseHead, member: bytes) -> None:
        """Say in an answer what the cache did, where it shall be said, and in the record of its request."""
        notes = self.exchange.notes
        if notes is not None:
            notes.cache = member.partition(b"; ")[2].decode()
        if self.cache.settings.status_header:
            head.fields.append((status.NAME, member))

    async def stale(self) -> bool:
        """Answer with a stale entry where the service has failed; tell whether there is one that may be used so."""
        entry, now = self.entry, wall()
        if entry is None or not self.cache.rules.stale_if_error(entry, self.asked, now):
            return False
        verdict = self.cache.rules.judge(entry, self.asked, now)
        given = self.give(entry, self.body, verdict.age, status.hit(verdict.ttl), "stale")
        if given is not None:
            await given
        return True

    def replaced(self, response: ResponseHead) -> bool:
        """Be done with an error of the service, if there is a stale entry that may stand in for it; tell whether."""
        exchange, entry = self.exchange, self.entry
        if entry is None or not self.cache.rules.stale_if_error(entry, self.asked, wall()):
            return False
        exchange.status = response.status
        exchange.release()
        guards.settled(exchange, self.cluster, monotonic())
        return True

    # -- past the cache --------------------------------------------------------------------------------------------

    async def _forward(self, reason: status.Forward, result: str) -> None:
        """Let the service answer as if there were no cache, but for what its answer makes invalid."""
        exchange, way, cluster = self.exchange, self.way, self.cluster
        exchange.cache = result
        try:
            guards.enter(exchange.gateway, exchange, way, cluster)
            request = upstream_request(exchange, way)
            response = await Tries(exchange.gateway, exchange, way, cluster, request).run()
        except Failure as failure:
            if failure.side == "client" or self.entry is None:
                raise
            guards.failed(exchange, cluster, failure.reason, monotonic())
            if not await self.stale():
                raise
            return
        upstream = exchange.heard(cluster, response)
        if response.status in ERRORS and self.replaced(response):
            await self.stale()
            return
        origin = sharing.origin(exchange)
        for url in self.cache.keys.invalidated(exchange.stream.head, response, origin):
            self.caching.changed(url)
        if exchange.method == "HEAD" and self.entry is not None and refuted(self.entry, response):
            self.caching.changed(self.cache.keys.url(exchange.stream.head, origin))
        self.sign(response, status.forwarded(reason))
        relayed = exchange.pass_on(response, upstream, way)
        if relayed is not None:
            await relayed
            exchange.release()
