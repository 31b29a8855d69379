"""A child begins with nothing of its master's."""

from __future__ import annotations

import os
import random
import time
from typing import cast

from headgate.control.children import Child, Seat
from headgate.control.log import Log
from headgate.control.restart import Restarts


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
