"""A client's HTTP/1 connection: bytes in, one `Http1Stream` after the other to the handler.

States of reading: between requests -> in a head -> in a body (parsed, or only counted when its length is known) -> ...
Beside them: stopped (an error or our wish to close: what still comes is discarded), detached (a tunnel has the
socket), closed.

Laws:
- The parser's callbacks (wire.reader) only record: the handler starts after `feed_data` returned without error.
- Requests are served in order and at most `max_pipelined` are read ahead; behind an error nothing is served.
- Trailers never join the head's fields. An upgrade that is not taken is framed as if it had not been asked for.
- A body that was not read to its end closes the connection, but what still comes of it is read and dropped for a
  while: a client that reads only when all is sent would find our answer lost in a reset (RFC 9112 section 9.6).
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import deque
from typing import cast

import httptools

from headgate.core.clock import monotonic
from headgate.core.failure import Failure
from headgate.core.message import RequestHead
from headgate.wire import http1
from headgate.wire.http1_stream import Http1Stream
from headgate.wire.http2.connection import Http2Connection
from headgate.wire.http2.guard import PREFACE
from headgate.wire.pace import BodyPace, next_look
from headgate.wire.reader import RequestReader
from headgate.wire.rules import Rules
from headgate.wire.timers import NEVER
from headgate.wire.tls import certificate_shown, chosen_protocol

# Bytes parsed at once while heads are read, so that one large read cannot become thousands of requests.
_SLICE = 16 * 1024
# What comes behind the last answer is dropped for so long, with so long a silence in it, and so much of it. nginx gives
# 30 and 5 seconds and any number of bytes (lingering_time, lingering_timeout).
_LINGER_SECONDS = 30.0
_LINGER_SILENCE = 2.0
_LINGER_BYTES = 1 << 30
# What the parser says when the preface of HTTP/2 (RFC 9113 section 3.4) has come to its end, and nowhere else.
_PREFACE_CAME = "PRI/Upgrade"
_RESET = struct.pack("ii", 1, 0)
# Seconds that a client has for its first request when the gateway stops: accepted a moment ago, it is on its way.
_FIRST_REQUEST = 1.0
_OVERLOADED = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"


class ClientConnection(asyncio.Protocol):
    """One connection of one client."""

    __slots__ = (
        "_certificate",
        "_corked",
        "_held",
        "_lingers",
        "_paused",
        "_queue",
        "_raw_left",
        "_reader",
        "_served",
        "_serving",
        "_stopped",
        "_successor",
        "_unread",
        "_unwritten",
        "address",
        "deadline",
        "forwarding",
        "rules",
        "started",
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
        self._certificate: bytes | None = None
        self._served = 0
        self._serving = False
        self._stopped = False
        self._paused = False
        self._unwritten = -1
        self._unread = 0
        # Until when what comes is dropped; 0.0 before the last answer.
        self._lingers = 0.0
        self._held = b""
        self._corked = b""
        # Whoever has the socket, once the client has turned out to speak HTTP/2.
        self._successor: Http2Connection | None = None
        # Of the request that is being read.
        self.started = 0.0
        self._raw_left = 0
        # Of the request that is being answered, and those behind it.
        self.stream: Http1Stream | None = None
        self._queue: deque[Http1Stream] = deque()
        self._reader = RequestReader(self, self._queue)

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

    @property
    def certificate(self) -> bytes:
        """What is known of the client's certificate (wire.tls.certificate_shown); empty when it has shown none."""
        if self._certificate is None:
            self._certificate = certificate_shown(self.transport) if self.transport is not None else b""
        return self._certificate

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
            owed = self.stream is not None or self._queue or self._reader.in_head or transport.get_write_buffer_size()
            self.cut() if owed else self._close()

    def drain(self) -> None:
        """Close now when idle, else after the answer in progress; a client that has just come may ask once."""
        self.stopping = True
        if self.stream is None and not self._reader.in_head and not self._queue and not self._stopped:
            if self._served:
                self._close()
            else:
                self.rules.wheel.arm(self, monotonic() + _FIRST_REQUEST)

    # -- reading ---------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take bytes from the socket."""
        if self._stopped:
            self._drop(len(data))
            return
        self.started = monotonic()
        pace = self._reader.pace
        if pace is not None:
            pace.last_byte = self.started
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
            elif len(self._queue) >= self.rules.limits.max_pipelined or self._reader.parser is None:
                # What is held already came before the rest: it stood behind an upgrade.
                self._held += view[at:]
                self.pause()
                return
            else:
                self._feed(bytes(view[at : at + _SLICE]))
                at += _SLICE
        if self._successor is not None and at < len(data):
            self._successor.data_received(bytes(view[at:]))

    def _count(self, data: bytes) -> int:
        """Pass bytes of a body of known length on unparsed; return how many of `data` belonged to it."""
        reader = self._reader
        stream = reader.stream
        assert stream is not None
        size = len(data)
        if size < self._raw_left:
            self._raw_left -= size
            stream.feed(data)
            return size
        size = self._raw_left
        self._raw_left = 0
        reader.stream = None
        reader.renew()
        stream.feed(data if size == len(data) else data[:size])
        stream.feed_end()
        reader.body_ended(stream)
        return size

    def _feed(self, data: bytes) -> None:
        reader = self._reader
        parser = reader.parser
        if parser is None:
            # An upgrade was asked for: what follows belongs to whoever the answer makes of it.
            self._held += data
            self.pause()
            return
        reader.small = small = not reader.in_head and len(data) <= self.rules.small_head
        if small and reader.stream is None and self._take_whole(data):
            return
        try:
            parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._upgrade_asked(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            if _PREFACE_CAME in str(error) and self._gave_way(data):
                return
            self._fail_body(reader.stream, reader.why_refused(error, data))
            return
        stream = reader.stream
        if stream is not None:
            self._watch_body(stream, len(data))
        elif reader.in_head:
            self._watch_head(data)
        if self._queue:
            if self.stream is None and self._unwritten < 0:
                self._next()
            elif len(self._queue) >= self.rules.limits.max_pipelined:
                self.pause()

    def _gave_way(self, data: bytes) -> bool:
        """Leave the socket to HTTP/2 if its preface, which `data` completes, is the first that came.

        RFC 9113 section 3.3: prior knowledge is for connections without TLS.
        """
        rules, transport = self.rules, self.transport
        if not rules.http2 or rules.heads.scheme != "http" or self._served or self._queue or transport is None:
            return False
        self._successor = other = Http2Connection(rules, self.address)
        other.stopping = self.stopping
        rules.on_switch(self, other)
        rules.wheel.cancel(self)
        self._stopped = True
        rest = data[len(PREFACE) - self._reader.head_bytes :]
        self._reader.close()
        other.take_over(transport, PREFACE + rest)
        return True

    def _take_whole(self, data: bytes) -> bool:
        """Take a plain request that came whole, without the parser; tell whether it was one."""
        whole = self.rules.heads.whole(data)
        if whole is None:
            return False
        head, body = whole
        stream = Http1Stream(self, head, True, self.started)
        if body:
            stream.feed(body)
        stream.feed_end()
        self._queue.append(stream)
        if self.stream is None and self._unwritten < 0:
            self._next()
        elif len(self._queue) >= self.rules.limits.max_pipelined:
            self.pause()
        return True

    def _watch_head(self, data: bytes) -> None:
        limits = self.rules.limits
        if not self._reader.head_bytes:
            self.rules.wheel.arm(self, self.started + limits.header_timeout)
        failure = self._reader.outgrown(data, limits)
        if failure is not None:
            self._stop_with(failure)

    def _watch_body(self, stream: Http1Stream, size: int) -> None:
        reader, limits = self._reader, self.rules.limits
        pace = reader.pace
        if stream.head.length > 0:
            self._raw_left = stream.head.length - stream.bytes_in
        elif pace is not None:
            trailers = bool(reader.fields)
            if pace.is_framing(size, stream.bytes_in, limits.max_header_bytes if trailers else 0):
                failure = Failure("headers_too_large", "trailers") if trailers else Failure("bad_request", "chunks")
                self._fail_body(stream, failure)
        if pace is None:
            reader.pace = BodyPace(self.started, stream.bytes_in, self._paused)
            self.rules.wheel.arm(self, next_look(self.started, limits))

    # -- what a message turned out to be ---------------------------------------------------------------------------

    def _upgrade_asked(self, rest: bytes) -> None:
        """Hold what is behind an upgrade request until the upstream agreed, or frame it as an ordinary body.

        llhttp stops at the head of any request with Upgrade, even with a body and for protocols that nobody knows;
        a server may ignore the field (RFC 9110 section 7.8), but not what follows.
        """
        reader, stream = self._reader, self._queue[-1]
        reader.stream = None
        fields, stream.trailers = stream.trailers, []
        if stream.head.upgrade and not stream.head.length:
            stream.feed_end()
            reader.parser = None
            self._held = rest
            if self.stream is None:
                self._next()
            return
        self._queue.pop()
        reader.renew()
        self._feed_in_slices(http1.without_upgrade(stream.head, fields) + rest)
        if self._queue and self.stream is None and self._unwritten < 0:
            # With as many requests before it in the same read as may wait, nothing was fed just now.
            self._next()

    def _fail_body(self, stream: Http1Stream | None, failure: Failure) -> None:
        """Refuse what is arriving: the request whose body it is (None: a head), and whatever would follow."""
        self._reader.stream = None
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
            head = self._reader.refused_head()
        self._stopped = True
        self._reader.in_head = False
        stream = Http1Stream(self, head, False, self.started or monotonic())
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

    def judge_again(self) -> None:
        """Judge the requests that wait by the names that count now."""
        for stream in self._queue:
            stream.trailers = self.rules.heads.judge_again(stream.head, stream.trailers)

    # -- after an answer -------------------------------------------------------------------------------------------

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
            self._next()
        elif not reader.in_head:
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

    def _linger(self, arriving: bool = False) -> None:
        """Close our side, and read on so that a reset does not destroy the answer: for long while a body arrives."""
        self._stopped = True
        self.uncork()
        transport = self.transport
        if transport is None:
            return
        if transport.can_write_eof():
            transport.write_eof()
        elif not arriving:
            transport.close()
            return
        # TLS has no half that could be closed: by its length the client knows the answer whole.
        self.resume()
        now = monotonic()
        self._lingers = now + (_LINGER_SECONDS if arriving else _LINGER_SILENCE)
        self.rules.wheel.arm(self, now + _LINGER_SILENCE)

    def _drop(self, size: int) -> None:
        """Take note of what came behind the end; whoever still sends has more time, unless the gateway stops."""
        self._unread += size
        if self._unread > _LINGER_BYTES:
            self.cut()
        elif self._lingers and self._unwritten < 0 and not self.stopping:
            self.deadline = min(monotonic() + _LINGER_SILENCE, self._lingers)

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
            self._paused = True
            if self._reader.pace is not None:
                self._reader.pace.held_back = True
            self.transport.pause_reading()
            self.rules.paused.add(self)

    def resume(self) -> None:
        """Read the socket again, what was held back first; not while as many requests wait as may."""
        if len(self._queue) >= self.rules.limits.max_pipelined:
            return
        if self._paused:
            self._paused = False
            if self._reader.pace is not None:
                self._reader.pace.last_byte = monotonic()
            self.rules.paused.discard(self)
            if self.transport is not None:
                self.transport.resume_reading()
        if self._held and self._reader.parser is not None and not self._stopped:
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
            elif not self._reader.in_head and not self._stopped:
                self.rules.wheel.arm(self, now + limits.keepalive_timeout)
            if self._paused or self._held:
                self.resume()
        elif stream is not None and stream.source is not None:
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
            if not transport.get_write_buffer_size():
                self._hang_up(transport, now)
                return
            # Our answer is still on its way: it may take its time as long as it moves.
            self._unwritten = transport.get_write_buffer_size()
            self.rules.wheel.arm(self, now + self.rules.limits.write_timeout)
        elif self._reader.in_head and self._paused:
            # We stopped reading in the middle of it: the time is ours, not the client's.
            self.rules.wheel.arm(self, now + self.rules.limits.header_timeout)
        elif self._reader.in_head:
            self._stop_with(Failure("request_timeout", "head"))
        elif self._reader.stream is not None:
            self._inspect_body(self._reader.stream, now)
        elif self.stream is None:
            self._close()

    def _hang_up(self, transport: asyncio.Transport, now: float) -> None:
        """End what was given its time; over TLS with a word first, for which the client has a moment."""
        if self._lingers and not transport.can_write_eof() and not transport.is_closing():
            self._lingers = 0.0
            transport.close()
            self.rules.wheel.arm(self, now + _LINGER_SILENCE)
        else:
            transport.abort()

    def _inspect_writing(self, transport: asyncio.Transport, now: float) -> None:
        left = transport.get_write_buffer_size()
        if left >= self._unwritten:
            transport.abort()
            return
        self._unwritten = left
        self.rules.wheel.arm(self, now + self.rules.limits.write_timeout)

    def _inspect_body(self, stream: Http1Stream, now: float) -> None:
        pace, limits = self._reader.pace, self.rules.limits
        if pace is not None and pace.is_too_slow(now, stream.bytes_in, self._paused, limits):
            self._fail_body(stream, Failure("request_timeout", "body"))
        else:
            self.rules.wheel.arm(self, next_look(now, limits))
