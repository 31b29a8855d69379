"""The books of a pool whose connections are shared: whoever gives up at whatever moment, the counts are right."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import uvloop
from h2.settings import SettingCodes
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.address import parse_endpoint
from headgate.core.failure import Failure
from headgate.core.message import ResponseHead
from headgate.core.steps import Steps
from headgate.wire import http1
from headgate.wire.call import Call
from headgate.wire.http2.call import Http2Call
from headgate.wire.outbox import Outbox
from headgate.wire.outgoing import Outgoing
from headgate.wire.pool import Pool
from headgate.wire.resolver import Resolver
from headgate.wire.settings import PoolLimits, Timeouts
from headgate.wire.timers import TimerWheel
from headgate.wire.whole import WholeAnswers
from tests.proxy.http2_upstream import Http2Upstream, replying

CEILING = 60.0


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(CEILING):
            await scenario()

    loop = uvloop.new_event_loop()
    faults: list[dict[str, Any]] = []
    loop.set_exception_handler(lambda _, context: faults.append(context))
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()
    assert not faults, [
        traceback.format_exception(each["exception"]) for each in faults if "exception" in each
    ] or faults


def pool_to(url: str, **limits: int) -> Pool:
    loop = asyncio.get_running_loop()
    answers = WholeAnswers(http1.response_kinds())
    shared = TimerWheel(), Outbox(loop), answers, Resolver()
    return Pool(parse_endpoint(url), PoolLimits(**limits), *shared, speaks="http2")


async def settled(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def turns(number: int) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


def even(pool: Pool) -> bool:
    """Tell whether nothing is under way in the books."""
    return (pool.calls, pool.active, pool._opening, len(pool._waiters)) == (0, 0, 0, 0)


async def over(pool: Pool) -> None:
    """Retire a pool, and see that nothing of it stays."""
    pool.retire()
    await settled(lambda: pool.open == 0)
    assert even(pool)
    assert (pool.idle, pool._roomy, pool._shared) == (0, {}, set())


def test_calls_share_and_give_back() -> None:
    async def scenario() -> None:
        async with Http2Upstream() as upstream:
            pool = pool_to(upstream.url, max_streams=3)
            assert pool.take(True) is None
            first = await pool.connect(5)
            others = [pool.take(True), pool.take(False)]
            assert (pool.calls, pool.open, pool.idle, pool.active) == (3, 1, 0, 3)
            assert pool.take(True) is None
            for call in (first, *others):
                assert isinstance(call, Http2Call)
                call.release()
                call.release()
                call.close()
            assert (pool.calls, pool.open, pool.idle) == (0, 1, 1)
            await over(pool)

    run(scenario)


@pytest.mark.parametrize("most", [1, 100])
def test_whoever_gives_up_while_connecting_leaves_the_books_even(most: int) -> None:
    async def scenario() -> None:
        settings = {SettingCodes.MAX_CONCURRENT_STREAMS: most}
        async with Http2Upstream(settings=settings) as upstream:
            # Cancelled at every turn of the loop that connecting takes, and some beyond.
            for patience in range(14):
                pool = pool_to(upstream.url, max_connections=2)
                tasks = [asyncio.create_task(pool.connect(5)) for _ in range(3)]
                await turns(patience)
                for task in tasks:
                    task.cancel()
                results = await asyncio.gather(*tasks, return_exceptions=True)
                for result in results:
                    if isinstance(result, Http2Call):
                        result.release()
                await settled(lambda pool=pool: even(pool))  # type: ignore[misc]
                await over(pool)

    run(scenario)


def test_who_is_first_may_give_up_and_the_others_are_served() -> None:
    async def scenario() -> None:
        async with Http2Upstream() as upstream:
            for patience in range(10):
                pool = pool_to(upstream.url)
                first, *others = (asyncio.create_task(pool.connect(5)) for _ in range(5))
                await turns(patience)
                first.cancel()
                calls = await asyncio.gather(*others)
                assert pool.calls >= 4
                (result,) = await asyncio.gather(first, return_exceptions=True)
                for call in (*calls, result):
                    if isinstance(call, Http2Call):
                        call.release()
                await over(pool)

    run(scenario)


def test_nobody_connects_while_there_will_be_room_for_all() -> None:
    async def scenario() -> None:
        async with Http2Upstream() as upstream:
            pool = pool_to(upstream.url, max_streams=10)
            calls = await asyncio.gather(*(pool.connect(5) for _ in range(25)))
            assert (pool.open, pool.calls) == (3, 25)
            assert len(upstream.links) == 3
            for call in calls:
                call.release()
            await over(pool)

    run(scenario)


def test_who_allows_no_requests_is_of_no_use() -> None:
    async def scenario() -> None:
        async with Http2Upstream(settings={SettingCodes.MAX_CONCURRENT_STREAMS: 0}) as upstream:
            pool = pool_to(upstream.url)
            tasks = await asyncio.gather(*(pool.connect(5) for _ in range(3)), return_exceptions=True)
            assert [getattr(each, "reason", "") for each in tasks] == ["upstream_protocol"] * 3
            await settled(lambda: pool.open == 0)
            assert even(pool)

    run(scenario)


def test_a_retired_pool_ends_with_its_last_call() -> None:
    async def scenario() -> None:
        async with Http2Upstream() as upstream:
            pool = pool_to(upstream.url)
            call = await pool.connect(5)
            other = pool.take(True)
            assert other is not None
            pool.retire()
            assert pool.take(True) is None
            call.release()
            await turns(5)
            assert pool.open == 1
            other.release()
            await over(pool)
            late = await pool.connect(5)
            assert pool.open == 1
            late.release()
            await over(pool)

    run(scenario)


STEP = st.one_of(
    st.tuples(st.just("connect"), st.integers(0, 3)),
    st.tuples(st.just("send"), st.integers(0, 9)),
    st.tuples(st.just("release"), st.integers(0, 9)),
    st.tuples(st.just("close"), st.integers(0, 9)),
    st.tuples(st.just("cut"), st.integers(0, 3)),
    st.tuples(st.just("goaway"), st.integers(0, 3)),
    st.tuples(st.just("turn"), st.integers(1, 5)),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(STEP, max_size=25))
def test_whatever_happens_the_books_are_even(steps: list[tuple[str, int]]) -> None:
    async def scenario() -> None:
        answers = {SettingCodes.MAX_CONCURRENT_STREAMS: 3}
        async with Http2Upstream(replying(b"x"), settings=answers) as upstream:
            pool = pool_to(upstream.url, max_connections=2, max_streams=4)
            calls: list[Call] = []
            tasks: list[asyncio.Task[Call]] = []
            heads: list[ResponseHead | Failure] = []

            async def send(call: Call) -> None:
                try:
                    heads.append(await call.send(Outgoing("GET", b"/", [], 0), b"", True, Timeouts()))
                except Failure as failure:
                    heads.append(failure)

            sent: set[int] = set()
            for kind, number in steps:
                for task in [task for task in tasks if task.done()]:
                    tasks.remove(task)
                    if task.exception() is None:
                        calls.append(task.result())
                if kind == "connect":
                    taken = pool.take(True)
                    if taken is not None:
                        calls.append(taken)
                    else:
                        tasks.append(asyncio.create_task(pool.connect(5)))
                elif kind == "send" and calls:
                    call = calls[number % len(calls)]
                    if id(call) not in sent and not getattr(call, "gone", False):
                        sent.add(id(call))
                        Steps(send(call)).go_on()
                elif kind == "release" and calls:
                    calls.pop(number % len(calls)).release()
                elif kind == "close" and calls:
                    calls.pop(number % len(calls)).close()
                elif kind in ("cut", "goaway") and upstream.links:
                    link = upstream.links[number % len(upstream.links)]
                    if kind == "cut":
                        link.cut()
                    elif link.transport is not None:
                        link.go_away(1)
                else:
                    await turns(number)
                assert pool.open <= 2
                assert all(link.calls <= link.most for link in pool._shared)
            for call in calls:
                call.release()
            while tasks:
                # Each gives its place to the next who waits.
                done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    tasks.remove(task)
                    if task.exception() is None:
                        task.result().release()
            await over(pool)

    run(scenario)
