"""A child begins with nothing of its master's, and is told from one that is stuck by how long it waited to run."""

from __future__ import annotations

import os
import random
import signal
import time
from contextlib import ExitStack
from typing import cast

import pytest

from headgate.control import children
from headgate.control.children import Child, Seat, waited_for_processor
from headgate.control.log import Log
from headgate.control.restart import Restarts
from tests.control.driver import until


def test_a_child_tells_nobody_of_its_lines_whom_the_master_tells() -> None:
    heard: list[object] = []
    Log.listeners.append(heard.append)
    try:

        def main(_: Seat) -> int:
            Log("worker-1", -1)("info", "here")
            return 7 if heard else 0

        child = Child(1, main, Restarts(random.random))
        child.fork(lambda _: cast("Seat", None), time.monotonic())
        assert child.pid is not None
        _, status = os.waitpid(child.pid, 0)
        child.bury()
    finally:
        Log.listeners.remove(heard.append)
    assert os.waitstatus_to_exitcode(status) == 0


def test_waiting_for_a_processor_counts_from_the_beat_on_after_which_it_was_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited = iter((3.0, 7.5, 9.0, 9.25))
    monkeypatch.setattr(children, "waited_for_processor", lambda _: next(waited))
    child = Child(1, lambda _: 0, Restarts(random.random))
    assert [child.starved(beat) for beat in (100.0, 100.0, 101.0, 101.0)] == [0.0, 4.5, 0.0, 0.25]


def _circling(processor: int, stack: ExitStack) -> int:
    """Start a process that runs in circles on this processor, and is killed with the stack; return its pid."""
    pid = os.fork()
    if pid == 0:
        os.sched_setaffinity(0, {processor})
        while True:
            pass
    stack.callback(os.waitpid, pid, 0)
    stack.callback(os.kill, pid, signal.SIGKILL)
    return pid


def test_the_system_tells_how_long_a_process_waited_for_a_processor() -> None:
    assert waited_for_processor(0) == 0.0
    processor = min(os.sched_getaffinity(0))
    with ExitStack() as stack:
        pids = [_circling(processor, stack) for _ in range(2)]
        until(lambda: all(waited_for_processor(pid) > 0.05 for pid in pids), "two share one, and each waits")
