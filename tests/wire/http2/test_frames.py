"""What is read without objects (wire.http2.frames) is what h2 makes of the same bytes, however they are cut."""

from __future__ import annotations

from typing import Any

from h2.events import Event, RequestReceived, StreamEnded
from h2.exceptions import ProtocolError
from hpack.hpack import Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.wire.http2.codec import Codec
from headgate.wire.http2.fields import FieldDecoder
from headgate.wire.http2.frames import receive

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
SETTINGS = b"\0\0\0\4\0\0\0\0\0"
HEAD = [(":method", "POST"), (":scheme", "http"), (":authority", "a.test"), (":path", "/")]
DATA, HEADERS, PRIORITY, RST_STREAM, SETTING, PUSH, PING, GOAWAY, WINDOW, CONTINUATION = range(10)


def codec() -> Codec:
    fresh = Codec(False, {}, FieldDecoder(100, 65536))
    fresh.initiate_connection()
    fresh.data_to_send()
    return fresh


def frame(kind: int, flags: int, number: int, content: bytes) -> bytes:
    return len(content).to_bytes(3, "big") + bytes((kind, flags)) + number.to_bytes(4, "big") + content


def told(events: list[Any]) -> list[str]:
    """Write events so that they can be compared; that a request's head was its end is told by itself."""
    found: list[str] = []
    skipped = 0
    for event in events:
        if isinstance(event, StreamEnded) and event.stream_id == skipped:
            skipped = 0
            continue
        if isinstance(event, RequestReceived) and event.stream_ended is not None:
            skipped = event.stream_id
        fields = {key: value for key, value in vars(event).items() if not isinstance(value, Event)}
        ends = getattr(event, "stream_ended", None) is not None
        found.append(f"{type(event).__name__} {fields} {ends}")
    return found


def state(of: Codec) -> list[Any]:
    """List all that decides what happens next."""
    streams = [
        (
            number,
            each.state_machine.state,
            each.state_machine.headers_received,
            each.closed_by,
            each.outbound_flow_control_window,
            each.inbound_flow_control_window,
        )
        for number, each in of.streams.items()
    ]
    windows = of.outbound_flow_control_window, of.inbound_flow_control_window
    return [of.state_machine.state, streams, windows, of.highest_inbound_stream_id, of.unread_table]


def outcome(read: Any, pieces: list[bytes]) -> tuple[list[str], int | None]:
    """Feed pieces; return what was told, and the code of the error that ended the connection."""
    events: list[Any] = []
    for piece in pieces:
        try:
            events += read(piece)
        except ProtocolError as error:
            return told(events), int(error.error_code)
    return told(events), None


def head(encoder: Encoder, names: int) -> bytes:
    return encoder.encode([*HEAD, *((f"x-{each}", "v" * each) for each in range(names))])


_numbers = st.sampled_from([1, 1, 1, 1, 1, 3, 3, 3, 5, 0, 2, 7])
_plain = st.one_of(
    st.tuples(st.just("head"), _numbers, st.sampled_from([0x4, 0x4, 0x4, 0x5, 0x4 | 0x20, 0x0]), st.integers(0, 3)),
    st.tuples(st.just("data"), _numbers, st.sampled_from([0, 0, 1, 8]), st.binary(max_size=40)),
    st.tuples(st.just("window"), _numbers, st.just(0), st.sampled_from([0, 1, 70_000, 2**31 - 1])),
    st.tuples(st.just("other"), _numbers, st.integers(0, 255), st.binary(max_size=12)),
)

_orderly = st.one_of(
    st.tuples(st.just("next"), st.just(0), st.sampled_from([0x4, 0x4, 0x5]), st.integers(0, 3)),
    st.tuples(st.just("data"), st.sampled_from([1, 1, 3]), st.sampled_from([0, 0, 1]), st.binary(max_size=40)),
    st.tuples(st.just("window"), st.sampled_from([0, 1, 3]), st.just(0), st.sampled_from([1, 70_000])),
    st.tuples(st.just("reset"), st.sampled_from([1, 3]), st.just(0), st.just(b"\0\0\0\x08")),
    st.tuples(st.just("ping"), st.just(0), st.just(0), st.just(b"12345678")),
)


def written(steps: list[tuple[str, int, int, Any]], kinds: list[int]) -> list[bytes]:
    """Write frames; each of the fourth kind is of the kind that `kinds` has for it."""
    encoder = Encoder()
    frames: list[bytes] = []
    newest = -1
    for at, (what, number, flags, more) in enumerate(steps):
        if what == "next":
            newest += 2
            frames.append(frame(HEADERS, flags, newest, head(encoder, more)))
        elif what == "head":
            block = head(encoder, more)
            frames.append(frame(HEADERS, flags, number, b"\0\0\0\0\7" + block if flags & 0x20 else block))
        elif what == "data":
            frames.append(frame(DATA, flags, number, more))
        elif what == "window":
            frames.append(frame(WINDOW, 0, number, more.to_bytes(4, "big")))
        elif what in ("reset", "ping"):
            frames.append(frame(RST_STREAM if what == "reset" else PING, 0, number, more))
        else:
            frames.append(frame(kinds[at % len(kinds)], flags, number, more))
    return frames


@settings(max_examples=300, deadline=None)
@given(
    st.one_of(st.lists(_orderly, min_size=3, max_size=14), st.lists(_plain, max_size=14)),
    st.lists(st.sampled_from([PRIORITY, RST_STREAM, SETTING, PING, GOAWAY, CONTINUATION, 11]), min_size=1, max_size=5),
    st.lists(st.integers(1, 50), max_size=20),
)
def test_it_is_as_if_h2_had_read_it(steps: list[Any], kinds: list[int], cuts: list[int]) -> None:
    frames = [PREFACE + SETTINGS, *written(steps, kinds)]
    by_h2, by_us = codec(), codec()
    # h2 forgets what it had told of a read when a frame of it ends the connection: one frame a read shows all.
    expected = outcome(by_h2.receive_data, frames)
    whole, pieces = b"".join(frames), []
    for cut in cuts:
        pieces.append(whole[:cut])
        whole = whole[cut:]
    got = outcome(lambda data: receive(by_us, data), [*pieces, whole] if expected[1] is None else frames)
    assert got == expected
    assert by_us.data_to_send() == by_h2.data_to_send()
    if expected[1] is None:
        assert state(by_us) == state(by_h2)


def test_a_table_that_is_used_goes_on_behind_what_was_left_to_h2() -> None:
    encoder = Encoder()
    ours = codec()
    receive(ours, PREFACE + SETTINGS)
    events: list[Any] = []
    for number in range(1, 40, 2):
        flags = 0x5 if number % 3 else 0x25
        block = head(encoder, 3)
        events += receive(ours, frame(HEADERS, flags, number, block if number % 3 else b"\0\0\0\0\7" + block))
    heads = [event.headers for event in events if isinstance(event, RequestReceived)]
    assert len(heads) == 20
    assert all(each == heads[0] for each in heads)
