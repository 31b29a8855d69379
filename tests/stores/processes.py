"""Real processes for what has to hold across them: they start together, and each hands its answer back.

    answers = together(4, lambda number: claim_a_thousand(board))
    with holding(lambda: board.lock(base)): ...

What a child raises fails the test with the child's own traceback.
"""

from __future__ import annotations

import os
import pickle
import select
import signal
import traceback
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

CEILING = 60.0
T = TypeVar("T")


def together(count: int, work: Callable[[int], T]) -> list[T]:
    """Run `work(number)`, number from 0, in `count` forked processes at once; return what they return, in order."""
    gate, opener = os.pipe()
    children = [_fork(number, work, gate, opener) for number in range(count)]
    # All of them wait at the gate; closing its other end lets them go.
    os.close(gate)
    os.close(opener)
    try:
        return [_answer(answers) for _, answers in children]
    finally:
        for pid, answers in children:
            os.close(answers)
            end(pid)


@contextmanager
def holding(context: Callable[[], AbstractContextManager[object]]) -> Iterator[None]:
    """Go on while another process is inside `context()`; it is killed there, by SIGKILL, at the end."""
    inside, entered = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            with context():
                os.write(entered, b"x")
                signal.pause()
        finally:
            os._exit(1)
    os.close(entered)
    try:
        assert os.read(inside, 1) == b"x", "the child did not get inside"
        yield
    finally:
        os.close(inside)
        end(pid)


def end(pid: int) -> None:
    """Kill a child, and wait for it."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _fork(number: int, work: Callable[[int], T], gate: int, opener: int) -> tuple[int, int]:
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid:
        os.close(theirs)
        return pid, ours
    os.close(opener)
    os.read(gate, 1)
    try:
        outcome: tuple[bool, object] = True, work(number)
    except BaseException:
        outcome = False, traceback.format_exc()
    with os.fdopen(theirs, "wb") as pipe:
        pickle.dump(outcome, pipe)
    os._exit(0)


def _answer(pipe: int) -> Any:
    data = b""
    poll = select.poll()
    poll.register(pipe, select.POLLIN)
    while True:
        assert poll.poll(CEILING * 1000), "a child does not come to an end"
        chunk = os.read(pipe, 65536)
        if not chunk:
            break
        data += chunk
    assert data, "a child died without an answer"
    well, answer = pickle.loads(data)
    assert well, answer
    return answer
