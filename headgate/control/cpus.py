"""How many workers `auto` means: the CPU time this container may use, on the CPUs this process may run on.

Facts: a cgroup limits CPU by a quota per period, in version 2 as one line `max 100000` or `150000 100000`
in `cpu.max`, in version 1 as `cpu.cfs_quota_us` (-1 = none) and `cpu.cfs_period_us`. Every ancestor limits
too, so the smallest on the way up counts. A container without a cgroup namespace sees the path of the host
in /proc/self/cgroup, while only the subtree from the `root` column of /proc/self/mountinfo is mounted.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from pathlib import Path


def worker_count(root: Path = Path("/"), affinity: int | None = None) -> int:
    """Return the number of workers for `auto`: min(ceil(CPU quota), CPUs of the affinity mask), at least 1.

    `root` stands for the file system root, so that a test may bring its own /proc and /sys.
    """
    cpus = affinity if affinity is not None else len(os.sched_getaffinity(0))
    quota = cpu_quota(root)
    return max(1, cpus if quota is None else min(cpus, math.ceil(quota)))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """Return the CPUs the tightest cgroup around this process grants, or None when none limits it."""
    quotas = [
        quota
        for folder, top, read in _cgroups(root)
        for level in _upwards(folder, top)
        if (quota := read(level)) is not None
    ]
    return min(quotas, default=None)


def _cgroups(root: Path) -> Iterator[tuple[Path, Path, Callable[[Path], float | None]]]:
    """Yield (own folder, mount point, reader) for the version 2 tree and the version 1 cpu controller."""
    paths: dict[str, str] = {}
    for line in _lines(root / "proc/self/cgroup"):
        hierarchy, controllers, path = line.split(":", 2)
        if hierarchy == "0":
            paths["cgroup2"] = path
        elif "cpu" in controllers.split(","):
            paths["cgroup"] = path
    for line in _lines(root / "proc/self/mountinfo"):
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ", 2)
        if kind not in paths or (kind == "cgroup" and "cpu" not in options.split(" ")[-1].split(",")):
            continue
        mounted, mount_point = left.split(" ")[3:5]
        top = root / mount_point.lstrip("/")
        folder = top / _below(paths[kind], mounted)
        yield (folder if folder.is_dir() else top), top, _quota_v2 if kind == "cgroup2" else _quota_v1


def _below(path: str, mounted: str) -> str:
    """Return `path` relative to the mounted subtree; a path outside of it means its top."""
    if mounted == "/":
        return "" if ".." in path.split("/") else path.lstrip("/")
    return path[len(mounted) :].lstrip("/") if f"{path}/".startswith(f"{mounted}/") else ""


def _upwards(folder: Path, top: Path) -> Iterator[Path]:
    yield folder
    while folder != top:
        folder = folder.parent
        yield folder


def _quota_v2(folder: Path) -> float | None:
    for line in _lines(folder / "cpu.max"):
        quota, _, period = line.partition(" ")
        return None if quota == "max" else int(quota) / int(period or 100_000)
    return None


def _quota_v1(folder: Path) -> float | None:
    quota = next(_lines(folder / "cpu.cfs_quota_us"), "-1")
    period = next(_lines(folder / "cpu.cfs_period_us"), "100000")
    return int(quota) / int(period) if int(quota) > 0 else None


def _lines(path: Path) -> Iterator[str]:
    try:
        text = path.read_text()
    except OSError:
        return
    yield from text.splitlines()
