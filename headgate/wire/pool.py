"""Connections to one endpoint, kept for the next request; those of HTTP/2 are shared by many at once.

    HTTP/1: taken -> in use -> put back      HTTP/2: shared while it has room -> full -> shared -> ... -> leaving

Laws: books are counters and a dictionary in order of use, O(1) each; the most recently used connection goes first, so
that the rest can grow old and be closed before the upstream closes them; a connection that is in doubt is not reused.
Nobody connects while connections that are being opened will have room for all who wait.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from headgate.core.clock import monotonic
from headgate.core.endpoint import Endpoint
from headgate.core.failure import Failure
from headgate.core.steps import Reply
from headgate.wire.call import Call
from headgate.wire.outbox import Outbox
from headgate.wire.patience import within
from headgate.wire.resolver import Resolver
from headgate.wire.settings import PoolLimits, Speaks
from headgate.wire.timers import NEVER, TimerWheel
from headgate.wire.upstream import UpstreamConnection
from headgate.wire.whole import WholeAnswers

if TYPE_CHECKING:
    from headgate.wire.http2.upstream import Http2Upstream

P = TypeVar("P", bound=asyncio.Protocol)

# Seconds of idleness after which an upstream may have closed without our having heard of it yet.
_DOUBTFUL = 0.05
# Seconds before the end of an upstream's own patience at which we close first.
_KEEP_MARGIN = 1.0


class Pool:
    """All connections of this process to one endpoint."""

    __slots__ = (
        "_dialling",
        "_idle",
        "_opening",
        "_resolver",
        "_retired",
        "_roomy",
        "_server_name",
        "_shared",
        "_shares",
        "_speaks",
        "_ssl",
        "_waiters",
        "answers",
        "authority",
        "calls",
        "endpoint",
        "limits",
        "loop",
        "on_violation",
        "open",
        "outbox",
        "prefix",
        "scheme",
        "wheel",
    )

    def __init__(
        self,
        endpoint: Endpoint,
        limits: PoolLimits,
        wheel: TimerWheel,
        outbox: Outbox,
        answers: WholeAnswers,
        resolver: Resolver,
        tls: tuple[ssl.SSLContext, str] | None = None,
        speaks: Speaks = "http1",
        on_violation: Callable[[str], None] | None = None,
    ) -> None:
        """`tls`: how connections are secured (which offers ALPN[speaks]), and the name to ask for and to check.

        `on_violation` is told by kind for what a connection of HTTP/2 ended.
        """
        self.loop = asyncio.get_running_loop()
        self.endpoint = endpoint
        self.authority = endpoint.authority.encode()
        self.prefix = endpoint.prefix.encode()
        self.scheme = endpoint.scheme.encode()
        self.limits = limits
        self.wheel = wheel
        self.outbox = outbox
        self.answers = answers
        self.on_violation = on_violation
        self.open = self.calls = 0
        self._resolver = resolver
        self._ssl = tls[0] if tls is not None else None
        self._server_name = tls[1] if tls is not None else None
        self._speaks = speaks
        self._dialling: set[asyncio.Task[Call]] = set()
        self._idle: dict[UpstreamConnection, None] = {}
        self._waiters: deque[asyncio.Future[Call | None]] = deque()
        self._retired = False
        # Of connections that are shared: all that are open, and those with room; `calls` are the requests on them.
        self._shared: set[Http2Upstream] = set()
        self._roomy: dict[Http2Upstream, None] = {}
        # Connections that are being opened, and for how many requests each will have room, by what the last one had.
        self._opening = 0
        self._shares = 1 if speaks == "http1" or (speaks == "auto" and tls is None) else limits.max_streams

    def take(self, idempotent: bool) -> Call | None:
        """Return an idle connection, or a place on a shared one, or None.

        One in doubt is looked at first if the request must not be repeated.
        """
        if self._roomy:
            return self._place(idempotent)
        idle = self._idle
        while idle:
            connection, _ = idle.popitem()
            if connection.closed:
                continue
            if not idempotent and monotonic() - connection.idle_since > _DOUBTFUL and _readable(connection.transport):
                connection.close()
                continue
            connection.deadline = NEVER
            return connection
        return None

    def _place(self, idempotent: bool) -> Call | None:
        """Return a place on the shared connection that had room last: the others empty, and grow old."""
        roomy = self._roomy
        while roomy:
            link = next(reversed(roomy))
            if link.transport is None or link.transport.is_closing():
                del roomy[link]
            elif idempotent or link.calls or monotonic() - link.idle_since <= _DOUBTFUL:
                return link.begin()
            elif _readable(link.transport):
                link.leave()
            else:
                return link.begin()
        return None

    @property
    def idle(self) -> int:
        """Count the connections that wait for a request."""
        return len(self._idle) + sum(not link.calls for link in self._shared)

    @property
    def active(self) -> int:
        """Count the requests that are with the endpoint, or on their way."""
        return self.open - len(self._idle) - len(self._shared) + self.calls

    def connecting(self, timeout: float) -> Reply[Call]:
        """Begin to `connect`. A connection that nobody waits for any more is kept for the next request."""
        reply: Reply[Call] = Reply()

        def deliver(task: asyncio.Task[Call]) -> None:
            self._dialling.discard(task)
            if task.cancelled():
                reply.fail(Failure("connect_refused", f"{self.endpoint.name}: given up"))
                return
            error = task.exception()
            if isinstance(error, Exception):
                reply.fail(error)
            elif reply.has_waiter:
                reply.set(task.result())
            else:
                self._keep(task.result())

        task = self.loop.create_task(self.connect(timeout))
        # The loop holds tasks weakly.
        self._dialling.add(task)
        task.add_done_callback(deliver)
        return reply

    async def connect(self, timeout: float) -> Call:
        """Open a connection, or wait for one when the endpoint has as many as it may, for `timeout` seconds in all.

        Raises:
            Failure: connect_refused, connect_timeout, dns, tls, upstream_protocol or overloaded; nothing was sent.
        """
        try:
            async with within(timeout):
                if self.open >= self.limits.max_connections or self._expected > len(self._waiters):
                    waited = await self._wait()
                    if waited is not None:
                        return waited
                else:
                    self.open += 1
                    self._opening += 1
                return await self._open()
        except TimeoutError:
            raise Failure("connect_timeout", f"{self.endpoint.name}, {timeout:g} s") from None

    @property
    def _expected(self) -> int:
        """Count the requests that connections which are being opened will have room for, besides their first ones."""
        return self._opening * (self._shares - 1)

    async def _wait(self) -> Call | None:
        if len(self._waiters) >= self.limits.max_pending:
            raise Failure("overloaded", f"{self.endpoint.name}: too many requests wait for a connection")
        waiter: asyncio.Future[Call | None] = self.loop.create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            # Handed over in the same moment: it belongs to the next one.
            if waiter.done() and not waiter.cancelled() and waiter.exception() is None:
                self._keep(waiter.result())
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def _keep(self, call: Call | None) -> None:
        """Take back what was for a request that is no more; None: the place for a new connection."""
        if call is None:
            self._opening -= 1
            self._vacate()
        elif isinstance(call, UpstreamConnection):
            self.put(call)
        else:
            call.release()

    async def _open(self) -> Call:
        """Use the place that is counted as open already; a connection that came to be gives it up when lost."""
        call: Call | None = None
        failure: Failure | None = None
        try:
            call = await self._opened()
            return call
        except OSError as error:
            failure = not_connected(self.endpoint, error, self._ssl is not None)
            raise failure from None
        except Failure as error:
            failure = error
            raise
        finally:
            self._opening -= 1
            if failure is not None and self._shares > 1 and not self._opening and not self._shared:
                self._disappoint(failure)
            if call is None:
                self._vacate()
            else:
                self._let_open()

    async def _opened(self) -> Call:
        opened = await self._dial(self.endpoint)
        if opened.transport is None:
            raise OSError("closed as soon as it was open")
        opened.counted = True
        if isinstance(opened, UpstreamConnection):
            self._shares = 1
            return opened
        self._shares = opened.most
        self._shared.add(opened)
        call = opened.begin()
        if self._retired:
            opened.leave()
        self.freed(opened)
        return call

    async def _dial(self, endpoint: Endpoint) -> UpstreamConnection | Http2Upstream:
        if self._speaks == "http1" or (self._speaks == "auto" and self._ssl is None):
            return await self._connection_to(endpoint, UpstreamConnection)
        from headgate.wire.http2.upstream import Agreement

        agreement = await self._connection_to(endpoint, Agreement)
        return await agreement.reached(self._speaks == "http2")

    async def _connection_to(self, endpoint: Endpoint, protocol: Callable[[Pool], P]) -> P:
        if endpoint.unix:
            _, unix = await self.loop.create_unix_connection(lambda: protocol(self), endpoint.unix)
            return unix
        host = await self._resolver.resolve(endpoint.host)
        _, connection = await self.loop.create_connection(
            lambda: protocol(self), host, endpoint.port, ssl=self._ssl, server_hostname=self._server_name
        )
        return connection

    def put(self, connection: UpstreamConnection) -> None:
        """Take a connection back."""
        limits = self.limits
        if self._retired or (limits.max_requests and connection.served >= limits.max_requests):
            connection.close()
            return
        if self._waiters and self._hand_over(connection):
            return
        if len(self._idle) >= limits.max_idle:
            connection.close()
            return
        idle = limits.idle_timeout
        if connection.kept >= 0:
            # The upstream begins to count earlier than we do, and its close takes a moment to arrive.
            idle = min(idle, max(connection.kept - _KEEP_MARGIN, connection.kept * 0.5))
        self._idle[connection] = None
        connection.idle_since = now = monotonic()
        connection.deadline = deadline = now + idle
        if deadline < connection.wheel_at:
            self.wheel.arm(connection, deadline)

    def lost(self, connection: UpstreamConnection) -> None:
        """Learn that a connection is closed."""
        if connection.counted:
            self._idle.pop(connection, None)
            self._vacate()

    def _vacate(self) -> None:
        """Give a place among the open connections up, to whoever waits longest: then it stays counted."""
        self.open -= 1
        self._let_open()

    def _let_open(self) -> None:
        """Let open connections who wait, as many as it takes and may be."""
        while len(self._waiters) > self._expected and self.open < self.limits.max_connections:
            if not self._hand_over(None):
                return
            self.open += 1
            self._opening += 1

    def _hand_over(self, call: Call | None) -> bool:
        """Give a connection (None: the place for a new one) to whoever waits longest."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(call)
                return True
        return False

    def _disappoint(self, failure: Failure) -> None:
        """Tell all who waited for one connection what became of it."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_exception(Failure(failure.reason, failure.detail))

    # -- shared connections ----------------------------------------------------------------------------------------

    def freed(self, link: Http2Upstream) -> None:
        """Learn that a shared connection has room, or none that it could still have: it is `leaving`."""
        while self._waiters and link.room > 0:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(link.begin())
        if link.room > 0:
            self._roomy[link] = None
            if not link.calls and self.idle > self.limits.max_idle:
                link.leave()

    def filled(self, link: Http2Upstream) -> None:
        """Learn that a shared connection has no room."""
        self._roomy.pop(link, None)

    def lost_shared(self, link: Http2Upstream) -> None:
        """Learn that a shared connection is closed."""
        if link.counted:
            self._roomy.pop(link, None)
            self._shared.discard(link)
            self._vacate()

    def retire(self) -> None:
        """Close what is idle, and everything else as it comes back: the endpoint is no longer configured."""
        self._retired = True
        for connection in list(self._idle):
            connection.close()
        for link in list(self._shared):
            link.leave()

    def __repr__(self) -> str:
        return f"<Pool {self.endpoint.name} open={self.open} idle={len(self._idle)} waiting={len(self._waiters)}>"


def not_connected(endpoint: Endpoint, error: OSError, secured: bool) -> Failure:
    """Return the failure that an error on the way to a connection is; `secured`: by TLS."""
    if isinstance(error, socket.gaierror):
        return Failure("dns", f"{endpoint.name}: {error.strerror}")
    if isinstance(error, ssl.SSLError):
        return Failure("tls", f"{endpoint.name}: {error.reason or error}")
    if secured and isinstance(error, ConnectionResetError):
        # Connected it was: this is how many refuse a client certificate, or that there is none.
        return Failure("tls", f"{endpoint.name}: closed during the handshake")
    return Failure("connect_refused", f"{endpoint.name}: {error.strerror or error}")


def _readable(transport: asyncio.Transport | None) -> bool:
    """Tell whether the socket has something to read: on an idle connection only its end, or something unsolicited."""
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is None:
        return True
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))
