"""Frames of WebSocket: what is written is masked, what is read is whole, and what must not come ends it."""

from __future__ import annotations

import pytest

from headgate.wire.websocket import (
    BINARY,
    CLOSE,
    PING,
    TEXT,
    BadFrame,
    FrameReader,
    Message,
    close_payload,
    frame,
    read_close,
)

MOST = 1 << 17


def unmasked(opcode: int, payload: bytes, final: bool = True) -> bytes:
    """Write a frame as servers do."""
    size = len(payload)
    first = opcode | (0x80 if final else 0)
    if size < 126:
        return bytes((first, size)) + payload
    return (
        bytes((first, 126)) + size.to_bytes(2) + payload
        if size < 1 << 16
        else (bytes((first, 127)) + size.to_bytes(8) + payload)
    )


@pytest.mark.parametrize("size", [0, 1, 5, 125, 126, 127, 65535, 65536, 70001])
def test_a_frame_is_masked_by_a_key_of_its_own(size: int) -> None:
    payload = bytes(range(256)) * (size // 256 + 1)
    payload = payload[:size]
    one, other = frame(BINARY, payload), frame(BINARY, payload)
    at = 2 if size < 126 else 4 if size < 1 << 16 else 10
    assert one[0] == 0x82
    assert one[1] & 0x80
    key, masked = one[at : at + 4], one[at + 4 :]
    assert bytes(byte ^ key[place % 4] for place, byte in enumerate(masked)) == payload
    # One in four thousand million draws the same key again.
    assert one[at : at + 4] != other[at : at + 4]


@pytest.mark.parametrize("size", [0, 5, 125, 126, 65535, 65536])
def test_a_message_is_read_however_it_is_cut(size: int) -> None:
    data = unmasked(TEXT, b"a" * size) + unmasked(PING, b"p")
    whole = [Message(TEXT, b"a" * size), Message(PING, b"p")]
    assert FrameReader(MOST).feed(data) == whole
    reader = FrameReader(MOST)
    step = max(1, len(data) // 100)
    assert [each for at in range(0, len(data), step) for each in reader.feed(data[at : at + step])] == whole


def test_pieces_of_a_message_are_put_together_around_control_frames() -> None:
    data = unmasked(TEXT, b"a", False) + unmasked(PING, b"") + unmasked(0, b"b", False) + unmasked(0, b"c")
    assert FrameReader(MOST).feed(data) == [Message(PING, b""), Message(TEXT, b"abc")]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        pytest.param(frame(TEXT, b"a"), 1002, id="masked"),
        # Masked, and else a whole one.
        (bytes((0x81, 0x80)), 1002),
        (bytes((0xC1, 0)), 1002),
        (bytes((0x83, 0)), 1002),
        (unmasked(0, b"a"), 1002),
        (unmasked(TEXT, b"a", False) + unmasked(TEXT, b"b"), 1002),
        (unmasked(PING, b"a", False), 1002),
        (bytes((0x89, 126, 0, 126)), 1002),
        (bytes((0x82, 127)) + (MOST + 1).to_bytes(8), 1009),
        (unmasked(BINARY, bytes(MOST), False) + unmasked(0, b"a"), 1009),
    ],
)
def test_what_must_not_come_ends_it(data: bytes, code: int) -> None:
    with pytest.raises(BadFrame) as bad:
        FrameReader(MOST).feed(data)
    assert bad.value.code == code


@pytest.mark.parametrize(
    ("code", "reason", "read"),
    [(1000, "", (1000, "")), (4001, "bye", (4001, "bye")), (1005, "", (1005, "")), (1006, "x", (1005, ""))],
)
def test_a_close_says_its_code_where_it_may(code: int, reason: str, read: tuple[int, str]) -> None:
    assert read_close(close_payload(code, reason)) == read


def test_a_reason_fits_into_its_frame() -> None:
    payload = close_payload(1000, "ü" * 200)
    assert len(payload) <= 125
    assert read_close(payload)[1] == "ü" * 61
    assert frame(CLOSE, payload)
