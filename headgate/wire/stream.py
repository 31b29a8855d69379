"""One request of a client and the answer to it: what the exchange sees of a downstream HTTP/1 connection.

The request body is a Source: arriving -> ended | failed. The answer is a Sink: unsent -> head sent -> done | cut.
Laws: at most `buffer` bytes of a body wait here before the client is paused; after `done` nothing is written.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from headgate.core.failure import Failure
from headgate.core.message import UNKNOWN_LENGTH, Field, Fields, RequestHead, ResponseHead, may_have_body
from headgate.wire import http1
from headgate.wire.pipe import Sink, Source

if TYPE_CHECKING:
    from headgate.wire.downstream import ClientConnection


_LINE = b": ".join
# Most answers are short: their length field is written once.
_COMMON = 8192
# Bytes from which on copying a body beside its head costs more than telling the kernel of two pieces.
_LARGE = 4096
_LENGTHS = [b"Content-Length: %d" % length for length in range(_COMMON)]


class ClientStream:
    """A request with its body, and its answer."""

    __slots__ = (
        "_buffered",
        "_chunked",
        "_pieces",
        "bytes_in",
        "bytes_out",
        "connection",
        "done",
        "ended",
        "failure",
        "head",
        "keep_alive",
        "max_body",
        "on_failed",
        "responded",
        "sink",
        "source",
        "started",
        "trailers",
    )

    def __init__(self, connection: ClientConnection, head: RequestHead, keep_alive: bool, started: float) -> None:
        self.connection = connection
        self.head = head
        self.keep_alive = keep_alive
        self.started = started
        # The request body.
        self.ended = False
        self.failure: Failure | None = None
        self.max_body = -1
        self.bytes_in = 0
        self.sink: Sink | None = None
        self.on_failed: Callable[[Failure], None] | None = None
        self.trailers: Fields = []
        self._pieces: list[bytes] | None = None
        self._buffered = 0
        # The answer.
        self.source: Source | None = None
        self.responded = False
        self.done = False
        self.bytes_out = 0
        self._chunked = False

    # -- the request body ------------------------------------------------------------------------------------------

    def feed(self, data: bytes) -> None:
        """Take a piece of the body from the connection."""
        if self.failure is not None:
            return
        self.bytes_in += len(data)
        if 0 <= self.max_body < self.bytes_in:
            self.fail(Failure("payload_too_large", f"more than {self.max_body} bytes"))
        elif self.sink is not None:
            self.sink.write(data)
        else:
            if self._pieces is None:
                self._pieces = [data]
            else:
                self._pieces.append(data)
            self._buffered += len(data)
            if self._buffered >= self.connection.rules.limits.buffer:
                self.connection.pause()

    def feed_end(self) -> None:
        """Take the end of the body from the connection."""
        self.ended = True
        if self.sink is not None:
            self.sink.finish(self.trailers)

    def fail(self, failure: Failure) -> None:
        """Give the request up: its body must not look complete to anybody, and its handler is told."""
        if self.failure is not None:
            return
        self.failure = failure
        self.keep_alive = False
        if self.on_failed is not None:
            self.on_failed(failure)

    def limit_body(self, maximum: int) -> None:
        """Bound the body to `maximum` bytes.

        Raises:
            Failure: payload_too_large, when it is known to be larger already.
        """
        self.max_body = maximum
        if self.head.length > maximum or self.bytes_in > maximum:
            raise Failure("payload_too_large", f"more than {maximum} bytes")

    def take(self) -> bytes:
        """Return what has arrived and was not taken yet, and make room for more."""
        pieces = self._pieces
        if pieces is None:
            return b""
        self._pieces = None
        buffered, self._buffered = self._buffered, 0
        if buffered >= self.connection.rules.limits.buffer:
            self.connection.resume()
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def peek(self) -> bytes:
        """Return what `take` would, and leave it."""
        return b"".join(self._pieces) if self._pieces is not None else b""

    def give_back(self, pieces: list[bytes]) -> None:
        """Hold again what was sent to a sink, which gets no more: it is the next to be taken, and fills the buffer."""
        self.sink = None
        if pieces:
            self._pieces = pieces
            self._buffered = sum(map(len, pieces))

    def pipe_to(self, sink: Sink) -> None:
        """Send the rest of the body to `sink` as it arrives; ask for it if the client waits for 100-continue."""
        rest = self.take()
        self.sink = sink
        if rest:
            sink.write(rest)
        if self.ended:
            sink.finish(self.trailers)
        elif self.head.expects_continue and not self.bytes_in and not self.responded:
            self.connection.write(http1.CONTINUE)

    def pause(self) -> None:
        """Stop reading the client."""
        self.connection.pause()

    def resume(self) -> None:
        """Read the client again."""
        self.connection.resume()

    # -- the answer ------------------------------------------------------------------------------------------------

    def inform(self, head: ResponseHead) -> None:
        """Pass an interim answer (1xx) on; HTTP/1.0 knows none (RFC 9110 section 15.2)."""
        if self.head.version != "1.0" and not self.responded:
            lines = [http1.STATUS_LINES[head.status], *map(_LINE, head.fields), b"", b""]
            self.connection.write(b"\r\n".join(lines))

    def respond(self, head: ResponseHead, body: bytes, complete: bool) -> None:
        """Send the head with the `body` that is there; `complete`: nothing follows."""
        self.responded = True
        lines = [http1.STATUS_LINES[head.status]]
        lines += map(_LINE, head.fields)
        lines += head.blocks
        length = head.length
        if length == UNKNOWN_LENGTH:
            length = self._measure(head.status, body, complete, lines)
        if length >= 0:
            lines.append(_LENGTHS[length] if length < _COMMON else b"Content-Length: %d" % length)
        if not self.ended or self.connection.stopping:
            # The rest of the body was not asked for: RFC 9112 section 9.6, close rather than read it all.
            self.keep_alive = False
        if not self.keep_alive:
            lines.append(b"Connection: close")
        elif self.head.version == "1.0":
            lines.append(b"Connection: keep-alive")
        lines.append(b"")
        if body:
            self.bytes_out += len(body)
            if self._chunked:
                body = http1.chunk(body)
        if len(body) > _LARGE:
            lines.append(b"")
            self.connection.write_both(b"\r\n".join(lines), body)
        else:
            lines.append(body)
            if complete:
                self.connection.cork(b"\r\n".join(lines))
            else:
                self.connection.write(b"\r\n".join(lines))
        if complete:
            self.done = True
            self.connection.answered(self)

    def _measure(self, status: int, body: bytes, complete: bool, lines: list[bytes]) -> int:
        """Choose the framing of an answer that does not say its length."""
        if not may_have_body(self.head.method, status):
            return UNKNOWN_LENGTH
        if complete:
            return len(body)
        if self.head.version == "1.0":
            self.keep_alive = False
        else:
            self._chunked = True
            lines.append(b"Transfer-Encoding: chunked")
        return UNKNOWN_LENGTH

    def switch(self, head: ResponseHead) -> None:
        """Answer 101; the socket then belongs to a tunnel."""
        self.responded = self.done = True
        lines = [http1.STATUS_LINES[101], *map(_LINE, head.fields), *head.blocks, b"Connection: Upgrade"]
        lines += (b"Upgrade: " + head.upgrade, b"", b"")
        self.connection.write(b"\r\n".join(lines))

    def write(self, data: bytes) -> None:
        """Send one piece of the answer's body."""
        self.bytes_out += len(data)
        if self._chunked:
            data = http1.chunk(data)
        self.connection.write(data)

    def finish(self, trailers: Sequence[Field] = ()) -> None:
        """End the answer, with those of the trailers that may pass."""
        if self._chunked:
            passed = self.connection.rules.heads.passed(trailers) if trailers else ()
            self.connection.write(http1.last_chunk(passed) if passed else http1.LAST_CHUNK)
        self._finished()

    def source_failed(self, failure: Failure) -> None:
        """Cut an answer whose rest will not come, so that nobody takes it for complete (RFC 9112 section 8)."""
        self.done = True
        if self.failure is None:
            # The client's connection ends by our hand: that is not its leaving.
            self.failure = failure
        # HTTP/1.0 may take the end of the connection for the end of the body: only a reset is no such end.
        self.connection.cut(reset=self.head.version == "1.0")

    def _finished(self) -> None:
        self.done = True
        self.connection.answered(self)

    @property
    def gone(self) -> bool:
        """Tell whether the client is no longer there."""
        return self.connection.transport is None
