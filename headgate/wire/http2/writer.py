"""The sending half of an HTTP/2 connection: what lanes have becomes frames, in turn, written once a turn of the loop.

Laws:
- What is to be sent in one turn of the loop leaves in one write (wire.outbox). Lanes with something to send take turns,
  one frame each, within their window, the connection's and what the socket takes.
- h2 is told of every frame that is written here (wire.http2.codec); what it wants to say itself goes out in order.
- A peer that does not read what it asked for is not read either: what waits for it stays bounded.
"""

from __future__ import annotations

import asyncio
from collections import deque
from struct import Struct

from headgate.wire.http2.codec import Codec
from headgate.wire.http2.encoding import TABLE_UNUSED, encode
from headgate.wire.http2.guard import MAX_FRAME, FrameGuard
from headgate.wire.http2.lane import NOBODY, Lane

# Length and kind, flags, stream (RFC 9113 section 4.1).
_FRAME = Struct(">LBL").pack
_DATA, _HEADERS, _CONTINUATION = 0, 1, 9
_END_STREAM, _END_HEADERS = 1, 4
# Bytes written at once: enough for one system call to be worth it, and others get their turn soon.
_WRITE = 65536
# Bytes of answers to control frames and of heads that may wait for a peer that does not read.
_MOST_WAITING = 262_144
# Bytes up to which one string costs less than telling the kernel of several pieces: of all, and of one frame.
_JOINED = 16_384
_JOINED_FRAME = 4096
# Bytes of a frame, header included, of a peer that sends small messages as they come.
_SMALL_FRAME = 128


