"""Who the server is: the parent of those it forked or started by multiprocessing, else the process itself."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from multiprocessing.connection import Connection

from headgate.asgi.server_process import ServerProcess, server_process


def _tell(end: Connection) -> None:
    end.send(server_process())
    end.close()


def test_a_process_that_was_executed_is_its_own_server() -> None:
    script = "import os; from headgate.asgi.server_process import *; print(server_process().pid == os.getpid())"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "True\n"


def test_a_fork_serves_for_its_parent() -> None:
    script = (
        "import os; from headgate.asgi.server_process import *\n"
        "if os.fork() == 0: print(server_process().pid == os.getppid(), flush=True); os._exit(0)\n"
        "os.wait(); print(server_process().pid == os.getpid())"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["True", "True"]


def test_what_multiprocessing_started_serves_for_who_started_it() -> None:
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_tell, args=(theirs,))
    process.start()
    found: ServerProcess = ours.recv()
    process.join()
    assert found.pid == os.getpid()
    assert found.began > 0
