"""Which process is the server that this one serves requests for: itself, or its parent.

Facts: uvicorn (--reload, --workers), hypercorn and granian start their workers by multiprocessing, gunicorn forks its
own. What a process was given at its start, its auxiliary vector, holds random addresses; a fork keeps them and an exec
draws them anew. So a parent with the same vector is one that forked us, and runs the same program.
"""

from __future__ import annotations

import multiprocessing
import os
from pathlib import Path
from typing import NamedTuple


class ServerProcess(NamedTuple):
    """A process: its id, and when it began, in ticks since boot, which tells it from a successor with the same id."""

    pid: int
    began: int


def server_process() -> ServerProcess:
    """Find it.

    Raises:
        OSError: the process has ended.
    """
    parent = multiprocessing.parent_process()
    if parent is not None and parent.pid is not None:
        return _process(parent.pid)
    above = os.getppid()
    return _process(above if _forked_by(above) else os.getpid())


def _forked_by(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/auxv").read_bytes() == Path("/proc/self/auxv").read_bytes() != b""
    except OSError:
        # Of another user, or gone: no server of ours.
        return False


def _process(pid: int) -> ServerProcess:
    # proc(5): the name, in brackets, may hold anything; the start is field 22, and what follows it begins with 3.
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return ServerProcess(pid, int(fields[19]))