class LinkWriter(asyncio.Protocol):
    """What is sent on a connection.

    `buffer`: bytes that wait in a lane before its source is paused; `data_out`: bytes of DATA that were sent; `full`:
    the socket takes no more; `starved`: lanes wait for the connection's window; `ending`: nothing is sent any more.
    """

    __slots__ = (
        "_corked",
        "_deaf",
        "_out",
        "_out_size",
        "_turn",
        "buffer",
        "codec",
        "data_out",
        "ending",
        "full",
        "guard",
        "lanes",
        "starved",
        "transport",
    )

    def __init__(self, codec: Codec, guard: FrameGuard, buffer: int) -> None:
        self.codec = codec
        self.guard = guard
        self.buffer = buffer
        self.transport: asyncio.Transport | None = None
        self.lanes: dict[int, Lane] = {}
        self.data_out = 0
        self.ending = False
        self.full = False
        self.starved = False
        self._turn: deque[Lane] = deque()
        self._out: list[bytes] = []
        self._out_size = 0
        self._corked = False
        self._deaf = False

    # -- sending: for lanes ----------------------------------------------------------------------------------------

    def send_head(self, lane: Lane, block: bytes, ended: bool, interim: bool = False) -> None:
        """Send a block of fields (wire.http2.encoding); `interim`: another head follows."""
        if lane.closed:
            return
        codec = self.codec
        if codec.unread_table:
            codec.unread_table = False
            block = TABLE_UNUSED + block
        codec.head_sent(lane.stream, interim, ended)
        flags = _END_STREAM if ended else 0
        size = len(block)
        if size <= MAX_FRAME:
            self._emit(_FRAME(size << 8 | _HEADERS, flags | _END_HEADERS, lane.number) + block)
        else:
            self._emit(_FRAME(MAX_FRAME << 8 | _HEADERS, flags, lane.number) + block[:MAX_FRAME])
            for at in range(MAX_FRAME, size, MAX_FRAME):
                part = block[at : at + MAX_FRAME]
                flags = _END_HEADERS if at + MAX_FRAME >= size else 0
                self._emit(_FRAME(len(part) << 8 | _CONTINUATION, flags, lane.number) + part)
        if ended:
            self._end_sent(lane)

    def send_whole(self, lane: Lane, block: bytes, body: bytes) -> None:
        """Send a head with a body that is all there: at once if the windows allow it."""
        self.send_head(lane, block, False)
        codec, size = self.codec, len(body)
        if (
            size <= MAX_FRAME
            and size <= lane.stream.outbound_flow_control_window
            and size <= codec.outbound_flow_control_window
            and not self.full
            and not lane.closed
        ):
            self._send_data(lane, body, True)
        else:
            lane.write(body)
            lane.finish()

    def queue(self, lane: Lane) -> None:
        """Give a lane that has something to send its turns."""
        if not lane.in_turn and not lane.waiting and not lane.closed:
            lane.in_turn = True
            self._turn.append(lane)
            self._cork()

    def acknowledge(self, lane: Lane, size: int) -> None:
        """Let the peer send `size` bytes more."""
        if not self.ending:
            self.codec.acknowledge_received_data(size, lane.number)
            self._take()

    def reset(self, lane: Lane, code: int) -> None:
        """Close a stream at once."""
        if not self.ending and not lane.stream.closed:
            if not lane.peer_ended:
                self.guard.forgive(lane.stream.inbound_flow_control_window // _SMALL_FRAME)
            self.codec.reset_stream(lane.number, code)
            self._take()
        self._close_lane(lane)

    # -- for the subclass to implement -----------------------------------------------------------------------------

    def cork(self) -> None:
        """Have `uncork` called at the end of this turn of the loop."""
        raise NotImplementedError

    def went_hungry(self) -> None:
        """Learn that lanes wait for the connection's window (`starved`)."""

    def lane_closed(self) -> None:
        """Learn that a stream is over on both sides: its number is free."""

    # -- writing ---------------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """Learn that the peer does not keep up: lanes keep what they have."""
        self.full = True

    def resume_writing(self) -> None:
        """Learn that it caught up."""
        self.full = False
        if self._deaf:
            self._deaf = False
            if self.transport is not None:
                self.transport.resume_reading()
        self.uncork()

    def _take(self) -> None:
        """Take what h2 wants to be sent, before anything that comes behind it."""
        data = self.codec.data_to_send()
        if data:
            self._emit(data)

    def _emit(self, data: bytes) -> None:
        self._out.append(data)
        self._out_size += len(data)
        if self.full and self._out_size > _MOST_WAITING and not self._deaf and self.transport is not None:
            self._deaf = True
            self.transport.pause_reading()
        self._cork()

    def _cork(self) -> None:
        if not self._corked:
            self._corked = True
            self.cork()

    def uncork(self) -> None:
        """Write what there is, in turn (wire.outbox)."""
        self._corked = False
        while self.transport is not None and not self.full:
            if self._turn and not self.starved:
                self._fill()
            if not self._out:
                return
            self._flush()

    def _flush(self) -> None:
        out, size = self._out, self._out_size
        self._out, self._out_size = [], 0
        if self.transport is None or not out:
            return
        if len(out) == 1:
            self.transport.write(out[0])
        elif size <= _JOINED:
            self.transport.write(b"".join(out))
        else:
            self.transport.writelines(out)

    def _fill(self) -> None:
        """Give lanes their turns, up to what is worth one write."""
        turn, codec = self._turn, self.codec
        while turn and self._out_size < _WRITE:
            lane = turn.popleft()
            lane.in_turn = False
            if lane.closed:
                continue
            if not lane.queued:
                self._finish(lane)
                continue
            room = min(lane.stream.outbound_flow_control_window, MAX_FRAME)
            if room <= 0:
                lane.waiting = True
                lane.carried.stalled()
                continue
            room = min(room, codec.outbound_flow_control_window)
            if room <= 0:
                lane.in_turn = True
                turn.appendleft(lane)
                self.starved = True
                self.went_hungry()
                return
            data = lane.next_piece(room)
            last = lane.ending and not lane.queued and not lane.trailers
            self._send_data(lane, data, last)
            if not last:
                if lane.queued or lane.ending:
                    lane.in_turn = True
                    turn.append(lane)
                lane.drained()

    def _finish(self, lane: Lane) -> None:
        if lane.ending and not lane.ended:
            if lane.trailers:
                self.send_head(lane, encode(b"", lane.trailers), True)
            else:
                self._send_data(lane, b"", True)

    def _send_data(self, lane: Lane, data: bytes, ended: bool) -> None:
        size = len(data)
        lane.sent += size
        self.data_out += size
        self.codec.data_sent(lane.stream, size, ended)
        self.guard.sent(1)
        head = _FRAME(size << 8 | _DATA, _END_STREAM if ended else 0, lane.number)
        if size <= _JOINED_FRAME:
            self._emit(head + data)
        else:
            self._emit(head)
            self._emit(data)
        if ended:
            self._end_sent(lane)

    def _end_sent(self, lane: Lane) -> None:
        lane.ended = lane.ending = True
        if lane.peer_ended:
            self._close_lane(lane)
        else:
            lane.carried.ended_first()

    def _close_lane(self, lane: Lane) -> None:
        if self.lanes.pop(lane.number, None) is not None:
            lane.drop()
            self.codec.forget(lane.number)
            lane.carried.lane_closed()
            self.lane_closed()
            lane.carried = NOBODY
