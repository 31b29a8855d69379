"""A client's HTTP/1 connection: one `Http1Stream` after the other goes to the handler.

    what comes (wire.http1_requests) -> served in turn, and what is waited for -> what is written (wire.client_socket)

Laws:
- Requests are served in order; behind an error nothing is served.
- A body that was not read to its end closes the connection.
"""

from __future__ import annotations

import asyncio
from typing import cast

from headgate.core.clock import monotonic
from headgate.core.failure import Failure
from headgate.wire.http1_requests import IncomingRequests
from headgate.wire.http1_stream import Http1Stream
from headgate.wire.http2.connection import Http2Connection
from headgate.wire.pace import next_look
from headgate.wire.rules import Rules
from headgate.wire.timers import NEVER
from headgate.wire.tls import chosen_protocol

_OVERLOADED = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class ClientConnection(IncomingRequests):
    """One connection of one client."""

    __slots__ = ("_serving",)

    def __init__(self, rules: Rules, address: str = "") -> None:
        """`address` is the client's where a load balancer told it; by default the socket's peer."""
        super().__init__(rules, address)
        self._serving = False

    # -- the connection --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless the gateway is full; over TLS the handshake may have chosen the other version."""
        self.transport = cast(asyncio.Transport, transport)
        if self.rules.http2 and self.rules.heads.scheme == "https" and chosen_protocol(transport) == "h2":
            other = Http2Connection(self.rules, self.address)
            self.transport.set_protocol(other)
            other.connection_made(transport)
            return
        if not self.address:
            peer = transport.get_extra_info("peername")
            self.address = peer[0] if isinstance(peer, tuple) else "unix:"
        limits = self.rules.limits
        self.transport.set_write_buffer_limits(high=limits.buffer)
        if not self.rules.on_open(self):
            self.transport.write(_OVERLOADED)
            self._linger()
            return
        self.rules.wheel.arm(self, monotonic() + limits.keepalive_timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """End; whoever works for this client is told."""
        self.transport = None
        self._stopped = True
        self.rules.wheel.cancel(self)
        if self._paused:
            self.rules.paused.discard(self)
        self.rules.on_close(self)
        self._reader.close()
        self._queue.clear()
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.fail(Failure("client_closed"))

    def eof_received(self) -> bool:
        """Take the end of a client's sending for its going away, as nginx does: abandoned work should cost nothing."""
        return False

    # -- serving ---------------------------------------------------------------------------------------------------

    def serve(self) -> None:
        """Begin the next request; one that was answered at once is followed by the next one here, not deeper down."""
        if self._serving:
            return
        self._serving = True
        reader = self._reader
        try:
            while self._queue and self.stream is None and self._unwritten < 0:
                self.stream = stream = self._queue.popleft()
                self._served += 1
                if reader.stream is None and not reader.in_head:
                    # Otherwise it is the deadline of what is arriving: this request's body, or what comes behind it.
                    self.deadline = NEVER
                if self._served == self.rules.limits.keepalive_requests:
                    stream.keep_alive = False
                self.rules.handler(stream)
        finally:
            self._serving = False

    def answered(self, stream: Http1Stream) -> None:
        """Go on with the next request, wait for one, or close."""
        if stream is not self.stream:
            return
        self.stream = None
        if not stream.keep_alive or self.stopping:
            self._queue.clear()
            if stream.ended and not self._stopped:
                self._close()
            else:
                self._linger(arriving=not stream.ended)
            return
        reader = self._reader
        if reader.parser is None:
            # An upgrade was asked for and not given: what follows are requests again.
            reader.renew()
        if self._unwritten >= 0:
            # The client does not read: its next answers wait until it does (`resume_writing`).
            return
        if self._queue:
            self.serve()
        elif not reader.in_head:
            self.deadline = deadline = monotonic() + self.rules.limits.keepalive_timeout
            if deadline < self.wheel_at:
                self.rules.wheel.arm(self, deadline)
        else:
            self.rules.wheel.arm(self, monotonic() + self.rules.limits.header_timeout)
        if self._paused or self._held:
            self.resume()

    # -- flow and deadlines ----------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """Learn that the client does not keep up: its source waits."""
        self._unwritten = self.transport.get_write_buffer_size() if self.transport is not None else 0
        self.rules.wheel.arm(self, monotonic() + self.rules.limits.write_timeout)
        if self.stream is not None and self.stream.source is not None:
            self.stream.source.pause()

    def resume_writing(self) -> None:
        """Learn that the client caught up."""
        self._unwritten = -1
        self.deadline = NEVER
        stream, limits, now = self.stream, self.rules.limits, monotonic()
        if stream is None:
            if self._queue:
                self.serve()
            elif not self._reader.in_head and not self._stopped:
                self.rules.wheel.arm(self, now + limits.keepalive_timeout)
            if self._paused or self._held:
                self.resume()
        elif stream.source is not None:
            stream.source.resume()
        # The one deadline was the writing's: whatever else was waited for begins its time anew.
        if self._stopped:
            self.rules.wheel.arm(self, now + limits.write_timeout)
        elif self._reader.in_head:
            self.rules.wheel.arm(self, now + limits.header_timeout)
        elif self._reader.pace is not None:
            self.rules.wheel.arm(self, next_look(now, limits))

    def on_deadline(self, now: float) -> None:
        """Act on the wait that took too long."""
        transport = self.transport
        if transport is None:
            return
        if self._unwritten >= 0:
            self._inspect_writing(transport, now)
        elif self._stopped:
            self._inspect_end(transport, now)
        elif self._reader.in_head and self._paused:
            # We stopped reading in the middle of it: the time is ours, not the client's.
            self.rules.wheel.arm(self, now + self.rules.limits.header_timeout)
        elif self._reader.in_head:
            self._stop_with(Failure("request_timeout", "head"))
        elif self._reader.stream is not None:
            self._inspect_body(self._reader.stream, now)
        elif self.stream is None:
            self._close()
