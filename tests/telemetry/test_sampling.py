"""Which requests are recorded: shares, reserves, rules, ends, and the bound of all."""

from __future__ import annotations

import random
from math import inf, isqrt
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.telemetry.sampling import Allowance, Sampler, Share
from headgate.telemetry.settings import Sampling, SamplingRule

ALL = frozenset({"api"})


def sampler(workers: int = 1, **settings: Any) -> Sampler:
    quiet = {"ratio": 0.0, "per_second": 0.0, "refused": 0.0, "errors": False}
    return Sampler(Sampling(**quiet | settings), workers, random.Random(7).random)


# -- so many in a second -------------------------------------------------------------------------------------------


@given(
    st.sampled_from([0.2, 1.0, 2.5, 10.0, 100.0]),
    st.lists(st.floats(0, 30, allow_nan=False), max_size=300),
    st.floats(-1000, 1000),
)
def test_no_second_takes_more_than_the_allowance(rate: float, moments: list[float], zero: float) -> None:
    allowance = Allowance(rate)
    taken = [zero + each for each in sorted(moments) if allowance.take(zero + each)]
    for at in taken:
        # A second holds what is allowed, and one that was left of the second before.
        within = [each for each in taken if at <= each < at + 1.0 - 1e-6]
        assert len(within) <= 2 * max(1.0, rate)
    whole = taken[-1] - taken[0] if taken else 0.0
    assert len(taken) <= max(1.0, rate) + whole * rate + 1


def test_all_of_an_allowance_may_be_taken_at_once_and_comes_back_evenly() -> None:
    allowance = Allowance(4.0)
    assert [allowance.take(10.0) for _ in range(6)] == [True] * 4 + [False] * 2
    assert [allowance.take(10.25) for _ in range(2)] == [True, False]
    assert [allowance.take(100.0) for _ in range(5)] == [True] * 4 + [False]


def test_less_than_one_a_second_is_one_in_a_while() -> None:
    allowance = Allowance(0.5)
    assert [at for at in range(100, 110) if allowance.take(float(at))] == [100, 102, 104, 106, 108]


def test_no_allowance_is_never() -> None:
    assert not Allowance(0.0).take(1e9)


# -- shares --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ratio", [0.5, 0.1, 0.01, 0.001])
def test_a_ratio_is_kept_over_many(ratio: float) -> None:
    share, count = Share(ratio, 0.0, "ratio", random.Random(3).random), 200_000
    chosen = sum(share.chosen(0.0) == "ratio" for _ in range(count))
    # Five standard deviations.
    assert abs(chosen - count * ratio) < 5 * isqrt(int(count * ratio)) + 1


def test_the_ends_of_a_ratio() -> None:
    none, every = Share(0.0, 0.0, "ratio", lambda: 0.0), Share(1.0, 0.0, "ratio", lambda: 0.999)
    assert {none.chosen(0.0) for _ in range(1000)} == {""}
    assert {every.chosen(0.0) for _ in range(1000)} == {"ratio"}


@given(st.floats(1e-9, 1.0), st.floats(0.0, 1.0, exclude_max=True))
def test_no_chance_breaks_a_share(ratio: float, chance: float) -> None:
    share = Share(ratio, 0.0, "ratio", lambda: chance)
    assert share.chosen(0.0) in ("", "ratio")


def test_the_reserve_comes_first_and_over_all_workers() -> None:
    chosen = sampler(workers=4, per_second=2.0).of("all", ALL)
    moments = [100.0 + tenth / 10 for tenth in range(100)]
    found = [chosen.chosen("api", "GET", "/", at) for at in moments]
    # Half a request in each second of ten.
    assert found.count("reserve") == 5


# -- rules ---------------------------------------------------------------------------------------------------------

RULES = [
    SamplingRule(route=["quiet"], ratio=0.0),
    SamplingRule(service=["pay"], method=["POST"], ratio=1.0),
    SamplingRule(path="/v1/", ratio=1.0),
    SamplingRule(service=["logs"], ratio=0.0),
]


@pytest.mark.parametrize(
    ("route", "service", "method", "path", "why"),
    [
        ("quiet", "pay", "POST", "/v1/x", ""),
        ("all", "pay", "POST", "/x", "rule"),
        ("all", "pay", "GET", "/x", "ratio"),
        ("all", "pay", "GET", "/v1", "rule"),
        ("all", "logs", "GET", "/v1/x", "rule"),
        ("all", "logs", "GET", "/v10", ""),
        ("all", "api", "GET", "/", "ratio"),
        ("all", "", "GET", "/", "ratio"),
    ],
)
def test_the_first_rule_that_holds_decides(route: str, service: str, method: str, path: str, why: str) -> None:
    mine = sampler(ratio=1.0, rules=RULES)
    for services in ({service}, {"pay", "logs", "api"}):
        choice = mine.of(route, frozenset(services - {""}))
        assert choice.chosen(service, method, path, 0.0) == why


def test_a_rule_has_one_reserve_for_all_its_routes() -> None:
    mine = sampler(rules=[SamplingRule(per_second=1.0)])
    assert mine.of("one", ALL).chosen("api", "GET", "/", 0.0) == "reserve"
    assert mine.of("other", ALL).chosen("api", "GET", "/", 0.5) == ""


def test_routes_that_no_rule_tells_apart_are_chosen_by_one_object() -> None:
    mine = sampler(rules=[SamplingRule(route=["special"], path="/x", ratio=1.0)])
    assert mine.of("one", ALL) is mine.of("other", ALL)
    assert mine.of("special", ALL) is not mine.of("one", ALL)


# -- the end, and the bound ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "refused", "failed", "seconds", "why"),
    [
        (200, False, False, 0.1, ""),
        (404, False, False, 0.1, ""),
        (500, False, False, 0.1, "error"),
        (200, False, True, 0.1, "error"),
        (502, False, True, 9.0, "error"),
        (200, False, False, 2.0, "slow"),
        (101, False, False, 9.0, ""),
        (429, True, False, 0.1, "refused"),
        (501, True, False, 0.1, "refused"),
        (499, True, False, 9.0, "slow"),
    ],
)
def test_how_a_request_ends_may_choose_it(status: int, refused: bool, failed: bool, seconds: float, why: str) -> None:
    mine = sampler(errors=True, slow=2.0, refused=1.0)
    assert mine.late(status, refused, failed, seconds, 0.0) == why
    assert sampler().late(status, refused, failed, seconds, 0.0) == ""


def test_refusals_have_their_own_allowance_over_all_workers() -> None:
    mine = sampler(workers=2, refused=2.0)
    assert [mine.late(429, True, False, 0.0, at) for at in (0.0, 0.5, 1.0)] == ["refused", "", "refused"]


def test_nobody_makes_more_records_than_the_bound() -> None:
    mine = sampler(most=3)
    assert [mine.admits(0.0) for _ in range(5)] == [True] * 3 + [False] * 2
    assert mine.dropped == 2


def test_callers_that_ask_for_it_get_half_of_it() -> None:
    mine = sampler(most=4)
    assert [mine.follows(0.0) for _ in range(3)] == [True, True, False]
    assert mine.dropped == 1
    assert mine.admits(0.0)


def test_nothing_is_slow_where_no_bound_is_set() -> None:
    assert sampler().slow == inf
