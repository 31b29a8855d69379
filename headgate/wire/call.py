"""One request on its way to an endpoint, and its answer: what the exchange sees of a connection of any version.

    call = pool.take(...) or await pool.connecting(...)
    head = await call.send(request, body, complete, timeouts)
    call.take(), and unless it has `ended`: await call.relay(sink)
    call.release()

Over HTTP/1 the connection itself is the call, one after the other (wire.upstream); over HTTP/2 each call is a stream of
a connection that it shares with others (wire.http2.upstream_stream).

Laws: a call is a Sink for the rest of the request's body and a Source of the answer's; an answer that is cut never
looks complete to its sink; a call whose answer was not read to its end is of no further use to anybody.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from headgate.core.message import Fields, ResponseHead
from headgate.core.steps import Reply
from headgate.wire.pipe import Sink, Source

if TYPE_CHECKING:
    from headgate.wire.outgoing import Outgoing
    from headgate.wire.settings import Timeouts
    from headgate.wire.tunnel import TunnelEnd


class Call(Sink, Source, Protocol):
    """A request and its answer.

    `source`: where the rest of the request's body comes from; `informed` is told of interim answers (1xx).
    `served`: requests that its connection was given, this one included. `answered_at`: when the answer's head came
    (monotonic seconds). `ended`: all of the answer is here; `trailers` came behind it. `bytes_in`: of the answer.
    """

    source: Source | None
    informed: Callable[[ResponseHead], None] | None
    served: int
    answered_at: float
    ended: bool
    trailers: Fields
    bytes_in: int

    def send(self, request: Outgoing, body: bytes, complete: bool, timeouts: Timeouts) -> Reply[ResponseHead]:
        """Send a request with the `body` that is there; `complete`: nothing follows. Returns its answer's head to come.

        The reply may be a Failure that knows whether anything was sent, and whether on a reused connection.
        """

    def may_be_silent(self) -> bool:
        """Tell whether it ends by itself only when neither side has said anything for a while, as calls of gRPC do."""

    def bound(self, until: float, late: str = "total_timeout") -> None:
        """Let the exchange fail with the reason `late` at `until` (monotonic seconds), whatever it waits for then."""

    def loosen(self, until: float, late: str) -> None:
        """Put another bound in place of one that was the head's alone; what is waited for now is the body."""

    def take(self) -> bytes:
        """Return what has arrived of the answer's body and was not taken yet."""

    def relay(self, sink: Sink) -> Reply[None]:
        """Send the rest of the answer to `sink` as it arrives. The reply comes with its end, or is its Failure."""

    def release(self) -> None:
        """Be done with the exchange: what carried it may carry others, if nothing speaks against it."""

    def close(self) -> None:
        """Give up at once; what is still on its way is of no interest."""

    def detach(self) -> tuple[TunnelEnd | None, bytes]:
        """Leave what carried a 101 to a tunnel, with what came behind the head; None when the upstream is gone."""
