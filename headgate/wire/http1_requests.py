"""What comes on a client's HTTP/1 connection: bytes in, requests to the end of the queue.

That they are served, and in order, is wire.downstream.

States: between requests -> in a head -> in a body (parsed, or only counted when its length is known) -> ...
Beside them: stopped (wire.client_socket), detached (a tunnel has the socket, or HTTP/2).

Laws:
- The parser's callbacks (wire.reader) only record: the handler starts after `feed_data` returned without error.
- At most `max_pipelined` requests are read ahead; behind an error nothing is read.
- Trailers never join the head's fields. An upgrade that is not taken is framed as if it had not been asked for.
"""

from __future__ import annotations

import asyncio
from collections import deque

import httptools

from headgate.core.clock import monotonic
from headgate.core.failure import Failure
from headgate.core.message import RequestHead
from headgate.wire import http1
from headgate.wire.client_socket import ClientSocket
from headgate.wire.http1_stream import Http1Stream
from headgate.wire.http2.connection import Http2Connection
from headgate.wire.http2.guard import PREFACE
from headgate.wire.pace import BodyPace, next_look
from headgate.wire.reader import RequestReader
from headgate.wire.rules import Rules

# Bytes parsed at once while heads are read, so that one large read cannot become thousands of requests.
_SLICE = 16 * 1024
# What the parser says when the preface of HTTP/2 (RFC 9113 section 3.4) has come to its end, and nowhere else.
_PREFACE_CAME = "PRI/Upgrade"
# Seconds that a client has for its first request when the gateway stops: accepted a moment ago, it is on its way.
_FIRST_REQUEST = 1.0


class IncomingRequests(ClientSocket):
    """The half of a client's connection that is read."""

    __slots__ = (
        "_held",
        "_paused",
        "_queue",
        "_reader",
        "_served",
        "_successor",
        "forwarding",
        "started",
        "stream",
    )

    def __init__(self, rules: Rules, address: str) -> None:
        super().__init__(rules, address)
        # Of the connection.
        self.forwarding: object = None
        self._served = 0
        self._paused = False
        self._held = b""
        # Whoever has the socket, once the client has turned out to speak HTTP/2.
        self._successor: Http2Connection | None = None
        # Of the request that is being read.
        self.started = 0.0
        # Of the request that is being answered, and those behind it.
        self.stream: Http1Stream | None = None
        self._queue: deque[Http1Stream] = deque()
        self._reader = RequestReader(self, self._queue)

    # -- for the connection to implement ---------------------------------------------------------------------------

    def serve(self) -> None:
        """Begin the next request; one that was answered at once is followed by the next one here, not deeper down."""
        raise NotImplementedError

    def answered(self, stream: Http1Stream) -> None:
        """Go on with the next request, wait for one, or close."""
        raise NotImplementedError

    # -- reading ---------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take bytes from the socket."""
        if self._stopped:
            self._drop(len(data))
            return
        self.started = monotonic()
        reader = self._reader
        if reader.pace is not None:
            reader.pace.last_byte = self.started
        if self._held or reader.raw_left or len(data) > _SLICE:
            self._feed_in_slices(data)
        else:
            self._feed(data)

    def _feed_in_slices(self, data: bytes) -> None:
        if self._held:
            data, self._held = self._held + data, b""
        reader = self._reader
        view = memoryview(data)
        at = 0
        while at < len(data) and not self._stopped:
            if reader.raw_left:
                at += reader.count(data if at == 0 else bytes(view[at : at + reader.raw_left]))
            elif len(self._queue) >= self.rules.limits.max_pipelined or reader.parser is None:
                # What is held already came before the rest: it stood behind an upgrade.
                self._held += view[at:]
                self.pause()
                return
            else:
                self._feed(bytes(view[at : at + _SLICE]))
                at += _SLICE
        if self._successor is not None and at < len(data):
            self._successor.data_received(bytes(view[at:]))

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
                self.serve()
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
            self.serve()
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
            reader.raw_left = stream.head.length - stream.bytes_in
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
                self.serve()
            return
        self._queue.pop()
        reader.renew()
        self._feed_in_slices(http1.without_upgrade(stream.head, fields) + rest)
        if self._queue and self.stream is None and self._unwritten < 0:
            # With as many requests before it in the same read as may wait, nothing was fed just now.
            self.serve()

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
            self.serve()

    def _inspect_body(self, stream: Http1Stream, now: float) -> None:
        pace, limits = self._reader.pace, self.rules.limits
        if pace is not None and pace.is_too_slow(now, stream.bytes_in, self._paused, limits):
            self._fail_body(stream, Failure("request_timeout", "body"))
        else:
            self.rules.wheel.arm(self, next_look(now, limits))

    # -- flow and the end ------------------------------------------------------------------------------------------

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

    def judge_again(self) -> None:
        """Judge the requests that wait by the names that count now."""
        for stream in self._queue:
            stream.trailers = self.rules.heads.judge_again(stream.head, stream.trailers)

    def detach(self) -> tuple[asyncio.Transport | None, bytes]:
        """Leave the socket to a tunnel; returns it with what was read behind the request."""
        self.uncork()
        held, self._held = self._held, b""
        self.rules.wheel.cancel(self)
        self.rules.paused.discard(self)
        return self.transport, held

    def drain(self) -> None:
        """Close now when idle, else after the answer in progress; a client that has just come may ask once."""
        self.stopping = True
        if self.stream is None and not self._reader.in_head and not self._queue and not self._stopped:
            if self._served:
                self._close()
            else:
                self.rules.wheel.arm(self, monotonic() + _FIRST_REQUEST)

    def end(self) -> None:
        """Close now: visibly where an answer is owed or still on its way, else in good order, TLS included."""
        transport = self.transport
        if transport is not None:
            owed = self.stream is not None or self._queue or self._reader.in_head or transport.get_write_buffer_size()
            self.cut() if owed else self._close()
