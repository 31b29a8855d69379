"""A connection to an upstream endpoint: one request out, one answer in (wire.http1_answer), then the next.

States: idle (in the pool) -> sent -> head arrived -> ended -> idle; detached after a 101; closed from anywhere.

Law: an answer that is cut never looks complete to its sink. A connection whose answer was not read to its end is
closed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast

from headgate.core.clock import monotonic
from headgate.core.failure import Failure
from headgate.core.message import UNKNOWN_LENGTH, Field, ResponseHead
from headgate.core.steps import Reply
from headgate.wire import http1
from headgate.wire.http1_answer import IncomingHttp1Answer
from headgate.wire.outgoing import Outgoing
from headgate.wire.pipe import Source
from headgate.wire.settings import Timeouts
from headgate.wire.timers import NEVER
from headgate.wire.tunnel import SocketEnd, TunnelEnd

if TYPE_CHECKING:
    from headgate.wire.pool import Pool

HIGH_WATER = 65536


class UpstreamConnection(IncomingHttp1Answer):
    """One connection to one endpoint."""

    __slots__ = (
        "_chunked_out",
        "_corked",
        "_late",
        "_limit",
        "_out_ended",
        "_sent",
        "counted",
        "idle_since",
        "served",
        "source",
        "wheel_at",
    )

    def __init__(self, pool: Pool) -> None:
        super().__init__(pool)
        # Of the connection.
        self.wheel_at = NEVER
        self.served = 0
        # Whether the pool counts it as open, which it does once connecting has ended well.
        self.counted = False
        self.idle_since = 0.0
        # Of the request out.
        self.source: Source | None = None
        # When the exchange has to be over, and what it has failed of then.
        self._limit = NEVER
        self._late = "total_timeout"
        self._sent = False
        self._corked = b""
        self._out_ended = True
        self._chunked_out = False

    # -- the connection --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=HIGH_WATER)

    def eof_received(self) -> bool:
        """Close; `connection_lost` judges whether that was in order."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """End; whoever waits is told."""
        self.transport = None
        self._parser = None
        self.pool.wheel.cancel(self)
        self.pool.lost(self)
        if not self.ended:
            if self._until_close and self._head is not None and exc is None and not self._spoilt:
                self._answer_ended()
            else:
                self.fail("upstream_reset", str(exc or "connection closed"))

    def close(self) -> None:
        """Close at once; what is still on its way is of no interest."""
        self.ended = True
        self._spoilt = True
        self._corked = b""
        self._waiter = self._sink = self._relayed = self.source = None
        if self.transport is not None:
            self.transport.abort()

    def release(self) -> None:
        """Give the connection back after an exchange, to be used again if nothing speaks against it."""
        self.source = None
        self.informed = None
        self._sink = None
        self._request = None
        if self._paused:
            # The end came in the same read that filled the client's buffer.
            self.resume()
        if self.ended and self._out_ended and self._reusable and not self._spoilt and self.transport is not None:
            self.pool.put(self)
        else:
            self.close()

    @property
    def closed(self) -> bool:
        """Tell whether the connection is of no more use."""
        return self._spoilt or self.transport is None or self.transport.is_closing()

    def fail(self, reason: str, detail: str = "") -> None:
        """Tell whoever waits, once, and close."""
        failure = Failure(reason, detail, sent=self._sent, reused=self.served > 1)
        waiter, sink, relayed = self._waiter, self._sink, self._relayed
        self.close()
        if sink is not None:
            sink.source_failed(failure)
        if waiter is not None:
            waiter.fail(failure)
        if relayed is not None:
            relayed.fail(failure)

    # -- the request out, as a sink --------------------------------------------------------------------------------

    def send(self, request: Outgoing, body: bytes, complete: bool, timeouts: Timeouts) -> Reply[ResponseHead]:
        """Send a request with the `body` that is there; `complete`: nothing follows. Returns its answer's head to come.

        The reply may be a Failure that knows whether anything was sent, and whether on a reused connection.
        """
        now = monotonic()
        self.served += 1
        self.bytes_in = 0
        self._request = request
        self._timeouts = timeouts
        self._limit = NEVER
        if timeouts.total:
            self._limit = now + timeouts.total
            self._late = "total_timeout"
        self._out_ended = complete
        self._chunked_out = not complete and request.length == UNKNOWN_LENGTH
        self._head = None
        self._head_bytes = 0
        self._interim = 0
        self._until_close = False
        self._sent = False
        self.ended = False
        self.trailers = []
        self._pieces = None
        waiter: Reply[ResponseHead] = Reply()
        self._waiter = waiter
        self._challenge = request.challenge
        if self.transport is None:
            self.fail("upstream_reset", "closed before sending")
            return waiter
        if complete:
            self._corked = request.encode(self.pool.prefix, self.pool.authority, body, True)
            self.pool.outbox.for_upstream(self)
        else:
            self._sent = True
            self.transport.write(request.encode(self.pool.prefix, self.pool.authority, body, False))
        self.wait_until(now + timeouts.response if complete else NEVER)
        return waiter

    def uncork(self) -> None:
        """Write the request that was held back until the end of this turn of the loop (wire.outbox)."""
        data, self._corked = self._corked, b""
        if data and self.transport is not None:
            self._sent = True
            self.transport.write(data)

    def write(self, data: bytes) -> None:
        """Send one piece of the request's body."""
        if self.transport is not None:
            self.transport.write(http1.chunk(data) if self._chunked_out else data)

    def finish(self, trailers: Sequence[Field] = ()) -> None:
        """End the request's body; from now on the answer is awaited."""
        if not self._out_ended:
            self._out_ended = True
            if self._chunked_out and self.transport is not None:
                self.transport.write(http1.last_chunk(trailers) if trailers else http1.LAST_CHUNK)
            if self._waiter is not None and self._timeouts is not None:
                self.wait_until(monotonic() + self._timeouts.response)

    def may_be_silent(self) -> bool:
        """Tell that the request's body has to come at the pace of any."""
        return False

    def bound(self, until: float, late: str = "total_timeout") -> None:
        """Let the exchange fail with the reason `late` at `until` (monotonic seconds), whatever it waits for then."""
        self._limit = until
        self._late = late
        if not self.ended:
            self.wait_until(self.deadline)

    def loosen(self, until: float, late: str) -> None:
        """Put another bound in place of one that was the head's alone; what is waited for now is the body."""
        self._limit = until
        self._late = late
        if not self.ended:
            self._expect_more()

    def source_failed(self, failure: Failure) -> None:
        """Give the request up: what the upstream has of its body must not look complete."""
        self.close()

    def pause_writing(self) -> None:
        """Learn that the upstream does not keep up: the client waits."""
        if self.source is not None:
            self.source.pause()
        if self._timeouts is not None and not self._out_ended:
            self.wait_until(monotonic() + self._timeouts.idle)

    def resume_writing(self) -> None:
        """Learn that the upstream caught up."""
        if not self._out_ended:
            self.wait_until(NEVER)
        if self.source is not None:
            self.source.resume()

    # -- tunnel ----------------------------------------------------------------------------------------------------

    def detach(self) -> tuple[TunnelEnd | None, bytes]:
        """Leave the socket to a tunnel, with what came behind the 101."""
        return SocketEnd(self, self.transport) if self.transport is not None else None, self.take()

    # -- deadlines -------------------------------------------------------------------------------------------------

    def wait_until(self, deadline: float) -> None:
        self.deadline = deadline = min(deadline, self._limit)
        if deadline < self.wheel_at:
            self.pool.wheel.arm(self, deadline)

    def on_deadline(self, now: float) -> None:
        """Act on the wait that took too long."""
        if self.ended:
            self.close()
        elif now >= self._limit:
            self.fail("request_timeout" if self._awaits_client() else self._late)
        elif self._waiter is not None and self._out_ended:
            self.fail("response_timeout")
        else:
            self.fail("idle_timeout")

    def _awaits_client(self) -> bool:
        """Tell whether the upstream took all there is of a body whose rest its client owes: it is not late then."""
        transport = self.transport
        owed = self._waiter is not None and not self._out_ended and self._late != "deadline_exceeded"
        return owed and transport is not None and not transport.get_write_buffer_size()
