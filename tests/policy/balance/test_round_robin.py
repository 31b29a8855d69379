"""Round robin: the order of turns is nginx's, and it is short."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import gcd

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.policy.balance.balancer import Candidate
from headgate.policy.balance.round_robin import MAX_TURNS, RoundRobin, turn_order
from headgate.policy.balance.settings import RoundRobinSettings
from tests.policy.balance.rig import candidates, name


def round_robin(everybody: Sequence[Candidate], start: float = 0.0) -> RoundRobin[Candidate]:
    balancer: RoundRobin[Candidate] = RoundRobin(RoundRobinSettings(), lambda: start)
    balancer.take(everybody)
    return balancer


def picks(balancer: RoundRobin[Candidate], times: int) -> list[str | None]:
    return [name(balancer.pick(0.0)) for _ in range(times)]


def order_of(*weights: int) -> list[str | None]:
    return [name(each) for each in turn_order(candidates(*weights))]


def test_equal_weights_take_turns() -> None:
    got = picks(round_robin(candidates(2, 2, 2)), 7)
    assert got == ["e1", "e2", "e0", "e1", "e2", "e0", "e1"]


def test_the_start_sets_the_first_turn() -> None:
    firsts = {picks(round_robin(candidates(1, 1, 1), start), 1)[0] for start in (0.0, 0.0001, 0.0002)}
    assert firsts == {"e0", "e1", "e2"}
    assert picks(round_robin(candidates(1), 0.9999999999999999), 1) == ["e0"]


def test_several_take_turns_together() -> None:
    cells, everybody = memoryview(bytearray(32)).cast("q"), candidates(1, 1, 1)
    workers = [round_robin(everybody, start) for start in (0.0001, 0.7)]
    for each in workers:
        each.share(cells, lambda: 2)
    got = [name(workers[turn % 2 if turn < 6 else 0].pick(0.0)) for turn in range(9)]
    # One goes on where the other was; the first of them said where it begins.
    assert got == ["e2", "e0", "e1"] * 3
    assert list(cells)[:2] == [0, 0]


def test_weights_are_spread_as_nginx_spreads_them() -> None:
    # The example of the commit that brought it to nginx: weights 5, 1, 1.
    assert order_of(5, 1, 1) == ["e0", "e0", "e1", "e0", "e2", "e0", "e0"]


@given(st.lists(st.integers(0, 20), max_size=6))
def test_one_cycle_holds_each_endpoint_by_its_weight(weights: list[int]) -> None:
    order = Counter(order_of(*weights))
    total, cycle = sum(weights), sum(order.values())
    for at, weight in enumerate(weights):
        assert order[f"e{at}"] * total == weight * cycle


def by_the_book(weights: list[int]) -> list[str]:
    """Do what ngx_http_upstream_get_peer does, endpoint by endpoint."""
    credit = [0] * len(weights)
    order = []
    for _ in range(sum(weights)):
        credit = [have + weight for have, weight in zip(credit, weights, strict=True)]
        best = credit.index(max(credit))
        credit[best] -= sum(weights)
        order.append(f"e{best}")
    return order


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_taking_equal_weights_together_changes_no_turn(weights: list[int]) -> None:
    divisor = gcd(*weights)
    book = by_the_book([weight // divisor for weight in weights])
    assert order_of(*weights) == book


def test_a_thousand_endpoints_have_their_shares() -> None:
    order = turn_order(candidates(*(1 + at % 10 for at in range(1000))))
    assert Counter(one.weight for one in order) == {weight: 100 * weight for weight in range(1, 11)}


def test_a_cycle_stays_short_whatever_the_weights() -> None:
    order = Counter(order_of(1_000_000, 999_999, 1))
    assert sum(order.values()) <= MAX_TURNS + 3
    assert order["e2"] == 1
    assert abs(order["e0"] - order["e1"]) <= 1


def test_a_removed_endpoint_keeps_the_others_in_turn() -> None:
    everybody = candidates(1, 1, 1)
    balancer = round_robin(everybody)
    picks(balancer, 2)
    balancer.take(everybody[:2])
    assert Counter(picks(balancer, 10)) == {"e0": 5, "e1": 5}


@pytest.mark.parametrize("tenths", range(1, 11))
def test_a_tenth_of_the_weight_is_a_tenth_of_the_turns(tenths: int) -> None:
    everybody = candidates(1, 1, 3)
    everybody[0].weight = tenths / 10
    order = Counter(name(each) for each in turn_order(everybody))
    assert order["e1"] * tenths == order["e0"] * 10
    assert order["e2"] == 3 * order["e1"]
