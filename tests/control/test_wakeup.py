"""Signals are read as numbers, in their order, and left to the parent by a fork."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, select, signal
from headgate.control.wakeup import Wakeup

wakeup = Wakeup((signal.SIGUSR1, signal.SIGUSR2))
print(list(wakeup.read()))
os.kill(os.getpid(), signal.SIGUSR1)
os.kill(os.getpid(), signal.SIGUSR2)
select.select([wakeup], [], [])
print(list(wakeup.read()) == [signal.SIGUSR1, signal.SIGUSR2])
wakeup.close()
print(signal.set_wakeup_fd(-1))
"""


def test_signals_wait_to_be_read() -> None:
    ran = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=True)
    assert ran.stdout.split("\n")[:3] == ["[]", "True", "-1"]
