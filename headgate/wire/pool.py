"""Connections to one endpoint, kept for the next request.

Laws: books are counters and a dictionary in order of use, O(1) each; the most recently used connection goes first, so
that the rest can grow old and be closed before the upstream closes them; a connection that is in doubt is not reused.
"""

from __future__ import annotations

import asyncio
import select
import socket
import ssl
from collections import deque

from headgate.core.clock import monotonic
from headgate.core.endpoint import Endpoint
from headgate.core.failure import Failure
from headgate.core.steps import Reply
from headgate.wire.call import Call
from headgate.wire.outbox import Outbox
from headgate.wire.resolver import Resolver
from headgate.wire.settings import PoolLimits
from headgate.wire.timers import NEVER, TimerWheel
from headgate.wire.upstream import UpstreamConnection
from headgate.wire.whole import WholeAnswers

# Seconds of idleness after which an upstream may have closed without our having heard of it yet.
_DOUBTFUL = 0.05
# Seconds before the end of an upstream's own patience at which we close first.
_KEEP_MARGIN = 1.0


class Pool:
    """All connections of this process to one endpoint."""

    __slots__ = (
        "_dialling",
        "_idle",
        "_resolver",
        "_retired",
        "_server_name",
        "_ssl",
        "_waiters",
        "answers",
        "authority",
        "endpoint",
        "limits",
        "loop",
        "open",
        "outbox",
        "prefix",
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
    ) -> None:
        self.loop = asyncio.get_running_loop()
        self.endpoint = endpoint
        self.authority = endpoint.authority.encode()
        self.prefix = endpoint.prefix.encode()
        self.limits = limits
        self.wheel = wheel
        self.outbox = outbox
        self.answers = answers
        self.open = 0
        self._resolver = resolver
        self._ssl = tls[0] if tls is not None else None
        self._server_name = tls[1] if tls is not None else None
        self._dialling: set[asyncio.Task[UpstreamConnection]] = set()
        self._idle: dict[UpstreamConnection, None] = {}
        self._waiters: deque[asyncio.Future[UpstreamConnection | None]] = deque()
        self._retired = False

    def take(self, idempotent: bool) -> Call | None:
        """Return an idle connection, or None. One in doubt is looked at first if the request must not be repeated."""
        idle = self._idle
        while idle:
            connection, _ = idle.popitem()
            if connection.closed:
                continue
            if not idempotent and monotonic() - connection.idle_since > _DOUBTFUL and _readable(connection):
                connection.close()
                continue
            connection.deadline = NEVER
            return connection
        return None

    @property
    def idle(self) -> int:
        """Count the connections that wait for a request."""
        return len(self._idle)

    @property
    def active(self) -> int:
        """Count the requests that are with the endpoint, or on their way."""
        return self.open - len(self._idle)

    def connecting(self, timeout: float) -> Reply[Call]:
        """Begin to `connect`. A connection that nobody waits for any more is kept for the next request."""
        reply: Reply[Call] = Reply()

        def deliver(task: asyncio.Task[UpstreamConnection]) -> None:
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
                self.put(task.result())

        task = self.loop.create_task(self.connect(timeout))
        # The loop holds tasks weakly.
        self._dialling.add(task)
        task.add_done_callback(deliver)
        return reply

    async def connect(self, timeout: float) -> UpstreamConnection:
        """Open a connection, or wait for one when the endpoint has as many as it may, for `timeout` seconds in all.

        Raises:
            Failure: connect_refused, connect_timeout, dns, tls or overloaded; nothing was sent.
        """
        try:
            async with asyncio.timeout(timeout):
                if self.open >= self.limits.max_connections:
                    waited = await self._wait()
                    if waited is not None:
                        return waited
                else:
                    self.open += 1
                return await self._open()
        except TimeoutError:
            raise Failure("connect_timeout", f"{self.endpoint.name}, {timeout:g} s") from None

    async def _wait(self) -> UpstreamConnection | None:
        if len(self._waiters) >= self.limits.max_pending:
            raise Failure("overloaded", f"{self.endpoint.name}: too many requests wait for a connection")
        waiter: asyncio.Future[UpstreamConnection | None] = self.loop.create_future()
        self._waiters.append(waiter)
        try:
            return await waiter
        except asyncio.CancelledError:
            # Handed over in the same moment: it belongs to the next one.
            if waiter.done() and not waiter.cancelled():
                connection = waiter.result()
                if connection is None:
                    self._vacate()
                else:
                    self.put(connection)
            raise
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    async def _open(self) -> UpstreamConnection:
        """Use the place that is counted as open already; a connection that came to be gives it up when lost."""
        endpoint = self.endpoint
        connection: UpstreamConnection | None = None
        try:
            connection = await self._dial(endpoint)
            if connection.transport is None:
                raise OSError("closed as soon as it was open")
            connection.counted = True
            return connection
        except OSError as error:
            raise not_connected(endpoint, error, self._ssl is not None) from None
        finally:
            if connection is None or not connection.counted:
                self._vacate()

    async def _dial(self, endpoint: Endpoint) -> UpstreamConnection:
        if endpoint.unix:
            _, unix = await self.loop.create_unix_connection(lambda: UpstreamConnection(self), endpoint.unix)
            return unix
        host = await self._resolver.resolve(endpoint.host)
        _, connection = await self.loop.create_connection(
            lambda: UpstreamConnection(self), host, endpoint.port, ssl=self._ssl, server_hostname=self._server_name
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
        if not self._hand_over(None):
            self.open -= 1

    def _hand_over(self, connection: UpstreamConnection | None) -> bool:
        """Give a connection (None: the place for a new one) to whoever waits longest."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(connection)
                return True
        return False

    def retire(self) -> None:
        """Close what is idle, and everything else as it comes back: the endpoint is no longer configured."""
        self._retired = True
        for connection in list(self._idle):
            connection.close()

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


def _readable(connection: UpstreamConnection) -> bool:
    """Tell whether the socket has something to read: on an idle connection only its end, or something unsolicited."""
    transport = connection.transport
    sock = transport.get_extra_info("socket") if transport is not None else None
    if sock is None:
        return True
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN | select.POLLHUP | select.POLLERR)
    return bool(poll.poll(0))
