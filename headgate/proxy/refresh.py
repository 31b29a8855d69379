"""Fetching an entry anew while its old form is answered with: exchanges that no client waits for.

Law: they are in no count of requests, in no log and in no record; what they ask of a service counts there like
anything that is asked of it. They are bounded in number, and end with the gateway.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from headgate.core.clock import monotonic
from headgate.core.failure import Failure
from headgate.core.message import Field, RequestHead, ResponseHead
from headgate.core.trace import kind_of, places_of
from headgate.proxy import guards
from headgate.proxy.caching import Lookup
from headgate.proxy.exchange import Exchange
from headgate.proxy.fetching import Fetch
from headgate.wire.stream import ClientStream

if TYPE_CHECKING:
    from headgate.proxy.cached_route import CachedRoute

_MOST: Final = 256


class _NoStream(ClientStream):
    """The request of nobody: without a body, and its answer is for the cache alone."""

    __slots__ = ()

    def ask(self) -> None:
        """Nothing is to come."""

    def pause(self) -> None:
        """Nothing is to come."""

    def resume(self) -> None:
        """Nothing is to come."""

    def inform(self, head: ResponseHead) -> None:
        """Nobody is told."""

    def respond(self, head: ResponseHead, body: bytes, complete: bool) -> None:
        """Nobody is told."""

    def write(self, data: bytes) -> None:
        """Nobody is told."""

    def finish(self, trailers: Sequence[Field] = ()) -> None:
        """Nobody is told."""

    def source_failed(self, failure: Failure) -> None:
        """Nobody is told."""

    @property
    def gone(self) -> bool:
        """There was nobody."""
        return True


class Refresh(Exchange):
    """One entry being fetched anew, as the request asked for it that found it stale."""

    __slots__ = ("_lookup", "wanted")

    def __init__(self, stale: Lookup, cache: CachedRoute) -> None:
        self.wanted = stale.key
        first = stale.exchange
        head = _copy(first.stream.head, stale.way.timeouts.deadline_header)
        stream = _NoStream(first.stream.connection, head, monotonic())
        stream.ended = True
        super().__init__(first.gateway, first.plan, stream)
        self.way, self.params, self.cluster = first.way, first.params, first.cluster
        self.route, self.service = first.route, first.service
        self.peer, self.identity, self.client = first.peer, first.identity, first.client
        self.trace = None
        self._lookup = lookup = Lookup(self, stale.way, cache, stale.cluster)
        lookup.client, lookup.store = False, stale.store
        lookup.key, lookup.names, lookup.primary = stale.key, stale.names, stale.primary
        lookup.entry, lookup.kept, lookup.body, lookup.since = stale.entry, stale.kept, stale.body, stale.since

    async def _run(self) -> None:
        cluster = self._lookup.cluster
        try:
            await Fetch(self._lookup).run()
        except Failure as failure:
            self.error = failure.reason
        except Exception as error:
            self.error = "internal"
            self.gateway.report(self.request_id, kind_of(error), places_of(error))
        finally:
            upstream, self.connection = self.connection, None
            if upstream is not None:
                upstream.close()
            guards.leave(self, cluster, monotonic())
            self.gateway.refreshes.ended(self)


class Refreshes:
    """All of this worker."""

    __slots__ = ("_under_way",)

    def __init__(self) -> None:
        self._under_way: dict[bytes, Refresh] = {}

    def begin(self, stale: Lookup) -> None:
        """Fetch an entry anew that was found stale, unless that is being done."""
        under_way, key = self._under_way, stale.key
        if key in under_way or key in stale.caching.fills or len(under_way) >= _MOST:
            return
        under_way[key] = refresh = Refresh(stale, stale.cache)
        refresh.start()

    def ended(self, refresh: Refresh) -> None:
        """Learn that one is over."""
        del self._under_way[refresh.wanted]

    def close(self) -> None:
        """Give up what is under way."""
        for refresh in tuple(self._under_way.values()):
            refresh.steps.interrupt(Failure("draining"))


def _copy(head: RequestHead, deadline: str | None) -> RequestHead:
    """Return a request of its own for the whole of what was asked for, whatever part a client wants, and how soon."""
    copy = RequestHead("GET", head.target, head.scheme)
    copy.authority, copy.host, copy.port = head.authority, head.host, head.port
    copy.path, copy.query, copy.version = head.path, head.query, head.version
    haste = deadline.lower().encode() if deadline is not None else b""
    copy.fields = [field for field in head.fields if field[0].lower() != haste]
    copy.forwarding, copy.ids = head.forwarding, None
    return copy
