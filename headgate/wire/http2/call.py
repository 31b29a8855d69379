"""A request on a stream of an HTTP/2 connection to an upstream, and its answer.

States: begun (a place is taken) -> sent -> head arrived -> ended -> left; closed from anywhere, resetting the stream.

Laws:
- A call leaves its place once, whatever becomes of it; nothing is heard of it afterwards.
- What the upstream says it has not processed (RFC 9113 section 8.7: REFUSED_STREAM, or a GOAWAY below the stream) was
  not sent: any method may be tried again.
- An answer that is reset, or that differs from its Content-Length, never looks complete to its sink.
"""

from __future__ import annotations

from asyncio import Transport
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes

from headgate.core.clock import monotonic
from headgate.core.failure import Failure
from headgate.core.message import UNKNOWN_LENGTH, Field, Fields, ResponseHead, may_have_body
from headgate.core.steps import Reply
from headgate.wire.http2.encoding import encode, encode_lines, parse_lines
from headgate.wire.http2.head import response_head, response_trailers
from headgate.wire.http2.lane import Lane
from headgate.wire.outgoing import Outgoing
from headgate.wire.pipe import Sink, Source
from headgate.wire.settings import Timeouts
from headgate.wire.timers import NEVER

if TYPE_CHECKING:
    from headgate.wire.http2.upstream import Http2Upstream
    from headgate.wire.tunnel import Owner

_MAX_INTERIM = 16
# Bytes of an answer that wait for somebody to take them before the upstream has to wait, too.
_MOST_WAITING = 65536
# RFC 9110 section 8.6: methods that anticipate content say so when it is empty.
_SAY_EMPTY = frozenset(("POST", "PUT", "PATCH"))
_TE = (b"te", b"trailers")
_REFUSED = int(ErrorCodes.REFUSED_STREAM)
_NO_ERROR = int(ErrorCodes.NO_ERROR)
_NAMES = {int(code): code.name for code in ErrorCodes}


