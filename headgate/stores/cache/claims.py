"""Who fetches what, over all workers of the machine: sets of CLAIM_WAYS cells, each with a key, an end and an owner.

Laws: a claim ends by its time, by its owner's word or by its owner's death; where a set is full of others' nothing is
claimed, and whoever asks fetches by itself, because to fetch twice is a pity and to wait for nobody is a fault.
"""

from __future__ import annotations

import os

from headgate.stores.cache.layout import CLAIM_BYTES, CLAIM_SETS, CLAIM_WAYS, WORD, Shared

# pid_max is at most 2**22 (proc_sys_kernel(5)).
_PID_BITS = 22
_PID = (1 << _PID_BITS) - 1


class Claims:
    """The claims of a store, as one process sees them; whoever calls holds the lock."""

    __slots__ = ("_cells", "_first", "_owner")

    def __init__(self, shared: Shared) -> None:
        self._cells = shared.cells
        self._first = shared.layout.claims // WORD
        # Several stores of one process, as after a reload, are several owners.
        self._owner = int.from_bytes(os.urandom(5), "little") << _PID_BITS | os.getpid()

    def claim(self, key: bytes, ends: int, now: int) -> bool:
        """Claim a key until `ends`, in microseconds; False while another owner has it."""
        cells = self._cells
        hashed = int.from_bytes(key[:8], "little")
        free = -1
        for at in self._set(hashed):
            lapsed = cells[at + 1] <= now
            if cells[at] == hashed and not lapsed and cells[at + 2] != self._owner and _lives(cells[at + 2] & _PID):
                return False
            if lapsed or cells[at] == hashed:
                free = at
        if free >= 0:
            cells[free + 1] = 0
            cells[free] = hashed
            cells[free + 2] = self._owner
            cells[free + 1] = ends
        return True

    def yield_(self, key: bytes) -> None:
        """Let go of a key, if it is ours."""
        cells = self._cells
        hashed = int.from_bytes(key[:8], "little")
        for at in self._set(hashed):
            if cells[at] == hashed and cells[at + 2] == self._owner:
                cells[at + 1] = 0

    def _set(self, hashed: int) -> range:
        step = CLAIM_BYTES // WORD
        first = self._first + hashed % CLAIM_SETS * CLAIM_WAYS * step
        return range(first, first + CLAIM_WAYS * step, step)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
