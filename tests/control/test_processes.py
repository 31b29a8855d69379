"""What processes use: of those that live, and going on where a predecessor of a slot ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from headgate import __version__
from headgate.control.processes import Processes
from headgate.telemetry.families import FAMILIES

# Spends CPU time, says so, and lives on.
_BUSY = "import time\nwhile time.process_time() < 0.2: pass\nprint(flush=True)\ntime.sleep(600)"


@pytest.fixture
def children() -> Iterator[list[subprocess.Popen[bytes]]]:
    made: list[subprocess.Popen[bytes]] = []
    yield made
    for child in made:
        child.kill()
        child.wait()


def start(children: list[subprocess.Popen[bytes]]) -> int:
    child = subprocess.Popen([sys.executable, "-c", _BUSY], stdout=subprocess.PIPE)
    children.append(child)
    assert child.stdout is not None
    with child.stdout as said:
        said.readline()
    return child.pid


def shown(processes: Processes, *workers: int) -> dict[tuple[str, str], int]:
    return {(each.name.family, each.name.labels[0]): each.values[0] for each in processes.samples(workers)}


def test_each_process_is_shown_under_its_name(children: list[subprocess.Popen[bytes]]) -> None:
    seen = shown(Processes(), start(children), 0)
    assert seen.pop(("headgate_build_info", __version__)) == 1
    assert {name for _, name in seen} == {"master", "control", "worker-1"}
    assert {family for family, _ in seen} == {name for name in FAMILIES if name.startswith("headgate_process_")}
    assert seen["headgate_process_resident_memory_bytes", "control"] > 1_000_000
    assert seen["headgate_process_open_fds", "control"] >= 3
    assert seen["headgate_process_cpu_seconds_total", "worker-1"] >= 150_000
    assert 0 <= seen["headgate_process_uptime_seconds", "worker-1"] < 600_000_000


def test_cpu_time_goes_on_from_one_worker_of_a_slot_to_the_next(children: list[subprocess.Popen[bytes]]) -> None:
    processes, key = Processes(), ("headgate_process_cpu_seconds_total", "worker-1")
    before = shown(processes, start(children))[key]
    os.kill(children[0].pid, signal.SIGKILL)
    children[0].wait()
    # Nobody lives there for a moment.
    assert key not in shown(processes, children[0].pid)
    assert shown(processes, start(children))[key] >= before + 150_000
