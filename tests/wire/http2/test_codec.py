"""What the codec puts in place of h2's own is still there to be replaced, and what it leaves out is not done by h2."""

from __future__ import annotations

from collections.abc import Iterator
from types import FunctionType

import pytest
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, DataReceived, RequestReceived
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes
from h2.stream import H2Stream
from hpack.hpack import Decoder
from hyperframe.frame import DataFrame, Frame, GoAwayFrame, HeadersFrame, RstStreamFrame, SettingsFrame

from headgate.wire.http2 import codec
from headgate.wire.http2.codec import Codec
from headgate.wire.http2.encoding import encode
from headgate.wire.http2.fields import FieldDecoder

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEAD = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"a.test"), (b":path", b"/")]
# What h2 keeps where the codec, and wire.http2.frames, read and write it.
KEPT = {
    "_closed_streams",
    "_inbound_flow_control_window_manager",
    "highest_inbound_stream_id",
    "incoming_buffer",
    "inbound_flow_control_window",
    "max_inbound_frame_size",
    "max_outbound_frame_size",
    "outbound_flow_control_window",
    "state_machine",
    "streams",
}


def replaced() -> Iterator[tuple[type, str]]:
    yield H2Connection, "open_inbound_streams"
    yield H2Connection, "MAX_CLOSED_STREAMS"
    yield Decoder, "decode"
    for ours, theirs in ((Codec, H2Connection), (codec._Stream, H2Stream)):
        for name, value in vars(ours).items():
            if isinstance(value, FunctionType) and name.startswith("_") and not name.startswith("__"):
                yield theirs, name


def met() -> Codec:
    """Return a server's codec that has a client's preface."""
    fresh = Codec(False, {SettingCodes.MAX_CONCURRENT_STREAMS: 1}, FieldDecoder(100, 65536))
    fresh.initiate_connection()
    fresh.receive_data(PREFACE + SettingsFrame(0).serialize())
    fresh.data_to_send()
    return fresh


def request(number: int, ended: bool = True) -> bytes:
    flags = ["END_HEADERS", *(["END_STREAM"] if ended else [])]
    return HeadersFrame(number, encode(b"", HEAD), flags=flags).serialize()


def kinds(of: bytes) -> list[type[Frame]]:
    found = []
    while of:
        frame, size = Frame.parse_frame_header(memoryview(of[:9]))
        found.append(type(frame))
        of = of[9 + size :]
    return found


@pytest.mark.parametrize(("theirs", "name"), [pytest.param(*each, id=each[1]) for each in replaced()])
def test_what_is_replaced_is_there_in_h2(theirs: type, name: str) -> None:
    assert hasattr(theirs, name)


@pytest.mark.parametrize("name", sorted(KEPT))
def test_what_is_read_and_written_of_h2s_state_is_there(name: str) -> None:
    assert hasattr(H2Connection(), name)


def test_streams_of_ours_are_of_our_class() -> None:
    client = Codec(True, {}, FieldDecoder(100, 65536))
    client.initiate_connection()

    assert type(client.open_stream()) is codec._Stream
    assert client.open_stream().stream_id == 3


def test_more_streams_than_announced_are_left_to_the_link() -> None:
    server = met()

    events = server.receive_data(request(1, ended=False) + request(3, ended=False))

    assert [event.stream_id for event in events if isinstance(event, RequestReceived)] == [1, 3]


def test_a_length_that_the_body_has_not_is_left_to_whoever_has_the_body() -> None:
    server = met()
    head = encode(b"", [*HEAD, (b"content-length", b"3")])

    server.receive_data(HeadersFrame(1, head, flags=["END_HEADERS"]).serialize())
    events = server.receive_data(DataFrame(1, b"four", flags=["END_STREAM"]).serialize())

    assert [event.data for event in events if isinstance(event, DataReceived)] == [b"four"]


def test_streams_go_on_behind_goaway_in_both_directions() -> None:
    server = met()
    server.receive_data(request(1, ended=False))
    server.go_away(0, 1, b"")

    told = server.receive_data(GoAwayFrame(0, 0, 0).serialize())
    events = server.receive_data(DataFrame(1, b"more").serialize())

    assert [type(event) for event in told] == [ConnectionTerminated]
    assert [event.data for event in events if isinstance(event, DataReceived)] == [b"more"]


def test_goaway_for_what_breaks_the_protocol_is_left_to_the_link() -> None:
    server = met()

    with pytest.raises(ProtocolError) as caught:
        server.receive_data(DataFrame(5, b"of no stream").serialize())

    assert caught.value.error_code == ErrorCodes.PROTOCOL_ERROR
    assert GoAwayFrame not in kinds(server.data_to_send())


def test_a_stream_is_reset_once_and_what_comes_behind_it_is_counted() -> None:
    server = met()
    server.receive_data(request(1, ended=False))
    server.reset_stream(1, ErrorCodes.CANCEL)
    server.forget(1)
    assert RstStreamFrame in kinds(server.data_to_send())
    before = server.resets

    server.receive_data(DataFrame(1, b"late").serialize() * 3)

    assert server.resets == before + 3
    assert RstStreamFrame not in kinds(server.data_to_send())


def test_a_table_of_another_size_is_noted_until_it_is_answered() -> None:
    server = met()

    server.receive_data(SettingsFrame(0, {SettingCodes.HEADER_TABLE_SIZE: 0}).serialize())

    assert server.unread_table
