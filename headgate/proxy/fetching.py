"""Fetching an answer for the cache: for the request that began it, and for everybody who waits for the same.

    be the one who asks -> ask, with conditions where there is an entry to validate
        -> 304: the entry is good again
        -> failed, and an old entry may stand in: that
        -> may be kept: it goes to all who wait while it arrives, and to the store when it is whole
        -> may not: it is this request's alone, and the others ask for themselves

Laws: what was cut is never kept; what was asked for before a purge is not kept after it (the store sees to that, by the
moment it is told); a client that leaves takes nothing from those who wait.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from headgate.core.clock import monotonic, wall
from headgate.core.failure import Failure
from headgate.core.message import Fields, ResponseHead
from headgate.core.steps import Reply
from headgate.policy.cache import status
from headgate.policy.cache.entry import Entry, Varies
from headgate.policy.cache.key import merged
from headgate.policy.cache.reuse import ERRORS
from headgate.proxy import guards, sharing
from headgate.proxy.fanout import Gathered, Reader, read
from headgate.proxy.filling import TOO_LARGE_SECONDS, Fill
from headgate.proxy.forward import upstream_request
from headgate.proxy.pause import pause
from headgate.proxy.tries import Tries
from headgate.stores.cache.store import Cached, Place
from headgate.wire.call import Call
from headgate.wire.outgoing import Outgoing
from headgate.wire.timers import NEVER

if TYPE_CHECKING:
    from headgate.proxy.caching import Lookup

_SERVER_ERROR: Final = 500
# About a request, and not about what it asked for.
_NO_WORD: Final = frozenset((400, 408, 425, 429, 431))
# Of the gateway's own failures those that would befall whoever asks.
_SHARED: Final = frozenset(("breaker_open", "no_endpoint"))
# Seconds between two looks for what another worker fetches.
_FIRST_LOOK: Final = 0.01
_LAST_LOOK: Final = 0.2


class Fetch:
    """One request that fetches what it looked for."""

    __slots__ = ("_as_it_came", "_claimed", "_fill", "_lookup", "_reader", "_request", "_requested", "_url")

    def __init__(self, lookup: Lookup) -> None:
        self._lookup = lookup
        self._url = lookup.cache.keys.url(lookup.exchange.stream.head, sharing.origin(lookup.exchange))
        place, abandon = Place(self._url, ()), lookup.exchange.steps.interrupt
        self._fill = Fill(lookup.key, place, lookup.since, lookup.store, abandon)
        self._claimed = b""
        self._reader: Reader | None = None
        self._request: Outgoing | None = None
        self._as_it_came: Fields = []
        self._requested = 0.0

    async def run(self) -> None:
        """Fetch it, and answer.

        Raises:
            Failure: as of the service.
        """
        lookup, fill = self._lookup, self._fill
        if not lookup.single:
            lookup.caching.fills[fill.key] = fill
            if lookup.cache.settings.wait:
                fill.alone_until = monotonic() + lookup.cache.settings.wait
        lookup.exchange.stream.on_failed = self._left
        lent = lookup.caching.lend(fill.key, lookup.body)
        lookup.body = lent.body
        try:
            if lookup.single or not await self._fetched_elsewhere():
                await self._fetch()
        finally:
            lookup.caching.take_back(fill.key, lent)
            self._close()
            if fill.body is not None:
                fill.body.let_go()
            if fill.state in ("asked", "live"):
                fill.settle("left")

    def _close(self) -> None:
        """Let nobody join any more, and other workers fetch it."""
        fills, store, fill = self._lookup.caching.fills, self._lookup.store, self._fill
        if fills.get(fill.key) is fill:
            del fills[fill.key]
        claimed, self._claimed = self._claimed, b""
        if claimed and store is not None:
            store.yield_(claimed)

    def _alone(self) -> None:
        """Have nobody but the client that began it.

        Raises:
            Failure: that has left.
        """
        exchange, fill = self._lookup.exchange, self._fill
        self._close()
        if fill.deserted is not None:
            raise fill.deserted
        exchange.stream.on_failed = exchange.steps.interrupt

    def _left(self, failure: Failure) -> None:
        """Learn that the client has left."""
        if self._reader is not None:
            self._reader.leave()
        self._fill.desert(failure)

    # -- other workers ---------------------------------------------------------------------------------------------

    async def _fetched_elsewhere(self) -> bool:
        """Be the one who fetches it; or wait for who is, and answer with what came of it. Tell whether it did."""
        lookup, store = self._lookup, self._lookup.store
        seconds = lookup.cache.settings.wait
        if store is None or store.failing or not seconds:
            return False
        until, look = monotonic() + seconds, _FIRST_LOOK
        while True:
            claim = store.claim(lookup.key, seconds)
            if await claim if isinstance(claim, Reply) else claim:
                self._claimed = lookup.key
                return False
            left = until - monotonic()
            if left <= 0 or store.failing:
                return False
            await pause(lookup.exchange.gateway.loop, min(look, left))
            look = min(look * 2, _LAST_LOOK)
            pending = lookup.find()
            if pending is not None:
                await pending
            entry = lookup.entry
            if entry is None:
                continue
            verdict = lookup.cache.rules.judge(entry, lookup.asked, wall())
            if verdict.use == "fresh":
                self._settle_whole(entry, lookup.body)
                await self._give(entry, lookup.body, verdict.age, status.hit(verdict.ttl), "collapsed")
                return True

    # -- asking ----------------------------------------------------------------------------------------------------

    async def _fetch(self) -> None:
        lookup, fill, exchange = self._lookup, self._fill, self._lookup.exchange
        fill.since = lookup.since
        try:
            response = await self._ask(lookup.entry)
        except Failure as failure:
            if failure.side == "client":
                raise
            guards.failed(exchange, lookup.cluster, failure.reason, monotonic())
            if failure.side == "upstream" or failure.reason in _SHARED:
                self._close()
                fill.fail(failure)
            if not await self._stale():
                raise
            return
        entry = lookup.entry
        if response.status == 304 and entry is not None and (entry.etag or entry.modified) and not lookup.passing:
            await self._validated(entry, response)
        elif response.status in ERRORS and lookup.replaced(response):
            self._close()
            fill.settle("failed")
            await self._stale()
        else:
            await self._take(response)

    async def _ask(self, entry: Entry | None) -> ResponseHead:
        """Ask for the whole answer, or whether an entry is still good."""
        lookup, exchange = self._lookup, self._lookup.exchange
        guards.enter(exchange.gateway, exchange, lookup.way, lookup.cluster)
        self._request = request = upstream_request(exchange, lookup.way)
        self._as_it_came = request.fields
        request.fields = sharing.known(request.fields, lookup.way, (*lookup.names, *lookup.cache.keyed))
        if not lookup.passing:
            request.fields = lookup.cache.rules.outgoing(request.fields, entry)
        return await self._try(request)

    async def _ask_as_it_came(self) -> ResponseHead:
        """Ask once more, with the client's own range and conditions."""
        lookup, exchange, request = self._lookup, self._lookup.exchange, self._request
        assert request is not None
        exchange.end_try(lookup.cluster, monotonic(), exchange.upstream)
        exchange.release()
        request.fields = self._as_it_came
        return await self._try(request)

    async def _try(self, request: Outgoing) -> ResponseHead:
        lookup, exchange = self._lookup, self._lookup.exchange
        self._requested = wall()
        response = await Tries(exchange.gateway, exchange, lookup.way, lookup.cluster, request).run()
        exchange.heard(lookup.cluster, response)
        return response

    # -- what came of it -------------------------------------------------------------------------------------------

    async def _give(self, entry: Entry, body: bytes, age: int, member: bytes, result: str) -> None:
        """Answer with an entry, if anybody is there."""
        self._alone()
        if self._lookup.client:
            given = self._lookup.give(entry, body, age, member, result)
            if given is not None:
                await given

    async def _stale(self) -> bool:
        """Answer with an old entry, if it may stand in."""
        self._alone()
        return self._lookup.client and await self._lookup.stale()

    async def _validated(self, entry: Entry, response: ResponseHead) -> None:
        """Use an entry that the service says is good."""
        lookup, exchange = self._lookup, self._lookup.exchange
        store, rules, body, now = lookup.store, lookup.cache.rules, lookup.body, wall()
        renewed = rules.validated(entry, response, self._requested, now)
        exchange.release()
        exchange.status = response.status
        guards.settled(exchange, lookup.cluster, monotonic())
        keep = rules.keep(renewed, now)
        if store is not None and keep > 0 and not self._fill.outdated:
            place, cached = Place(self._url, renewed.tags), Cached(renewed.encode(), body)
            store.renew(lookup.key, lookup.kept, cached, place, keep, self._fill.since)
        elif store is not None:
            store.drop(lookup.key)
        self._settle_whole(renewed, body)
        verdict = rules.judge(renewed, lookup.asked, now)
        member = status.forwarded(lookup.reason, 304, ttl=verdict.ttl)
        await self._give(renewed, body, verdict.age, member, "revalidated")

    async def _take(self, response: ResponseHead) -> None:
        """Take an answer: for the store, or for this client alone."""
        lookup, exchange = self._lookup, self._lookup.exchange
        rules, now = lookup.cache.rules, wall()
        exchange.status = response.status
        authenticated = sharing.is_authenticated(exchange, lookup.cache)
        entry = rules.storable(exchange.stream.head, response, self._requested, now, authenticated)
        if isinstance(entry, str):
            if exchange.notes is not None:
                exchange.notes.unkept = entry
            await self._pass(response)
            return
        self._fill.place = Place(self._url, entry.tags)
        self._name(entry, now)
        upstream = exchange.connection
        assert upstream is not None
        if not upstream.ended or upstream.trailers:
            await self._share(response, entry, upstream, now)
            return
        body = upstream.take()
        exchange.release()
        entry.length = len(body)
        self._keep(entry, body, now)
        self._settle_whole(entry, body)
        self._alone()
        if not lookup.client:
            return
        member = self._member(entry)
        if not lookup.asked.plain:
            given = lookup.give(entry, body, int(entry.age), member, "miss")
            if given is not None:
                await given
        else:
            exchange.cache = "miss"
            lookup.sign(response, member)
            exchange.prepare(response)
            exchange.give(response, body)

    def _name(self, entry: Entry, now: float) -> None:
        """Work out what an answer is kept under, and let others know at once by what it varies."""
        lookup, fill, store = self._lookup, self._fill, self._lookup.store
        if not entry.vary and not lookup.names:
            return
        fill.names = names = merged(entry.vary, lookup.names)
        fill.final = lookup.variant(names)
        if names != lookup.names and store is not None:
            # At least as long as what it leads to.
            keep = max(lookup.cache.rules.keep(entry, now), lookup.cache.settings.max_ttl)
            store.put(lookup.primary, Cached(Varies(names).encode(), b""), Place(self._url, ()), keep, fill.since)

    def _keep(self, entry: Entry, body: bytes, now: float) -> None:
        """Put a whole answer into the store."""
        lookup, fill, store = self._lookup, self._fill, self._lookup.store
        keep = lookup.cache.rules.keep(entry, now)
        if store is not None and keep > 0 and not fill.outdated:
            store.put(fill.final, Cached(entry.encode(), body), fill.place, keep, fill.since)

    def _settle_whole(self, entry: Entry, body: bytes) -> None:
        fill = self._fill
        fill.entry, fill.whole = entry, body
        self._close()
        fill.settle("whole")

    def _member(self, entry: Entry) -> bytes:
        lookup = self._lookup
        ttl = lookup.cache.rules.judge(entry, lookup.asked, entry.received).ttl
        return status.forwarded(lookup.reason, stored=True, ttl=ttl)

    async def _share(self, response: ResponseHead, entry: Entry, upstream: Call, now: float) -> None:
        """Let an answer go to everybody who waits while it arrives, and to the store when it is whole."""
        lookup, fill, exchange = self._lookup, self._fill, self._lookup.exchange
        fill.body = body = Gathered(lookup.cache.settings.max_entry, lookup.caching.room)
        fill.entry, fill.length = entry, response.length
        entry.length = max(response.length, 0)
        body.source = upstream
        if lookup.way.deadlines:
            # How long the one who began it would wait is no reason to cut the answers of others.
            total = lookup.way.timeouts.total
            upstream.loosen(exchange.stream.started + total if total else NEVER, "total_timeout")
        if lookup.client and fill.deserted is None:
            self._begin(response, entry, body)
        fill.settle("live")
        await upstream.relay(body)
        exchange.release()
        guards.settled(exchange, lookup.cluster, monotonic())
        if body.keeping:
            entry.length = body.size
            self._keep(entry, body.whole(), now)
        elif body.size > lookup.cache.settings.max_entry:
            lookup.caching.let_pass(fill.key, monotonic(), TOO_LARGE_SECONDS)
        else:
            lookup.caching.let_pass(fill.key, monotonic())
        fill.settle("whole")
        self._alone()
        if self._reader is not None:
            await read(self._reader)

    def _begin(self, response: ResponseHead, entry: Entry, body: Gathered) -> None:
        """Begin the answer to the client that began it all."""
        lookup, exchange = self._lookup, self._lookup.exchange
        exchange.cache = "miss"
        member = self._member(entry)
        if not lookup.asked.plain:
            self._reader = lookup.begin(entry, body, int(entry.age), member, response.length)
            return
        lookup.sign(response, member)
        exchange.prepare(response)
        self._reader = lookup.reader(body, response)

    def _give_up(self, response: ResponseHead) -> None:
        """Forget an old entry in whose place something else is there now: it must not stand in for that any more."""
        lookup, store = self._lookup, self._lookup.store
        entry = lookup.entry
        if entry is None or store is None or response.status in _NO_WORD or lookup.passing:
            return
        if lookup.cache.rules.judge(entry, lookup.asked, wall()).ttl <= 0:
            store.drop(lookup.key)

    async def _pass(self, response: ResponseHead) -> None:
        """Pass on what is not to be kept; the others ask for themselves."""
        lookup, fill, exchange = self._lookup, self._fill, self._lookup.exchange
        if response.status < _SERVER_ERROR:
            lookup.caching.let_pass(fill.key, monotonic())
            self._give_up(response)
        self._close()
        fill.settle("passed")
        self._alone()
        exchange.cache = "miss"
        if not lookup.client:
            exchange.status = response.status
            exchange.release()
            return
        if lookup.asked.range and response.status == 200 and not lookup.passing:
            # The whole was asked for so that it could be kept; this client wants a part.
            response = await self._ask_as_it_came()
        upstream = exchange.connection
        assert upstream is not None
        lookup.sign(response, status.forwarded(lookup.reason))
        relayed = exchange.pass_on(response, upstream, lookup.way)
        if relayed is not None:
            await relayed
            exchange.release()
