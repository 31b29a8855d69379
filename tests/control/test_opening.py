"""Addresses of a plan: asked for once, or again where this gateway itself was there a moment ago."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headgate.control.opening import PATIENCE, Opening
from tests.control.clock import timeless
from tests.control.test_probes import Lines

IN_USE = {"type": "refused", "error": "in use", "left": False}
LEFT = {**IN_USE, "left": True}
OPENED = {"type": "opened"}


class Master:
    """Answers one after the other, the last one for ever."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []
        self.log = Lines()
        self.opening = Opening(self, self.log)

    def send(self, message: dict[str, Any]) -> bool:
        self.asked.append(message)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        asyncio.get_running_loop().call_soon(self.opening.on_answer, answer)
        return True


@pytest.mark.parametrize(("answer", "error"), [(OPENED, None), (IN_USE, "in use")])
def test_what_the_master_says_counts(answer: dict[str, Any], error: str | None) -> None:
    async def scenario() -> None:
        master = Master(answer)
        assert await master.opening.open(["a:1", "b:2"], 3) == error
        assert master.asked == [{"type": "open", "addresses": ["a:1", "b:2"], "workers": 3}]
        assert master.log.lines == []
        # Nobody waits for an answer now.
        master.opening.on_answer(answer)

    timeless(scenario)


def test_what_workers_have_yet_to_let_go_of_is_waited_for_and_said_once() -> None:
    async def scenario() -> None:
        master = Master(LEFT, LEFT, LEFT, OPENED)
        assert await master.opening.open(["a:1"], 1) is None
        assert len(master.asked) == 4
        assert len(master.log.lines) == 1

    timeless(scenario)


def test_one_that_has_become_another_programs_is_not_waited_for_for_ever() -> None:
    async def scenario() -> None:
        loop = asyncio.get_running_loop()
        began, master = loop.time(), Master(LEFT)
        assert await master.opening.open(["a:1"], 1) == "in use"
        assert PATIENCE <= loop.time() - began < PATIENCE + 1

    timeless(scenario)
