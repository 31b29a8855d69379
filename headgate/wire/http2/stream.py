"""A client's request and its answer on a stream of an HTTP/2 connection.

Laws: an answer that is cut is reset, and so never looks complete. What was not taken of a body is not acknowledged, so
that a client sends no more than the windows say. A request that is answered before its body has come whole is told so
without being cut (RFC 9113 section 8.1: RST_STREAM with NO_ERROR behind the whole answer), a moment later: there are
clients, such as curl 7, that throw the answer away when the reset comes with it, and stop by themselves without.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from h2.errors import ErrorCodes

from headgate.core.failure import Failure
from headgate.core.message import UNKNOWN_LENGTH, Field, Fields, RequestHead, ResponseHead, may_have_body
from headgate.wire.http2.encoding import STATUS, encode, encode_lines, integer
from headgate.wire.http2.end import LaneEnd
from headgate.wire.http2.head import request_trailers, to_keep
from headgate.wire.http2.lane import Lane
from headgate.wire.pace import BodyPace, next_look
from headgate.wire.pipe import Sink, Source
from headgate.wire.stream import ClientStream
from headgate.wire.timers import NEVER

if TYPE_CHECKING:
    from headgate.wire.http2.connection import Http2Connection
    from headgate.wire.tunnel import TunnelEnd

# Most answers are short: their length field is written once.
_COMMON = 8192
# Seconds that a client has to see by itself that it is answered.
_FAREWELL = 1.0


def _length(length: int) -> bytes:
    digits = b"%d" % length
    return integer(28, 4, 0) + integer(len(digits), 7, 0) + digits


_LENGTHS = [_length(length) for length in range(_COMMON)]


class Http2Stream(ClientStream):
    """One of the requests of a connection. `malformed`: RST_STREAM goes behind its answer (RFC 9113 section 8.1.1)."""

    __slots__ = (
        "_client",
        "_pace",
        "_paused",
        "_stalled_at",
        "deadline",
        "lane",
        "malformed",
        "wheel_at",
    )

    def __init__(self, connection: Http2Connection, head: RequestHead, started: float) -> None:
        super().__init__(connection, head, started)
        self._client = connection
        self.lane: Lane | None = None
        self.malformed = False
        self.deadline = NEVER
        self.wheel_at = NEVER
        self._pace: BodyPace | None = None
        self._paused = False
        # Since when bytes of the answer wait for the client's window.
        self._stalled_at = NEVER

    # -- the request body, as it comes -----------------------------------------------------------------------------

    def watch(self) -> None:
        """Have an eye on a body that did not come with its head; nothing of it is acknowledged before it is taken."""
        client = self._client
        self._pace = BodyPace(client.read_at, self.bytes_in, False)
        client.rules.wheel.arm(self, next_look(client.read_at, client.rules.limits))

    def may_be_silent(self) -> None:
        """Watch no more: how long a call is on which nobody says anything, the upstream's side knows."""
        if self._pace is not None:
            self._pace = None
            if self._stalled_at == NEVER:
                self._client.rules.wheel.cancel(self)

    def data_came(self, data: bytes) -> None:
        """Take one piece of the body."""
        if self._pace is not None:
            self._pace.last_byte = self._client.read_at
        if 0 <= self.head.length < self.bytes_in + len(data) and not self.head.upgrade:
            self._mismatched()
        self.feed(data)
        if self.failure is not None and self.lane is not None:
            self.lane.let_go()

    def end_came(self, trailers: Fields) -> None:
        """Take the end of the body, and the trailers behind it."""
        self._pace = None
        if self.deadline != NEVER and self._stalled_at == NEVER:
            self._client.rules.wheel.cancel(self)
        if self.failure is not None or self.head.upgrade:
            return
        if 0 <= self.head.length != self.bytes_in:
            self._mismatched()
            return
        if trailers:
            try:
                self.trailers = request_trailers(self._client.rules.heads, trailers)
            except Failure as failure:
                self._broken(to_keep(failure))
                return
        self.feed_end()

    def _mismatched(self) -> None:
        self._broken(Failure("bad_request", "Content-Length differs from the body"))

    def _broken(self, failure: Failure) -> None:
        # RFC 9113 section 8.1.1: a stream error, behind which an answer may say so. What was begun is given up, as if
        # the client had reset the stream, and is counted as that.
        self.malformed = True
        self.fail(failure)
        self._client.blame()

    def reset_came(self, code: int) -> None:
        """Learn that the client has given the request up."""
        self._over()
        self.fail(Failure("client_closed"))

    def link_lost(self, why: str) -> None:
        """Learn that the client is gone."""
        self._over()
        self.fail(Failure("client_closed"))

    def _over(self) -> None:
        self._pace = None
        self._stalled_at = NEVER
        self._client.rules.wheel.cancel(self)

    # -- the request body, as it is taken --------------------------------------------------------------------------

    def take(self) -> bytes:
        """Return what has arrived and was not taken yet, and make room for more."""
        if self.head.upgrade:
            # No body: it waits for the tunnel, and must never stand behind a request that is asked for one.
            return b""
        data = super().take()
        if data and self.lane is not None:
            self.lane.acknowledge()
        return data

    def give_back(self, pieces: list[bytes]) -> None:
        """Hold again what was sent to a sink, which gets no more."""
        super().give_back(pieces)
        if self.lane is not None:
            self.lane.hold()

    def pipe_to(self, sink: Sink) -> None:
        """Send the rest of the body to `sink` as it arrives; ask for it if the client waits for 100-continue."""
        if self.lane is not None and not self.ended:
            self.lane.let_go()
        super().pipe_to(sink)

    def ask(self) -> None:
        """Tell a client that waits for it to send its body."""
        if self.lane is not None:
            self._client.send_head(self.lane, STATUS[100], False, interim=True)

    def pause(self) -> None:
        """Acknowledge nothing more."""
        self._paused = True
        if self._pace is not None:
            self._pace.held_back = True
        if self.lane is not None:
            self.lane.hold()

    def resume(self) -> None:
        """Let the client send again."""
        self._paused = False
        if self._pace is not None:
            self._pace.last_byte = self._client.now()
        if self.lane is not None and self.sink is not None:
            self.lane.let_go()

    # -- the answer ------------------------------------------------------------------------------------------------

    def inform(self, head: ResponseHead) -> None:
        """Pass an interim answer (1xx) on; there is no 101 in HTTP/2 (RFC 9113 section 8.6)."""
        if self.lane is not None and not self.responded and head.status != 101:
            self._client.send_head(self.lane, encode(STATUS[head.status], head.fields), False, interim=True)

    def respond(self, head: ResponseHead, body: bytes, complete: bool) -> None:
        """Send the head with the `body` that is there; `complete`: nothing follows."""
        self.responded = True
        lane = self.lane
        assert lane is not None
        # RFC 8441 section 5: to an extended CONNECT 2xx says that there is a tunnel, so whoever made none says so.
        status = 501 if self.head.upgrade and 200 <= head.status < 300 else head.status
        block = encode(STATUS[status], head.fields)
        for lines in head.blocks:
            block += encode_lines(lines)
        length = head.length
        if length == UNKNOWN_LENGTH and complete and may_have_body(self.head.method, head.status):
            length = len(body)
        if length >= 0:
            block += _LENGTHS[length] if length < _COMMON else _length(length)
        if body:
            self.bytes_out += len(body)
            if complete:
                self._client.send_whole(lane, block, body)
            else:
                self._client.send_head(lane, block, False)
                lane.write(body)
        else:
            self._client.send_head(lane, block, complete)
        if complete:
            self.done = True

    def switch(self, head: ResponseHead) -> None:
        """Answer an extended CONNECT (RFC 8441 section 5): 200, and what follows belongs to a tunnel."""
        self.responded = self.done = True
        if self.lane is not None:
            # RFC 8441 section 5: what proves that a server of HTTP/1.1 means WebSocket is not used.
            fields = [field for field in head.fields if field[0].lower() != b"sec-websocket-accept"]
            block = encode(STATUS[200], fields)
            for lines in head.blocks:
                block += encode_lines(lines)
            self._client.send_head(self.lane, block, False)

    def detach(self) -> tuple[TunnelEnd | None, bytes]:
        """Leave the stream to a tunnel."""
        lane = self.lane
        if lane is None or lane.closed:
            return None, b""
        self._over()
        self.bytes_in = 0
        # Taken as it is: what is acknowledged of it, the tunnel decides.
        return LaneEnd(lane, ErrorCodes.CANCEL, self._over), ClientStream.take(self)

    def write(self, data: bytes) -> None:
        """Send one piece of the answer's body."""
        self.bytes_out += len(data)
        if self.lane is not None:
            self.lane.write(data)

    def finish(self, trailers: Sequence[Field] = ()) -> None:
        """End the answer, with those of the trailers that may pass."""
        self.done = True
        if self.lane is not None:
            # Those of a call are its metadata, and were judged where they came from.
            passed = self._client.rules.heads.passed(trailers) if trailers and not self.head.grpc else trailers
            self.lane.finish(passed)

    def source_failed(self, failure: Failure) -> None:
        """Cut an answer whose rest will not come, so that nobody takes it for complete."""
        self.done = True
        if self.failure is None:
            # The stream ends by our hand: that is not the client's leaving.
            self.failure = failure
        if self.lane is not None:
            self.lane.reset(ErrorCodes.INTERNAL_ERROR)
        self._over()

    def ended_first(self) -> None:
        """Learn that the answer is sent and the rest of the request is not here: nobody wants it."""
        self._over()
        if self.lane is not None and self.malformed:
            self.lane.reset(ErrorCodes.PROTOCOL_ERROR)
        elif self.lane is not None:
            self.lane.carried = Answered(self.lane, self._client)

    def lane_closed(self) -> None:
        """Learn that the stream is over: nothing is late any more."""
        if self.wheel_at != NEVER:
            self._client.rules.wheel.cancel(self)

    @property
    def gone(self) -> bool:
        """Tell whether the client is no longer there."""
        return self.lane is None or (self.lane.closed and not self.done)

    # -- deadlines -------------------------------------------------------------------------------------------------

    def stalled(self) -> None:
        """Learn that bytes of the answer wait for the client's window."""
        now = self._client.now()
        self._stalled_at = now
        rules = self._client.rules
        if now + rules.limits.write_timeout < self.deadline:
            rules.wheel.arm(self, now + rules.limits.write_timeout)

    def moved(self) -> None:
        """Learn that the client opened its window."""
        self._stalled_at = NEVER

    def on_deadline(self, now: float) -> None:
        """Act on a body that comes too slowly, or an answer that the client does not take."""
        lane, limits = self.lane, self._client.rules.limits
        if lane is None or lane.closed:
            return
        if self._stalled_at != NEVER and now >= self._stalled_at + limits.write_timeout:
            self._over()
            lane.reset(ErrorCodes.CANCEL)
            self.fail(Failure("client_closed", "its window stays closed"))
            return
        pace = self._pace
        if pace is not None and pace.is_too_slow(now, self.bytes_in, self._paused, limits):
            self._pace = pace = None
            self.fail(Failure("request_timeout", "body"))
        due = NEVER
        if pace is not None:
            due = next_look(now, limits)
        if self._stalled_at != NEVER:
            due = min(due, self._stalled_at + limits.write_timeout)
        if due != NEVER and not lane.closed:
            self._client.rules.wheel.arm(self, due)


