"""What /proc says about a tree of processes: CPU seconds, memory, and who owns a connection.

Laws of the file: only reading; a process that ends between two reads counts as gone, never as an error.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

PROC = Path("/proc")
TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_ESTABLISHED = "01"


@dataclass(frozen=True, slots=True)
class Stat:
    """One process as /proc/PID/stat shows it; `ticks` counts its own CPU and that of the children it waited for.

    `user_ticks` is the part of it outside the kernel.
    """

    pid: int
    parent: int
    ticks: int
    started: int
    user_ticks: int = 0


def parse_stat(text: str) -> Stat:
    """Read the line of /proc/PID/stat (proc(5)).

    The second field is the command in brackets and may itself hold blanks and brackets, so the fields are counted
    from the last closing bracket.
    """
    pid, rest = text.split(" ", 1)
    fields = rest[rest.rindex(")") + 2 :].split()
    # proc(5) numbers from 1 and `fields` begins with field 3: utime 14, stime 15, cutime 16, cstime 17, starttime 22.
    # The waited-for children are counted too: a worker that ended within a round must not take its CPU with it.
    user, system, child_user, child_system = map(int, fields[11:15])
    return Stat(int(pid), int(fields[1]), user + system + child_user + child_system, int(fields[19]), user + child_user)


def stat(pid: int) -> Stat | None:
    """Return the process, or None when it has gone."""
    try:
        return parse_stat((PROC / str(pid) / "stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None


def _all() -> Iterator[Stat]:
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (found := stat(int(entry.name))) is not None:
            yield found


def descendants(root: int, processes: Iterable[Stat]) -> list[Stat]:
    """Return `root` and everything below it, parents before children."""
    by_parent: dict[int, list[Stat]] = {}
    result: list[Stat] = []
    for process in processes:
        by_parent.setdefault(process.parent, []).append(process)
        if process.pid == root:
            result.append(process)
    for process in result:
        result.extend(by_parent.get(process.pid, ()))
    return result


def tree(root: int) -> list[Stat]:
    """Return the live process tree under `root`, itself first; empty when it has gone."""
    return descendants(root, _all())


def cpu_seconds(processes: Iterable[Stat]) -> float:
    """Return the user and system CPU seconds of these processes together."""
    return sum(process.ticks for process in processes) / TICKS_PER_SECOND


def user_seconds(processes: Iterable[Stat]) -> float:
    """Return the part of `cpu_seconds` that was spent outside the kernel."""
    return sum(process.user_ticks for process in processes) / TICKS_PER_SECOND


def parse_status(text: str, key: str) -> int:
    """Return a size of /proc/PID/status (`VmRSS`, `VmHWM`) in bytes; 0 for a process that has no memory any more."""
    for line in text.splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) * 1024
    return 0


def resident(pid: int) -> int:
    """Return the resident memory of one process in bytes, 0 when it has gone."""
    return _status(pid, "VmRSS")


def own(pid: int) -> int:
    """Return the resident memory that a process shares with no file, in bytes, 0 when it has gone."""
    return _status(pid, "RssAnon")


def peak(pid: int) -> int:
    """Return the highest resident memory in bytes since the start or the last `reset_peak`."""
    return _status(pid, "VmHWM")


def fair_share(pid: int) -> int:
    """Return the bytes of a process's memory but of shared files, each page that n processes have counted 1/n."""
    try:
        rollup = (PROC / str(pid) / "smaps_rollup").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return parse_status(rollup, "Pss_Anon") + parse_status(rollup, "Pss_File")


def reset_peak(pid: int) -> None:
    """Let `peak` begin anew at the present size (proc(5), clear_refs: 5)."""
    (PROC / str(pid) / "clear_refs").write_text("5")


def _status(pid: int, key: str) -> int:
    try:
        return parse_status((PROC / str(pid) / "status").read_text(), key)
    except (FileNotFoundError, ProcessLookupError):
        return 0


def parse_connections(text: str, port: int) -> dict[str, int]:
    """Return inode -> client port of the established connections to local `port`, from /proc/net/tcp."""
    found: dict[str, int] = {}
    for line in text.splitlines()[1:]:
        fields = line.split()
        if fields[3] == _ESTABLISHED and int(fields[1].rpartition(":")[2], 16) == port:
            found[fields[9]] = int(fields[2].rpartition(":")[2], 16)
    return found


def connections(pids: Iterable[int], port: int) -> dict[int, set[int]]:
    """Return pid -> client ports of the connections to `port` which that process holds open.

    This is how a worker is told from its master without knowing how the gateway names its processes.
    """
    inodes = parse_connections((PROC / "net" / "tcp").read_text(), port)
    owners: dict[int, set[int]] = {}
    for pid in pids:
        held = {inodes[inode] for inode in _sockets(pid) if inode in inodes}
        if held:
            owners[pid] = held
    return owners


def _sockets(pid: int) -> Iterator[str]:
    try:
        entries = list((PROC / str(pid) / "fd").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return
    for entry in entries:
        try:
            target = str(entry.readlink())
        except OSError:
            continue
        if target.startswith("socket:["):
            yield target[8:-1]


# -- what a process holds ------------------------------------------------------------------------------------------


class Held(NamedTuple):
    """How many files (sockets aside), sockets and threads a process has."""

    files: int
    sockets: int
    threads: int


def held(pid: int) -> Held:
    """Return what a process holds, nothing when it has gone."""
    sockets = sum(1 for _ in _sockets(pid))
    try:
        files = sum(1 for _ in (PROC / str(pid) / "fd").iterdir())
        threads = sum(1 for _ in (PROC / str(pid) / "task").iterdir())
    except (FileNotFoundError, ProcessLookupError):
        return Held(0, 0, 0)
    return Held(files - sockets, sockets, threads)
