"""Round robin, and the contract that every balancer of the catalog keeps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from math import gcd
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.catalog import BALANCERS
from headgate.core.endpoint import Endpoint
from headgate.policy.balance.round_robin import MAX_TURNS, RoundRobin, RoundRobinSettings, turn_order


def endpoints(*weights: int) -> list[Endpoint]:
    return [Endpoint(f"e{at}", "http", "127.0.0.1", 8000 + at, weight=weight) for at, weight in enumerate(weights)]


def picks(balancer: Any, candidates: Sequence[Endpoint], times: int, start: float = 0.0) -> list[str | None]:
    chosen = (balancer.pick(candidates, start + turn / 1000) for turn in range(times))
    return [one.name if one is not None else None for one in chosen]


# -- the contract --------------------------------------------------------------------------------------------


@pytest.fixture(params=sorted(BALANCERS))
def balancer(request: pytest.FixtureRequest) -> Any:
    entry = BALANCERS[request.param]
    return entry.build(entry.settings())


@pytest.mark.parametrize("kind", sorted(BALANCERS))
def test_the_type_of_the_settings_is_the_name_in_the_catalog(kind: str) -> None:
    assert BALANCERS[kind].settings().type == kind


def test_nobody_is_picked_from_nobody(balancer: Any) -> None:
    assert picks(balancer, [], 3) == [None] * 3
    assert picks(balancer, endpoints(0, 0), 3) == [None] * 3


def test_shares_converge_on_the_weights_and_weight_zero_gets_nothing(balancer: Any) -> None:
    candidates = endpoints(1, 3, 0, 6)
    got = Counter(picks(balancer, candidates, 10_000))
    assert set(got) == {"e0", "e1", "e3"}
    for name, share in (("e0", 1000), ("e1", 3000), ("e3", 6000)):
        assert abs(got[name] - share) <= share * 0.2


def test_all_others_go_on_when_one_is_removed_and_it_comes_back(balancer: Any) -> None:
    everybody = endpoints(1, 2, 1)
    assert set(picks(balancer, everybody, 100)) == {"e0", "e1", "e2"}
    assert set(picks(balancer, everybody[:1] + everybody[2:], 100, 1.0)) == {"e0", "e2"}
    assert set(picks(balancer, everybody, 100, 2.0)) == {"e0", "e1", "e2"}
    assert picks(balancer, [], 1, 3.0) == [None]


@pytest.mark.parametrize("kind", sorted(BALANCERS))
@given(sets=st.lists(st.lists(st.integers(0, 5), max_size=5), max_size=5))
def test_only_candidates_with_weight_are_picked(kind: str, sets: list[list[int]]) -> None:
    entry = BALANCERS[kind]
    balancer = entry.build(entry.settings())
    for weights in sets:
        candidates = endpoints(*weights)
        live: set[str | None] = {one.name for one in candidates if one.weight}
        live = live or {None}
        assert set(picks(balancer, candidates, 20)) <= live


# -- round robin ---------------------------------------------------------------------------------------------


def test_equal_weights_take_turns() -> None:
    got = picks(RoundRobin(RoundRobinSettings()), endpoints(2, 2, 2), 7)
    assert got == ["e1", "e2", "e0", "e1", "e2", "e0", "e1"]


def test_the_start_sets_the_first_turn() -> None:
    firsts = {picks(RoundRobin(RoundRobinSettings(), start), endpoints(1, 1, 1), 1)[0] for start in (0, 1, 2)}
    assert firsts == {"e0", "e1", "e2"}
    assert picks(RoundRobin(RoundRobinSettings(), 2**63), endpoints(1), 1) == ["e0"]


def test_weights_are_spread_as_nginx_spreads_them() -> None:
    # The example of the commit that brought it to nginx: weights 5, 1, 1.
    assert [one.name for one in turn_order(endpoints(5, 1, 1))] == ["e0", "e0", "e1", "e0", "e2", "e0", "e0"]


@given(st.lists(st.integers(0, 20), max_size=6))
def test_one_cycle_holds_each_endpoint_by_its_weight(weights: list[int]) -> None:
    order = Counter(one.name for one in turn_order(endpoints(*weights)))
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
    assert [one.name for one in turn_order(endpoints(*weights))] == book


def test_a_thousand_endpoints_have_their_shares() -> None:
    order = turn_order(endpoints(*(1 + at % 10 for at in range(1000))))
    assert Counter(one.weight for one in order) == {weight: 100 * weight for weight in range(1, 11)}


def test_a_cycle_stays_short_whatever_the_weights() -> None:
    order = Counter(one.name for one in turn_order(endpoints(1_000_000, 999_999, 1)))
    assert sum(order.values()) <= MAX_TURNS + 3
    assert order["e2"] == 1
    assert abs(order["e0"] - order["e1"]) <= 1


def test_a_removed_endpoint_keeps_the_others_in_turn() -> None:
    balancer = RoundRobin(RoundRobinSettings())
    everybody = endpoints(1, 1, 1)
    picks(balancer, everybody, 2)
    assert Counter(picks(balancer, everybody[:2], 10)) == {"e0": 5, "e1": 5}
