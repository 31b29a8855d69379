"""The frame guard: what passes, what ends a connection, and that pieces change nothing."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.wire.http2.guard import PREFACE, FrameGuard, Violation
from headgate.wire.settings import Http2Limits
from tests.wire.http2 import breaker as by_hand
from tests.wire.http2.breaker import (
    ENHANCE_YOUR_CALM,
    FRAME_SIZE_ERROR,
    GET,
    PROTOCOL_ERROR,
    SETTINGS,
    block,
    continuation,
    data,
    frame,
    headers,
    ping,
    priority,
    rst_stream,
    window_update,
)

BLOCK = 65536
HEAD = block(GET)


def guard(**bounds: float) -> FrameGuard:
    """Make one that was greeted."""
    made = FrameGuard(Http2Limits(**bounds), BLOCK, preface=True)  # type: ignore[arg-type]
    assert made.look(PREFACE + SETTINGS, 0.0) is None
    return made


def verdict(found: Violation | None) -> tuple[str, int] | None:
    return None if found is None else (found.kind, int(found.code))


def streams(count: int, *behind: bytes, first: int = 1) -> bytes:
    """Write requests, each with something behind it."""
    return b"".join(headers(first + 2 * n, HEAD) + b"".join(behind) for n in range(count))


def resets(count: int, first: int = 1) -> bytes:
    return b"".join(headers(n, HEAD) + rst_stream(n) for n in range(first, first + 2 * count, 2))


# -- what passes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(streams(5000), id="requests"),
        pytest.param(headers(1, HEAD, end=False) + data(1, b"x") * 5000 + data(1, end=True), id="small pieces"),
        pytest.param(resets(100), id="as many resets as may be"),
        pytest.param(ping() * 1000, id="as many pings as may be"),
        pytest.param(headers(1, b"", whole=False) + continuation(1, HEAD) * 7 + continuation(1, last=True), id="8"),
        pytest.param(headers(1, bytes(16384), whole=False) + continuation(1, bytes(16384)) * 3, id="64 KiB of fields"),
        pytest.param(streams(500, window_update(0, 9), window_update(0, 9), priority(3)), id="a chatty client"),
        pytest.param(by_hand.settings(*[(3, 100)] * 32), id="32 settings"),
        pytest.param(frame(0x42, 0, 0, b"unknown"), id="a frame that nobody knows"),
        pytest.param(data(1, b"x" * 16384), id="the largest frame"),
        pytest.param(b"".join(by_hand.settings((0x0A0A, 1)) for _ in range(64)), id="greased settings"),
    ],
)
def test_what_clients_do_passes(sent: bytes) -> None:
    assert guard().look(sent, 1.0) is None


def test_who_cancels_less_than_half_may_cancel_often() -> None:
    # A proxy in front of us has many users on one connection.
    judge = guard()
    for first in range(1, 4001, 40):
        assert judge.look(streams(20, first=first) + b"".join(rst_stream(first + n) for n in range(10)), 1.0) is None


def test_trailers_begin_no_stream() -> None:
    sent = b"".join(headers(n, HEAD, end=False) + headers(n, HEAD) + rst_stream(n) for n in range(1, 203, 2))
    assert verdict(guard().look(sent, 1.0)) == ("rapid_reset", ENHANCE_YOUR_CALM)


def test_what_comes_behind_a_streams_end_is_bounded_beyond_what_was_on_its_way() -> None:
    judge = guard()
    assert judge.look(streams(10), 1.0) is None
    assert judge.stray(1040, 1.0) is None
    assert verdict(judge.stray(1, 1.0)) == ("control_flood", ENHANCE_YOUR_CALM)


def test_what_is_on_its_way_when_we_reset_a_stream_is_no_flood() -> None:
    judge = guard()
    judge.forgive(2000)
    assert judge.stray(3000, 1.0) is None
    assert verdict(judge.stray(1, 1.0)) == ("control_flood", ENHANCE_YOUR_CALM)
    for _ in range(1000):
        judge.forgive(2000)
    assert judge.stray(65_536, 11.0) is None
    assert verdict(judge.stray(1001, 11.0)) == ("control_flood", ENHANCE_YOUR_CALM)


def test_a_large_download_is_no_flood() -> None:
    judge = guard()
    for _ in range(20_000):
        judge.sent(4)
        assert judge.look(window_update(0, 65536) + window_update(1, 65536), 1.0) is None


def test_a_ping_for_what_came_is_no_flood() -> None:
    judge = guard()
    for _ in range(20_000):
        judge.sent(1)
        assert judge.look(ping() + window_update(0, 100), 1.0) is None


def test_what_was_counted_is_forgotten_with_its_window() -> None:
    judge = guard(max_resets=10, max_control_frames=10, window=5.0)
    for turn in range(4):
        assert judge.look(resets(10) + priority(3) * 10, turn * 5.0) is None
    assert verdict(judge.look(priority(3), 19.9)) == ("control_flood", ENHANCE_YOUR_CALM)


# -- what ends the connection --------------------------------------------------------------------------------------

CALM = ENHANCE_YOUR_CALM
FLOODS = [
    pytest.param(resets(101), ("rapid_reset", CALM), id="rapid reset"),
    pytest.param(rst_stream(1) * 101, ("rapid_reset", CALM), id="resets of nothing"),
    pytest.param(ping() * 1001, ("control_flood", CALM), id="ping"),
    pytest.param(frame(by_hand.PING, by_hand.ACK, 0, bytes(8)) * 1001, ("control_flood", CALM), id="answers to ping"),
    pytest.param(SETTINGS * 1001, ("control_flood", CALM), id="settings"),
    pytest.param(by_hand.SETTINGS_ACK * 1001, ("control_flood", CALM), id="answers to settings"),
    pytest.param(priority(3) * 1001, ("control_flood", CALM), id="priority"),
    pytest.param(window_update(0, 1) * 1001, ("control_flood", CALM), id="window update"),
    pytest.param(frame(0x10, 0, 0) * 1001, ("control_flood", CALM), id="unknown frames"),
    pytest.param(headers(1, HEAD, end=False) + data(1) * 1001, ("control_flood", CALM), id="empty data"),
    pytest.param(
        headers(1, HEAD, end=False) + frame(0, by_hand.PADDED, 1, b"\xff" + bytes(255)) * 1001,
        ("control_flood", CALM),
        id="padding alone",
    ),
    pytest.param(
        headers(1, HEAD, whole=False) + continuation(1) * 9, ("continuation_flood", CALM), id="empty continuations"
    ),
    pytest.param(
        headers(1, bytes(16384), whole=False) + continuation(1, bytes(16384)) * 4,
        ("header_bytes", CALM),
        id="a block too large",
    ),
    pytest.param(by_hand.settings(*[(3, 100)] * 33), ("settings_flood", CALM), id="33 settings"),
    pytest.param(
        b"".join(by_hand.settings(*[(0x1000 + 32 * n + k, 1) for k in range(32)]) for n in range(3)),
        ("settings_flood", CALM),
        id="settings that mean nothing",
    ),
    pytest.param(data(1, bytes(16385)), ("frame_size", FRAME_SIZE_ERROR), id="frame too large"),
    pytest.param(frame(0, 0, 1, b"", length=2**24 - 1), ("frame_size", FRAME_SIZE_ERROR), id="16 MiB announced"),
    pytest.param(headers(1, HEAD, whole=False) + ping(), ("header_block", PROTOCOL_ERROR), id="a frame inside a block"),
    pytest.param(continuation(1, HEAD, last=True), ("header_block", PROTOCOL_ERROR), id="continuation of nothing"),
]


@pytest.mark.parametrize(("sent", "expected"), FLOODS)
def test_floods_end_the_connection(sent: bytes, expected: tuple[str, int]) -> None:
    assert verdict(guard().look(sent, 1.0)) == expected


@pytest.mark.parametrize(("sent", "expected"), FLOODS)
def test_a_byte_at_a_time_is_the_same_flood(sent: bytes, expected: tuple[str, int]) -> None:
    judge = guard()
    for at in range(len(sent)):
        found = judge.look(sent[at : at + 1], 1.0)
        if found is not None:
            break
    assert verdict(found) == expected
    # Nothing was taken beyond the frame that was one too many; of SETTINGS, its content must be there.
    assert len(sent) - at <= 9 + 256 or expected[0] in ("frame_size", "header_bytes")


@pytest.mark.parametrize(
    "first",
    [ping(), headers(1, HEAD), by_hand.SETTINGS_ACK, b"HTTP/1.1 400 Bad Request\r\n"],
    ids=["ping", "headers", "ack", "HTTP/1.1"],
)
def test_settings_come_first(first: bytes) -> None:
    judge = FrameGuard(Http2Limits(), BLOCK, preface=False)
    assert verdict(judge.look(first, 0.0)) == ("preface", PROTOCOL_ERROR)


def test_resets_of_ours_that_the_peer_caused_count_too() -> None:
    judge = guard(max_resets=10)
    assert judge.look(resets(5), 1.0) is None
    assert [judge.blame(1.0) for _ in range(5)] == [None] * 5
    assert verdict(judge.blame(1.0)) == ("rapid_reset", CALM)


# -- whether a head is arriving ------------------------------------------------------------------------------------


def test_it_knows_whether_a_head_is_arriving() -> None:
    judge = guard()
    sent = headers(1, HEAD, whole=False) + continuation(1) + continuation(1, b"xyz", last=True)
    told = []
    for at in range(len(sent)):
        assert judge.look(sent[at : at + 1], 1.0) is None
        told.append(judge.in_head)
    # From the header of the first frame to the last byte of the last one.
    assert told == [False] * 8 + [True] * (len(sent) - 9) + [False]


def test_a_body_is_no_head() -> None:
    judge = guard()
    assert judge.look(headers(1, HEAD, end=False) + data(1, b"half")[:-2], 1.0) is None
    assert not judge.in_head


# -- pieces --------------------------------------------------------------------------------------------------------

FRAMES = st.one_of(
    st.builds(headers, st.integers(1, 9), st.binary(max_size=40), st.booleans(), st.booleans()),
    st.builds(continuation, st.integers(1, 9), st.binary(max_size=40), st.booleans()),
    st.builds(data, st.integers(0, 9), st.binary(max_size=40), st.booleans()),
    st.builds(rst_stream, st.integers(0, 9)),
    st.builds(window_update, st.integers(0, 9), st.integers(0, 9)),
    st.builds(by_hand.settings, st.tuples(st.integers(0, 65535), st.integers(0, 9))),
    st.just(ping()),
    st.builds(frame, st.integers(0, 255), st.integers(0, 255), st.integers(0, 9), st.binary(max_size=300)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(FRAMES, max_size=30), st.lists(st.integers(1, 50), min_size=1, max_size=20))
def test_pieces_change_no_verdict(frames: list[bytes], sizes: list[int]) -> None:
    bounds = {"max_resets": 3, "max_control_frames": 10, "max_continuations": 2}
    sent = b"".join(frames)
    whole, pieces = guard(**bounds), guard(**bounds)
    expected = whole.look(sent, 1.0)
    found, at, turn = None, 0, 0
    while at < len(sent) and found is None:
        size = sizes[turn % len(sizes)]
        found = pieces.look(sent[at : at + size], 1.0)
        at, turn = at + size, turn + 1
    assert found == expected
    if expected is None:
        assert pieces.in_head == whole.in_head
