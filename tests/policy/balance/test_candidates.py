"""Who gets requests: disabled, ill, ejected; panic; zones; slow start."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.endpoint import Endpoint
from headgate.policy.balance.candidates import NEVER, Standing, shares
from headgate.policy.balance.settings import CandidateSettings
from tests.policy.balance.rig import endpoint

WELL = Standing()
ILL = Standing(unhealthy=1)
OUT = Standing(disabled=1)
SECOND = 1_000_000
NOW = 100 * SECOND


def ejected(until: int) -> Standing:
    return Standing(ejected_until=until, well_since=until)


def weights(standings: list[Standing], zones: str = "", zone: str = "", now: int = NOW, **settings: Any) -> list[float]:
    endpoints = [endpoint(at, zone=zones[at : at + 1].strip()) for at in range(len(standings))]
    return shares(endpoints, standings, CandidateSettings(**settings), zone, now).weights


@pytest.mark.parametrize(
    ("standings", "expected"),
    [
        ([], []),
        ([WELL, WELL], [1, 1]),
        ([WELL, ILL], [1, 0]),
        ([WELL, ejected(NOW + 1)], [1, 0]),
        ([WELL, ejected(NOW)], [1, 1]),
        ([WELL, OUT], [1, 0]),
        # Fewer than half are well: a panic. The disabled one neither counts nor is tried.
        ([WELL, ILL, ejected(NOW + 1)], [1, 1, 1]),
        ([ILL], [1]),
        ([WELL, ILL, OUT, OUT], [1, 0, 0, 0]),
        ([ILL, ILL, OUT], [1, 1, 0]),
        ([OUT, OUT], [0, 0]),
    ],
)
def test_who_is_asked(standings: list[Standing], expected: list[int]) -> None:
    assert weights(standings) == expected


@pytest.mark.parametrize(
    ("threshold", "well", "of", "panic"),
    [(0, 0, 4, False), (25, 1, 4, False), (26, 1, 4, True), (50, 2, 4, False), (50, 1, 4, True), (100, 3, 4, True)],
)
def test_the_threshold_of_the_panic(threshold: float, well: int, of: int, panic: bool) -> None:
    standings = [WELL] * well + [ILL] * (of - well)
    assert weights(standings, panic_threshold=threshold) == ([1] * of if panic else [1] * well + [0] * (of - well))


@pytest.mark.parametrize(
    ("zones", "standings", "expected"),
    [
        ("aabb", [WELL] * 4, [1, 1, 0, 0]),
        ("aabb", [WELL, ILL, WELL, WELL], [1, 0, 0, 0]),
        ("aabb", [ILL, ILL, WELL, WELL], [0, 0, 1, 1]),
        ("aaab", [WELL, ILL, ILL, WELL], [1, 0, 0, 1]),
        # Half of those that are enabled.
        ("aaab", [WELL, ILL, OUT, WELL], [1, 0, 0, 0]),
        ("bbcc", [WELL] * 4, [1, 1, 1, 1]),
        # The zone is well, however ill the others are.
        ("abbb", [WELL, ILL, ILL, ILL], [1, 0, 0, 0]),
        ("aabb", [ILL, ILL, ILL, WELL], [1, 1, 1, 1]),
    ],
)
def test_the_own_zone_is_preferred(zones: str, standings: list[Standing], expected: list[int]) -> None:
    assert weights(standings, zones, "a", zone_preference=True) == expected


def test_zones_count_only_where_they_are_preferred_and_the_own_is_known() -> None:
    assert weights([WELL] * 2, "ab", "a") == [1, 1]
    assert weights([WELL] * 2, " b", "", zone_preference=True) == [1, 1]


def test_slow_start_grows_by_tenths_and_says_when() -> None:
    endpoints = [endpoint(0, 5), endpoint(1, 5)]
    standings = [Standing(well_since=NOW), WELL]
    settings = CandidateSettings(slow_start=20.0)
    steps = []
    now = NOW
    while now != NEVER:
        found = shares(endpoints, standings, settings, "", now)
        assert found.weights[1] == 5
        assert shares(endpoints, standings, settings, "", min(found.until, NEVER) - 1).weights == found.weights
        steps.append(((now - NOW) // SECOND, found.weights[0]))
        now = found.until
    assert steps == [
        (0, 0.5), (4, 1.0), (6, 1.5), (8, 2.0), (10, 2.5), (12, 3.0), (14, 3.5), (16, 4.0), (18, 4.5), (20, 5.0)
    ]  # fmt: skip


def test_slow_start_begins_when_an_ejection_ends() -> None:
    standings = [ejected(NOW + 5 * SECOND), WELL]
    endpoints = [endpoint(0), endpoint(1)]
    settings = CandidateSettings(slow_start=10.0)
    assert shares(endpoints, standings, settings, "", NOW) == ([0, 1], NOW + 5 * SECOND)
    assert shares(endpoints, standings, settings, "", NOW + 5 * SECOND) == ([0.1, 1], NOW + 7 * SECOND)


def test_a_panic_knows_no_slow_start() -> None:
    standings = [Standing(well_since=NOW), ILL, ILL]
    assert weights(standings, slow_start=10.0) == [1, 1, 1]


STANDINGS = st.builds(
    Standing,
    disabled=st.integers(0, 1),
    unhealthy=st.integers(0, 1),
    ejected_until=st.sampled_from([0, NOW - 7, NOW, NOW + 7]),
    well_since=st.sampled_from([0, NOW - 3 * SECOND, NOW, NOW + 7]),
)
ENDPOINTS = st.builds(endpoint, st.integers(0, 99), st.sampled_from([0, 1, 3]), st.sampled_from(["", "a", "b"]))


@given(
    st.lists(st.tuples(ENDPOINTS, STANDINGS), max_size=8),
    st.builds(
        CandidateSettings,
        panic_threshold=st.sampled_from([0.0, 1.0, 50.0, 100.0]),
        slow_start=st.sampled_from([0.0, 1e-6, 10.0]),
        zone_preference=st.booleans(),
    ),
)
def test_somebody_is_asked_unless_all_are_out(
    pairs: list[tuple[Endpoint, Standing]], settings: CandidateSettings
) -> None:
    endpoints, standings = [one for one, _ in pairs], [one for _, one in pairs]
    found = shares(endpoints, standings, settings, "a", NOW)
    assert found.until > NOW
    enabled = [at for at, one in enumerate(endpoints) if one.weight and not standings[at].disabled]
    for at, weight in enumerate(found.weights):
        assert 0 <= weight <= endpoints[at].weight
        assert not weight or at in enabled
    if settings.panic_threshold:
        assert any(found.weights) == bool(enabled)
