"""The live stream: every client gets what it asked for, and a slow one loses events, not the others time."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from headgate.control.telemetry.stream import MOST_CLIENTS, MOST_WAITING, Event, Stream, TooManyWatch, event_text
from tests.control.clock import timeless

TICKS: list[Event] = ["tick"]


async def taken(events: AsyncIterator[bytes], count: int) -> list[tuple[str, object]]:
    """Take so many events."""
    found: list[tuple[str, object]] = []
    while len(found) < count:
        text = (await anext(events)).decode()
        if text.startswith(":"):
            continue
        assert text.endswith("\n\n") and text.count("\n") == 3
        name, data = text[:-2].split("\n")
        found.append((name.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return found


def test_a_client_gets_what_it_asked_for() -> None:
    async def scenario() -> None:
        stream = Stream()
        all_of_it, ticks = stream.join(["tick", "request"]), stream.join(TICKS)
        stream.publish("request", {"id": 1})
        stream.publish("tick", {"text": "two\nlines\r\n\u2028"})
        assert await taken(all_of_it.events(), 2) == [
            ("request", {"id": 1}),
            ("tick", {"text": "two\nlines\r\n\u2028"}),
        ]
        assert await taken(ticks.events(), 1) == [("tick", {"text": "two\nlines\r\n\u2028"})]

    timeless(scenario)


def test_a_client_waits_for_the_next_event_and_goes_at_the_end() -> None:
    async def scenario() -> None:
        stream = Stream()
        watcher = stream.join(TICKS)
        events = watcher.events()
        waiting = asyncio.ensure_future(taken(events, 2))
        await asyncio.sleep(1)
        stream.publish("tick", 1)
        await asyncio.sleep(1)
        stream.publish("tick", 2)
        assert await waiting == [("tick", 1), ("tick", 2)]
        stream.publish("tick", 3)
        closing = asyncio.ensure_future(stream.close(5))
        await asyncio.sleep(0)
        assert [each async for each in events] == [event_text("tick", 3)]
        assert not closing.done()
        stream.leave(watcher)
        began = asyncio.get_running_loop().time()
        await closing
        assert asyncio.get_running_loop().time() == began
        with pytest.raises(TooManyWatch):
            stream.join(TICKS)

    timeless(scenario)


def test_one_that_does_not_go_is_waited_for_so_long() -> None:
    async def scenario() -> None:
        stream = Stream()
        stream.join(TICKS)
        began = asyncio.get_running_loop().time()
        await stream.close(5)
        assert asyncio.get_running_loop().time() - began == 5

    timeless(scenario)


def test_a_slow_client_loses_the_oldest_and_is_told() -> None:
    async def scenario() -> None:
        stream = Stream()
        slow, quick = stream.join(TICKS), stream.join(TICKS)
        quick_events = quick.events()
        for number in range(MOST_WAITING + 30):
            stream.publish("tick", number)
            assert await taken(quick_events, 1) == [("tick", number)]
        assert stream.lost == 30
        events = slow.events()
        assert await taken(events, 2) == [("lost", {"events": 30}), ("tick", 30)]
        rest = await taken(events, MOST_WAITING - 1)
        assert rest[-1] == ("tick", MOST_WAITING + 29)

    timeless(scenario)


def test_a_client_whose_every_event_makes_another_one_holds_nobody_up() -> None:
    async def scenario() -> None:
        stream = Stream()
        watcher = stream.join(["log"])

        async def write() -> None:
            written = 0
            async for _ in watcher.events():
                # So asyncio warns, in the log, of each write to a connection that has ended.
                stream.publish("log", "socket.send() raised exception.")
                written += 1
                assert written < 100, "nobody else had a turn"

        writing = asyncio.ensure_future(write())
        for _ in range(10):
            await asyncio.sleep(0)
        assert not writing.done()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing

    timeless(scenario)


def test_who_is_let_go_is_given_what_waited_and_nothing_more_and_may_come_again() -> None:
    async def scenario() -> None:
        stream = Stream()
        watcher = stream.join(TICKS)
        stream.publish("tick", 1)
        events = watcher.events()
        assert await taken(events, 1) == [("tick", 1)]
        stream.publish("tick", 2)
        stream.let_go()
        # However many more come: one that reads slowly would be given them for ever.
        stream.publish("tick", 3)
        assert [each async for each in events] == [event_text("tick", 2)]
        stream.leave(watcher)
        again = stream.join(TICKS)
        stream.publish("tick", 4)
        assert await taken(again.events(), 1) == [("tick", 4)]

    timeless(scenario)


def test_there_is_a_bound_of_clients() -> None:
    async def scenario() -> None:
        stream = Stream()
        watchers = [stream.join(TICKS) for _ in range(MOST_CLIENTS)]
        with pytest.raises(TooManyWatch):
            stream.join(TICKS)
        stream.leave(watchers[0])
        stream.join(TICKS)
        assert stream.watchers == MOST_CLIENTS

    timeless(scenario)
