"""The frames that nearly all traffic is made of, read without an object for each: plain heads, bodies, windows.

h2 makes a frame of hyperframe, two events and several steps of its state machines of each; that is two thirds of what a
small request costs here. What is plain is done directly to h2's own state; whatever is not (padding, priorities,
CONTINUATION, trailers, settings, a stream that is not open) is left to h2, byte for byte.

Law: h2 would have come to the same state and the same events (tests/wire/http2/test_frames.py), but that a request
whose head is its end is told once, by `stream_ended`.
"""

from __future__ import annotations

from typing import Any, Final

from h2.connection import ConnectionState, _decode_headers
from h2.events import DataReceived, RequestReceived, StreamEnded, WindowUpdated
from h2.stream import StreamClosedBy, StreamState

from headgate.wire.http2.codec import Codec

_DATA, _HEADERS, _WINDOW_UPDATE = 0, 1, 8
_END_STREAM, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x4, 0x8, 0x20
_HEADER: Final = 9
_STREAM: Final = 0x7FFFFFFF
_LARGEST_WINDOW: Final = 2**31 - 1


def receive(codec: Codec, data: bytes) -> list[Any]:
    """Return the events of what has arrived; half a frame waits for the rest.

    Raises:
        ProtocolError: the connection must end.
    """
    buffer = codec.incoming_buffer
    if codec.state_machine.state is ConnectionState.IDLE or buffer._headers_buffer:
        return codec.receive_data(data)
    if buffer._data:
        data = bytes(buffer._data) + data
        del buffer._data[:]
    events: list[Any] = []
    at, size = 0, len(data)
    while size - at >= _HEADER:
        end = at + _HEADER + (data[at] << 16 | data[at + 1] << 8 | data[at + 2])
        if end > size:
            break
        kind, flags = data[at + 3], data[at + 4]
        number = int.from_bytes(data[at + 5 : at + _HEADER], "big") & _STREAM
        event: Any = None
        if end - at - _HEADER > codec.max_inbound_frame_size:
            event = None
        elif kind == _HEADERS:
            if flags & (_END_HEADERS | _PADDED | _PRIORITY) == _END_HEADERS:
                event = _request(codec, number, data[at + _HEADER : end], flags & _END_STREAM != 0)
        elif kind == _DATA:
            if not flags & _PADDED:
                event = _body(codec, number, data[at + _HEADER : end], flags & _END_STREAM != 0)
        elif kind == _WINDOW_UPDATE and end - at == _HEADER + 4:
            event = _window(codec, number, int.from_bytes(data[at + _HEADER : end], "big") & _STREAM)
        if event is None:
            events += codec.receive_data(data[at:end])
            if buffer._headers_buffer:
                events += codec.receive_data(data[end:])
                return events
        else:
            events.append(event)
            if kind == _DATA and event.stream_ended is not None:
                events.append(event.stream_ended)
        at = end
    if at < size:
        buffer.add_data(data[at:])
    return events


def _request(codec: Codec, number: int, block: bytes, ended: bool) -> RequestReceived | None:
    """Open the stream of a request, if it is the next one of a client."""
    if not number & 1 or number <= codec.highest_inbound_stream_id or codec.config.client_side:
        return None
    # First: whatever becomes of the stream, the peer's table and ours must stay the same.
    fields = _decode_headers(codec.decoder, block)
    codec.begin_request(number, ended)
    event = RequestReceived(stream_id=number, headers=fields)  # type: ignore[arg-type]
    if ended:
        event.stream_ended = StreamEnded(stream_id=number)
    return event


def _body(codec: Codec, number: int, data: bytes, ended: bool) -> DataReceived | None:
    """Take a piece of a body, if its stream is open for one."""
    stream = codec.streams.get(number)
    if stream is None:
        return None
    machine = stream.state_machine
    state = machine.state
    if state is StreamState.OPEN:
        after = StreamState.HALF_CLOSED_REMOTE
    elif state is StreamState.HALF_CLOSED_LOCAL:
        after = StreamState.CLOSED
    else:
        return None
    if not machine.headers_received:
        return None
    size = len(data)
    codec._inbound_flow_control_window_manager.window_consumed(size)
    stream._inbound_window_manager.window_consumed(size)
    event = DataReceived(stream_id=number)
    event.data = data
    event.flow_controlled_length = size
    if ended:
        machine.state = after
        if after is StreamState.CLOSED:
            machine.stream_closed_by = StreamClosedBy.RECV_END_STREAM
        event.stream_ended = StreamEnded(stream_id=number)
    return event


def _window(codec: Codec, number: int, more: int) -> WindowUpdated | None:
    """Open a window, if it is one that can be opened by so much."""
    if not more:
        return None
    if not number:
        if codec.outbound_flow_control_window + more > _LARGEST_WINDOW:
            return None
        codec.outbound_flow_control_window += more
    else:
        stream = codec.streams.get(number)
        if stream is None or not stream.open or stream.outbound_flow_control_window + more > _LARGEST_WINDOW:
            return None
        stream.outbound_flow_control_window += more
    return WindowUpdated(stream_id=number, delta=more)
