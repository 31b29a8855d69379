"""A request that is answered and goes on: the client has a moment to see so by itself."""

from __future__ import annotations

from typing import Any

import pytest
from h2.errors import ErrorCodes

from headgate.wire.http2.stream import Answered
from headgate.wire.timers import NEVER, TimerWheel


class Scene:
    """A lane and its connection, as far as the end of a stream asks them anything."""

    def __init__(self) -> None:
        self.rules = self
        self.wheel = TimerWheel()
        self.held = False
        self.resets: list[int] = []
        self.answered = Answered(*self.as_any())

    def as_any(self) -> tuple[Any, Any]:
        return self, self

    def now(self) -> float:
        return 100.0

    def hold(self) -> None:
        self.held = True

    def reset(self, code: int) -> None:
        self.resets.append(code)


def test_it_is_reset_a_moment_later_and_sends_no_more_than_the_window_until_then() -> None:
    scene = Scene()
    scene.answered.data_came(b"more")
    assert scene.held
    scene.wheel.advance(100.9)
    assert scene.resets == []
    scene.wheel.advance(101.1)
    assert scene.resets == [ErrorCodes.NO_ERROR]


@pytest.mark.parametrize("how", ["it ends", "the connection ends"])
def test_nothing_is_waited_for_behind_its_end(how: str) -> None:
    scene = Scene()
    if how == "it ends":
        scene.answered.end_came([])
        scene.answered.lane_closed()
    else:
        scene.answered.link_lost("gone")
    scene.wheel.advance(200.0)
    assert (scene.resets, scene.answered.deadline) == ([], NEVER)
