"""Questions that the gateway itself has for other servers in the middle of a request: is this token good, may it pass?

    pools = callouts.draft(); callout = pools.to(url, ...)      while a Plan is built
    pools.swap()                                               once nothing can fail any more
    answer = await callout.ask("POST", fields, body)           in the course of a request, without a Task

Laws: a question has one bound in time for all of it, and its answer one in size; whatever does not come whole within
them is a Failure. Redirects are answers like any other: a credential goes nowhere but where it was sent. A connection
whose answer was not read to its end is closed; one that an idle server closed under our hands is replaced, once. Pools
live on through reloads where address, authorities and their files are the same.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence
from typing import NamedTuple

from headgate.core.address import parse_resource
from headgate.core.clock import monotonic
from headgate.core.endpoint import Endpoint
from headgate.core.failure import Failure
from headgate.core.message import Field, Fields, ResponseHead
from headgate.core.steps import Reply
from headgate.wire import http1
from headgate.wire.call import Call
from headgate.wire.outbox import Outbox
from headgate.wire.outgoing import Outgoing
from headgate.wire.pool import Pool
from headgate.wire.resolver import Resolver
from headgate.wire.settings import PoolLimits, Timeouts
from headgate.wire.timers import TimerWheel
from headgate.wire.whole import WholeAnswers

MOST_BODY = 65_536
# A server that is asked for every new credential need not take a thousand connections of every worker; who waits for
# one, waits within the bound of its question.
_LIMITS = PoolLimits(max_connections=64, max_idle=16, max_pending=4096)

_Key = tuple[Endpoint, ssl.SSLContext | None]


class Answer(NamedTuple):
    """A whole answer."""

    status: int
    fields: Fields
    body: bytes


class Callout:
    """One thing that is asked for."""

    __slots__ = ("_pool", "_target", "_timeout", "_timeouts", "name")

    def __init__(self, pool: Pool, target: bytes, timeout: float) -> None:
        """Ask at `target` of the server of `pool`, for `timeout` seconds at most."""
        self._pool = pool
        self._target = target
        self._timeout = timeout
        self._timeouts = Timeouts(connect=timeout, response=timeout, idle=timeout)
        self.name = pool.endpoint.name

    async def ask(self, method: str, fields: Fields, body: bytes = b"") -> Answer:
        """Send a request that may be sent twice, and return the answer with its whole body, of MOST_BODY bytes at most.

        Awaits nothing but a Reply. A question that is given up meanwhile closes its connection.

        Raises:
            Failure: connect_refused, connect_timeout, dns, tls, overloaded, response_timeout, upstream_reset or
            upstream_protocol; its detail holds nothing of the request.
        """
        until = monotonic() + self._timeout
        request = Outgoing(method, self._target, fields, len(body))
        idle = self._pool.take(False)
        if idle is not None:
            try:
                return await self._ask(idle, request, body, until)
            except Failure as failure:
                if failure.reason != "upstream_reset":
                    raise
        left = until - monotonic()
        if left <= 0:
            raise Failure("response_timeout", self.name)
        fresh = await self._pool.connecting(left)
        return await self._ask(fresh, request, body, until)

    async def _ask(self, connection: Call, request: Outgoing, body: bytes, until: float) -> Answer:
        try:
            coming = connection.send(request, body, True, self._timeouts)
            connection.bound(until, "response_timeout")
            head = await coming
            return Answer(head.status, head.fields, await self._body(connection, head))
        except Failure as failure:
            failure.detail = f"{self.name}: {failure.detail}" if failure.detail else self.name
            raise
        finally:
            # Closed where the answer has not ended.
            connection.release()

    async def _body(self, connection: Call, head: ResponseHead) -> bytes:
        if head.length > MOST_BODY or head.status == 101:
            raise Failure("upstream_protocol", "an answer of another kind or size than a question has")
        rest = _Rest(connection.take())
        if not connection.ended:
            coming = connection.relay(rest)
            rest.coming = coming
            await coming
        if rest.size > MOST_BODY:
            raise _too_much()
        return b"".join(rest.pieces)


class _Rest:
    """Takes the body of an answer, as long as there is not too much of it."""

    __slots__ = ("coming", "pieces", "size")

    def __init__(self, begun: bytes) -> None:
        self.pieces = [begun]
        self.size = len(begun)
        self.coming: Reply[None] | None = None

    def write(self, data: bytes) -> None:
        """Keep a piece, or give up."""
        self.size += len(data)
        if self.size <= MOST_BODY:
            self.pieces.append(data)
        elif self.coming is not None:
            self.coming.fail(_too_much())

    def finish(self, trailers: Sequence[Field] = ()) -> None:
        """Trailers say nothing here."""

    def source_failed(self, failure: Failure) -> None:
        """Whoever waits is told by the connection itself."""


class Callouts:
    """All that this worker asks others."""

    __slots__ = ("_answers", "_outbox", "_pools", "_resolver", "_wheel")

    def __init__(self, wheel: TimerWheel, outbox: Outbox, resolver: Resolver) -> None:
        self._wheel = wheel
        self._outbox = outbox
        self._resolver = resolver
        self._answers = WholeAnswers(http1.response_kinds())
        self._pools: dict[_Key, Pool] = {}

    def draft(self) -> Draft:
        """Begin with what a new Plan will ask."""
        return Draft(self._pools, self._open, self._use)

    def close(self) -> None:
        """Close all connections, those in use as they come back."""
        self._use({})

    def _open(self, endpoint: Endpoint, context: ssl.SSLContext | None) -> Pool:
        tls = None if context is None else (context, endpoint.host.strip("[]"))
        return Pool(endpoint, _LIMITS, self._wheel, self._outbox, self._answers, self._resolver, tls)

    def _use(self, pools: dict[_Key, Pool]) -> None:
        retired = [pool for key, pool in self._pools.items() if key not in pools]
        self._pools = pools
        for pool in retired:
            pool.retire()


class Draft:
    """What a Plan that is being built will ask; nothing of it counts before `swap`."""

    __slots__ = ("_known", "_open", "_pools", "_use")

    def __init__(
        self,
        known: dict[_Key, Pool],
        open_pool: Callable[[Endpoint, ssl.SSLContext | None], Pool],
        use: Callable[[dict[_Key, Pool]], None],
    ) -> None:
        self._known = known
        self._open = open_pool
        self._use = use
        self._pools: dict[_Key, Pool] = {}

    def to(self, url: str, timeout: float, ca: str | None = None) -> Callout:
        """Return what asks at `url` (core.address.parse_resource); `ca` names authorities in place of the system's.

        Raises:
            ValueError: with a sentence, for a URL or a file that cannot be used.
        """
        endpoint, target = parse_resource(url)
        context = _context(endpoint, ca)
        key = (endpoint, context)
        pool = self._pools.get(key) or self._known.get(key) or self._open(endpoint, context)
        self._pools[key] = pool
        return Callout(pool, target, timeout)

    def swap(self) -> None:
        """Let the pools of this draft be those in use; all others close."""
        self._use(self._pools)


def _context(endpoint: Endpoint, ca: str | None) -> ssl.SSLContext | None:
    if endpoint.scheme != "https":
        return None
    from headgate.wire.tls import client_context

    return client_context(ca=ca)


def _too_much() -> Failure:
    return Failure("upstream_protocol", f"the answer has more than {MOST_BODY} bytes")
