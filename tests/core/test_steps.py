"""Coroutines that are run by the calls that bring what they wait for."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.core.steps import Reply, Steps


def begun(coroutine: Any) -> Steps:
    steps = Steps(coroutine)
    steps.go_on()
    return steps


def test_a_value_is_there_for_the_next_line_before_set_returns() -> None:
    seen: list[object] = []
    reply: Reply[int] = Reply()

    async def work() -> None:
        seen.append("begun")
        seen.append(await reply)

    begun(work())
    assert seen == ["begun"]
    assert reply.has_waiter
    reply.set(7)
    assert seen == ["begun", 7]
    assert not reply.has_waiter


def test_a_failure_is_raised_where_it_was_awaited() -> None:
    seen: list[object] = []
    reply: Reply[int] = Reply()

    async def work() -> None:
        try:
            await reply
        except ValueError as error:
            seen.append(str(error))

    begun(work())
    reply.fail(ValueError("no"))
    assert seen == ["no"]


def test_what_is_there_already_is_not_waited_for() -> None:
    seen: list[int] = []
    reply: Reply[int] = Reply()
    reply.set(1)

    async def work() -> None:
        seen.append(await reply)
        seen.append(await reply)

    begun(work())
    assert seen == [1, 1]


def test_only_the_first_outcome_counts() -> None:
    seen: list[int] = []
    reply: Reply[int] = Reply()

    async def work() -> None:
        seen.append(await reply)

    begun(work())
    reply.set(1)
    reply.set(2)
    reply.fail(ValueError("late"))
    assert seen == [1]


def test_an_interruption_is_thrown_into_the_wait_and_the_late_value_goes_nowhere() -> None:
    seen: list[str] = []
    reply: Reply[int] = Reply()

    async def work() -> None:
        try:
            await reply
        except KeyError:
            seen.append("interrupted")

    steps = begun(work())
    steps.interrupt(KeyError())
    assert seen == ["interrupted"]
    assert not reply.has_waiter
    reply.set(1)
    steps.interrupt(KeyError())
    assert seen == ["interrupted"]


def test_an_interruption_from_within_comes_at_the_next_wait() -> None:
    seen: list[str] = []
    reply: Reply[int] = Reply()
    steps: list[Steps] = []

    async def work() -> None:
        steps[0].interrupt(KeyError())
        seen.append("went on")
        try:
            await reply
        except KeyError:
            seen.append("interrupted")

    steps.append(Steps(work()))
    steps[0].go_on()
    assert seen == ["went on", "interrupted"]


def test_an_error_of_the_coroutine_reaches_who_brought_the_value() -> None:
    reply: Reply[int] = Reply()

    async def work() -> None:
        await reply
        raise RuntimeError("broken")

    steps = begun(work())
    with pytest.raises(RuntimeError, match="broken"):
        reply.set(1)
    steps.interrupt(KeyError())
