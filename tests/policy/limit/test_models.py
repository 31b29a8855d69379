"""Every algorithm against a model of it that is slow and plainly right, in fractions and lists of moments."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.policy.limit.algorithm import Algorithm
from headgate.policy.limit.fixed_window import FixedWindow
from headgate.policy.limit.gcra import Gcra
from headgate.policy.limit.sliding_window import SlidingWindow
from headgate.policy.limit.sliding_window_log import SlidingWindowLog
from tests.policy.limit.cases import OWNER, START

LIMIT = 7
WINDOW = 100


class Step(NamedTuple):
    """So many microseconds later, a request or a charge."""

    later: int
    cost: int
    settles: bool


sequences = st.lists(
    st.builds(
        Step,
        st.one_of(st.integers(0, 20), st.integers(0, 2 * WINDOW), st.integers(-5, -1)),
        st.one_of(st.integers(1, 2), st.integers(0, LIMIT + 1)),
        st.sampled_from([False, False, False, True]),
    ),
    max_size=40,
)
thorough = settings(max_examples=150, deadline=None)


class Bucket:
    """How full the bucket is, in fractions of a request."""

    def __init__(self, burst: int, max_delay: int) -> None:
        self.burst, self.max_delay = burst, max_delay
        self.empty_at = Fraction(0)

    def admit(self, now: int, cost: int) -> bool:
        turn = max(self.empty_at, Fraction(now))
        full = turn + Fraction(cost * WINDOW, LIMIT) - now > Fraction(self.burst * WINDOW, LIMIT)
        if full or (self.max_delay and turn - now > self.max_delay):
            return False
        self.settle(now, cost)
        return True

    def settle(self, now: int, amount: int) -> None:
        if amount:
            self.empty_at = max(self.empty_at, Fraction(now)) + Fraction(amount * WINDOW, LIMIT)


class Log:
    """All moments that ever were."""

    def __init__(self) -> None:
        self.moments: list[int] = []

    def admit(self, now: int, cost: int) -> bool:
        at = max([now, *self.moments])
        if sum(moment > at - WINDOW for moment in self.moments) + cost > LIMIT:
            return False
        self.settle(now, cost)
        return True

    def settle(self, now: int, amount: int) -> None:
        self.moments += [max([now, *self.moments])] * amount


class Fixed:
    """All that was counted, by the opening of its window."""

    def __init__(self) -> None:
        self.opened, self.count = -WINDOW, 0

    def admit(self, now: int, cost: int) -> bool:
        counted = self.count if now < self.opened + WINDOW else 0
        if counted + cost > LIMIT:
            return False
        self.settle(now, cost)
        return True

    def settle(self, now: int, amount: int) -> None:
        if amount and now >= self.opened + WINDOW:
            self.opened, self.count = now, 0
        self.count += amount


class Weighted:
    """A count for each window since the first request, and fractions of the one before."""

    def __init__(self) -> None:
        self.start: int | None = None
        self.counts: dict[int, int] = {}

    def admit(self, now: int, cost: int) -> bool:
        number, elapsed = self.place(now)
        covered = Fraction(WINDOW - elapsed, WINDOW) * self.counts.get(number - 1, 0)
        if covered + self.counts.get(number, 0) + cost > LIMIT:
            return False
        self.settle(now, cost)
        return True

    def settle(self, now: int, amount: int) -> None:
        if not amount:
            return
        number, _ = self.place(now)
        if self.start is None or not (self.counts.get(number) or self.counts.get(number - 1)):
            self.start, self.counts, number = now, {}, 0
        self.counts = {each: count for each, count in self.counts.items() if each >= number - 1}
        self.counts[number] = self.counts.get(number, 0) + amount

    def place(self, now: int) -> tuple[int, int]:
        """Return which window it is, and how far in it; a clock that stepped back stands at the window's start."""
        if self.start is None:
            return 0, 0
        newest = max(self.counts, default=0)
        return divmod(max(now - self.start, newest * WINDOW), WINDOW)


PAIRS = [
    pytest.param(lambda: Gcra(LIMIT, WINDOW, LIMIT), lambda: Bucket(LIMIT, 0), id="bucket"),
    pytest.param(lambda: Gcra(LIMIT, WINDOW, 3), lambda: Bucket(3, 0), id="small bucket"),
    pytest.param(lambda: Gcra(LIMIT, WINDOW, LIMIT, 25), lambda: Bucket(LIMIT, 25), id="shaping"),
    pytest.param(lambda: SlidingWindowLog(LIMIT, WINDOW), Log, id="log"),
    pytest.param(lambda: SlidingWindow(LIMIT, WINDOW), Weighted, id="counters"),
    pytest.param(lambda: FixedWindow(LIMIT, WINDOW), Fixed, id="fixed"),
]
Model = Bucket | Log | Fixed | Weighted


@pytest.mark.parametrize(("make", "model_of"), PAIRS)
@thorough
@given(sequence=sequences)
def test_it_decides_as_its_model(
    make: Callable[[], Algorithm], model_of: Callable[[], Model], sequence: list[Step]
) -> None:
    algorithm, model = make(), model_of()
    state, now = b"", START
    for step in sequence:
        now += step.later
        if step.settles:
            state = algorithm.settle(state, now, step.cost, OWNER)
            model.settle(now, step.cost)
        else:
            allowed, state, _ = algorithm.admit(state, now, step.cost, OWNER)
            assert allowed is model.admit(now, step.cost)


@pytest.mark.parametrize("limit", [1, 5])
@thorough
@given(sequence=sequences)
def test_a_log_never_admits_more_than_the_limit_in_any_window(limit: int, sequence: list[Step]) -> None:
    log = SlidingWindowLog(limit, WINDOW)
    state, now, latest = b"", START, 0
    admitted: list[int] = []
    for step in sequence:
        now += step.later
        allowed, state, _ = log.admit(state, now, step.cost, OWNER)
        if allowed and step.cost:
            latest = max(latest, now)
            admitted += [latest] * step.cost
    for end in admitted:
        assert sum(end - WINDOW < moment <= end for moment in admitted) <= limit


@thorough
@given(sequence=sequences)
def test_a_bucket_never_admits_more_than_its_burst_and_what_flowed_in(sequence: list[Step]) -> None:
    bucket = Gcra(LIMIT, WINDOW, 3)
    state, now, latest = b"", START, 0
    admitted: list[tuple[int, int]] = []
    for step in sequence:
        now += step.later
        allowed, state, _ = bucket.admit(state, now, step.cost, OWNER)
        if allowed and step.cost:
            # What asks for nothing leaves no trace, so the clock may step back behind it.
            latest = max(latest, now)
            admitted.append((latest, step.cost))
    for first, (begin, _) in enumerate(admitted):
        for last in range(first, len(admitted)):
            total = sum(cost for _, cost in admitted[first : last + 1])
            assert total <= 3 + (admitted[last][0] - begin) * LIMIT // WINDOW


@pytest.mark.parametrize(
    ("window", "tick"),
    [(1, 1), (1_000_000, 1), (60_000_000, 30), (3600_000_000, 1800), (86400_000_000, 43200), (2**40 + 1, 524_289)],
)
def test_counters_decide_in_whole_numbers_below_the_bound_of_doubles(window: int, tick: int) -> None:
    limit, _, made, ticks = SlidingWindow(1_000_000_000, window).numbers
    assert made == tick
    assert (ticks - 1) * tick < window <= ticks * tick
    assert 2 * (2**31 - 1) * ticks < 2**53
    assert limit * ticks < 2**53
