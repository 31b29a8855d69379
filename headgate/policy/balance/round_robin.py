"""Smooth weighted round robin: in turn, in proportion to weight, never in bursts.

Source: the algorithm of nginx (ngx_http_upstream_round_robin.c, "smooth weighted round-robin balancing").
With equal weights it is plain round robin. Law: a pick is O(1) on the common path, an index into a turn order
computed when the set of candidates changes; an order that would exceed MAX_TURNS is thinned in proportion.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import gcd
from operator import add
from typing import Literal

from headgate.core.endpoint import Endpoint
from headgate.core.settings import setting, settings

MAX_TURNS = 10_000


@settings
class RoundRobinSettings:
    """Endpoints take turns, in proportion to their weight."""

    type: Literal["round_robin"] = setting(
        default="round_robin", help="Endpoints take turns, in proportion to their weight."
    )


@settings
class WeightedSettings:
    """Another name of round_robin, which always heeds weights."""

    type: Literal["weighted"] = setting(default="weighted", help="Another name of round_robin, which heeds weights.")


class RoundRobin:
    """Pick endpoints in turn. `start` (any integer) sets the first one, so that workers do not march in step."""

    __slots__ = ("_candidates", "_next", "_order")

    def __init__(self, settings: RoundRobinSettings, start: int = 0) -> None:
        self._candidates: Sequence[Endpoint] = ()
        self._order: list[Endpoint] = []
        self._next = start

    def pick(self, candidates: Sequence[Endpoint], now: float) -> Endpoint | None:
        """Choose one of `candidates` (the same object while the set is unchanged), or None when none has weight."""
        if candidates is not self._candidates:
            self._candidates = candidates
            self._order = turn_order(candidates)
        if not self._order:
            return None
        self._next = turn = (self._next + 1) % len(self._order)
        return self._order[turn]


def turn_order(candidates: Sequence[Endpoint]) -> list[Endpoint]:
    """List one full cycle of turns."""
    weighted = [(endpoint, endpoint.weight) for endpoint in candidates if endpoint.weight > 0]
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