class Http2Call:
    """One request and its answer; see wire.call.Call."""

    __slots__ = (
        "_heard",
        "_interim",
        "_late",
        "_left",
        "_limit",
        "_out_ended",
        "_paused",
        "_pieces",
        "_relayed",
        "_request",
        "_sink",
        "_timeouts",
        "_uncounted",
        "_waiter",
        "_waiting",
        "answered_at",
        "bytes_in",
        "deadline",
        "ended",
        "gone",
        "head",
        "informed",
        "lane",
        "link",
        "served",
        "source",
        "trailers",
        "wheel_at",
    )

    def __init__(self, link: Http2Upstream) -> None:
        self.link = link
        self.lane: Lane | None = None
        self.gone = False
        self.deadline = NEVER
        self.wheel_at = NEVER
        self.served = link.served
        # Of the request out.
        self.source: Source | None = None
        self._request: Outgoing | None = None
        self._timeouts: Timeouts | None = None
        # When the exchange has to be over, and what it has failed of then.
        self._limit = NEVER
        self._late = "total_timeout"
        self._out_ended = True
        # How often the connection had been heard when the request was sent.
        self._heard = 0
        # Of the answer in.
        self.head: ResponseHead | None = None
        self.ended = True
        self.bytes_in = 0
        self.answered_at = 0.0
        self.informed: Callable[[ResponseHead], None] | None = None
        self.trailers: Fields = []
        self._interim = 0
        # Bytes that are still to come by the answer's length; or none is known.
        self._left = 0
        self._uncounted = True
        self._waiter: Reply[ResponseHead] | None = None
        self._pieces: list[bytes] | None = None
        self._waiting = 0
        self._sink: Sink | None = None
        self._relayed: Reply[None] | None = None
        self._paused = False

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

    def _broken(self, detail: str) -> None:
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
        self._request = request
        self._timeouts = timeouts
        self.ended = False
        self._out_ended = complete
        if timeouts.total:
            self._limit = now + timeouts.total
        self.served = link.sends()
        self._heard = link.heard
        try:
            self.lane = lane = link.open_lane(self)
        except Failure as failure:
            self._fail(failure.reason, failure.detail, sent=False, reused=self.served > 1)
            return waiter
        block = self._block(request, body, complete)
        if not complete:
            link.send_head(lane, block, False)
            if body:
                lane.write(body)
        elif body:
            link.send_whole(lane, block, body)
        else:
            link.send_head(lane, block, True)
        self._wait_until(now + timeouts.response if complete else NEVER)
        return waiter

    def _block(self, request: Outgoing, body: bytes, complete: bool) -> bytes:
        """Write the head of the request."""
        pool = self.link.pool
        start: Fields = [
            (b":method", request.method.encode()),
            (b":scheme", pool.scheme),
            (b":authority", request.authority or pool.authority),
            (b":path", pool.prefix + request.target if pool.prefix else request.target),
        ]
        block = encode(encode(b"", start), request.fields)
        if request.block:
            block += encode_lines(request.block)
        if request.trace:
            block += encode(b"", parse_lines(request.trace))
        length = request.length
        if length == UNKNOWN_LENGTH and complete:
            length = len(body)
        rest: Fields = []
        if length > 0 or (length == 0 and request.method in _SAY_EMPTY):
            rest.append((b"content-length", b"%d" % length))
        if request.grpc:
            # What servers of gRPC ask for: nobody on the way may drop the trailers that hold the status.
            rest.append(_TE)
        return encode(block, rest) if rest else block

    def write(self, data: bytes) -> None:
        """Send one piece of the request's body."""
        if self.lane is not None:
            self.lane.write(data)

    def finish(self, trailers: Sequence[Field] = ()) -> None:
        """End the request's body; from now on the answer is awaited."""
        if not self._out_ended:
            self._out_ended = True
            if self.lane is not None:
                self.lane.finish(trailers)
            if self._waiter is not None and self._timeouts is not None:
                self._wait_until(monotonic() + self._timeouts.response)

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
            self._expect_more()

    def source_failed(self, failure: Failure) -> None:
        """Give the request up: what the upstream has of its body must not look complete."""
        self.close()

    def stalled(self) -> None:
        """Learn that the upstream does not take what there is of the request."""
        if self._timeouts is not None and not self._out_ended:
            self._wait_until(monotonic() + self._timeouts.idle)

    def moved(self) -> None:
        """Learn that the upstream took all there was."""
        if not self._out_ended:
            self._wait_until(NEVER)

    # -- the answer in, as a source --------------------------------------------------------------------------------

    def interim_came(self, fields: Fields) -> None:
        """Take the head of an interim answer."""
        request = self._request
        if self.gone or request is None:
            return
        self._interim += 1
        if self._interim > _MAX_INTERIM:
            self._broken("too many interim answers")
            return
        try:
            head = response_head(fields, self.link.pool.answers.kinds, request.method, False)
        except Failure as failure:
            self._broken(failure.detail)
            return
        if head.status != 100 and self.informed is not None:
            self.informed(head)

    def head_came(self, fields: Fields, ended: bool) -> bool:
        """Take the head of the answer; tell whether there is one for whoever waits (`arrived`)."""
        request = self._request
        if self.gone or request is None:
            return False
        try:
            self.head = head = response_head(fields, self.link.pool.answers.kinds, request.method, ended)
        except Failure as failure:
            self._broken(failure.detail)
            return False
        if head.length >= 0 and may_have_body(request.method, head.status):
            self._uncounted = False
            self._left = head.length
        return True

    def arrived(self) -> None:
        """Let whoever waits for the head go on; as much of the answer as came with it is here."""
        waiter, head = self._waiter, self.head
        if waiter is None or head is None:
            return
        self._waiter = None
        self.answered_at = monotonic()
        if not self.ended:
            self._expect_more()
        waiter.set(head)

    def data_came(self, data: bytes) -> None:
        """Take one piece of the body."""
        if self.ended:
            return
        size = len(data)
        self.bytes_in += size
        if not self._uncounted:
            self._left -= size
            if self._left < 0:
                self._broken("more than its Content-Length")
                return
        if self._waiter is None:
            self._expect_more()
        if self._sink is not None:
            self._sink.write(data)
            return
        if self._pieces is None:
            self._pieces = [data]
        else:
            self._pieces.append(data)
        self._waiting += size
        if self._waiting >= _MOST_WAITING and self.lane is not None:
            self.lane.hold()

    def end_came(self, trailers: Fields) -> None:
        """Take the end of the answer."""
        if self.ended:
            return
        if not self._uncounted and self._left:
            self._broken("less than its Content-Length")
            return
        if trailers:
            try:
                self.trailers = response_trailers(trailers)
            except Failure as failure:
                self._broken(failure.detail)
                return
        self.ended = True
        self.deadline = NEVER
        if self._relayed is not None:
            self._answer_ended()

    def reset_came(self, code: int) -> None:
        """Learn that the upstream has reset the stream."""
        if self.gone:
            return
        if code == _NO_ERROR and self.ended:
            # RFC 9113 section 8.1: the answer is whole, and the rest of the request is not wanted.
            self._out_ended = True
            return
        if code == _REFUSED and self.head is None:
            self._fail("upstream_reset", "not processed", sent=False)
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

    def _answer_ended(self) -> None:
        sink, self._sink = self._sink, None
        relayed, self._relayed = self._relayed, None
        if sink is not None:
            sink.finish(self.trailers)
        if relayed is not None:
            relayed.set(None)

    def take(self) -> bytes:
        """Return what has arrived of the answer's body and was not taken yet."""
        pieces, self._pieces = self._pieces, None
        if pieces is None:
            return b""
        if self._waiting >= _MOST_WAITING and self.lane is not None and not self._paused:
            self.lane.let_go()
        self._waiting = 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def relay(self, sink: Sink) -> Reply[None]:
        """Send the rest of the answer to `sink` as it arrives. The reply comes with its end, or is its Failure."""
        relayed: Reply[None] = Reply()
        self._relayed = relayed
        self._sink = sink
        rest = self.take()
        if rest:
            sink.write(rest)
        if self.ended:
            self._answer_ended()
        return relayed

    def pause(self) -> None:
        """Take no more of the answer; the wait is now the client's, not the upstream's."""
        if not self._paused and not self.ended and self.lane is not None:
            self._paused = True
            self.deadline = NEVER
            self.lane.hold()

    def resume(self) -> None:
        """Take the answer again."""
        if self._paused:
            self._paused = False
            if self.lane is not None and not self.gone:
                self.lane.let_go()
                if not self.ended:
                    self._expect_more()

    def detach(self) -> tuple[Owner, Transport | None, bytes]:
        """Leave what carried a 101 to a tunnel."""
        raise NotImplementedError

    # -- deadlines -------------------------------------------------------------------------------------------------

    def _expect_more(self) -> None:
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
        else:
            self._fail("idle_timeout")
        if not heard:
            self.link.doubt()

    def _awaits_client(self) -> bool:
        """Tell whether the upstream took all there is of a body whose rest its client owes: it is not late then."""
        owed = self._waiter is not None and not self._out_ended and self._late != "deadline_exceeded"
        return owed and self.lane is not None and not self.lane.queued
