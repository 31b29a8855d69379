"""The companion of a server whose processes are the workers: a master that forks control and no worker.

Each process of an ASGI server that serves the gateway comes to a socket in the companion's folder and is given a seat:
a slot, the memory of its counters, the board. What it counts, breaks and limits is so the whole server's. The meeting
itself is the link from then on, and its end is the guest's: however a process ends, the kernel says so.

Laws: the server watches over its own processes, and the companion never kills one. It ends with the server, whose
process it was told; and without any guest after LEFT_ALONE. One holds the lock of a folder at a time. As the master,
it knows the standard library and this package's leaves only.
"""

from __future__ import annotations

import json
import os
import random
import selectors
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

from headgate.control.children import Child, Seat
from headgate.control.link import Link
from headgate.control.master import MOST_WORKERS, Master
from headgate.control.restart import Restarts
from headgate.telemetry.cells import SlotRegion

# In the companion's folder.
SEATS: Final = "seats.sock"
LOCK: Final = "lock"
# Seconds: a server that replaces its processes has a new one up by then.
LEFT_ALONE: Final = 10.0
# And the first one comes as soon as there is a socket.
_FIRST_GUEST: Final = 30.0
_PATIENCE: Final = 3.0
_BACKLOG: Final = 128


class Server(NamedTuple):
    """Whose companion it is: the folder to meet in, the process that is the server, the descriptor of the lock."""

    folder: Path
    pid: int
    lock: int


class Companion(Master):
    """It."""

    def __init__(self, control: Callable[[Seat], int], server: Server) -> None:
        # Of the slots' memory, for guests.
        self._files: list[int] = []
        super().__init__(control, _nobody)
        self._server = server
        self._server_over = False
        self._alone_until: float | None = None
        self._seats = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
        (server.folder / SEATS).unlink(missing_ok=True)
        with seats_of(server.folder) as path:
            self._seats.bind(path)
        self._seats.listen(_BACKLOG)

    def _region(self) -> SlotRegion:
        self._files.append(os.memfd_create("headgate-slot"))
        return SlotRegion.create(file=self._files[-1])

    def _begin(self, now: float) -> None:
        self._selector.register(self._seats, selectors.EVENT_READ, self._on_guest)
        self._alone_until = now + _FIRST_GUEST
        try:
            self._server_ends = os.pidfd_open(self._server.pid)
        except ProcessLookupError:
            self._leave("the server has ended")
            return
        self._selector.register(self._server_ends, selectors.EVENT_READ, self._on_server_over)

    def _next_event(self) -> float:
        due = super()._next_event()
        return due if self._alone_until is None else min(due, self._alone_until)

    def _turn(self) -> None:
        super()._turn()
        if self._alone_until is not None and time.monotonic() >= self._alone_until:
            self._leave("no process of the server is left")

    def _enter(self, child: Child, link: Link) -> Seat:
        self._seats.close()
        os.close(self._server.lock)
        return super()._enter(child, link)

    # The guests: in the master's list, without a process of its own

    def _on_guest(self) -> None:
        try:
            link, _ = self._seats.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        taken = {child.number for child in self._workers}
        number = next((each for each in range(1, MOST_WORKERS + 1) if each not in taken), 0)
        if not number or self._state in ("draining", "ending"):
            # It reads the end, and tries again.
            link.close()
            return
        guest = Child(number, _nobody, Restarts(random.random))
        seat = {"number": number, "runtime": str(self._runtime.path)}
        try:
            socket.send_fds(link, [json.dumps(seat).encode()], [self._files[number - 1], self._board.fileno()])
        except OSError:
            link.close()
            return
        guest.link = Link(link)
        self._selector.register(guest.link, selectors.EVENT_READ, guest)
        self._workers.append(guest)
        self._alone_until = None
        self._tell_of_guests()

    def _on_silence(self, child: Child) -> None:
        super()._on_silence(child)
        if child.number:
            child.bury()
            self._regions[child.number - 1].vacate()
            self._workers.remove(child)
            self._tell_of_guests()
            if not self._workers and self._state not in ("draining", "ending"):
                self._alone_until = time.monotonic() + LEFT_ALONE

    def _on_message(self, child: Child, message: dict[str, Any]) -> None:
        if not child.number:
            super()._on_message(child, message)
        elif message["type"] == "end":
            # It is the server, and waits until what is bound here is free again.
            self._on_server_over()

    def _tell_of_guests(self) -> None:
        if self._count:
            self._count = max(1, len(self._workers))
        self._tell(self._control, {"type": "guests", "present": len(self._workers)})

    # Instead of what a master does with listeners

    def _open(self, addresses: list[str], workers: int) -> dict[str, Any]:
        self._count = workers
        return {"type": "opened"}

    # The end

    def _on_server_over(self) -> None:
        self._server_over = True
        with suppress(KeyError):
            self._selector.unregister(self._server_ends)
        self._leave("the server has ended")

    def _leave(self, why: str) -> None:
        """End control, then this process; guests that are still here serve what they have."""
        self._alone_until = None
        if self._state not in ("draining", "ending"):
            self._log("info", why)
            self._state = "draining"
            self._deadline = time.monotonic() + _PATIENCE
            self._control.due = None

    def _end(self) -> None:
        super()._end()
        self._seats.close()
        folder = self._server.folder
        (folder / SEATS).unlink(missing_ok=True)
        if self._server_over:
            # Nobody will look for a lock here any more.
            with suppress(OSError):
                (folder / LOCK).unlink(missing_ok=True)
                folder.rmdir()


@contextmanager
def seats_of(folder: Path) -> Iterator[str]:
    """Yield where those of a folder meet, in a way that is short enough for a socket's path (unix(7): 107 bytes)."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{opened}/{SEATS}"
    finally:
        os.close(opened)


def _nobody(_seat: Seat) -> int:
    raise AssertionError("a guest is not forked")
