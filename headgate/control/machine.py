"""How much of its memory, processors and disk the machine uses, or the container that the gateway lives in.

Law: where a control group (version 2) has a limit, that limit is the whole, and its own use is the use; else the
machine's. Reads files and asks the kernel, never a network.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

import psutil

from headgate.core.clock import monotonic

GROUPS: Final = Path("/sys/fs/cgroup")


class Machine:
    """Looks at it; `groups` is where the control groups are mounted."""

    __slots__ = ("_at", "_group", "_used")

    def __init__(self, groups: Path = GROUPS, own: Path = Path("/proc/self/cgroup")) -> None:
        self._group = _group(groups, own)
        self._used: float | None = None
        self._at = 0.0
        psutil.cpu_percent(None)

    def memory(self) -> float:
        """Return the use of memory in percent; what the kernel would give back at once is not used."""
        limit = _number(self._group / "memory.max")
        used = _number(self._group / "memory.current")
        if limit and used is not None:
            cached = _field(self._group / "memory.stat", "inactive_file") or 0
            return _percent(used - cached, limit)
        return float(psutil.virtual_memory().percent)

    def cpu(self) -> float:
        """Return the use of the processors in percent since the last call, 0 the first time."""
        now, quota = monotonic(), self._quota()
        spent = _field(self._group / "cpu.stat", "usage_usec") if quota else None
        if quota is None or spent is None:
            return min(100.0, float(psutil.cpu_percent(None)))
        before, self._used = self._used, float(spent)
        passed, self._at = now - self._at, now
        if before is None or passed <= 0:
            return 0.0
        return _percent((self._used - before) / 1e6, passed * quota)

    @staticmethod
    def disk(path: Path) -> float:
        """Return the use of the disk that a folder is, or would be, on, in percent.

        Raises:
            OSError: when it cannot be found out.
        """
        while not path.exists() and path != path.parent:
            path = path.parent
        found = shutil.disk_usage(path)
        return _percent(found.used, found.used + found.free)

    def _quota(self) -> float | None:
        """Return how many processors the group may use, None for all."""
        words = _text(self._group / "cpu.max").split()
        if len(words) == 2 and words[0].isdigit() and words[1].isdigit():
            return int(words[0]) / max(1, int(words[1]))
        return None


def _group(groups: Path, own: Path) -> Path:
    """Return the folder of the nearest group of ours that limits memory, else of our own."""
    name = next((line[3:].strip() for line in _text(own).splitlines() if line.startswith("0::")), "/")
    folder = Path(os.path.normpath(f"{groups}/{name}"))
    if not folder.is_relative_to(groups) or not folder.is_dir():
        folder = groups
    found = folder
    while found != groups and _number(found / "memory.max") is None:
        found = found.parent
    return found if _number(found / "memory.max") is not None else folder


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def _number(file: Path) -> int | None:
    text = _text(file).strip()
    return int(text) if text.isdigit() else None


def _field(file: Path, name: str) -> int | None:
    for line in _text(file).splitlines():
        key, _, value = line.partition(" ")
        if key == name and value.strip().isdigit():
            return int(value)
    return None


def _percent(part: float, whole: float) -> float:
    return round(max(0.0, min(100.0, 100 * part / whole)), 1) if whole > 0 else 0.0
