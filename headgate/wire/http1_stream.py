"""A request and its answer on an HTTP/1 connection: framing, and whether the connection goes on behind it.

Law: an answer that is cut never looks complete, to HTTP/1.0 neither.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from headgate.core.failure import Failure
from headgate.core.message import UNKNOWN_LENGTH, Field, RequestHead, ResponseHead, may_have_body
from headgate.wire import http1
from headgate.wire.stream import ClientStream
from headgate.wire.tunnel import SocketEnd, TunnelEnd

if TYPE_CHECKING:
    from headgate.wire.http1_requests import IncomingRequests

_LINE = b": ".join
# Most answers are short: their length field is written once.
_COMMON = 8192
# Bytes from which on copying a body beside its head costs more than telling the kernel of two pieces.
_LARGE = 4096
_LENGTHS = [b"Content-Length: %d" % length for length in range(_COMMON)]


class Http1Stream(ClientStream):
    """One of the requests that follow each other on a connection. `keep_alive`: others may follow it."""

    __slots__ = ("_chunked", "_client", "keep_alive")

    def __init__(self, connection: IncomingRequests, head: RequestHead, keep_alive: bool, started: float) -> None:
        super().__init__(connection, head, started)
        self._client = connection
        self.keep_alive = keep_alive
        self._chunked = False

    # -- the request body ------------------------------------------------------------------------------------------

    def fail(self, failure: Failure) -> None:
        """Give the request up, and the connection with it: what follows on it is in doubt."""
        if self.failure is None:
            self.keep_alive = False
        super().fail(failure)

    def ask(self) -> None:
        """Tell a client that waits for it to send its body."""
        self._client.write(http1.CONTINUE)

    def pause(self) -> None:
        """Stop reading the client."""
        self._client.pause()

    def resume(self) -> None:
        """Read the client again."""
        self._client.resume()

    # -- the answer ------------------------------------------------------------------------------------------------

    def inform(self, head: ResponseHead) -> None:
        """Pass an interim answer (1xx) on; HTTP/1.0 knows none (RFC 9110 section 15.2)."""
        if self.head.version != "1.0" and not self.responded:
            lines = [http1.STATUS_LINES[head.status], *map(_LINE, head.fields), b"", b""]
            self._client.write(b"\r\n".join(lines))

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
        if not self.ended or self._client.stopping:
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
            self._client.write_both(b"\r\n".join(lines), body)
        else:
            lines.append(body)
            if complete:
                self._client.cork(b"\r\n".join(lines))
            else:
                self._client.write(b"\r\n".join(lines))
        if complete:
            self.done = True
            self._client.answered(self)

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
        self._client.write(b"\r\n".join(lines))

    def detach(self) -> tuple[TunnelEnd | None, bytes]:
        """Leave the socket to a tunnel."""
        transport, ahead = self._client.detach()
        return SocketEnd(self._client, transport) if transport is not None else None, ahead

    def write(self, data: bytes) -> None:
        """Send one piece of the answer's body."""
        self.bytes_out += len(data)
        if self._chunked:
            data = http1.chunk(data)
        self._client.write(data)

    def finish(self, trailers: Sequence[Field] = ()) -> None:
        """End the answer, with those of the trailers that may pass."""
        if self._chunked:
            passed = self._client.rules.heads.passed(trailers) if trailers else ()
            self._client.write(http1.last_chunk(passed) if passed else http1.LAST_CHUNK)
        self._finished()

    def source_failed(self, failure: Failure) -> None:
        """Cut an answer whose rest will not come, so that nobody takes it for complete (RFC 9112 section 8)."""
        self.done = True
        if self.failure is None:
            # The client's connection ends by our hand: that is not its leaving.
            self.failure = failure
        # HTTP/1.0 may take the end of the connection for the end of the body: only a reset is no such end.
        self._client.cut(reset=self.head.version == "1.0")

    def _finished(self) -> None:
        self.done = True
        self._client.answered(self)

    @property
    def gone(self) -> bool:
        """Tell whether the client is no longer there."""
        return self._client.transport is None
