"""An HTTP/2 connection, the part that both sides share: frames in to lanes; lanes out to frames is wire.http2.writer.

    data_received -> FrameGuard -> h2 -> events -> a lane's `Carried`, or a method of the subclass

Laws:
- h2 (wire.http2.codec) holds the protocol's state; nothing that the guard refused reaches it.
- No handler runs before all frames of the read that brought its request were taken (`taken`).
"""

from __future__ import annotations

import asyncio
from typing import Any, cast

from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    InformationalResponseReceived,
    PingAckReceived,
    RemoteSettingsChanged,
    RequestReceived,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
    WindowUpdated,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes

from headgate.core.clock import monotonic
from headgate.core.failure import Failure
from headgate.core.message import Fields
from headgate.wire.http2.codec import Codec
from headgate.wire.http2.frames import receive
from headgate.wire.http2.guard import FrameGuard, Violation
from headgate.wire.http2.lane import NOBODY, Carried, Lane
from headgate.wire.http2.writer import LinkWriter
from headgate.wire.timers import NEVER

# A peer's debug data, and ours: for people who read packets.
_LONGEST_DEBUG = 128


class Http2Link(LinkWriter):
    """One connection. A subclass says what a head means, and corks for its side of the outbox (`cork`).

    `deadline` and `wheel_at` are for the subclass, to be armed on its wheel. `read_at`: when bytes came last (monotonic
    seconds). `peer_last`: the highest stream of ours that the peer serves, once it has sent GOAWAY, before -1.
    """

    __slots__ = ("deadline", "peer_last", "read_at", "wheel_at")

    def __init__(self, codec: Codec, guard: FrameGuard, buffer: int) -> None:
        super().__init__(codec, guard, buffer)
        self.deadline = NEVER
        self.wheel_at = NEVER
        self.read_at = 0.0
        self.peer_last = -1

    # -- the connection: asyncio calls these -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send our preface: SETTINGS and the connection's window."""
        self.transport = cast(asyncio.Transport, transport)
        self.transport.set_write_buffer_limits(high=self.buffer)
        self.codec.initiate_connection()
        self._take()

    def widen(self, window: int) -> None:
        """Let the peer send `window` bytes on all streams together; the protocol's own figure is the least."""
        more = window - self.codec.inbound_flow_control_window
        if more > 0:
            self.codec.increment_flow_control_window(more)
            self._take()

    def data_received(self, data: bytes) -> None:
        """Take bytes from the socket."""
        if self.ending:
            self.rest_came(data)
            return
        self.read_at = now = monotonic()
        violation = self.guard.look(data, now)
        if violation is not None:
            self._send_away(violation)
            return
        resets = self.codec.resets
        try:
            events = receive(self.codec, data)
        except ProtocolError as error:
            code = int(error.error_code)
            self.refused("header_bomb" if code == ErrorCodes.ENHANCE_YOUR_CALM else "protocol", str(error))
            self.give_up(code, "protocol error")
            return
        resets = self.codec.resets - resets
        if resets:
            self._judged(self.guard.stray(resets, now))
        if self._all_happened(events):
            self._take()
            self.taken()

    def eof_received(self) -> bool:
        """Close: half a connection is of no use here."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """End: every lane is told (`link_lost`), then the subclass (`closed`)."""
        self.transport = None
        self.ending = True
        why = str(exc or "connection closed")
        self._lose_all(why)
        self.closed(why)

    def _lose_all(self, why: str) -> None:
        lanes, self.lanes = self.lanes, {}
        self._turn.clear()
        for lane in lanes.values():
            lane.drop()
            carried, lane.carried = lane.carried, NOBODY
            carried.link_lost(why)

    # -- what h2 made of a read ------------------------------------------------------------------------------------

    def _all_happened(self, events: list[Event]) -> bool:
        """Tell whether the connection goes on: one event may be one too many, and nothing behind that is served."""
        for event in events:
            if self.ending:
                break
            self._happened(event)
        return not self.ending

    def _happened(self, event: Any) -> None:
        kind = type(event)
        if kind is RequestReceived:
            self.request_came(event.stream_id, event.headers, event.stream_ended is not None)
        elif kind is DataReceived:
            lane = self.lanes.get(event.stream_id)
            if lane is not None:
                lane.came(event.data, event.flow_controlled_length)
            else:
                self.codec.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif kind is StreamEnded:
            lane = self.lanes.get(event.stream_id)
            if lane is not None and not lane.peer_ended:
                self._peer_ended(lane)
        elif kind is WindowUpdated:
            self._window_opened(event.stream_id)
        elif kind is StreamReset:
            lane = self.lanes.get(event.stream_id)
            if lane is not None:
                carried = lane.carried
                self._close_lane(lane)
                carried.reset_came(int(event.error_code))
                if not event.remote_reset:
                    self.blame()
        else:
            self._happened_seldom(kind, event)

    def _happened_seldom(self, kind: type[Any], event: Any) -> None:
        if kind is ResponseReceived or kind is InformationalResponseReceived:
            lane = self.lanes.get(event.stream_id)
            if lane is None:
                return
            if kind is ResponseReceived:
                self.response_came(lane, event.headers, event.stream_ended is not None)
            else:
                self.interim_came(lane, event.headers)
        elif kind is TrailersReceived:
            lane = self.lanes.get(event.stream_id)
            if lane is not None:
                lane.trailers_came = event.headers
        elif kind is RemoteSettingsChanged:
            if SettingCodes.INITIAL_WINDOW_SIZE in event.changed_settings:
                for lane in list(self.lanes.values()):
                    self._window_opened(lane.number)
            self.settings_came()
        elif kind is PingAckReceived:
            self.pong_came(event.ping_data)
        elif kind is ConnectionTerminated:
            self._goaway_came(int(event.error_code), event.last_stream_id)

    def _peer_ended(self, lane: Lane) -> None:
        lane.peer_ended = True
        trailers, lane.trailers_came = lane.trailers_came, []
        carried = lane.carried
        if lane.ended:
            self._close_lane(lane)
        carried.end_came(trailers)

    def _window_opened(self, number: int) -> None:
        if not number:
            if self.starved and self.codec.outbound_flow_control_window > 0:
                self.starved = False
                self._cork()
            return
        lane = self.lanes.get(number)
        if lane is not None and lane.waiting and lane.stream.outbound_flow_control_window > 0:
            lane.waiting = False
            lane.carried.moved()
            self.queue(lane)

    def _goaway_came(self, code: int, last: int) -> None:
        self.peer_last = last if self.peer_last < 0 else min(last, self.peer_last)
        if self.codec.config.client_side:
            for lane in [lane for number, lane in self.lanes.items() if number > last]:
                carried = lane.carried
                self._close_lane(lane)
                carried.reset_came(ErrorCodes.REFUSED_STREAM)
        self.goaway_came(code, last)

    # -- for the subclass to call ----------------------------------------------------------------------------------

    def admit(self, number: int, carried: Carried, ended: bool) -> Lane:
        """Make the lane of a request that came; `ended`: nothing follows its head."""
        lane = Lane(self, self.codec.streams[number], carried)
        lane.peer_ended = ended
        self.lanes[number] = lane
        return lane

    def turn_away(self, number: int, code: int) -> None:
        """Reset a stream that gets no lane."""
        stream = self.codec.streams.get(number)
        if stream is not None and not stream.closed:
            self.codec.reset_stream(number, code)
            self._take()
        self.codec.forget(number)

    def open_lane(self, carried: Carried) -> Lane:
        """Begin a stream of ours (a client's side only); its head is sent by `Lane.head`.

        Raises:
            Failure: when the peer or the protocol allows no further stream (`streams_left` tells before).
        """
        if self.streams_left <= 0:
            raise Failure("upstream_reset", "no further stream", sent=False)
        lane = Lane(self, self.codec.open_stream(), carried)
        self.lanes[lane.number] = lane
        return lane

    @property
    def streams_left(self) -> int:
        """Count the streams that may be opened now: within the peer's MAX_CONCURRENT_STREAMS; 0 after a GOAWAY."""
        codec = self.codec
        if self.ending or self.peer_last >= 0 or codec.highest_outbound_stream_id >= codec.HIGHEST_ALLOWED_STREAM_ID:
            return 0
        return max(0, int(codec.remote_settings.max_concurrent_streams) - len(self.lanes))

    def blame(self) -> None:
        """Count a stream that we reset, or refuse, for what the peer did; too many end the connection."""
        self._judged(self.guard.blame(self.read_at))

    def _judged(self, violation: Violation | None) -> None:
        if violation is not None:
            self._send_away(violation)

    def _send_away(self, violation: Violation) -> None:
        self.refused(violation.kind, violation.sentence)
        self.give_up(violation.code, violation.sentence)

    def go_away(self, code: int, last: int, debug: bytes = b"") -> None:
        """Send GOAWAY; streams go on. `last` is the highest stream of the peer that was or will be served."""
        self._emit(self.codec.go_away(code, last, debug))

    def ping(self, data: bytes) -> None:
        """Send PING with eight bytes; `pong_came` is called with its answer."""
        self.codec.ping(data)
        self._take()

    def give_up(self, code: int, sentence: str) -> None:
        """Close at once, with GOAWAY; every lane is told."""
        if self.ending:
            return
        self._take()
        self.go_away(code, self.codec.highest_inbound_stream_id, sentence.encode()[:_LONGEST_DEBUG])
        self.ending = True
        self._turn.clear()
        self._flush()
        self._lose_all(sentence)
        self.hang_up()

    # -- for the subclass to implement -----------------------------------------------------------------------------

    def request_came(self, number: int, fields: Fields, ended: bool) -> None:
        """Take a request's head (a server's side): `admit` it, or `turn_away`."""

    def interim_came(self, lane: Lane, fields: Fields) -> None:
        """Take the head of an interim answer (a client's side)."""

    def response_came(self, lane: Lane, fields: Fields, ended: bool) -> None:
        """Take an answer's head (a client's side); `ended`: `end_came` follows at once."""

    def settings_came(self) -> None:
        """Learn that the peer's SETTINGS came (`streams_left` may have changed; extended CONNECT may be allowed)."""

    def goaway_came(self, code: int, last: int) -> None:
        """Learn that the peer serves no stream of ours above `last`: each of those had `reset_came(REFUSED_STREAM)`."""

    def pong_came(self, data: bytes) -> None:
        """Take the answer to a `ping`."""

    def taken(self) -> None:
        """Learn that all frames of a read were taken."""

    def refused(self, kind: str, sentence: str) -> None:
        """Learn that the peer broke the rules and the connection ends for it (`kind` of FrameGuard, or "protocol")."""

    def rest_came(self, data: bytes) -> None:
        """Learn of bytes that came behind the end: nobody reads them."""

    def hang_up(self) -> None:
        """Close the socket, now that GOAWAY is written."""
        if self.transport is not None:
            self.transport.close()

    def closed(self, why: str) -> None:
        """Learn that the connection is gone, after its lanes."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} lanes={len(self.lanes)} waiting={self._out_size}>"
