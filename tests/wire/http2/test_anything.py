"""Whatever comes on an HTTP/2 connection: frames at random, and h2's own state machine as a client without fault.

Laws: nothing is raised; what we write is HTTP/2; a request is complete only when it is, and its body is what was sent
on its stream, whatever came between on others.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable
from typing import Any, cast

import h2.config
import h2.connection
import h2.events
from h2.errors import ErrorCodes
from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from headgate.wire.http2.connection import Http2Connection
from headgate.wire.settings import Http2Limits, HttpLimits
from tests.wire.fake import FakeClient, FakeTransport, Whole
from tests.wire.http2 import breaker as by_hand
from tests.wire.http2.breaker import (
    END_STREAM,
    GET,
    GOAWAY,
    POST,
    PREFACE,
    SETTINGS,
    block,
    continuation,
    data,
    frame,
    headers,
    literal,
    ping,
    priority,
    rst_stream,
    window_update,
)


class Transport(FakeTransport):
    """A socket that takes pieces, too."""

    def writelines(self, pieces: Iterable[bytes]) -> None:
        self.written += b"".join(pieces)

    def set_protocol(self, protocol: Any) -> None:
        """Take any."""


class FakeHttp2(FakeClient):
    """One HTTP/2 connection of a client."""

    def __init__(self, bounds: Http2Limits | None = None, *, answers: bool = True) -> None:
        limits = HttpLimits(http2=bounds or Http2Limits())
        super().__init__(limits, answers=answers)
        self.connection = cast(Any, Http2Connection(self.connection.rules))
        self.transport = Transport()
        self.connection.connection_made(cast(asyncio.Transport, self.transport))

    def by_path(self) -> dict[str, Whole]:
        """The requests by their paths, of which there is one each."""
        return {whole.stream.head.path: whole for whole in self.asked}

    def end(self) -> None:
        """Lose the connection."""
        self.connection.connection_lost(None)


def frames_of(written: bytes) -> list[tuple[int, int, int, bytes]]:
    """Take what was written apart; all of it must be frames."""
    found, at = [], 0
    while at < len(written):
        size = int.from_bytes(written[at : at + 3], "big")
        number = int.from_bytes(written[at + 5 : at + 9], "big")
        content = written[at + 9 : at + 9 + size]
        assert len(content) == size, "cut off"
        assert size <= 16384
        found.append((written[at + 3], written[at + 4], number, content))
        at += 9 + size
    return found


# -- frames at random ----------------------------------------------------------------------------------------------

NUMBER = st.sampled_from([0, 1, 1, 3, 3, 5, 7, 2, 2**31 - 1])
PIECE = st.binary(max_size=30)


def head(number: int, end: bool, whole: bool, more: bytes) -> bytes:
    fields = [*(GET if end else POST)[:3], (":path", f"/{number}")]
    return headers(number, block(fields) + more, end, whole)


MORE = st.sampled_from(
    [
        b"",
        b"",
        literal(b"content-length", b"3"),
        literal(b"Capital", b"x"),
        literal(b"cookie", b"a=b") * 3,
        literal(b"x", b"y" * 3000, indexed=True),
        b"\xbe" * 200,
        b"\x20",
        b"\xff\xff",
        literal(b"te", b"trailers"),
        literal(b"expect", b"100-continue"),
    ]
)
FEW = st.sampled_from([1, 3, 5])
FINE = (
    st.builds(head, FEW, st.just(False), st.just(True), st.sampled_from([b"", literal(b"content-length", b"3")])),
    st.builds(data, FEW, st.sampled_from([b"", b"ab", b"cde"]), st.booleans()),
    st.builds(data, FEW, PIECE, st.just(True)),
)
FRAME = st.one_of(
    *FINE * 5,
    st.builds(head, NUMBER, st.booleans(), st.sampled_from([True, True, True, False]), MORE),
    st.builds(data, NUMBER, PIECE, st.booleans()),
    st.builds(rst_stream, NUMBER, st.integers(0, 20)),
    st.builds(window_update, NUMBER, st.sampled_from([0, 1, 1000, 2**31 - 1])),
    st.builds(continuation, NUMBER, st.one_of(PIECE, MORE), st.booleans()),
    st.builds(by_hand.settings, st.tuples(st.integers(0, 9), st.sampled_from([0, 1, 16384, 2**31 - 1, 2**32 - 1]))),
    st.builds(priority, NUMBER, NUMBER),
    st.just(ping()),
    st.just(by_hand.SETTINGS_ACK),
    st.builds(frame, st.integers(0, 12), st.integers(0, 255), NUMBER, PIECE),
    st.binary(max_size=20),
)


def ends(sent: list[bytes], number: int) -> bool:
    """Tell whether any frame that was meant as one ends a stream, or bytes that were not may have been one."""
    whole = [each for each in sent if len(each) >= 9 and int.from_bytes(each[:3], "big") == len(each) - 9]
    if len(whole) < len(sent):
        return True
    return any(int.from_bytes(each[5:9], "big") & 0x7FFFFFFF == number and each[4] & END_STREAM for each in whole)


@settings(max_examples=300, deadline=None)
@given(st.lists(FRAME, max_size=25), st.integers(0, 2**32), st.booleans())
def test_any_frames(sent: list[bytes], seed: int, answers: bool) -> None:
    client = FakeHttp2(Http2Limits(max_streams=3, max_resets=5, max_control_frames=20), answers=answers)
    raw = PREFACE + SETTINGS + b"".join(sent)
    dice = random.Random(seed)
    sizes = [dice.choice([1, 5, 9, 40, 1000]) for _ in range(200)]
    client.feed(raw, sizes)
    said = frames_of(client.transport.written)
    goaways = [at for at, each in enumerate(said) if each[0] == GOAWAY]
    if goaways:
        assert client.transport.closed
        assert goaways == [len(said) - 1], "something behind the last word"
    for whole in client.asked:
        number = int(whole.stream.head.path[1:])
        if whole.ended and whole.stream.failure is None:
            assert whole.stream.head.length in (-1, len(whole.body))
            assert ends(sent, number)
    # Each stream is answered once at most.
    heads = [each[2] for each in said if each[0] == by_hand.HEADERS and each[1] & END_STREAM]
    assert len(heads) == len(set(heads))
    client.end()
    assert not client.connection.lanes  # type: ignore[attr-defined]
    assert all(whole.stream.done or whole.stream.failure is not None or whole.stream.gone for whole in client.asked)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400), st.integers(1, 50))
def test_any_bytes(sent: bytes, size: int) -> None:
    client = FakeHttp2()
    client.feed(PREFACE + SETTINGS + sent, [size] * 20)
    frames_of(client.transport.written)
    client.end()


# -- a client without fault ----------------------------------------------------------------------------------------


class Faultless(RuleBasedStateMachine):
    """h2 as a client that does all that it may in any order: nothing of it is a fault to us, every request whole."""

    def __init__(self) -> None:
        super().__init__()
        self.gateway = FakeHttp2(Http2Limits(max_streams=5, stream_window=4096, connection_window=65535))
        self.client = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding=None))
        self.client.initiate_connection()
        self.read = 0
        self.open: dict[int, bytes] = {}
        self.whole: dict[int, bytes] = {}
        self.given_up: set[int] = set()
        self.answered: set[int] = set()
        self.exchange()

    def exchange(self, size: int = 0) -> None:
        """Let each side hear what the other has said."""
        for _ in range(3):
            said = self.client.data_to_send()
            self.gateway.feed(said, [size] * (len(said) // size) if size else [])
            written = self.gateway.transport.written
            new, self.read = written[self.read :], len(written)
            for event in self.client.receive_data(new):
                if isinstance(event, h2.events.StreamEnded):
                    self.answered.add(event.stream_id or 0)
                elif isinstance(event, h2.events.StreamReset):
                    # NO_ERROR: the answer came before the body's end; nothing else is our right.
                    assert event.error_code == ErrorCodes.NO_ERROR
                assert not isinstance(event, h2.events.ConnectionTerminated), event

    @precondition(lambda self: len(self.open) < 5)
    @rule(fields=st.integers(0, 30), size=st.sampled_from([0, 0, 1, 100]))
    def begin(self, fields: int, size: int) -> None:
        number = self.client.get_next_available_stream_id()
        start = [(b":method", b"POST"), (b":scheme", b"http"), (b":authority", b"a.test"), (b":path", b"/%d" % number)]
        self.client.send_headers(number, start + [(b"x-%d" % n, b"value %d" % n) for n in range(fields)])
        self.open[number] = b""
        self.exchange(size)

    @precondition(lambda self: self.open)
    @rule(
        which=st.integers(0, 4),
        wanted=st.sampled_from([0, 1, 700, 5000]),
        end=st.booleans(),
        size=st.sampled_from([0, 0, 7]),
    )
    def upload(self, which: int, wanted: int, end: bool, size: int) -> None:
        number = sorted(self.open)[which % len(self.open)]
        piece = bytes([number % 251]) * min(wanted, self.client.local_flow_control_window(number))
        self.client.send_data(number, piece, end_stream=end)
        self.open[number] += piece
        if end:
            self.whole[number] = self.open.pop(number)
        self.exchange(size)

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 4))
    def trailers(self, which: int) -> None:
        number = sorted(self.open)[which % len(self.open)]
        self.client.send_headers(number, [(b"x-sum", b"1")], end_stream=True)
        self.whole[number] = self.open.pop(number)
        self.exchange()

    @precondition(lambda self: self.open)
    @rule(which=st.integers(0, 4))
    def give_up(self, which: int) -> None:
        number = sorted(self.open)[which % len(self.open)]
        self.client.reset_stream(number, ErrorCodes.CANCEL)
        del self.open[number]
        self.given_up.add(number)
        self.exchange()

    @rule(size=st.sampled_from([0, 1]))
    def ask_whether_we_live(self, size: int) -> None:
        self.client.ping(b"12345678")
        self.exchange(size)

    @rule(window=st.sampled_from([0, 1, 65535]), table=st.sampled_from([0, 100, 4096]))
    def change_settings(self, window: int, table: int) -> None:
        codes = {SettingCodes.INITIAL_WINDOW_SIZE: window, SettingCodes.HEADER_TABLE_SIZE: table}
        self.client.update_settings(cast(Any, codes))
        self.exchange()

    @rule(increment=st.integers(1, 10_000))
    def open_the_window(self, increment: int) -> None:
        self.client.increment_flow_control_window(increment)
        self.exchange()

    @invariant()
    def every_request_is_whole_and_itself(self) -> None:
        asked = self.gateway.by_path()
        for number, body in self.whole.items():
            whole = asked[f"/{number}"]
            assert whole.ended
            assert whole.body == body
            assert number in self.answered
        for number in self.open:
            assert not asked[f"/{number}"].ended
            # All that came was taken, so there is room for more.
            assert self.client.local_flow_control_window(number) > 0
        for number in self.given_up:
            assert f"/{number}" not in asked or not asked[f"/{number}"].ended

    def teardown(self) -> None:
        self.gateway.end()


TestFaultless = Faultless.TestCase
TestFaultless.settings = settings(max_examples=40, stateful_step_count=25, deadline=None)
