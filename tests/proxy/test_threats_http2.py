"""Clients that use HTTP/2 as a weapon: each is sent away with a reason, and nobody else notices.

Everything is told by order and outcome: which frame came back, what the upstream saw, who was served meanwhile. What
must not grow is measured in tests/proxy/test_threats_http2_memory.py.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest

from tests.proxy.http2_client import http2
from tests.proxy.peers import eventually
from tests.proxy.raw import attack
from tests.proxy.recorder import OK, Recorder, Seen
from tests.proxy.stage import Rig
from tests.proxy.strict import Message
from tests.wire.http2 import breaker as by_hand
from tests.wire.http2.breaker import (
    COMPRESSION_ERROR,
    ENHANCE_YOUR_CALM,
    FLOW_CONTROL_ERROR,
    FRAME_SIZE_ERROR,
    GET,
    GOAWAY,
    HEADERS,
    POST,
    PREFACE,
    PROTOCOL_ERROR,
    REFUSED_STREAM,
    RST_STREAM,
    SETTINGS,
    SETTINGS_ACK,
    STREAM_CLOSED,
    Breaker,
    block,
    continuation,
    data,
    frame,
    headers,
    literal,
    ping,
    priority,
    rst_stream,
    settings,
    window_update,
)

HEAD = block(GET)
UPLOAD = block(POST)
Scenario = Callable[[Rig, Recorder], Awaitable[None]]


@asynccontextmanager
async def breaking(rig: Rig, greet: bool = True, receive_buffer: int = 0) -> AsyncIterator[Breaker]:
    """Connect a client that may break rules; behind it, others are served as before."""
    breaker = await Breaker.connect(rig.port(), greet, receive_buffer)
    try:
        yield breaker
    finally:
        breaker.close()
    async with await http2(rig) as client:
        assert (await client.ask("/behind")).status == 200


def never(_: Seen, request: Message) -> bytes | None:
    """Answer nothing but `/behind`."""
    return OK if request.target == "/behind" else None


async def sent_away(rig: Rig, breaker: Breaker, code: int, kind: str) -> None:
    """Wait for the end of a connection, with its reason told to both sides."""
    said = await breaker.goaway()
    assert said.code == code, said
    assert rig.counted("http2_violations_total", kind=kind) == 1


# -- resets --------------------------------------------------------------------------------------------------------


def test_rapid_reset() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with await http2(rig) as neighbour, breaking(rig) as breaker:
            waiting = neighbour.request("/slow")
            await upstream.until(lambda: len(upstream.connections) == 1)
            pairs = (headers(n, HEAD) + rst_stream(n) for n in range(1, 100_001, 2))
            pouring = asyncio.ensure_future(breaker.pour(*pairs))
            await sent_away(rig, breaker, ENHANCE_YOUR_CALM, "rapid_reset")
            breaker.close()
            await pouring
            # What was given up in the read that brought it never cost anything behind us.
            assert len(upstream.connections) <= 101
            upstream.connections[0].send(OK)
            assert (await waiting.answer()).status == 200

    attack(scenario, Recorder(never))


def test_rapid_reset_of_requests_that_are_at_work() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with breaking(rig) as breaker:
            for count in range(101):
                number = 2 * count + 1
                breaker.send(headers(number, HEAD))
                await upstream.until(lambda seen=count: len(upstream.requests) > seen)  # type: ignore[misc]
                breaker.send(rst_stream(number))
                # Nothing of a request that was given up goes on, and its connection serves nobody else.
                await upstream.connections[count].closed
            await sent_away(rig, breaker, ENHANCE_YOUR_CALM, "rapid_reset")
        assert len(upstream.connections) == 102

    attack(scenario, Recorder(never))


SIZED = {size: headers(1, block([*POST, ("content-length", str(size))]), end=False) for size in (1, 9)}
# What comes behind a request's head, and the code of the reset, or the status where nothing is open to be reset.
LATE = {
    "data behind the end": (headers(1, HEAD), data(1, b"x"), STREAM_CLOSED),
    "a head behind the end": (headers(1, HEAD), headers(1, HEAD), STREAM_CLOSED),
    "a window too large": (headers(1, HEAD), window_update(1, 2**31 - 1), FLOW_CONTROL_ERROR),
    "more than the length": (SIZED[1], data(1, b"xx"), PROTOCOL_ERROR),
    "less than the length": (SIZED[9], data(1, b"x", end=True), 400),
    "trailers that are none": (headers(1, UPLOAD, end=False), headers(1, literal(b"X", b"y")), 400),
}


def of_stream(sent: bytes, number: int) -> bytes:
    """Write a frame of stream 1 for another one."""
    return sent[:5] + struct.pack(">I", number) + sent[9:]


@pytest.mark.parametrize("case", LATE)
def test_what_is_wrong_behind_the_head_ends_its_stream_and_what_was_begun(case: str) -> None:
    head, wrong, code = LATE[case]

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with breaking(rig) as breaker:
            breaker.send(head)
            await upstream.until(lambda: b"\r\n\r\n" in upstream.raw)
            breaker.send(wrong)
            if code == 400:
                assert await breaker.status(1) == 400
            else:
                assert (await breaker.wait_for(RST_STREAM, 1)).code == code
            await upstream.connections[0].closed
            # A body that is not whole never looks so.
            assert not upstream.requests or head[4] & by_hand.END_STREAM
            breaker.send(of_stream(headers(1, HEAD), 3))
            await upstream.until(lambda: len(upstream.connections) == 2)

    attack(scenario, Recorder(never))


@pytest.mark.parametrize("case", LATE)
def test_who_makes_us_reset_is_counted_as_who_resets(case: str) -> None:
    # MadeYouReset, CVE-2025-8671: what was begun behind us must not be begun without end.
    head, wrong, _ = LATE[case]

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with breaking(rig) as breaker:
            for number in range(1, 2 * 102, 2):
                breaker.send(of_stream(head, number), of_stream(wrong, number))
            await sent_away(rig, breaker, ENHANCE_YOUR_CALM, "rapid_reset")
        assert len(upstream.connections) <= 102

    attack(scenario, Recorder(never))


def test_malformed_heads_cost_nobody_else_and_are_answered() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        bad = block([*GET, ("Capital", "x")])
        async with breaking(rig) as breaker:
            for number in range(1, 2 * 300, 4):
                breaker.send(headers(number, bad), headers(number + 2, HEAD))
                assert await breaker.status(number) == 400
                assert await breaker.status(number + 2) == 200

    attack(scenario)


def test_one_stream_too_many_is_refused_alone() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with breaking(rig) as breaker:
            breaker.send(*(headers(number, HEAD) for number in (1, 3, 5)))
            refused = await breaker.wait_for(RST_STREAM)
            assert (refused.stream, refused.code) == (5, REFUSED_STREAM)
            await upstream.until(lambda: len(upstream.requests) == 2)
            upstream.connections[0].send(OK)
            await breaker.wait_for(HEADERS)
            breaker.send(headers(7, HEAD))
            await upstream.until(lambda: len(upstream.requests) == 3)

    attack(scenario, Recorder(never), http={"http2": {"max_streams": 2}})


def test_a_stream_that_is_reset_sends_on_in_vain_and_not_for_ever() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with breaking(rig) as breaker:
            breaker.send(headers(1, UPLOAD, end=False), rst_stream(1))
            # Each is answered by RST_STREAM, which costs us more than it costs the client.
            pouring = asyncio.ensure_future(breaker.pour(*[data(1, b"x") * 100] * 1000))
            await sent_away(rig, breaker, ENHANCE_YOUR_CALM, "control_flood")
            breaker.close()
            await pouring

    attack(scenario)


# -- blocks of fields ----------------------------------------------------------------------------------------------

TOO_LONG = {
    "empty continuations": (headers(1, HEAD, whole=False), [continuation(1)] * 9, "continuation_flood"),
    "continuations": (headers(1, HEAD, whole=False), [continuation(1, literal(b"x", b"y"))] * 9, "continuation_flood"),
    "64 KiB": (headers(1, b"", whole=False), [continuation(1, literal(b"x", b"y" * 16000))] * 5, "header_bytes"),
    "of trailers": (
        headers(1, UPLOAD, end=False) + headers(1, b"", whole=False),
        [continuation(1, b"")] * 9,
        "continuation_flood",
    ),
}


@pytest.mark.parametrize("case", TOO_LONG)
def test_blocks_without_end(case: str) -> None:
    first, pieces, kind = TOO_LONG[case]

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with breaking(rig) as breaker:
            breaker.send(first)
            for piece in pieces:
                breaker.send(piece)
                await asyncio.sleep(0)
            await sent_away(rig, breaker, ENHANCE_YOUR_CALM, kind)
        assert len(upstream.requests) == 1

    attack(scenario)


@pytest.mark.parametrize(
    "start",
    [
        pytest.param(headers(1, HEAD)[:-1], id="all but a byte"),
        pytest.param(headers(1, HEAD, whole=False), id="no continuation"),
        pytest.param(headers(1, HEAD, whole=False) + continuation(1)[:-1], id="half a continuation"),
        pytest.param(headers(1, UPLOAD, end=False) + headers(1, b"\x00", whole=False), id="trailers"),
    ],
)
def test_a_head_has_its_time_in_all(start: bytes) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with breaking(rig) as breaker:
            breaker.send(start)
            await sent_away(rig, breaker, ENHANCE_YOUR_CALM, "slow_head")

    attack(scenario, http={"header_timeout": 0.2})


def test_heads_too_large_are_told_so() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with breaking(rig) as breaker:
            breaker.send(headers(1, HEAD + literal(b"x", b"y" * 4000, indexed=True) + b"\xbe" * 90))
            assert await breaker.status(1) == 431
            # The table is the same on both sides still.
            breaker.send(headers(3, HEAD + b"\xbe"))
            assert await breaker.status(3) == 200
        assert [request.target for request in upstream.requests] == ["/", "/behind"]
        assert upstream.requests[0].get("x") == "y" * 4000

    attack(scenario)


def test_header_bombs_end_the_connection() -> None:
    # HTTP/2 Bomb, CVE-2026-49975: a byte for each time that an entry of the table is meant.
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with breaking(rig) as breaker:
            breaker.send(headers(1, HEAD + literal(b"x", b"y" * 4000, indexed=True) + b"\xbe" * 4000))
            await sent_away(rig, breaker, ENHANCE_YOUR_CALM, "header_bomb")

    attack(scenario)


def test_crumbs_are_bounded_as_the_cookie_they_make() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with breaking(rig) as breaker:
            many = b"".join(literal(b"cookie", b"a=%d" % n) for n in range(106))
            long = literal(b"cookie", b"a" * 1000) * 9
            few = literal(b"cookie", b"a=1") + literal(b"x", b"y") + literal(b"cookie", b"b=2")
            for number, (crumbs, status) in zip((1, 3, 5), [(many, 431), (long, 431), (few, 200)], strict=True):
                breaker.send(headers(number, HEAD + crumbs))
                assert await breaker.status(number) == status
        assert upstream.requests[0].get("cookie") == "a=1; b=2"

    attack(scenario)


@pytest.mark.parametrize("garbage", [b"\x80", b"\xbe", b"\x40\x01a\x81\x00", b"\xff" + b"\x80" * 30, b"\x82\x20"])
def test_what_hpack_cannot_read_ends_the_connection(garbage: bytes) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with breaking(rig) as breaker:
            breaker.send(headers(1, HEAD + garbage))
            await sent_away(rig, breaker, COMPRESSION_ERROR, "protocol")

    attack(scenario)


# -- windows -------------------------------------------------------------------------------------------------------

BODY = b"HTTP/1.1 200 OK\r\nContent-Length: 300000\r\n\r\n" + bytes(300_000)


def with_body(_: Seen, request: Message) -> bytes:
    return OK if request.target == "/behind" else BODY


def test_a_window_that_stays_closed_costs_its_stream() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with breaking(rig, greet=False) as breaker:
            # INITIAL_WINDOW_SIZE 0: heads come, bodies do not.
            breaker.send(PREFACE, settings((4, 0)), headers(1, HEAD))
            assert await breaker.status(1) == 200
            gone = await breaker.wait_for(RST_STREAM, 1)
            assert gone.code != 0
            breaker.send(ping())
            await breaker.wait_for(by_hand.PING)
        assert rig.log[0]["error"] == "client_closed"

    attack(scenario, Recorder(with_body), http={"write_timeout": 0.2})


def test_the_connections_window_that_stays_closed_costs_the_connection() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with breaking(rig, greet=False) as breaker:
            # Each stream may have a GiB, all together have their 65,535 bytes.
            breaker.send(PREFACE, settings((4, 2**30)), headers(1, HEAD), headers(3, HEAD))
            await sent_away(rig, breaker, ENHANCE_YOUR_CALM, "stalled")
        got = sum(len(each.content) for each in breaker.frames if each.kind == by_hand.DATA)
        assert got == 65535

    attack(scenario, Recorder(with_body), http={"write_timeout": 0.2})


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        pytest.param(window_update(0, 2**31 - 1), FLOW_CONTROL_ERROR, id="of the connection"),
        pytest.param(settings((4, 2**31)), FLOW_CONTROL_ERROR, id="of streams to come"),
        pytest.param(window_update(0, 0), PROTOCOL_ERROR, id="by nothing"),
    ],
)
def test_windows_beyond_their_bounds(sent: bytes, code: int) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with breaking(rig) as breaker:
            breaker.send(sent)
            await sent_away(rig, breaker, code, "protocol")

    attack(scenario)


def test_who_sends_more_than_the_window_is_sent_away() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with breaking(rig) as breaker:
            breaker.send(headers(1, UPLOAD, end=False), data(1, bytes(16384)) * 5)
            await sent_away(rig, breaker, FLOW_CONTROL_ERROR, "protocol")

    attack(scenario, Recorder(never))


# -- frames that move nothing on -----------------------------------------------------------------------------------

FLOODS = {
    "ping": ping(),
    "settings": SETTINGS,
    "acknowledged settings": SETTINGS_ACK,
    "priority": priority(9),
    "window updates": window_update(0, 1),
    "unknown frames": frame(0xFA, 0, 0, b"x"),
    "empty data": data(1),
    "padding": frame(by_hand.DATA, by_hand.PADDED, 1, b"\x05" + bytes(5)),
}


@pytest.mark.parametrize("case", FLOODS)
def test_floods_of_frames_that_move_nothing_on(case: str) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with breaking(rig) as breaker:
            breaker.send(headers(1, UPLOAD, end=False))
            pouring = asyncio.ensure_future(breaker.pour(*[FLOODS[case] * 10] * 2000))
            await sent_away(rig, breaker, ENHANCE_YOUR_CALM, "control_flood")
            breaker.close()
            await pouring

    attack(scenario, Recorder(never))


def test_settings_that_nobody_knows_are_not_remembered() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with breaking(rig) as breaker:
            breaker.send(*(settings(*((0x1000 + 32 * n + k, k) for k in range(32))) for n in range(3)))
            await sent_away(rig, breaker, ENHANCE_YOUR_CALM, "settings_flood")

    attack(scenario)


def test_a_client_that_does_not_read_is_not_read() -> None:
    # Heads know no windows: what bounds them is that nothing more is taken while they wait.
    long = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nX: " + b"y" * 8000 + b"\r\n\r\n"

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with breaking(rig, receive_buffer=4096) as breaker:
            breaker.reader._transport.pause_reading()  # type: ignore[attr-defined]
            await eventually(lambda: len(rig.connections) == 1)

            def served(count: int) -> bool:
                return len(rig.log) >= count or not rig.connections

            for first in range(0, 5000, 50):
                breaker.send(*(headers(2 * n + 1, HEAD) for n in range(first, first + 50)))
                await eventually(partial(served, first + 50))
                if not rig.connections:
                    break
            assert not rig.connections

    attack(scenario, Recorder(long), http={"write_timeout": 0.2})


# -- frames out of place -------------------------------------------------------------------------------------------

OPEN = headers(1, UPLOAD, end=False)
DONE = headers(1, HEAD)
ENDS: dict[str, tuple[bytes, set[int]]] = {
    "no settings": (PREFACE + ping(), {PROTOCOL_ERROR}),
    "a frame too large": (PREFACE + SETTINGS + data(1, bytes(16385)), {FRAME_SIZE_ERROR}),
    "ping of 7 bytes": (PREFACE + SETTINGS + ping(b"1234567"), {FRAME_SIZE_ERROR}),
    "settings of 5 bytes": (PREFACE + SETTINGS + frame(4, 0, 0, b"12345"), {FRAME_SIZE_ERROR}),
    "settings on a stream": (PREFACE + SETTINGS + frame(4, 0, 1), {PROTOCOL_ERROR}),
    "an acknowledgement with content": (PREFACE + SETTINGS + frame(4, 1, 0, bytes(6)), {FRAME_SIZE_ERROR}),
    "push allowed twice": (PREFACE + settings((2, 2)), {PROTOCOL_ERROR}),
    "frames of 1 byte": (PREFACE + settings((5, 1)), {PROTOCOL_ERROR}),
    "a promise": (PREFACE + SETTINGS + frame(5, 4, 1, struct.pack(">I", 2) + HEAD), {PROTOCOL_ERROR}),
    "an even stream": (PREFACE + SETTINGS + headers(2, HEAD), {PROTOCOL_ERROR}),
    "stream 0": (PREFACE + SETTINGS + headers(0, HEAD), {PROTOCOL_ERROR}),
    "data on stream 0": (PREFACE + SETTINGS + data(0, b"x"), {PROTOCOL_ERROR}),
    "data on a stream to come": (PREFACE + SETTINGS + data(1, b"x"), {PROTOCOL_ERROR}),
    "a reset of a stream to come": (PREFACE + SETTINGS + rst_stream(1), {PROTOCOL_ERROR}),
    "a window of a stream to come": (PREFACE + SETTINGS + window_update(1, 1), {PROTOCOL_ERROR}),
    "backwards": (PREFACE + SETTINGS + headers(5, HEAD) + headers(3, HEAD), {PROTOCOL_ERROR, STREAM_CLOSED}),
    "priority over itself": (PREFACE + SETTINGS + priority(1, 1), {PROTOCOL_ERROR}),
    "more padding than content": (PREFACE + SETTINGS + OPEN + frame(0, 8, 1, b"\x09abc"), {PROTOCOL_ERROR}),
    "trailers without end": (PREFACE + SETTINGS + OPEN + headers(1, literal(b"x", b"y"), False), {PROTOCOL_ERROR}),
    "ping on a stream": (PREFACE + SETTINGS + frame(6, 0, 1, bytes(8)), {PROTOCOL_ERROR}),
    "goaway on a stream": (PREFACE + SETTINGS + frame(7, 0, 1, bytes(8)), {PROTOCOL_ERROR}),
}


@pytest.mark.parametrize("case", ENDS)
@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "by bytes"])
def test_frames_out_of_place(case: str, bytewise: bool) -> None:
    sent, codes = ENDS[case]

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with breaking(rig, greet=False) as breaker:
            for at in range(0, len(sent), 1 if bytewise and len(sent) < 1000 else len(sent)):
                breaker.send(sent[at : at + 1] if bytewise and len(sent) < 1000 else sent)
                await asyncio.sleep(0)
            said = await breaker.goaway()
            assert said.code in codes
            # What a peer sent is not told back to it.
            assert b"example" not in said.content

    attack(scenario, Recorder(never))


def test_behind_goaway_nothing_more_is_taken() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with breaking(rig) as breaker:
            breaker.send(priority(1, 1), headers(1, HEAD), headers(3, HEAD))
            await breaker.wait_for(GOAWAY)
            breaker.send(headers(5, HEAD))
            await breaker.rest()
        assert [request.target for request in upstream.requests] == ["/behind"]

    attack(scenario)
