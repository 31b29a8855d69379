"""A client's HTTP/1 connection: bytes in, one `ClientStream` after the other to the handler.

States of reading: between requests -> in a head -> in a body (parsed, or only counted when its length is known) -> ...
Beside them: stopped (an error or our wish to close: what still comes is discarded), detached (a tunnel has the
socket), closed.

Laws:
- Callbacks of the parser only record. The handler starts after `feed_data` returned without error, since llhttp may
  still refuse a message whose head it has announced.
- Requests are served in order and at most `max_pipelined` are read ahead; behind an error nothing is served.
- Trailers never join the head's fields. An upgrade that is not taken is framed as if it had not been asked for.
- A body that was not read to its end closes the connection, with a moment to read on, so that our answer is not lost
  in a reset (RFC 9112 section 9.6).
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from collections.abc import Callable
from typing import cast

import httptools

from headgate.core.clock import monotonic
from headgate.core.failure import Failure
from headgate.core.message import Fields, RequestHead
from headgate.wire import http1
from headgate.wire.head import HeadReader
from headgate.wire.outbox import Outbox
from headgate.wire.paused import PausedClients
from headgate.wire.settings import HttpLimits
from headgate.wire.stream import ClientStream
from headgate.wire.timers import NEVER, TimerWheel

# Bytes parsed at once while heads are read, so that one large read cannot become thousands of requests.
_SLICE = 16 * 1024
_LINGER_SECONDS = 2.0
_RESET = struct.pack("ii", 1, 0)
# Bytes of a chunked body that may be framing: 16 for each byte of body, and this much on top.
_FRAMING = 16 * 1024
_FRAMING_PER_BYTE = 16
_LINGER_BYTES = 1 << 20
# Seconds that a client has for its first request when the gateway stops: accepted a moment ago, it is on its way.
_FIRST_REQUEST = 1.0
# Seconds between two looks at how a body arrives; also the grace before its rate counts.
_INSPECTION = 5.0
_OVERLOADED = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class Rules:
    """What the connections of one listener share; a reload replaces it whole and connections keep theirs."""

    __slots__ = ("handler", "heads", "limits", "on_close", "on_open", "outbox", "paused", "small_head", "wheel")

    def __init__(
        self,
        limits: HttpLimits,
        heads: HeadReader,
        wheel: TimerWheel,
        outbox: Outbox,
        handler: Callable[[ClientStream], None],
        on_open: Callable[[ClientConnection], bool],
        on_close: Callable[[ClientConnection], None],
    ) -> None:
        self.limits = limits
        self.heads = heads
        self.small_head = heads.small_head
        self.wheel = wheel
        self.paused = PausedClients(wheel)
        self.outbox = outbox
        self.handler = handler
        self.on_open = on_open
        self.on_close = on_close


class ClientConnection(asyncio.Protocol):
    """One connection of one client."""

    __slots__ = (
        "_corked",
        "_fields",
        "_framed",
        "_framing",
        "_head_bytes",
        "_head_start",
        "_held",
        "_in_head",
        "_inspected_bytes",
        "_last_byte",
        "_parser",
        "_parsing",
        "_paused",
        "_queue",
        "_raw_left",
        "_served",
        "_serving",
        "_small",
        "_started",
        "_stopped",
        "_throttled",
        "_unread",
        "_unwritten",
        "_url",
        "_watched_from",
        "address",
        "deadline",
        "forwarding",
        "rules",
        "stopping",
        "stream",
        "transport",
        "wheel_at",
    )

    def __init__(self, rules: Rules, address: str = "") -> None:
        """`address` is the client's where a load balancer told it; by default the socket's peer."""
        # Of the connection.
        self.rules = rules
        self.transport: asyncio.Transport | None = None
        self.address = address
        self.deadline = NEVER
        self.wheel_at = NEVER
        self.stopping = False
        self.forwarding: object = None
        self._served = 0
        self._serving = False
        self._stopped = False
        self._paused = False
        self._throttled = False
        self._unwritten = -1
        self._unread = 0
        self._held = b""
        self._corked = b""
        # Of the request that is being read.
        self._parser: httptools.HttpRequestParser | None = httptools.HttpRequestParser(self)
        self._parsing: ClientStream | None = None
        self._url = b""
        self._fields: Fields = []
        self._in_head = False
        self._small = True
        self._head_bytes = 0
        self._head_start = b""
        self._raw_left = 0
        self._framed = self._framing = 0
        self._started = 0.0
        self._watched_from = 0.0
        self._last_byte = 0.0
        self._inspected_bytes = 0
        # Of the request that is being answered, and those behind it.
        self.stream: ClientStream | None = None
        self._queue: deque[ClientStream] = deque()

    # -- the connection --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless the gateway is full."""
        self.transport = cast(asyncio.Transport, transport)
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
        # Breaks the cycle parser -> bound methods -> connection, so that memory goes at once and not by the collector.
        self._parser = None
        self._queue.clear()
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.fail(Failure("client_closed"))

    def eof_received(self) -> bool:
        """Take the end of a client's sending for its going away, as nginx does: abandoned work should cost nothing."""
        return False

    def write(self, data: bytes) -> None:
        """Write, if the client is still there."""
        if self._corked:
            self.uncork()
        if self.transport is not None:
            self.transport.write(data)

    def write_both(self, head: bytes, body: bytes) -> None:
        """Write two pieces as one."""
        if self._corked:
            self.uncork()
        if self.transport is not None:
            self.transport.writelines((head, body))

    def cork(self, data: bytes) -> None:
        """Write a whole answer, together with those of this turn of the loop (wire.outbox)."""
        if self._corked:
            self._corked += data
        elif self.transport is not None:
            self._corked = data
            self.rules.outbox.for_client(self)

    def uncork(self) -> None:
        """Write what was held back."""
        data, self._corked = self._corked, b""
        if data and self.transport is not None:
            self.transport.write(data)

    def cut(self, reset: bool = False) -> None:
        """Close at once and visibly: what was sent is not complete; `reset`: also where only that would show it."""
        self._stopped = True
        if self.transport is not None:
            if reset and (sock := self.transport.get_extra_info("socket")) is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()

    def end(self) -> None:
        """Close now: visibly where an answer is owed or still on its way, else in good order, TLS included."""
        transport = self.transport
        if transport is not None:
            owed = self.stream is not None or self._queue or self._in_head or transport.get_write_buffer_size()
            self.cut() if owed else self._close()

    def drain(self) -> None:
        """Close now when idle, else after the answer in progress; a client that has just come may ask once."""
        self.stopping = True
        if self.stream is None and not self._in_head and not self._queue and not self._stopped:
            if self._served:
                self._close()
            else:
                self.rules.wheel.arm(self, monotonic() + _FIRST_REQUEST)

    # -- reading ---------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take bytes from the socket."""
        if self._stopped:
            self._unread += len(data)
            if self._unread > _LINGER_BYTES:
                self.cut()
            return
        self._started = monotonic()
        if self._parsing is not None:
            self._last_byte = self._started
        if self._held or self._raw_left or len(data) > _SLICE:
            self._feed_in_slices(data)
        else:
            self._feed(data)

    def _feed_in_slices(self, data: bytes) -> None:
        if self._held:
            data, self._held = self._held + data, b""
        view = memoryview(data)
        at = 0
        while at < len(data) and not self._stopped:
            if self._raw_left:
                at += self._count(data if at == 0 else bytes(view[at : at + self._raw_left]))
            elif len(self._queue) >= self.rules.limits.max_pipelined or self._parser is None:
                # What is held already came before the rest: it stood behind an upgrade.
                self._held += view[at:]
                self.pause()
                return
            else:
                self._feed(bytes(view[at : at + _SLICE]))
                at += _SLICE

    def _count(self, data: bytes) -> int:
        """Pass bytes of a body of known length on unparsed; return how many of `data` belonged to it."""
        stream = self._parsing
        assert stream is not None
        size = len(data)
        if size < self._raw_left:
            self._raw_left -= size
            stream.feed(data)
            return size
        size = self._raw_left
        self._raw_left = 0
        self._parsing = None
        self._parser = httptools.HttpRequestParser(self)
        stream.feed(data if size == len(data) else data[:size])
        stream.feed_end()
        self._body_ended(stream)
        return size

    def _feed(self, data: bytes) -> None:
        parser = self._parser
        if parser is None:
            # An upgrade was asked for: what follows belongs to whoever the answer makes of it.
            self._held += data
            self.pause()
            return
        self._small = not self._in_head and len(data) <= self.rules.small_head
        if self._small and self._parsing is None and self._take_whole(data):
            return
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade_asked(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            self._refuse(error, data)
            return
        stream = self._parsing
        if stream is not None:
            if stream.head.length > 0:
                self._raw_left = stream.head.length - stream.bytes_in
            elif self._watched_from:
                self._check_framing(stream, len(data))
            if not self._watched_from:
                self._watched_from = self._last_byte = self._started
                self._throttled = self._paused
                self._inspected_bytes = self._framing = 0
                self._framed = stream.bytes_in
                self.rules.wheel.arm(self, self._started + min(_INSPECTION, self.rules.limits.body_timeout))
        elif self._in_head:
            self._check_growing_head(data)
        if self._queue:
            if self.stream is None and self._unwritten < 0:
                self._next()
            elif len(self._queue) >= self.rules.limits.max_pipelined:
                self.pause()

    def _take_whole(self, data: bytes) -> bool:
        """Take a plain request that came whole, without the parser; tell whether it was one."""
        whole = self.rules.heads.whole(data)
        if whole is None:
            return False
        head, body = whole
        stream = ClientStream(self, head, True, self._started)
        if body:
            stream.feed(body)
        stream.feed_end()
        self._queue.append(stream)
        if self.stream is None and self._unwritten < 0:
            self._next()
        elif len(self._queue) >= self.rules.limits.max_pipelined:
            self.pause()
        return True

    def _check_growing_head(self, data: bytes) -> None:
        limits = self.rules.limits
        if not self._head_bytes:
            self._head_start = data[:8]
            self.rules.wheel.arm(self, self._started + limits.header_timeout)
        self._head_bytes += len(data)
        if len(self._url) > limits.max_request_line:
            self._stop_with(Failure("uri_too_long"))
        elif self._lacks_version(data):
            self._stop_with(Failure("version_not_supported", "0.9"))
        elif self._head_bytes > limits.max_header_bytes + limits.max_request_line:
            self._stop_with(Failure("headers_too_large"))

    def _lacks_version(self, data: bytes) -> bool:
        """Tell whether a line without version came: HTTP/0.9 ends its request there and waits for the answer."""
        version = self._parser.get_http_version() if self._parser is not None else ""
        # The parser notes it with the byte behind the line; before, it has noted nothing yet on a new connection.
        return version == "0.9" or (version == "0.0" and self._url != b"" and data[-1:] == b"\n")

    def _check_framing(self, stream: ClientStream, size: int) -> None:
        """Bound what of a chunked body is not body: sizes, extensions, trailers; the parser gathers without bound.

        As Go does since CVE-2023-39326: each byte of body earns framing for the smallest of chunks, with room.
        """
        body = stream.bytes_in - self._framed
        self._framed = stream.bytes_in
        self._framing = max(0, self._framing + size - _FRAMING_PER_BYTE * body)
        limit = self.rules.limits.max_header_bytes if self._fields else _FRAMING
        if self._framing > limit:
            failure = Failure("headers_too_large", "trailers") if self._fields else Failure("bad_request", "chunks")
            self._fail_body(stream, failure)

    # -- callbacks of the parser: record, never act ----------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Note that a head began."""
        self._in_head = True
        self._head_bytes = 0
        self._url = b""
        self._fields = []

    def on_url(self, url: bytes) -> None:
        """Collect the request target."""
        self._url = self._url + url if self._url else url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a field; behind the head these are trailers, which land in a list of their own."""
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Make the head; a Failure raised here stops the parser."""
        parser = self._parser
        assert parser is not None
        persistent = parser.should_keep_alive()
        fields = self._fields
        head = self.rules.heads.request(parser, self._url, fields, persistent, self._small)
        self._in_head = False
        self._fields = []
        self._watched_from = 0.0
        self._parsing = stream = ClientStream(self, head, persistent, self._started)
        if head.upgrade or parser.should_upgrade():
            stream.trailers = fields
        self._queue.append(stream)

    def on_body(self, data: bytes) -> None:
        """Pass a piece of a body on."""
        assert self._parsing is not None
        self._parsing.feed(data)

    def on_message_complete(self) -> None:
        """Note the end of a request."""
        stream = self._parsing
        if stream is None:
            return
        if self._fields:
            # May raise: the request is then still the one that is read, and fails.
            stream.trailers = self.rules.heads.trailers(self._fields)
            self._fields = []
        self._parsing = None
        stream.feed_end()
        if self._watched_from:
            self._body_ended(stream)

    # -- what a message turned out to be ---------------------------------------------------------------------------

    def _body_ended(self, stream: ClientStream) -> None:
        self._watched_from = 0.0
        if stream is self.stream:
            self.deadline = NEVER

    def _upgrade_asked(self, rest: bytes) -> None:
        """Hold what is behind an upgrade request until the upstream agreed, or frame it as an ordinary body.

        llhttp stops at the head of any request with Upgrade, even with a body and for protocols that nobody knows;
        a server may ignore the field (RFC 9110 section 7.8), but not what follows.
        """
        stream = self._queue[-1]
        self._parsing = None
        fields, stream.trailers = stream.trailers, []
        if stream.head.upgrade and not stream.head.length:
            stream.feed_end()
            self._parser = None
            self._held = rest
            if self.stream is None:
                self._next()
            return
        self._queue.pop()
        self._parser = httptools.HttpRequestParser(self)
        self._feed_in_slices(self.rules.heads.without_upgrade(stream.head, fields) + rest)
        if self._queue and self.stream is None and self._unwritten < 0:
            # With as many requests before it in the same read as may wait, nothing was fed just now.
            self._next()

    def _refuse(self, error: Exception, data: bytes) -> None:
        cause = error.__context__
        start = self._head_start if self._head_bytes else data
        failure = cause if isinstance(cause, Failure) else self.rules.heads.judge(error, start)
        if self._in_head and failure.reason == "bad_request" and self._lacks_version(b""):
            failure = Failure("version_not_supported", "0.9")
        self._fail_body(self._parsing, failure)

    def _fail_body(self, stream: ClientStream | None, failure: Failure) -> None:
        """Refuse what is arriving: the request whose body it is (None: a head), and whatever would follow."""
        self._parsing = None
        if stream is not None and stream is self.stream:
            # Its head is being served already: the body is what broke.
            self._stopped = True
            stream.fail(failure)
            return
        if stream is not None and self._queue and self._queue[-1] is stream:
            self._queue.pop()
        self._stop_with(failure, stream.head if stream is not None else None)

    def _stop_with(self, failure: Failure, head: RequestHead | None = None) -> None:
        """Answer `failure` after what was asked before it, and serve nothing more; `head`: of the request, if read."""
        if head is None:
            # The parser knows the method for certain only when it has gone on to the target.
            parser = self._parser if self._url else None
            method = parser.get_method() if parser is not None else b"-"
            head = http1.refused_head(method, self._url, self.rules.heads.scheme)
        self._stopped = True
        self._in_head = False
        stream = ClientStream(self, head, False, self._started or monotonic())
        stream.failure = failure
        stream.ended = True
        self._queue.append(stream)
        if self.stream is None:
            self._next()

    def _next(self) -> None:
        """Begin the next request; one that was answered at once is followed by the next one here, not deeper down."""
        if self._serving:
            return
        self._serving = True
        try:
            while self._queue and self.stream is None and self._unwritten < 0:
                self.stream = stream = self._queue.popleft()
                self._served += 1
                if self._parsing is None and not self._in_head:
                    # Otherwise it is the deadline of what is arriving: this request's body, or what comes behind it.
                    self.deadline = NEVER
                if self._served == self.rules.limits.keepalive_requests:
                    stream.keep_alive = False
                self.rules.handler(stream)
        finally:
            self._serving = False

    # -- after an answer -------------------------------------------------------------------------------------------

    def answered(self, stream: ClientStream) -> None:
        """Go on with the next request, wait for one, or close."""
        if stream is not self.stream:
            return
        self.stream = None
        if not stream.keep_alive or self.stopping:
            self._queue.clear()
            if stream.ended and not self._stopped:
                self._close()
            else:
                self._linger()
            return
        if self._parser is None:
            # An upgrade was asked for and not given: what follows are requests again.
            self._parser = httptools.HttpRequestParser(self)
        if self._unwritten >= 0:
            # The client does not read: its next answers wait until it does (`resume_writing`).
            return
        if self._queue:
            self._next()
        elif not self._in_head:
            self.deadline = deadline = monotonic() + self.rules.limits.keepalive_timeout
            if deadline < self.wheel_at:
                self.rules.wheel.arm(self, deadline)
        else:
            self.rules.wheel.arm(self, monotonic() + self.rules.limits.header_timeout)
        if self._paused or self._held:
            self.resume()

    def _close(self) -> None:
        """Close when all is written, for which the client has its time."""
        self._stopped = True
        self.uncork()
        transport = self.transport
        if transport is not None:
            transport.close()
            if transport.get_write_buffer_size():
                self.rules.wheel.arm(self, monotonic() + self.rules.limits.write_timeout)

    def _linger(self) -> None:
        """Close our side, and read on for a moment so that a reset does not destroy the answer on its way."""
        self._stopped = True
        self.uncork()
        transport = self.transport
        if transport is None:
            return
        if transport.can_write_eof():
            transport.write_eof()
            self.resume()
            self.rules.wheel.arm(self, monotonic() + _LINGER_SECONDS)
        else:
            transport.close()

    def detach(self) -> tuple[asyncio.Transport | None, bytes]:
        """Leave the socket to a tunnel; returns it with what was read behind the request."""
        self.uncork()
        held, self._held = self._held, b""
        self.rules.wheel.cancel(self)
        self.rules.paused.discard(self)
        return self.transport, held

    # -- flow and deadlines ----------------------------------------------------------------------------------------

    def pause(self) -> None:
        """Stop reading the socket; what is only discarded is read on, to the end."""
        if not self._paused and not self._stopped and self.transport is not None:
            self._paused = self._throttled = True
            self.transport.pause_reading()
            self.rules.paused.add(self)

    def resume(self) -> None:
        """Read the socket again, what was held back first; not while as many requests wait as may."""
        if len(self._queue) >= self.rules.limits.max_pipelined:
            return
        if self._paused:
            self._paused = False
            self._last_byte = monotonic()
            self.rules.paused.discard(self)
            if self.transport is not None:
                self.transport.resume_reading()
        if self._held and self._parser is not None and not self._stopped:
            self._feed_in_slices(b"")

    def left(self) -> None:
        """Learn that the client is gone while it was not read: discard what it left, and take its end as it comes."""
        self._stopped = True
        self._held = b""
        self._queue.clear()
        self.resume()

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
                self._next()
            elif not self._in_head and not self._stopped:
                self.rules.wheel.arm(self, now + limits.keepalive_timeout)
            if self._paused or self._held:
                self.resume()
        elif stream is not None and stream.source is not None:
            stream.source.resume()
        # The one deadline was the writing's: whatever else was waited for begins its time anew.
        if self._stopped:
            self.rules.wheel.arm(self, now + limits.write_timeout)
        elif self._in_head:
            self.rules.wheel.arm(self, now + limits.header_timeout)
        elif self._watched_from:
            self.rules.wheel.arm(self, now + min(_INSPECTION, limits.body_timeout))

    def on_deadline(self, now: float) -> None:
        """Act on the wait that took too long."""
        transport = self.transport
        if transport is None:
            return
        if self._unwritten >= 0:
            self._inspect_writing(transport, now)
        elif self._stopped:
            if not transport.get_write_buffer_size():
                transport.abort()
                return
            # Our answer is still on its way: it may take its time as long as it moves.
            self._unwritten = transport.get_write_buffer_size()
            self.rules.wheel.arm(self, now + self.rules.limits.write_timeout)
        elif self._in_head and self._paused:
            # We stopped reading in the middle of it: the time is ours, not the client's.
            self.rules.wheel.arm(self, now + self.rules.limits.header_timeout)
        elif self._in_head:
            self._stop_with(Failure("request_timeout", "head"))
        elif self._parsing is not None:
            self._inspect_body(now)
        elif self.stream is None:
            self._close()

    def _inspect_writing(self, transport: asyncio.Transport, now: float) -> None:
        left = transport.get_write_buffer_size()
        if left >= self._unwritten:
            transport.abort()
            return
        self._unwritten = left
        self.rules.wheel.arm(self, now + self.rules.limits.write_timeout)

    def _inspect_body(self, now: float) -> None:
        """Judge how the body arrives; while we hold the client back, the time is ours and not its."""
        stream = self._parsing
        assert stream is not None
        limits = self.rules.limits
        window = now - self._watched_from
        if not self._paused:
            idle = now - self._last_byte >= limits.body_timeout
            arrived = stream.bytes_in - self._inspected_bytes
            judged = window >= _INSPECTION and not self._throttled
            if idle or (judged and arrived < limits.min_body_rate * window):
                self._fail_body(stream, Failure("request_timeout", "body"))
                return
        if window >= _INSPECTION:
            self._watched_from, self._inspected_bytes, self._throttled = now, stream.bytes_in, self._paused
        self.rules.wheel.arm(self, now + min(_INSPECTION, limits.body_timeout))
