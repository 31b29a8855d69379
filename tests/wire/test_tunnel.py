"""The two ends of a tunnel: what goes through, what waits, and how both end. No sockets; the test turns the wheel."""

from __future__ import annotations

from asyncio import Transport
from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.clock import monotonic
from headgate.wire.timers import TimerWheel
from headgate.wire.tunnel import SocketEnd, Tunnel

IDLE = 3600.0


class Owner:
    """The HTTP connection that a socket belonged to."""

    def __init__(self) -> None:
        self.lost: list[Exception | None] = []

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost.append(exc)


class FakeTransport:
    """A socket whose far side reads when the test says so, with the flow control of an event loop's transports."""

    def __init__(self, high: int = 10) -> None:
        self.high = high
        self.reading = False
        self.protocol: Any = None
        self.unsent = b""
        self.sent = b""
        self.closing = False
        self.aborted = False

    def set_protocol(self, protocol: Any) -> None:
        self.protocol = protocol

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def write(self, data: bytes) -> None:
        was_full = len(self.unsent) > self.high
        self.unsent += data
        if len(self.unsent) > self.high and not was_full:
            self.protocol.pause_writing()

    def drain(self) -> None:
        """Let the far side read all."""
        was_full = len(self.unsent) > self.high
        self.sent, self.unsent = self.sent + self.unsent, b""
        if self.closing:
            self._lost(None)
        elif was_full:
            self.protocol.resume_writing()

    def close(self) -> None:
        # A loop's transport closes when all is written, and tells so in a later turn.
        self.closing = True
        self.reading = False

    def abort(self) -> None:
        self.aborted = self.closing = True
        self.unsent = b""

    def settle(self) -> None:
        """Have the loop's next turn."""
        if self.closing and not self.unsent and self.protocol is not None:
            self._lost(None)

    def _lost(self, error: Exception | None) -> None:
        protocol, self.protocol = self.protocol, None
        if protocol is not None:
            protocol.connection_lost(error)

    def receive(self, data: bytes) -> None:
        """Let the far side send."""
        assert self.reading, "nobody reads"
        self.protocol.data_received(data)

    def end(self, error: Exception | None = None) -> None:
        """Let the far side close, or break."""
        if error is None and not self.protocol.eof_received():
            self.close()
            self.settle()
        else:
            self._lost(error)


class Stage:
    """A tunnel between a client and an upstream."""

    def __init__(self, ahead: bytes = b"", behind: bytes = b"") -> None:
        self.wheel = TimerWheel()
        self.client, self.upstream = FakeTransport(), FakeTransport()
        self.owners = Owner(), Owner()
        self.tunnel = Tunnel(
            self.wheel,
            IDLE,
            SocketEnd(self.owners[0], cast(Transport, self.client)),
            SocketEnd(self.owners[1], cast(Transport, self.upstream)),
        )
        self.tunnel.start(ahead, behind)

    @property
    def sides(self) -> tuple[FakeTransport, FakeTransport]:
        return self.client, self.upstream

    def is_over(self) -> bool:
        return self.tunnel.ended.done and [len(owner.lost) for owner in self.owners] == [1, 1] and not len(self.wheel)


EITHER = pytest.mark.parametrize("side", [0, 1], ids=["client", "upstream"])


def test_bytes_go_both_ways_and_are_counted() -> None:
    stage = Stage()
    assert [type(side.protocol) for side in stage.sides] == [SocketEnd, SocketEnd]
    stage.client.receive(b"hello")
    stage.upstream.receive(b"hi")
    stage.client.receive(b"!")
    assert (stage.upstream.unsent, stage.client.unsent) == (b"hello!", b"hi")
    assert (stage.tunnel.client.bytes, stage.tunnel.upstream.bytes) == (6, 2)


def test_what_was_read_ahead_goes_first() -> None:
    stage = Stage(b"from the client", b"from the upstream")
    stage.client.drain()
    stage.upstream.drain()
    stage.client.receive(b", more")
    assert stage.upstream.sent + stage.upstream.unsent == b"from the client, more"
    assert stage.client.sent == b"from the upstream"
    assert (stage.tunnel.client.bytes, stage.tunnel.upstream.bytes) == (21, 17)


