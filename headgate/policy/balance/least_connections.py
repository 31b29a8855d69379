"""Least connections, weighted: the candidate with the smallest (in flight + 1) / weight.

The one more is the request to be placed, so an idle endpoint of weight 3 goes before an idle one of weight 1 (the
"shortest expected delay" of the Linux Virtual Server). Laws: the search begins behind whoever was picked last, and
the first of equals wins, so equals take turns; it ends with the first that nobody can undercut: `_floor` is never
above the lowest load, for begins only raise loads, and each end is looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from headgate.policy.balance.balancer import Balancer, C, Random
from headgate.policy.balance.settings import LeastConnectionsSettings


class LeastConnections(Balancer[C]):
    """Pick who has least to do."""

    __slots__ = ("_count", "_floor", "_turn", "_twice")

    def __init__(self, settings: LeastConnectionsSettings, random: Random) -> None:
        super().__init__(counted=True)
        # Two rounds of the candidates: from wherever the search begins, all of them follow.
        self._twice: list[C] = []
        self._count = 0
        self._floor = 0.0
        self._turn = int(random() * 65_536)

    def take(self, candidates: Sequence[C]) -> None:
        """Keep those with weight."""
        live = [each for each in candidates if each.weight > 0]
        for place, each in enumerate(live):
            each.place = place
        self._count = len(live)
        self._twice = live + live
        self._floor = 1 / max(each.weight for each in live) if live else 0.0
        self._turn = self._turn % len(live) if live else 0

    def pick(self, now: float, key: int = 0) -> C | None:
        """Choose the least loaded."""
        best: C | None = None
        lowest = inf
        turn, floor = self._turn, self._floor
        for each in self._twice[turn : turn + self._count]:
            load = (each.in_flight + 1) / each.weight
            if load < lowest:
                best, lowest = each, load
                if load <= floor:
                    break
        if best is not None:
            self._turn = (best.place + 1) % self._count
            self._floor = lowest
        return best

    def end(self, candidate: C, now: float, seconds: float | None, ok: bool) -> None:
        """Count it out."""
        candidate.in_flight -= 1
        if candidate.weight > 0:
            self._floor = min(self._floor, (candidate.in_flight + 1) / candidate.weight)