class Answered:
    """What a lane carries whose request is answered and goes on: nothing of it is taken, and in the end it is reset."""

    __slots__ = ("_client", "_lane", "deadline", "source", "wheel_at")

    def __init__(self, lane: Lane, client: Http2Connection) -> None:
        self.source: Source | None = None
        self.deadline = NEVER
        self.wheel_at = NEVER
        self._lane = lane
        self._client = client
        lane.hold()
        client.rules.wheel.arm(self, client.now() + _FAREWELL)

    def on_deadline(self, now: float) -> None:
        """Tell the client that it sends for nobody."""
        self._lane.reset(ErrorCodes.NO_ERROR)

    def data_came(self, data: bytes) -> None:
        """Nobody takes it, and as nothing is acknowledged there is soon no more of it."""

    def end_came(self, trailers: Fields) -> None:
        """It ended by itself."""

    def reset_came(self, code: int) -> None:
        """It was given up."""

    def link_lost(self, why: str) -> None:
        """Wait for nothing more."""
        self.lane_closed()

    def stalled(self) -> None:
        """Nothing waits."""

    def moved(self) -> None:
        """Nothing waited."""

    def ended_first(self) -> None:
        """That is how it began."""

    def lane_closed(self) -> None:
        """Learn that the stream is over."""
        self._client.rules.wheel.cancel(self)
