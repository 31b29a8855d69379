"""By chance: each part of the unit interval belongs to an endpoint, in proportion to its weight."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from headgate.policy.balance.balancer import Candidate
from headgate.policy.balance.settings import RandomSettings
from headgate.policy.balance.weighted_random import WeightedRandom
from tests.policy.balance.rig import build, candidates, name


def drawing(numbers: Iterator[float]) -> WeightedRandom[Candidate]:
    return WeightedRandom(RandomSettings(), lambda: next(numbers))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=9).filter(any))
def test_even_draws_give_exact_shares(weights: list[int]) -> None:
    total = sum(weights)
    balancer = drawing((turn + 0.5) / total for turn in range(total))
    balancer.take(candidates(*weights))
    picked = Counter(name(balancer.pick(0.0)) for _ in range(total))
    assert picked == {f"e{at}": weight for at, weight in enumerate(weights) if weight}


def test_the_ends_of_the_interval() -> None:
    balancer = drawing(iter([0.0, 1 - 2**-53]))
    balancer.take(candidates(0, 1, 1_000_000, 3, 0))
    assert [name(balancer.pick(0.0)) for _ in range(2)] == ["e1", "e3"]


def test_two_gateways_draw_differently() -> None:
    sequences = []
    for seed in (1, 2):
        balancer = build("random", seed)
        balancer.take(candidates(1, 1, 1))
        sequences.append([name(balancer.pick(0.0)) for _ in range(50)])
    assert sequences[0] != sequences[1]
