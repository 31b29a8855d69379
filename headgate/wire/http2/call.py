"""A request on a stream of an HTTP/2 connection to an upstream, and its answer (wire.http2.answer).

States: begun (a place is taken) -> sent -> head arrived -> ended -> left; closed from anywhere, resetting the stream.

Laws:
- A call leaves its place once, whatever becomes of it; nothing is heard of it afterwards.
- What the upstream says it has not processed (RFC 9113 section 8.7: REFUSED_STREAM, or a GOAWAY below the stream) was
  not sent: any method may be tried again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes

from headgate.core.clock import monotonic
from headgate.core.failure import Failure
from headgate.core.message import UNKNOWN_LENGTH, Field, Fields, ResponseHead, first
from headgate.core.steps import Reply
from headgate.wire.challenge import accept
from headgate.wire.http2.answer import IncomingAnswer
from headgate.wire.http2.encoding import encode, encode_lines, parse_lines
from headgate.wire.http2.end import LaneEnd
from headgate.wire.outgoing import SAY_EMPTY, Outgoing
from headgate.wire.pipe import Source
from headgate.wire.settings import Timeouts
from headgate.wire.timers import NEVER

if TYPE_CHECKING:
    from headgate.wire.http2.upstream import Http2Upstream
    from headgate.wire.tunnel import TunnelEnd

_TE = (b"te", b"trailers")
_REFUSED = int(ErrorCodes.REFUSED_STREAM)
_NO_ERROR = int(ErrorCodes.NO_ERROR)
_NAMES = {int(code): code.name for code in ErrorCodes}


class Http2Call(IncomingAnswer):
    """One request and its answer; see wire.call.Call."""

    __slots__ = (
        "_heard",
        "_is_call",
        "_key",
        "_late",
        "_limit",
        "_out_ended",
        "_timeouts",
        "_upgrade",
        "_waiter",
        "deadline",
        "link",
        "served",
        "source",
        "wheel_at",
    )

    def __init__(self, link: Http2Upstream) -> None:
        super().__init__(link.pool.answers.kinds)
        self.link = link
        self.deadline = NEVER
        self.wheel_at = NEVER
        self.served = link.served
        self.source: Source | None = None
        self._timeouts: Timeouts | None = None
        # When the exchange has to be over, and what it has failed of then.
        self._limit = NEVER
        self._late = "total_timeout"
        self._out_ended = True
        # Of gRPC: either side may be silent for long while the other one speaks.
        self._is_call = False
        # How often the connection had been heard when the request was sent.
        self._heard = 0
        # Of a tunnel that is asked for: the protocol, and the key of a client's WebSocket over HTTP/1.1.
        self._upgrade = b""
        self._key = b""
        self._waiter: Reply[ResponseHead] | None = None

    # -- the end ---------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Give up at once; what is still on its way is of no interest."""
        self.ended = True
        self._waiter = self._sink = self._relayed = self.source = None
        self._leave(ErrorCodes.CANCEL)

    def release(self) -> None:
        """Be done with the exchange; a request of which the upstream did not want the rest ends here."""
        complete = self.ended and self._out_ended
        self.ended = True
        self.source = self.informed = self._sink = None
        self._leave(ErrorCodes.NO_ERROR if complete else ErrorCodes.CANCEL)

    def _leave(self, code: ErrorCodes) -> None:
        """Give the place up; the upstream is told where it could not know."""
        if self.gone:
            return
        self.gone = True
        self._pieces = None
        if self.wheel_at != NEVER:
            self.link.pool.wheel.cancel(self)
        if self.lane is not None and not self.lane.closed:
            self.lane.reset(code)
        self.link.left()

    def _fail(self, reason: str, detail: str = "", sent: bool = True, reused: bool = False) -> None:
        """Tell whoever waits, once, and close."""
        failure = Failure(reason, detail, sent=sent, reused=reused)
        waiter, sink, relayed = self._waiter, self._sink, self._relayed
        self.close()
        if sink is not None:
            sink.source_failed(failure)
        if waiter is not None:
            waiter.fail(failure)
        if relayed is not None:
            relayed.fail(failure)

    def broken(self, detail: str) -> None:
        """Reset an answer that is none."""
        if self.lane is not None and not self.lane.closed:
            self.lane.reset(ErrorCodes.PROTOCOL_ERROR)
        self._fail("upstream_protocol", detail)

    # -- the request out, as a sink --------------------------------------------------------------------------------

    def send(self, request: Outgoing, body: bytes, complete: bool, timeouts: Timeouts) -> Reply[ResponseHead]:
        """Send a request with the `body` that is there; `complete`: nothing follows. Returns its answer's head to come.

        The reply may be a Failure that knows whether anything was sent, and whether on a reused connection.
        """
        now, link = monotonic(), self.link
        waiter: Reply[ResponseHead] = Reply()
        self._waiter = waiter
        self.method = request.method
        self._upgrade = request.upgrade
        self._timeouts = timeouts
        self.ended = False
        self._out_ended = complete
        if timeouts.total:
            self._limit = now + timeouts.total
        self.served = link.sends()
        self._heard = link.heard
        if request.upgrade and not link.tunnels:
            self._fail("upstream_protocol", "takes no extended CONNECT (RFC 8441)", sent=False)
            return waiter
        try:
            self.lane = lane = link.open_lane(self)
        except Failure as failure:
            self._fail(failure.reason, failure.detail, sent=False, reused=self.served > 1)
            link.doubt()
            return waiter
        block = self._block(request, body, complete)
        if not complete or request.upgrade:
            link.send_head(lane, block, False)
            if body:
                lane.write(body)
        elif body:
            link.send_whole(lane, block, body)
        else:
            link.send_head(lane, block, True)
        self._is_call = request.grpc
        if complete:
            self._wait_until(now + timeouts.response)
        elif request.grpc:
            self._wait_until(now + timeouts.idle)
        else:
            self._wait_until(NEVER)
        return waiter

    def _block(self, request: Outgoing, body: bytes, complete: bool) -> bytes:
        """Write the head of the request."""
        pool = self.link.pool
        fields = request.fields
        start: Fields = [
            (b":method", b"CONNECT" if request.upgrade else request.method.encode()),
            (b":scheme", pool.scheme),
            (b":authority", request.authority or pool.authority),
            (b":path", pool.prefix + request.target if pool.prefix else request.target),
        ]
        if request.upgrade:
            # RFC 8441 section 5; the key of HTTP/1.1 is answered by us.
            start.append((b":protocol", request.upgrade))
            self._key = first(fields, b"sec-websocket-key") or b""
            fields = [field for field in fields if field[0].lower() != b"sec-websocket-key"]
        block = encode(encode(b"", start), fields)
        if request.block:
            block += encode_lines(request.block)
        if request.trace:
            block += encode(b"", parse_lines(request.trace))
        length = request.length
        if length == UNKNOWN_LENGTH and complete:
            length = len(body)
        rest: Fields = []
        if length > 0 or (length == 0 and request.method in SAY_EMPTY):
            rest.append((b"content-length", b"%d" % length))
        if request.grpc:
            # What servers of gRPC ask for: nobody on the way may drop the trailers that hold the status.
            rest.append(_TE)
        return encode(block, rest) if rest else block

    def write(self, data: bytes) -> None:
        """Send one piece of the request's body."""
        if self.lane is not None:
            self.lane.write(data)
        if self._is_call and not self.ended:
            self.expect_more()

    def finish(self, trailers: Sequence[Field] = ()) -> None:
        """End the request's body; from now on the answer is awaited."""
        if not self._out_ended:
            self._out_ended = True
            if self.lane is not None:
                self.lane.finish(trailers)
            if self._waiter is not None and self._timeouts is not None:
                self._wait_until(monotonic() + self._timeouts.response)

    def may_be_silent(self) -> bool:
        """Tell whether either side may be silent while the other one speaks."""
        return self._is_call

    def bound(self, until: float, late: str = "total_timeout") -> None:
        """Let the exchange fail with the reason `late` at `until` (monotonic seconds), whatever it waits for then."""
        self._limit = until
        self._late = late
        if not self.ended:
            self._wait_until(self.deadline)

    def loosen(self, until: float, late: str) -> None:
        """Put another bound in place of one that was the head's alone; what is waited for now is the body."""
        self._limit = until
        self._late = late
        if not self.ended:
            self.expect_more()

    def source_failed(self, failure: Failure) -> None:
        """Give the request up: what the upstream has of its body must not look complete."""
        self.close()

    def stalled(self) -> None:
        """Learn that the upstream does not take what there is of the request."""
        if self._timeouts is not None and not self._out_ended:
            self._wait_until(monotonic() + self._timeouts.idle)

    def moved(self) -> None:
        """Learn that the upstream took all there was."""
        if self._is_call and not self.ended:
            self.expect_more()
        elif not self._out_ended:
            self._wait_until(NEVER)

    def ended_first(self) -> None:
        """The request is sent; its answer is what is waited for."""

    def lane_closed(self) -> None:
        """What ended it has told, or tells now."""

    def detach(self) -> tuple[TunnelEnd | None, bytes]:
        """Leave the stream to a tunnel, with what came behind the head; the place is given up when that is over."""
        lane = self.lane
        if lane is None or lane.closed or self.gone:
            return None, b""
        behind = self.take()
        self.ended = True
        self.rest()
        return LaneEnd(lane, ErrorCodes.CANCEL, self.release), behind

    # -- the answer in ---------------------------------------------------------------------------------------------

    def arrived(self) -> None:
        """Let whoever waits for the head go on; as much of the answer as came with it is here."""
        waiter, head = self._waiter, self.head
        if waiter is None or head is None:
            return
        self._waiter = None
        self.answered_at = monotonic()
        if self._upgrade and 200 <= head.status < 300:
            self._switched(head)
        elif not self.ended:
            self.expect_more()
        waiter.set(head)

    def _switched(self, head: ResponseHead) -> None:
        """Make of the answer to an extended CONNECT the 101 that it stands for (RFC 8441 section 5)."""
        head.status = 101
        head.upgrade = self._upgrade
        if self._key:
            head.fields.append((b"Sec-WebSocket-Accept", accept(self._key)))
        self.rest()

    def reset_came(self, code: int) -> None:
        """Learn that the upstream has reset the stream."""
        if self.gone:
            return
        if code == _NO_ERROR and self.ended:
            # RFC 9113 section 8.1: the answer is whole, and the rest of the request is not wanted.
            self._out_ended = True
            return
        if code == _REFUSED and self.head is None:
            # Behind a GOAWAY of a connection that served others, it only came too late; it is not refused as too much.
            self._fail("upstream_reset", "not processed", sent=False, reused=self.link.peer_last > 0)
        else:
            self._fail("upstream_reset", f"stream reset with {_NAMES.get(code, hex(code))}")

    def link_lost(self, why: str) -> None:
        """Learn that the connection is gone."""
        if self.ended:
            return
        link = self.link
        if link.broken:
            self._fail("upstream_protocol", why)
        else:
            # Nothing was heard since: it may have been closed before the request was there.
            self._fail("upstream_reset", why, reused=self.served > 1 and self._heard == link.heard)

    # -- deadlines -------------------------------------------------------------------------------------------------

    def rest(self) -> None:
        """Wait for nothing."""
        self.deadline = NEVER

    def expect_more(self) -> None:
        """Wait for the next piece, for a while."""
        if self._timeouts is not None and not self._paused:
            self._wait_until(monotonic() + self._timeouts.idle)

    def _wait_until(self, deadline: float) -> None:
        self.deadline = deadline = min(deadline, self._limit)
        if deadline < self.wheel_at and not self.gone:
            self.link.pool.wheel.arm(self, deadline)

    def on_deadline(self, now: float) -> None:
        """Act on the wait that took too long."""
        if self.ended:
            return
        heard = self._heard != self.link.heard
        if now >= self._limit:
            self._fail("request_timeout" if self._awaits_client() else self._late)
        elif self._waiter is not None and self._out_ended:
            self._fail("response_timeout")
        elif self._is_call and not self._out_ended and self.lane is not None and not self.lane.queued:
            # Both are silent, and either might speak: the upstream is not to blame.
            self._fail("request_timeout", "a silent call")
        else:
            self._fail("idle_timeout")
        if not heard:
            self.link.doubt()

    def _awaits_client(self) -> bool:
        """Tell whether the upstream took all there is of a body whose rest its client owes: it is not late then."""
        owed = self._waiter is not None and not self._out_ended and self._late != "deadline_exceeded"
        return owed and self.lane is not None and not self.lane.queued
