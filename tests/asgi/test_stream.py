"""What waits between the exchange and an ASGI server, and what happens when either side is slow."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, cast

import pytest

from headgate.asgi import stream as module
from headgate.asgi.stream import AsgiClient, AsgiStream
from headgate.core.failure import Failure
from headgate.core.message import UNKNOWN_LENGTH, RequestHead, ResponseHead
from headgate.wire.head import HeadReader
from headgate.wire.http1 import request_kinds, response_kinds
from headgate.wire.outbox import Outbox
from headgate.wire.pipe import Source
from headgate.wire.rules import Rules
from headgate.wire.settings import HttpLimits
from headgate.wire.timers import TimerWheel

LIMITS = HttpLimits(buffer=4096, write_timeout=60.0, body_timeout=30.0, min_body_rate=0)


class Clock:
    """The time, as a test says it."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.wheel = TimerWheel()
        self.wheel.advance(self.now)

    def pass_(self, seconds: float) -> None:
        """Let time pass, a tick at a time."""
        until = self.now + seconds
        while self.now < until:
            self.now = min(until, self.now + 1.0)
            self.wheel.advance(self.now)


class Upstream:
    """A source that knows whether it is paused."""

    def __init__(self) -> None:
        self.paused = False

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    clock = Clock()
    monkeypatch.setattr(module, "monotonic", lambda: clock.now)
    yield clock
    assert len(clock.wheel) == 0, "a stream is still waited for"


def stream_of(clock: Clock, method: str = "POST", length: int = 0) -> AsgiStream:
    heads = HeadReader(LIMITS, "http", request_kinds([], "drop"), response_kinds())
    nobody: Any = lambda *_: None  # noqa: E731
    loop = cast(asyncio.AbstractEventLoop, None)
    rules = Rules(LIMITS, heads, clock.wheel, Outbox(loop), nobody, nobody, nobody, nobody, nobody, False)
    head = RequestHead(method, b"/", "http")
    head.length = length
    return AsgiStream(AsgiClient(rules, "203.0.113.9"), head, clock.now)


def body(data: bytes, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": data, "more_body": more}


def test_an_upstream_is_paused_while_the_server_has_enough(clock: Clock) -> None:
    stream, upstream = stream_of(clock), Upstream()
    stream.source = cast(Source, upstream)
    stream.respond(ResponseHead(200, [], UNKNOWN_LENGTH), b"", False)
    stream.write(bytes(4095))
    before = upstream.paused
    stream.write(b"x")
    assert (before, upstream.paused) == (False, True)
    start, piece = stream.messages()
    assert start["status"] == 200
    assert (len(piece["body"]), piece["more_body"]) == (4096, True)
    before = upstream.paused
    stream.sent()
    # It is taken only when the server says so.
    assert (before, upstream.paused) == (True, False)


def test_what_comes_while_the_server_takes_something_counts(clock: Clock) -> None:
    stream, upstream = stream_of(clock), Upstream()
    stream.source = cast(Source, upstream)
    stream.respond(ResponseHead(200, [], UNKNOWN_LENGTH), bytes(4096), False)
    stream.messages()
    stream.write(bytes(4096))
    stream.sent()
    assert upstream.paused


def test_the_end_is_said_with_the_last_piece(clock: Clock) -> None:
    stream = stream_of(clock)
    stream.respond(ResponseHead(200, [], UNKNOWN_LENGTH), b"a", False)
    stream.write(b"b")
    stream.finish()
    assert stream.messages()[1] == {"type": "http.response.body", "body": b"ab", "more_body": False}
    assert stream.bytes_out == 2


def test_a_cut_answer_is_not_ended(clock: Clock) -> None:
    stream = stream_of(clock)
    stream.respond(ResponseHead(200, [], 9), b"a", False)
    stream.source_failed(Failure("upstream_reset"))
    assert [each.get("more_body") for each in stream.messages()] == [None, True]
    assert stream.done
    assert not stream.gone


def test_a_client_that_takes_nothing_is_let_go(clock: Clock) -> None:
    stream = stream_of(clock)
    stalled: list[float] = []
    failures: list[Failure] = []
    stream.on_stalled = lambda: stalled.append(clock.now)
    stream.on_failed = failures.append
    stream.respond(ResponseHead(200, [], UNKNOWN_LENGTH), b"a", False)
    stream.sending()
    clock.pass_(59)
    assert not stalled
    clock.pass_(2)
    assert stalled
    assert [failure.reason for failure in failures] == ["client_closed"]
    assert stream.gone


def test_who_takes_something_in_time_has_its_time_again(clock: Clock) -> None:
    stream = stream_of(clock)
    stalled: list[float] = []
    stream.on_stalled = lambda: stalled.append(clock.now)
    for _ in range(3):
        stream.sending()
        clock.pass_(59)
        stream.sent()
    clock.pass_(300)
    assert not stalled
    stream.settle()


def test_a_body_that_does_not_come_is_waited_for_so_long(clock: Clock) -> None:
    stream = stream_of(clock, length=9)
    failures: list[Failure] = []
    stream.on_failed = failures.append
    stream.watch()
    stream.came(body(b"abc", True))
    clock.pass_(29)
    assert not failures
    clock.pass_(6)
    assert [failure.reason for failure in failures] == ["request_timeout"]
    stream.settle()


def test_a_body_that_we_hold_back_may_take_its_time(clock: Clock) -> None:
    stream = stream_of(clock, length=1 << 20)
    failures: list[Failure] = []
    stream.on_failed = failures.append
    stream.watch()
    stream.came(body(bytes(LIMITS.buffer), True))
    assert stream.wanted is not None
    assert not stream.wanted.is_set()
    clock.pass_(300)
    assert not failures
    stream.take()
    assert stream.wanted.is_set()
    stream.came(body(bytes(LIMITS.buffer), True))
    held_again = not stream.wanted.is_set()
    assert held_again
    stream.settle()


@pytest.mark.parametrize("pieces", [[(b"abcd", False)], [(b"ab", True), (b"cd", True)], [(b"ab", False)]])
def test_a_body_is_as_long_as_it_was_told_to_be(clock: Clock, pieces: list[tuple[bytes, bool]]) -> None:
    stream = stream_of(clock, length=3)
    failures: list[Failure] = []
    stream.on_failed = failures.append
    for data, more in pieces:
        stream.came(body(data, more))
    assert [failure.reason for failure in failures] == ["bad_request"]
    assert not stream.ended


def test_a_client_that_left_is_gone(clock: Clock) -> None:
    stream = stream_of(clock)
    assert not stream.came({"type": "http.disconnect"})
    assert stream.gone
    assert stream.failure is not None
    assert stream.has_more
