"""Smooth weighted round robin: in turn, in proportion to weight, never in bursts.

Source: the algorithm of nginx (ngx_http_upstream_round_robin.c, "smooth weighted round-robin balancing").
With equal weights it is plain round robin. Law: a pick is O(1), an index into a turn order computed when the
candidates change; an order that would exceed MAX_TURNS is thinned in proportion.

Whose turn it is may stand in a cell that several processes share (`share`), which is read and written without a lock:
of two that pick in the same instant both may take one turn, and nothing worse comes of it.
"""

from __future__ import annotations

from collections.abc import Callable, MutableSequence, Sequence
from math import gcd
from operator import add

from headgate.policy.balance.balancer import Balancer, C, Random
from headgate.policy.balance.settings import RoundRobinSettings, WeightedSettings

MAX_TURNS = 10_000
# Weights grow by tenths during slow start.
_PARTS = 10


class RoundRobin(Balancer[C]):
    """Pick endpoints in turn."""

    __slots__ = ("_cells", "_order", "_place")

    def __init__(self, settings: RoundRobinSettings | WeightedSettings, random: Random) -> None:
        super().__init__(counted=False)
        self._order: list[C] = []
        self._cells: MutableSequence[int] | memoryview = [int(random() * MAX_TURNS)]
        self._place = 0

    def share(self, cells: memoryview, claim: Callable[[], int]) -> None:
        """Take turns with all that share these cells."""
        start, place = self._cells[self._place], claim()
        cells[place] = cells[place] or start
        self._cells, self._place = cells, place

    def take(self, candidates: Sequence[C]) -> None:
        """Lay down the order of turns."""
        self._order = turn_order(candidates)

    def pick(self, now: float, key: int = 0) -> C | None:
        """Choose the next in turn."""
        order = self._order
        if not order:
            return None
        cells, place = self._cells, self._place
        cells[place] = turn = (cells[place] + 1) % len(order)
        return order[turn]


def turn_order(candidates: Sequence[C]) -> list[C]:
    """List one full cycle of turns."""
    weighted = [(each, max(1, round(each.weight * _PARTS))) for each in candidates if each.weight > 0]
    if not weighted:
        return []
    divisor = gcd(*(weight for _, weight in weighted))
    weights = [weight // divisor for _, weight in weighted]
    if sum(weights) > MAX_TURNS:
        scale = MAX_TURNS / sum(weights)
        weights = [max(1, round(weight * scale)) for weight in weights]
    return [weighted[place][0] for place in _smooth(weights)]


def _smooth(weights: list[int]) -> list[int]:
    """List the places of one cycle as nginx does: all earn their weight, the richest has the turn and pays for it.

    Those of one weight are paid alike, so they take turns among themselves, and only the first in turn of each weight
    is compared with the others: a thousand endpoints of ten weights cost a hundredth of comparing all with all.
    """
    groups: dict[int, list[int]] = {}
    for place, weight in enumerate(weights):
        groups.setdefault(weight, []).append(place)
    members, earned, total = list(groups.values()), list(groups), sum(weights)
    credit = [0] * len(members)
    turns = [0] * len(members)
    order: list[int] = []
    for _ in range(total):
        credit = list(map(add, credit, earned))
        most = max(credit)
        best = credit.index(most)
        if credit.count(most) > 1:
            rich = (group for group, have in enumerate(credit) if have == most)
            best = min(rich, key=lambda group: members[group][turns[group]])
        order.append(members[best][turns[best]])
        turns[best] += 1
        if turns[best] == len(members[best]):
            turns[best] = 0
            credit[best] -= total
    return order
