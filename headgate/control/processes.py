"""What the processes of the gateway use: memory, CPU time, descriptors, read from the system at each scrape.

Law: a worker's CPU time goes on where its predecessor's ended, as all that is counted by slot does. What the dead one
used after the last look is lost.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator

from headgate import __version__
from headgate.telemetry.cells import Sample, SeriesName
from headgate.telemetry.families import MICROSECONDS


class Processes:
    """All processes of a gateway, by what they are called: master, control, worker-1."""

    __slots__ = ("_spent",)

    def __init__(self) -> None:
        # By process: who was seen last, its CPU time then, and that of its predecessors.
        self._spent: dict[str, tuple[int, float, float]] = {}

    def samples(self, workers: Iterable[int]) -> list[Sample]:
        """Return what each process uses, and which version they are of.

        `workers` are the process ids by slot; 0 is nobody. Whoever asks is control, and its parent the master.
        """
        pids = {"master": os.getppid(), "control": os.getpid()}
        pids |= {f"worker-{number}": pid for number, pid in enumerate(workers, 1) if pid}
        found = [each for name, pid in pids.items() for each in self._look(name, pid)]
        return [Sample(SeriesName("headgate_build_info", "gauge", (__version__,)), [1]), *found]

    def _look(self, name: str, pid: int) -> Iterator[Sample]:
        # Imported late: it is none of the things without which control could not come up.
        import psutil

        try:
            process = psutil.Process(pid)
            with process.oneshot():
                memory, times = process.memory_info().rss, process.cpu_times()
                began, descriptors = process.create_time(), process.num_fds()
        except psutil.Error:
            # It ended just now.
            return
        cpu = self._gone_on(name, pid, times.user + times.system)
        uptime = max(0.0, time.time() - began)
        for family, value in (
            ("resident_memory_bytes", memory),
            ("open_fds", descriptors),
            ("uptime_seconds", int(uptime * MICROSECONDS)),
        ):
            yield Sample(SeriesName(f"headgate_process_{family}", "gauge", (name,)), [value])
        yield Sample(SeriesName("headgate_process_cpu_seconds_total", "counter", (name,)), [int(cpu * MICROSECONDS)])

    def _gone_on(self, name: str, pid: int, spent: float) -> float:
        last, before, earlier = self._spent.get(name, (pid, 0.0, 0.0))
        if last != pid:
            earlier += before
        self._spent[name] = pid, spent, earlier
        return earlier + spent
