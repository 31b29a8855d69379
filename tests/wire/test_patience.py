"""How long an answer is waited for, by a process that may stand still itself; time is the loop's and takes none."""

from __future__ import annotations

import asyncio

import pytest

from headgate.wire.patience import within
from tests.control.clock import TimelessLoop, timeless


def now() -> float:
    return asyncio.get_running_loop().time()


def stand_still(seconds: float) -> None:
    """Be stopped, or without a processor, for so long."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, TimelessLoop)
    loop.pass_by(seconds)


def test_what_takes_too_long_is_given_up_on_time() -> None:
    async def scenario() -> None:
        began = now()
        with pytest.raises(TimeoutError):
            async with within(5):
                await asyncio.sleep(6)
        assert now() - began == 5
        async with within(5):
            await asyncio.sleep(4)
        # Nothing of it comes later.
        await asyncio.sleep(100)

    timeless(scenario)


@pytest.mark.parametrize("seconds", [10, 1000])
def test_an_answer_that_is_there_when_we_go_on_is_in_time(seconds: float) -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        answer = loop.create_future()

        def hang() -> None:
            stand_still(seconds)
            # What came meanwhile is read in the turns of the loop that follow.
            loop.call_later(0.01, answer.set_result, "fine")

        loop.call_later(1, hang)
        async with within(5):
            assert await answer == "fine"

    timeless(scenario)


def test_one_that_never_comes_is_given_up_all_the_same() -> None:
    async def scenario() -> None:
        began = now()
        asyncio.get_running_loop().call_later(1, stand_still, 100)
        with pytest.raises(TimeoutError):
            async with within(5):
                await asyncio.sleep(1000)
        # As long again as was asked for, and not as long as it stood still.
        assert now() - began == 106

    timeless(scenario)


def test_a_process_that_is_late_all_the_time_gives_up_as_well() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()

        def lag() -> None:
            stand_still(1)
            loop.call_later(0.01, lag)

        began = now()
        loop.call_later(0.5, lag)
        with pytest.raises(TimeoutError):
            async with within(5):
                await loop.create_future()
        assert 10 <= now() - began < 20

    timeless(scenario)


def test_whoever_cancels_is_no_timeout() -> None:
    async def scenario() -> None:
        async def wait() -> None:
            async with within(5):
                await asyncio.sleep(1000)

        task = asyncio.ensure_future(wait())
        await asyncio.sleep(1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    timeless(scenario)
