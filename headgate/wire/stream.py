"""One request of a client and the answer to it: what the exchange sees of a downstream connection, of any version.

The request body is a Source: arriving -> ended | failed. The answer is a Sink: unsent -> head sent -> done | cut.
Laws: at most `buffer` bytes of a body wait here before the client is paused; after `done` nothing is written. Nothing
here knows a version of HTTP: how an answer is written, and what a pause does, stands in wire.http1_stream and
wire.http2.stream.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from headgate.core.failure import Failure
from headgate.core.message import Field, Fields, RequestHead, ResponseHead
from headgate.wire.pieces import keep
from headgate.wire.pipe import Sink, Source

if TYPE_CHECKING:
    from headgate.wire.rules import Rules
    from headgate.wire.tunnel import TunnelEnd


class Downstream(Protocol):
    """A client's connection, as far as the exchange and its listener know it.

    `address` is the client's; `forwarding` belongs to whoever works out who the client is (wire.forwarded);
    `stopping`: it ends with its next answer; `certificate`: what the client has shown (wire.tls.certificate_shown).
    """

    address: str
    rules: Rules
    forwarding: object
    stopping: bool

    @property
    def certificate(self) -> bytes:
        """Return what is known of the client's certificate; empty when it has shown none."""

    def judge_again(self) -> None:
        """Judge requests that wait by the names that count now."""

    def drain(self) -> None:
        """Close now when idle, else after what is in progress."""

    def end(self) -> None:
        """Close now: visibly where an answer is owed, else in good order."""


class ClientStream:
    """A request with its body, and its answer."""

    __slots__ = (
        "_buffered",
        "_pieces",
        "bytes_in",
        "bytes_out",
        "connection",
        "done",
        "ended",
        "failure",
        "head",
        "max_body",
        "on_failed",
        "responded",
        "sink",
        "source",
        "started",
        "trailers",
    )

    def __init__(self, connection: Downstream, head: RequestHead, started: float) -> None:
        self.connection = connection
        self.head = head
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
                keep(self._pieces, data)
            self._buffered += len(data)
            if self._buffered >= self.connection.rules.limits.buffer:
                self.pause()

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
            self.resume()
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
            self.ask()

    def ask(self) -> None:
        """Tell a client that waits for it to send its body (RFC 9110 section 10.1.1)."""
        raise NotImplementedError

    def pause(self) -> None:
        """Stop taking the body from the client."""
        raise NotImplementedError

    def resume(self) -> None:
        """Take the body from the client again."""
        raise NotImplementedError

    def may_be_silent(self) -> None:
        """Have no eye on the pace of the body: others have, because the answer may come meanwhile."""

    # -- the answer ------------------------------------------------------------------------------------------------

    def inform(self, head: ResponseHead) -> None:
        """Pass an interim answer (1xx) on, if this client can take one."""
        raise NotImplementedError

    def respond(self, head: ResponseHead, body: bytes, complete: bool) -> None:
        """Send the head with the `body` that is there; `complete`: nothing follows."""
        raise NotImplementedError

    def switch(self, head: ResponseHead) -> None:
        """Answer that the protocol is changed (a 101); what follows belongs to a tunnel."""
        raise NotImplementedError

    def detach(self) -> tuple[TunnelEnd | None, bytes]:
        """Leave what carried the request to a tunnel, with what was read ahead; None when the client is gone."""
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        """Send one piece of the answer's body."""
        raise NotImplementedError

    def finish(self, trailers: Sequence[Field] = ()) -> None:
        """End the answer, with those of the trailers that may pass."""
        raise NotImplementedError

    def source_failed(self, failure: Failure) -> None:
        """Cut an answer whose rest will not come, so that nobody takes it for complete (RFC 9112 section 8)."""
        raise NotImplementedError

    @property
    def gone(self) -> bool:
        """Tell whether the client is no longer there."""
        raise NotImplementedError
