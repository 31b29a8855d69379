"""What a scrape of the metrics costs when every one of thousands of routes was asked for, and whom it disturbs.

Beside the scrapes one client asks again and again, at a pace that leaves the worker idle half of the time: what it
waits for is what a scrape takes away from the worker, not other requests.
"""

from __future__ import annotations

import http.client
import subprocess
import sys
import threading
import time
from collections.abc import Callable

from bench import proc
from bench.configs import Setting, route_path
from bench.measure import MEGABYTE, Round, Sample, Up
from bench.stage import CannotRunError

SCRAPES = 5
_PACE_SECONDS = 0.002
_FETCH = (
    "import sys, urllib.request as r; print(sum(map(len, iter(lambda f=r.urlopen(sys.argv[1]): f.read(65536), b''))))"
)


class Pacer:
    """One client on one connection; `slowest` is its longest wait in seconds, `asked` how many requests it sent."""

    def __init__(self, port: int, path: str) -> None:
        self._client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        self._path = path
        self.slowest = 0.0
        self.asked = 0

    def ask(self, path: str) -> float:
        """Ask once; return the seconds. Raises CannotRunError when the answer is not good."""
        began = time.monotonic()
        self._client.request("GET", path)
        answer = self._client.getresponse()
        answer.read()
        if answer.status != 200:
            raise CannotRunError(f"{path} was answered {answer.status}")
        return time.monotonic() - began

    def during(self, work: Callable[[], None]) -> None:
        """Ask until `work`, in a thread of its own, is done."""
        self.slowest, self.asked = 0.0, 0
        thread = threading.Thread(target=work)
        thread.start()
        while thread.is_alive():
            self.slowest = max(self.slowest, self.ask(self._path))
            self.asked += 1
            time.sleep(_PACE_SECONDS)
        thread.join()

    def close(self) -> None:
        """Leave."""
        self._client.close()


def cost(up: Up, now: Round) -> Sample:
    """Return the CPU milliseconds of one scrape, of all processes but the worker."""
    found = _scraped(up, now)
    return Sample(found.pop("CPU ms"), found)


def wait(up: Up, now: Round) -> Sample:
    """Return the milliseconds that the slowest request took while scrapes were under way."""
    found = _scraped(up, now)
    return Sample(found.pop("slowest request ms"), found)


def _scraped(up: Up, now: Round) -> dict[str, float]:
    setting = up.setting
    pacer = Pacer(setting.port, route_path(0))
    try:
        for number in range(setting.routes):
            pacer.ask(route_path(number))
        # The first one learns the names of all series.
        size = scrape(setting)
        pacer.during(lambda: time.sleep(now.seconds))
        quiet = pacer.slowest
        before, began = _beside(up), time.monotonic()
        pacer.during(lambda: _again(setting))
        took, spent = time.monotonic() - began, _beside(up) - before
    finally:
        pacer.close()
    return {
        "CPU ms": spent * 1e3 / SCRAPES,
        "MB": size / MEGABYTE,
        "seconds": took / SCRAPES,
        "slowest request ms": pacer.slowest * 1e3,
        "slowest without ms": quiet * 1e3,
    }


def scrape(setting: Setting) -> int:
    """Fetch the metrics; return their bytes. In a process of its own: the client that is watched waits for nobody here.

    Raises CannotRunError when that failed.
    """
    command = [sys.executable, "-c", _FETCH, f"http://127.0.0.1:{setting.admin_port}/metrics"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        raise CannotRunError(f"the metrics could not be fetched: {done.stderr[-300:]}")
    return int(done.stdout)


def _again(setting: Setting) -> None:
    for _ in range(SCRAPES):
        scrape(setting)


def _beside(up: Up) -> float:
    return proc.cpu_seconds(process for process in proc.tree(up.running.pid) if process.pid != up.worker)
