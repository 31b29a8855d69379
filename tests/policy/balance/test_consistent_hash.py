"""Consistent hashing: stable everywhere, only what has to move moves, and nobody is overrun."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from math import ceil

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from headgate.policy.balance.balancer import Balancer, Candidate
from headgate.policy.balance.consistent_hash import POINTS, points_of, positions_of
from tests.policy.balance.rig import build, candidates, endpoint, name

# Spread evenly, so that counts are shares.
KEYS = [turn * 0x9E3779B97F4A7C15 % 2**64 for turn in range(4000)]


def ring(*weights: int, bound: float = 0.0) -> tuple[Balancer[Candidate], list[Candidate]]:
    everybody = candidates(*weights)
    balancer = build("consistent_hash", bound=bound)
    balancer.take(everybody)
    return balancer, everybody


def owners(balancer: Balancer[Candidate], keys: list[int] = KEYS) -> list[str | None]:
    return [name(balancer.pick(0.0, key)) for key in keys]


def test_the_ring_is_the_same_for_ever() -> None:
    """A golden sample: gateways of different versions in one fleet must agree."""
    balancer, _ = ring(1, 1, 1, 1)
    assert owners(balancer, [0, 2**61, 2**62, 2**63, 2**64 - 1]) == ["e0", "e2", "e1", "e1", "e0"]
    assert positions_of("e0", 2) == [475930795768722288, 15791658236077975287]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=40))
def test_each_key_goes_to_the_next_point_behind_it(weights: list[int]) -> None:
    """Points are made of large numbers many at once; one by one they are these."""
    assume(any(weights))
    balancer, _ = ring(*weights)
    points = sorted(
        (position >> 24, place, number)
        for place, most in enumerate(points_of(weights))
        for number, position in enumerate(positions_of(f"e{place}", most))
    )
    for key in KEYS[:100]:
        at = next((each for each in points if each[0] > key >> 24), points[0])
        assert name(balancer.pick(0.0, key)) == f"e{at[1]}"


def test_another_process_finds_the_same() -> None:
    script = (
        "from tests.policy.balance.test_consistent_hash import KEYS, owners, ring;"
        "print(*owners(ring(3, 1, 2)[0], KEYS[:200]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONHASHSEED": "12345"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == owners(ring(3, 1, 2)[0], KEYS[:200])


@given(st.lists(st.integers(1, 4), min_size=2, max_size=8), st.integers(0, 7))
def test_who_goes_out_moves_its_own_keys_only_and_they_return(weights: list[int], which: int) -> None:
    balancer, everybody = ring(*weights)
    gone = everybody[which % len(everybody)]
    before = owners(balancer, KEYS[:400])
    gone.weight = 0.0
    balancer.take(everybody)
    after = owners(balancer, KEYS[:400])
    for had, has in zip(before, after, strict=True):
        assert has == had if had != name(gone) else has != name(gone)
    gone.weight = float(gone.endpoint.weight)
    balancer.take(everybody)
    assert owners(balancer, KEYS[:400]) == before


@given(st.lists(st.integers(1, 4), min_size=2, max_size=8), st.integers(0, 7))
def test_who_is_taken_from_the_configuration_moves_its_own_keys_only(weights: list[int], which: int) -> None:
    balancer, everybody = ring(*weights)
    gone = everybody[which % len(everybody)]
    rest = [each for each in everybody if each is not gone]
    assume(_scale(weights) == _scale([each.endpoint.weight for each in rest]))
    before = owners(balancer, KEYS[:400])
    balancer.take(rest)
    for had, has in zip(before, owners(balancer, KEYS[:400]), strict=True):
        assert has == had if had != name(gone) else has != name(gone)


def _scale(weights: list[int]) -> int:
    return (max(weights) - 1).bit_length()


def test_a_weight_that_grows_only_draws_keys() -> None:
    before = owners(ring(2, 2, 4)[0])
    after = owners(ring(3, 2, 4)[0])
    moved = [(had, has) for had, has in zip(before, after, strict=True) if had != has]
    assert moved
    assert {has for _, has in moved} == {"e0"}
    assert len(moved) <= 1.6 * len(KEYS) * (3 / 9 - 2 / 8)


def test_a_part_of_the_weight_keeps_a_part_of_its_keys() -> None:
    balancer, everybody = ring(4, 4)
    before = owners(balancer)
    everybody[0].weight = 0.4
    balancer.take(everybody)
    after = owners(balancer)
    kept = {key for key, has in zip(KEYS, after, strict=True) if has == "e0"}
    assert kept < {key for key, had in zip(KEYS, before, strict=True) if had == "e0"}
    assert 0.3 * len(KEYS) / 11 <= len(kept) <= 2 * len(KEYS) / 11


@pytest.mark.parametrize(
    ("weights", "points"),
    [([], []), ([0, 0], [0, 0]), ([1, 1], [128, 128]), ([5, 5, 5], [80, 80, 80]), ([1, 1_000_000], [1, 123])],
)
def test_points_are_in_proportion_and_bounded(weights: list[int], points: list[int]) -> None:
    assert points_of(weights) == points
    assert max(points, default=0) <= POINTS


@pytest.mark.parametrize("bound", [1.0, 1.25, 3.0])
def test_the_bound_holds_under_one_hot_key(bound: float) -> None:
    balancer, everybody = ring(1, 1, 2, 4, bound=bound)
    for total in range(1, 400):
        one = balancer.pick(0.0, 7)
        assert one is not None
        balancer.begin(one)
        assert one.in_flight <= ceil(bound * total * one.weight / 8)
    first = Counter({name(each): each.in_flight for each in everybody})
    # As many as may be are with the key's own endpoint.
    own = balancer.pick(0.0, 7)
    busiest = max(everybody, key=lambda each: each.in_flight / each.weight)
    assert first[name(busiest)] == ceil(bound * 399 * busiest.weight / 8) or bound >= 3
    assert own is not None
    for each in everybody:
        for _ in range(each.in_flight):
            balancer.end(each, 0.0, 0.1, True)
    assert name(balancer.pick(0.0, 7)) == owners(ring(1, 1, 2, 4)[0], [7])[0]


def test_without_a_bound_a_hot_key_stays() -> None:
    balancer, everybody = ring(1, 1, 1)
    assert not balancer.counted
    one = balancer.pick(0.0, 7)
    assert one is not None
    for each in everybody:
        each.in_flight = 1000 if each is one else 0
    balancer.take(everybody)
    assert balancer.pick(0.0, 7) is one


def test_a_bound_that_leaves_nobody_room_gives_the_own_endpoint() -> None:
    balancer, everybody = ring(1, 1, bound=0.5)
    own = owners(ring(1, 1)[0], [7])
    for each in everybody:
        each.in_flight = 5
    balancer.take(everybody)
    assert owners(balancer, [7]) == own


def test_who_is_out_does_not_count_for_the_average() -> None:
    balancer, everybody = ring(1, 1, 1, bound=1.0)
    everybody[0].in_flight = 300
    everybody[0].weight = 0.0
    balancer.take(everybody)
    for _ in range(20):
        one = balancer.pick(0.0, 7)
        assert one is not None
        balancer.begin(one)
    balancer.end(everybody[0], 0.0, None, True)
    assert [each.in_flight for each in everybody] == [299, 10, 10]


def test_the_same_address_with_another_prefix_has_its_own_points() -> None:
    everybody = candidates(1, 1)
    first = everybody[0].endpoint
    twin = Candidate(first._replace(prefix="/v2"))
    balancer = build("consistent_hash", bound=0)
    balancer.take([everybody[0], twin])
    picked = Counter(balancer.pick(0.0, key) is twin for key in KEYS)
    assert min(picked.values()) > len(KEYS) / 4


@given(st.lists(st.dictionaries(st.integers(0, 30), st.integers(0, 5), max_size=30), min_size=2, max_size=6))
def test_a_ring_that_was_changed_is_the_ring_made_at_once(history: list[dict[int, int]]) -> None:
    changed, made = build("consistent_hash", bound=0.0), build("consistent_hash", bound=0.0)
    everybody: list[Candidate] = []
    for members in history:
        everybody = [Candidate(endpoint(number, weight)) for number, weight in members.items()]
        changed.take(everybody)
    made.take(everybody)
    assert owners(changed, KEYS[:300]) == owners(made, KEYS[:300])


def test_one_that_comes_and_one_that_goes_change_a_large_ring_in_place() -> None:
    everybody = candidates(*[1] * 201)
    changed, made = build("consistent_hash", bound=0.0), build("consistent_hash", bound=0.0)
    for members in (everybody[:200], everybody[1:], everybody[5:], everybody[3:200]):
        changed.take(members)
    made.take(everybody[3:200])
    assert owners(changed) == owners(made)
