"""Least connections: the idle ones first, by weight, and equals in turn."""

from __future__ import annotations

from collections import Counter
from math import inf

from hypothesis import given
from hypothesis import strategies as st

from tests.policy.balance.rig import build, candidates, name


def test_an_idle_one_goes_before_all_busy_ones() -> None:
    everybody = candidates(*[1] * 100)
    for each in everybody:
        each.in_flight = 5
    everybody[77].in_flight = 4
    balancer = build("least_connections")
    balancer.take(everybody)
    assert name(balancer.pick(0.0)) == "e77"


def test_idle_equals_take_turns_also_between_busy_ones() -> None:
    everybody = candidates(1, 1, 1, 1)
    everybody[1].in_flight = everybody[2].in_flight = 9
    balancer = build("least_connections")
    balancer.take(everybody)
    assert Counter(name(balancer.pick(0.0)) for _ in range(10)) == {"e0": 5, "e3": 5}


def test_what_is_in_flight_follows_weights() -> None:
    everybody = candidates(1, 2, 4)
    balancer = build("least_connections")
    balancer.take(everybody)
    for _ in range(70):
        one = balancer.pick(0.0)
        assert one is not None
        balancer.begin(one)
    assert [each.in_flight for each in everybody] == [10, 20, 40]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 9)), min_size=1, max_size=12), st.integers(0, 20))
def test_nobody_has_less_to_do_than_the_one_picked(state: list[tuple[int, int]], before: int) -> None:
    everybody = candidates(*(weight for weight, _ in state))
    for each, (_, in_flight) in zip(everybody, state, strict=True):
        each.in_flight = in_flight
    balancer = build("least_connections", seed=before)
    balancer.take(everybody)
    for _ in range(before):
        balancer.pick(0.0)
    one = balancer.pick(0.0)
    loads = [(each.in_flight + 1) / each.weight for each in everybody if each.weight]
    assert ((one.in_flight + 1) / one.weight if one is not None else inf) == min(loads, default=inf)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(1, 4))
def test_it_stays_so_while_requests_come_and_go(steps: list[int], abreast: int) -> None:
    everybody = candidates(1, 2, 3, 1, 1)
    balancer = build("least_connections")
    balancer.take(everybody)
    flying = []
    for step in steps:
        one = balancer.pick(0.0)
        assert one is not None
        assert (one.in_flight + 1) / one.weight == min((each.in_flight + 1) / each.weight for each in everybody)
        balancer.begin(one)
        flying.append(one)
        while len(flying) > 3 * abreast:
            balancer.end(flying.pop(step % len(flying)), 0.0, 0.1, True)
