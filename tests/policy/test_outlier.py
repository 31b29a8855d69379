"""Outlier ejection: who goes out, for how long, and never more than may."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.policy.endpoint_record import (
    EJECTED_UNTIL,
    EJECTIONS,
    FAILURES,
    FAILURES_IN_ROW,
    SUCCESSES,
    WELL_SINCE,
)
from headgate.policy.outlier import (
    LEAST_GAP,
    OLDEST_INTERVALS,
    Ejection,
    Outliers,
    OutlierSettings,
    check_outlier,
    most_ejected,
)

SECOND = 1_000_000
WIDTH = 16


class Service:
    """Some endpoints under judgement; `now` is in seconds here."""

    def __init__(self, endpoints: int, **settings: Any) -> None:
        self.cells = [0] * (WIDTH * (endpoints + 1))
        self.bases = [WIDTH * (at + 1) for at in range(endpoints)]
        self.outliers = Outliers(OutlierSettings(**settings), self.cells, 0, self.bases)

    def fail(self, endpoint: int, now: float, times: int = 1) -> list[Ejection]:
        told = [self.outliers.failed(self.bases[endpoint], int(now * SECOND)) for _ in range(times)]
        return [each for each in told if each is not None]

    def succeed(self, endpoint: int) -> None:
        self.outliers.succeeded(self.bases[endpoint])

    def count(self, now: float, *counts: tuple[int, int]) -> None:
        for base, (successes, failures) in zip(self.bases, counts, strict=True):
            self.outliers.count(base, successes, failures, int(now * SECOND))

    def review(self, now: float) -> tuple[list[int], list[int]]:
        """Return the endpoints that are back, and those that are out by comparison."""
        back, ejected = self.outliers.review(int(now * SECOND))
        assert all(each.cause == "success_rate" for each in ejected)
        return [self.bases.index(base) for base in back], [self.bases.index(each.base) for each in ejected]

    def is_due(self, now: float) -> bool:
        return self.outliers.is_due(int(now * SECOND))

    def out(self, now: float) -> list[int]:
        return [at for at, base in enumerate(self.bases) if self.cells[base + EJECTED_UNTIL] > now * SECOND]

    def cell(self, endpoint: int, cell: int) -> int:
        return self.cells[self.bases[endpoint] + cell]


# -- failures in a row ---------------------------------------------------------------------------------------------


def test_so_many_failures_in_a_row_eject() -> None:
    service = Service(3, consecutive_failures=3, ejection_time=10)
    assert service.fail(0, 1, 2) == []
    assert service.fail(0, 1) == [Ejection(service.bases[0], "consecutive_failures", 10)]
    assert service.out(10.9) == [0]
    assert service.out(11) == []
    assert service.cell(0, FAILURES_IN_ROW) == 0


def test_a_success_ends_the_row() -> None:
    service = Service(3, consecutive_failures=3)
    for _ in range(10):
        assert service.fail(0, 1, 2) == []
        service.succeed(0)
    assert service.fail(0, 1, 3)


def test_rows_of_different_endpoints_are_different_rows() -> None:
    service = Service(3, consecutive_failures=3)
    assert service.fail(0, 1, 2) + service.fail(1, 1, 2) + service.fail(2, 1, 2) == []


def test_zero_looks_at_no_row() -> None:
    service = Service(3, consecutive_failures=0)
    assert service.fail(0, 1, 100) == []
    assert service.cell(0, FAILURES_IN_ROW) == 0


def test_what_is_out_is_not_judged() -> None:
    """Requests that were on their way, and those of a panic, do not lengthen an ejection."""
    service = Service(3, consecutive_failures=2, ejection_time=10)
    service.fail(0, 0, 2)
    assert service.fail(0, 5, 50) == []
    assert service.out(9.9) == [0]
    assert service.cell(0, FAILURES_IN_ROW) == 0
    service.count(5, (0, 50), (0, 0), (0, 0))
    assert service.cell(0, FAILURES) == 0


def test_the_next_ejection_in_short_order_is_longer_up_to_the_longest() -> None:
    service = Service(3, consecutive_failures=1, ejection_time=10, max_ejection_time=35)
    now, seconds = 0.0, []
    for _ in range(6):
        ejection = service.fail(0, now)[0]
        seconds.append(ejection.seconds)
        now += ejection.seconds
    assert seconds == [10, 20, 30, 35, 35, 35]


def test_an_endpoint_that_stays_well_is_forgiven_step_by_step() -> None:
    service = Service(3, consecutive_failures=1, ejection_time=10, interval=5)
    service.fail(0, 0)
    service.fail(0, 10)
    assert service.cell(0, EJECTIONS) == 2
    # Out until 30; the interval in which it came back does not count.
    for now, ejections in ((25, 2), (31, 2), (36, 1), (41, 0), (46, 0)):
        service.review(now)
        assert service.cell(0, EJECTIONS) == ejections, now
    assert service.fail(0, 50)[0].seconds == 10


def test_it_comes_back_once_and_with_the_time_of_it() -> None:
    service = Service(3, consecutive_failures=1, ejection_time=10)
    service.review(0)
    service.fail(1, 0)
    service.review(9)
    assert not service.is_due(9.5)
    assert service.is_due(10)
    assert service.review(10.2) == ([1], [])
    assert service.cell(1, EJECTED_UNTIL) == 0
    assert service.cell(1, WELL_SINCE) == 10 * SECOND
    assert service.review(10.3) == ([], [])


def test_ill_health_that_ends_later_says_when_it_came_back() -> None:
    service = Service(3, consecutive_failures=1, ejection_time=10)
    service.fail(1, 0)
    service.cells[service.bases[1] + WELL_SINCE] = 12 * SECOND
    service.review(13)
    assert service.cell(1, WELL_SINCE) == 12 * SECOND


# -- how many may be out -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("endpoints", "percent", "most"),
    [
        (0, 50, -1),
        (1, 100, 0),
        (2, 50, 1),
        (2, 100, 1),
        (3, 0, 1),
        (3, 50, 1),
        (3, 67, 2),
        (3, 100, 2),
        (10, 29, 2),
        (10, 50, 5),
        (100, 10, 10),
    ],
)
def test_at_least_one_may_be_out_and_never_all(endpoints: int, percent: float, most: int) -> None:
    assert most_ejected(endpoints, percent) == most


def test_who_may_not_go_out_yet_goes_when_another_is_back() -> None:
    service = Service(3, consecutive_failures=2, ejection_time=10, max_ejected=34)
    assert service.fail(0, 0, 2)
    assert service.fail(1, 1, 10) == []
    assert service.out(1) == [0]
    assert service.fail(1, 11)
    assert service.out(11) == [1]


Event = tuple[str, int, int]


@settings(max_examples=300)
@given(
    endpoints=st.integers(1, 7),
    percent=st.integers(0, 100),
    in_row=st.integers(0, 3),
    events=st.lists(
        st.tuples(st.sampled_from(("fail", "succeed", "count", "wait")), st.integers(0, 6), st.integers(0, 40)),
        max_size=80,
    ),
)
def test_never_more_are_out_than_may_be(endpoints: int, percent: float, in_row: int, events: list[Event]) -> None:
    service = Service(
        endpoints,
        max_ejected=percent,
        consecutive_failures=in_row,
        minimum_requests=5,
        minimum_endpoints=2,
        success_rate_deviation=0.5,
        interval=1,
        ejection_time=3,
    )
    now = 1.0
    for kind, at, amount in events:
        if kind == "fail":
            service.fail(at % endpoints, now, 1 + amount % 4)
        elif kind == "succeed":
            service.succeed(at % endpoints)
        elif kind == "count":
            service.outliers.count(service.bases[at % endpoints], amount, 40 - amount, int(now * SECOND))
            service.review(now)
        else:
            now += amount / 20
            service.review(now)
        out = len(service.out(now))
        assert out <= max(1, endpoints * percent / 100)
        assert out < endpoints


# -- success rates -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("counts", "out"),
    [
        # One that is plainly worse, among three: with itself in the mean it could never be told.
        ([(20, 0), (20, 0), (14, 6)], [2]),
        ([(200, 0), (200, 0), (140, 60)], [2]),
        ([(20, 0), (20, 0), (0, 20)], [2]),
        # All alike, well or not.
        ([(20, 0), (20, 0), (20, 0)], []),
        ([(0, 20), (0, 20), (0, 20)], []),
        ([(18, 2), (17, 3), (19, 1)], []),
        # What chance makes of so few.
        ([(20, 0), (20, 0), (19, 1)], []),
        ([(100, 0), (100, 0), (97, 3)], []),
        # A difference that is no accident, and harms nobody.
        ([(100_000, 0), (100_000, 0), (96_000, 4_000)], []),
        ([(100_000, 0), (100_000, 0), (94_000, 6_000)], [2]),
        # Too few requests of one, so too few endpoints.
        ([(20, 0), (20, 0), (5, 14)], []),
        # The others differ among themselves, so being lower is nothing special.
        ([(90, 10), (50, 50), (45, 55)], []),
        # The better one is not punished for the two bad.
        ([(100, 0), (30, 70), (30, 70)], []),
        ([(100, 0)] * 4 + [(60, 40), (100, 0)], [4]),
        # Two bad ones among many, alike or not.
        ([(1000, 0)] * 4 + [(600, 400), (590, 410)], [4, 5]),
        ([(1000, 0)] * 6 + [(600, 400), (200, 800)], [7]),
    ],
)
def test_who_is_out_by_comparison(counts: list[tuple[int, int]], out: list[int]) -> None:
    service = Service(len(counts))
    service.count(1, *counts)
    back, ejected = service.review(1)
    assert (back, sorted(ejected)) == ([], out)
    assert service.out(1) == out


def test_the_worst_goes_first_where_only_one_may() -> None:
    service = Service(3, max_ejected=34, success_rate_deviation=0.5, minimum_endpoints=3)
    service.count(1, (1000, 0), (700, 300), (650, 350))
    assert service.review(1)[1] == [2]


def test_zero_compares_nothing() -> None:
    service = Service(3, success_rate_deviation=0)
    service.count(1, (20, 0), (20, 0), (0, 20))
    assert service.review(1) == ([], [])


def test_a_comparison_is_due_once_an_interval_and_counts_anew() -> None:
    service = Service(3, interval=3)
    assert service.is_due(1)
    service.count(1, (20, 0), (20, 0), (20, 0))
    service.review(1)
    assert not service.is_due(3.9)
    service.count(2, (20, 0), (20, 0), (0, 20))
    assert service.review(3.9) == ([], [])
    assert service.is_due(4)
    assert service.review(4) == ([], [2])
    assert [service.cell(at, SUCCESSES) + service.cell(at, FAILURES) for at in range(3)] == [0, 0, 0]


def test_an_interval_with_too_few_requests_goes_on_for_a_while() -> None:
    service = Service(3, interval=1, minimum_requests=20)
    service.review(100)
    for second in range(4):
        service.count(101 + second, (5, 0), (5, 0), (1, 4))
        ejected = service.review(101 + second)[1]
        assert ejected == ([2] if second == 3 else [])


def test_what_was_counted_long_ago_counts_no_more() -> None:
    service = Service(3, interval=1, minimum_requests=20)
    service.review(100)
    service.count(100, (19, 0), (19, 0), (0, 19))
    service.review(100 + OLDEST_INTERVALS)
    service.count(100 + OLDEST_INTERVALS, (1, 0), (1, 0), (0, 1))
    assert service.review(101 + OLDEST_INTERVALS) == ([], [])
    assert service.cell(2, FAILURES) == 1


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), min_size=2, max_size=8))
def test_nobody_near_or_above_the_others_goes_out(counts: list[tuple[int, int]]) -> None:
    service = Service(len(counts), minimum_endpoints=2, max_ejected=100)
    service.count(1, *counts)
    rated = [good / (good + bad) for good, bad in counts if good + bad >= 20]
    for at in service.review(1)[1]:
        good, bad = counts[at]
        rate = good / (good + bad)
        others = (sum(rated) - rate) / (len(rated) - 1)
        assert rate < others - LEAST_GAP


# -- as traffic has it ---------------------------------------------------------------------------------------------


def first_ejection(seed: int, bad: float, per_second: int, **settings: Any) -> tuple[int, list[int]]:
    """Return the second in which the first endpoint of three goes out, where the last one fails by `bad`, and who."""
    chance = random.Random(seed)
    service = Service(3, **settings)
    for second in range(60):
        counts = []
        for at in range(3):
            failures = 0
            for _ in range(per_second):
                if at == 2 and chance.random() < bad:
                    failures += 1
                    service.fail(at, second)
                elif service.cell(at, FAILURES_IN_ROW):
                    service.succeed(at)
            counts.append((per_second - failures, failures))
        service.count(second, *counts)
        service.review(second + 0.99)
        if service.out(second + 1):
            return second, service.out(second + 1)
    return 60, []


@pytest.mark.parametrize("seed", range(20))
def test_one_of_three_that_fails_by_thirty_percent_is_out_within_five_seconds(seed: int) -> None:
    second, out = first_ejection(seed, bad=0.3, per_second=30)
    assert out == [2]
    assert second < 5


@pytest.mark.parametrize("seed", range(20))
def test_with_little_traffic_it_takes_longer_and_the_same_one_goes(seed: int) -> None:
    second, out = first_ejection(seed, bad=0.5, per_second=3)
    assert out == [2]
    assert second < 30


@pytest.mark.parametrize("seed", range(5))
def test_an_endpoint_that_flaps_each_second_goes_out_and_stays_out_longer_each_time(seed: int) -> None:
    """Well in even seconds, failing by thirty percent in odd ones; it is asked only while it is in."""
    chance = random.Random(seed)
    service = Service(3, consecutive_failures=0)
    asked = failed = 0
    for second in range(300):
        counts = []
        out = service.out(second)
        assert len(out) <= 1
        for at in range(3):
            requests = 0 if at in out else 50
            bad = sum(chance.random() < 0.3 for _ in range(requests)) if at == 2 and second % 2 else 0
            counts.append((requests - bad, bad))
        asked += sum(sum(each) for each in counts)
        failed += counts[2][1]
        service.count(second, *counts)
        service.review(second + 0.99)
    assert service.cell(2, EJECTIONS) >= 3
    assert failed / asked < 0.01


def test_nobody_goes_out_when_all_are_well() -> None:
    chance = random.Random(1)
    service = Service(5)
    for second in range(600):
        bad = [sum(chance.random() < 0.001 for _ in range(40)) for _ in range(5)]
        service.count(second, *((40 - each, each) for each in bad))
        assert service.review(second + 0.99) == ([], [])


@pytest.mark.parametrize(
    ("chosen", "objections"),
    [({}, 0), ({"ejection_time": 30, "max_ejection_time": 30}, 0), ({"ejection_time": 60, "max_ejection_time": 30}, 1)],
)
def test_what_is_objected_to(chosen: dict[str, Any], objections: int) -> None:
    assert len(list(check_outlier(OutlierSettings(**chosen)))) == objections