def test_what_was_read_ahead_may_fill_the_other_end() -> None:
    stage = Stage(b"x" * 11, b"")
    assert (stage.client.reading, stage.upstream.reading) == (False, True)
    stage.upstream.drain()
    assert stage.client.reading


@EITHER
def test_an_end_that_does_not_keep_up_pauses_the_other(side: int) -> None:
    stage = Stage()
    slow, quick = stage.sides[side], stage.sides[1 - side]
    quick.receive(b"x" * 10)
    assert [quick.reading, slow.reading] == [True, True]
    quick.receive(b"x")
    # The other way goes on meanwhile.
    assert [quick.reading, slow.reading] == [False, True]
    slow.receive(b"y")
    slow.drain()
    assert [quick.reading, slow.reading] == [True, True]
    assert slow.sent == b"x" * 11


@EITHER
def test_the_end_of_one_side_is_the_other_sides_when_all_is_written(side: int) -> None:
    stage = Stage()
    ending, other = stage.sides[side], stage.sides[1 - side]
    ending.receive(b"last words")
    ending.end()
    other.settle()
    assert not stage.tunnel.ended.done
    assert not other.aborted
    other.drain()
    assert other.sent == b"last words"
    assert stage.is_over()


@EITHER
def test_a_break_of_one_side_ends_the_other(side: int) -> None:
    stage = Stage()
    breaking, other = stage.sides[side], stage.sides[1 - side]
    error = ConnectionResetError()
    breaking.end(error)
    other.settle()
    assert stage.is_over()
    assert stage.owners[side].lost == [error]
    assert stage.owners[1 - side].lost == [None]


@EITHER
def test_a_slow_end_that_breaks_releases_nobody_who_is_gone(side: int) -> None:
    stage = Stage()
    slow, quick = stage.sides[side], stage.sides[1 - side]
    quick.receive(b"x" * 20)
    assert not quick.reading
    slow.end(BrokenPipeError())
    quick.settle()
    assert stage.is_over()
    # What the loop may still tell an end whose peer is gone.
    for end in (stage.tunnel.client, stage.tunnel.upstream):
        assert isinstance(end, SocketEnd)
        end.data_received(b"late")
        end.pause_writing()
        end.resume_writing()
    assert slow.sent == b""


def test_silence_cuts_both_ends_and_a_word_of_either_puts_it_off() -> None:
    stage = Stage()
    start = monotonic()
    # From here on the wheel's time is ours: each turn is told when it is.
    stage.wheel.advance(start + IDLE / 2)
    for side in stage.sides:
        before = stage.tunnel.deadline
        side.receive(b"x")
        assert stage.tunnel.deadline > before
        side.drain()
    stage.wheel.advance(stage.tunnel.deadline - 1)
    assert [side.aborted for side in stage.sides] == [False, False]
    stage.wheel.advance(stage.tunnel.deadline + 2 * stage.wheel.tick)
    assert [side.aborted for side in stage.sides] == [True, True]
    for side in stage.sides:
        side.settle()
    assert stage.is_over()


def test_a_tunnel_that_is_over_may_be_cut() -> None:
    stage = Stage()
    stage.client.end()
    stage.upstream.settle()
    stage.tunnel.cut()
    assert stage.is_over()
    assert not stage.client.aborted


@given(st.lists(st.tuples(st.integers(0, 1), st.binary(min_size=1, max_size=15), st.booleans()), max_size=40))
def test_nothing_is_lost_nor_held_without_bound(steps: list[tuple[int, bytes, bool]]) -> None:
    stage = Stage()
    said = [b"", b""]
    for side, data, drains in steps:
        speaking, hearing = stage.sides[side], stage.sides[1 - side]
        if speaking.reading:
            speaking.receive(data)
            said[side] += data
        assert len(hearing.unsent) <= hearing.high + 15
        # Who may speak and who is full are the same fact.
        assert speaking.reading == (len(hearing.unsent) <= hearing.high)
        if drains:
            hearing.drain()
            assert speaking.reading
    for each in stage.sides:
        each.drain()
    assert [stage.upstream.sent, stage.client.sent] == said


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_both_ends_may_end_in_the_same_turn(order: tuple[int, int]) -> None:
    stage = Stage()
    ends: list[Callable[[], None]] = [stage.client.end, stage.upstream.end]
    for side in order:
        ends[side]()
    assert stage.is_over()
