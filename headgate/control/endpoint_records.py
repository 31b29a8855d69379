"""The records of endpoints on the board, as control looks after them: made before workers need them, given back after.

Laws: an endpoint that is wanted has a record before any worker is told of it, so that none finds the board full. What
is no longer wanted keeps its record for GRACE seconds, so that one that is away for a moment comes back with what is
known of it; one that a hand has taken out keeps it longer, as one of MOST_KEPT. Then its place is another's, unless a
worker still has it in hand. With no room left nobody has grace.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from headgate.core.clock import monotonic
from headgate.policy.endpoint_record import DISABLED, WELL_SINCE
from headgate.stores.board import Board

GRACE = 30.0
MOST_KEPT = 1000
# What the names of these records begin with (policy.endpoint_record.record_name).
RECORDS = "endpoint "

_MICROSECONDS = 1_000_000


class EndpointRecords:
    """All of them."""

    __slots__ = ("_board", "_left")

    def __init__(self, board: Board) -> None:
        self._board = board
        # When each was left, the longest time ago first.
        self._left: dict[str, float] = {}

    def claim(self, names: Iterable[str], slowly: bool = False) -> None:
        """Make the records of these names; those that join others begin `slowly`, where slow start is set.

        Raises:
            ValueError: with a sentence, when the board is full.
        """
        board, now = self._board, int(monotonic() * _MICROSECONDS)
        for name in names:
            self._left.pop(name, None)
            if board.find(name) is not None:
                continue
            try:
                base = board.claim(name)
            except ValueError:
                self.give_back(0.0)
                base = board.claim(name)
            if slowly:
                with board.lock(base):
                    board.cells[base + WELL_SINCE] = now

    def leave(self, names: Iterable[str]) -> None:
        """Learn that nobody wants these any more, control itself included."""
        now = monotonic()
        for name in names:
            self._left.setdefault(name, now)

    def leave_all_but(self, wanted: Collection[str]) -> None:
        """Leave all that are on the board but these."""
        for each in wanted:
            self._left.pop(each, None)
        self.leave(name for name, _ in self._board.entries() if name.startswith(RECORDS) and name not in wanted)

    @property
    def waiting(self) -> bool:
        """Tell whether there are any to give back, now or later."""
        return bool(self._left)

    def give_back(self, grace: float = GRACE) -> None:
        """Give back those that were left so many seconds ago."""
        board, until = self._board, monotonic() - grace
        over: list[str] = []
        kept: list[str] = []
        for name, left in self._left.items():
            if left > until:
                break
            base = board.find(name)
            (kept if base is not None and board.cells[base + DISABLED] else over).append(name)
        over += kept[: max(0, len(kept) - MOST_KEPT)]
        if over:
            board.free(over)
            for name in over:
                if board.find(name) is None:
                    del self._left[name]
