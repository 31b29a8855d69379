"""Signals as something that a selector waits for: their numbers, one byte each, in a socket of the process itself.

Law: standard library only. A signal that comes between two waits is read at the next one; a full socket loses what it
says already.
"""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterable


class Wakeup:
    """The signals of this process, from now until `close`."""

    __slots__ = ("_ends",)

    def __init__(self, numbers: Iterable[signal.Signals]) -> None:
        self._ends = socket.socketpair()
        for end in self._ends:
            end.setblocking(False)
        for number in numbers:
            signal.signal(number, _by_wakeup)
        signal.set_wakeup_fd(self._ends[1].fileno(), warn_on_full_buffer=False)

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._ends[0].fileno()

    def read(self) -> bytes:
        """Return the numbers of the signals that have come, in their order."""
        with contextlib.suppress(BlockingIOError):
            return self._ends[0].recv(4096)
        return b""

    def leave(self) -> None:
        """Close what a fork has copied, in the child: the signals are the parent's."""
        for end in self._ends:
            end.close()

    def close(self) -> None:
        """Hear no more."""
        signal.set_wakeup_fd(-1)
        self.leave()


def _by_wakeup(_number: int, _frame: object) -> None:
    """Do nothing: the signal's number waits in the wakeup pipe, and the loop reads it there."""
