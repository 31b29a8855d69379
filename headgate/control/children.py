"""A child of the master: how it is forked, what it takes with it, and when it is due again.

Law: between fork and the child's own code nothing of the master may survive: no signal handler, no wakeup
descriptor, no listening socket, no other child's link. A link that a sibling keeps open would hide the master's
death from the child it belongs to.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from headgate.control.link import Link
from headgate.control.listeners import Listener
from headgate.control.log import Log
from headgate.control.restart import Restarts
from headgate.core.trace import places_of
from headgate.stores.board import Board
from headgate.telemetry.cells import SlotRegion

# A Ctrl-C, a hangup of the terminal or a service manager reaches the whole process group; the master alone decides
# what it means. A worker that ended by itself on SIGTERM would leave its accept queue without anybody.
_LEFT_TO_THE_MASTER = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)

# Exit status of a worker that can build no plan, its first one; control has been told why. (EX_CONFIG of sysexits.h)
PLAN_REFUSED = 78


@dataclass(frozen=True, slots=True)
class Seat:
    """What a child is given: its link to the master, and what all children share.

    `number` is 1..N for a worker and 0 for control. `regions` are all slots for control, the own one for a worker.
    `workers` is how many there are, 0 before the first configuration. `memory` is an anonymous file that outlives
    every control process and holds the plan in force; -1 for a worker. `board` is what all of them know of breakers
    and endpoints. `own` is where control is asked for own endpoints, its alone; the master keeps what waits there.
    """

    number: int
    link: Link
    runtime: Path
    regions: list[SlotRegion]
    memory: int
    workers: int
    board: Board
    own: Listener | None = None

    @property
    def socket(self) -> Path:
        """Return the path of the socket on which control meets the workers."""
        return self.runtime / "control.sock"


class Child:
    """One seat of the master and whoever lives in it."""

    __slots__ = ("_quiet", "due", "heard", "link", "main", "name", "number", "pid", "restarts", "started")

    def __init__(self, number: int, main: Callable[[Seat], int], restarts: Restarts) -> None:
        self.number = number
        self.name = f"worker-{number}" if number else "control"
        self.main = main
        self.restarts = restarts
        self.pid: int | None = None
        self.link: Link | None = None
        self.started = self.heard = 0.0
        self.due: float | None = None
        # Its last heartbeat, and for how long it had waited for a processor when it was first asked about that one.
        self._quiet = (0.0, 0.0)

    def fork(self, enter: Callable[[Link], Seat], now: float) -> None:
        """Start the child. `enter` runs in it, makes its seat and closes what is the master's. Raises OSError."""
        ours, theirs = Link.pair()
        sys.stdout.flush()
        sys.stderr.flush()
        # Until the child has its own handlers no signal may reach it: the master's wakeup pipe is still open there.
        previous = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            pid = os.fork()
            if pid == 0:
                _run(self.main, enter, (ours, theirs))
        except OSError:
            ours.close()
            theirs.close()
            raise
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, previous)
        theirs.close()
        self.pid, self.link, self.due = pid, ours, None
        self.started = self.heard = now

    def kill(self, number: signal.Signals) -> None:
        """Send a signal to whoever lives here."""
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def sleeps(self) -> bool:
        """Tell whether the process waits for something: one that is stopped or runs in circles does not."""
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2].startswith("S")
        except OSError:
            return False

    def starved(self, heartbeat: float) -> float:
        """Return for how many seconds it was ready and got no processor, since it was first asked after this beat."""
        waited = waited_for_processor(self.pid or 0)
        if self._quiet[0] != heartbeat:
            self._quiet = heartbeat, waited
        return waited - self._quiet[1]

    def bury(self) -> None:
        """Forget who lived here; call it once the process has been waited for."""
        if self.link is not None:
            self.link.close()
        self.pid = self.link = None

    def __repr__(self) -> str:
        return f"<Child {self.name} pid={self.pid} due={self.due} {self.restarts!r}>"


def waited_for_processor(pid: int) -> float:
    """Return for how many seconds of its life a process was ready and did not run; 0.0 where the system keeps no count.

    It grows on a machine that has too much to do. It does not for a process that waits for something else, and hardly
    for one that runs in circles.
    """
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def describe_end(code: int) -> str:
    """Say how a process ended, by its exit code as subprocess has it."""
    return f"exit {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


def _run(main: Callable[[Seat], int], enter: Callable[[Link], Seat], pair: tuple[Link, Link]) -> None:
    """Be the child, and never return to the master's code above."""
    code = 1
    try:
        ours, theirs = pair
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for number in _LEFT_TO_THE_MASTER:
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_SETMASK, set())
        ours.close()
        Log.listeners.clear()
        code = main(enter(theirs))
    except BaseException as error:
        print(places_of(error), file=sys.stderr)
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
