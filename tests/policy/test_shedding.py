"""Shedding: signs of overload, who goes first; then an event loop with too much to do, in virtual time."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from headgate.policy.overload_settings import Overload
from headgate.policy.shedding import INTERVAL, LoadShedder

CRITICAL, HIGH, NORMAL, LOW = RANKS = range(4)


def taken(shedder: LoadShedder, rank: int, count: int = 100) -> int:
    """Offer so many requests of a rank; returns how many are taken."""
    return sum(shedder.admits(rank, 1) for _ in range(count))


def late(shedder: LoadShedder, start: float, seconds: float, lag: float = 0.2) -> float:
    """Let the loop be late for so long; returns when that ends."""
    now = start
    while now < start + seconds:
        now += 0.05
        shedder.observe(lag, now)
    return now


def test_without_a_sign_nobody_is_refused_and_nobody_need_ask() -> None:
    shedder = LoadShedder(Overload())
    for step in range(100):
        shedder.observe(0.001, step * 0.1)
    assert shedder.bar > 1 << 40
    assert [taken(shedder, rank) for rank in RANKS] == [100] * 4


def test_switched_off_it_refuses_nothing() -> None:
    shedder = LoadShedder(Overload(enabled=False, max_in_flight=1))
    late(shedder, 0.0, 100.0, lag=5.0)
    assert shedder.bar > 1 << 40
    assert shedder.admits(LOW, 10_000)


def test_a_bound_of_requests_in_flight_leaves_room_for_the_important_ones() -> None:
    shedder = LoadShedder(Overload(max_in_flight=100))
    most = {rank: max(n for n in range(1, 200) if shedder.admits(rank, n)) for rank in RANKS}
    assert most == {LOW: 70, NORMAL: 100, HIGH: 110, CRITICAL: 120}
    assert shedder.bar == 70


def test_a_peak_of_lateness_is_no_overload() -> None:
    shedder = LoadShedder(Overload())
    for step in range(200):
        # Late three times out of four, but never for a whole interval.
        shedder.observe(0.0 if step % 4 == 0 else 0.5, step * 0.05)
    assert shedder.pressure == 0.0


def test_one_late_look_is_no_overload_however_late() -> None:
    shedder = LoadShedder(Overload())
    for step in range(100):
        shedder.observe(3.0 if step % 2 else 0.001, step * 3.0)
    assert shedder.pressure == 0.0
    shedder.observe(3.0, 300.0)
    shedder.observe(3.0, 303.0)
    assert shedder.pressure > 0.0


def test_who_comes_when_hardly_another_is_there_need_not_ask() -> None:
    shedder = LoadShedder(Overload())
    late(shedder, 0.0, 100.0, lag=5.0)
    assert shedder.bar == 4
    shedder = LoadShedder(Overload(max_in_flight=2))
    late(shedder, 0.0, 100.0, lag=5.0)
    assert shedder.bar == 1


def test_lasting_lateness_refuses_low_first_and_critical_last() -> None:
    shedder = LoadShedder(Overload())
    now, seen = 0.0, []
    for _ in range(150):
        now = late(shedder, now, INTERVAL)
        seen.append([taken(shedder, rank) for rank in RANKS])
    for critical, high, normal, low in seen:
        assert critical >= high >= normal >= low
        # One rank is refused in part at a time: those above it are whole, those below it gone.
        assert sum(0 < share < 100 for share in (critical, high, normal, low)) <= 1
    assert [sum(each) for each in seen] == sorted((sum(each) for each in seen), reverse=True)
    assert 0 < seen[-1][CRITICAL] < 10


def test_refusals_are_spread_evenly() -> None:
    shedder = LoadShedder(Overload())
    late(shedder, 0.0, 2 * INTERVAL, lag=0.1)
    assert 0.0 < shedder.pressure < 1.0
    verdicts = [shedder.admits(LOW, 1) for _ in range(1000)]
    assert sum(not each for each in verdicts) == pytest.approx(1000 * shedder.pressure, abs=1)
    gaps = [at for at, each in enumerate(verdicts) if not each]
    assert max(b - a for a, b in pairwise(gaps)) <= 1 / shedder.pressure + 1


def test_ranks_that_send_nothing_are_passed_over() -> None:
    shedder = LoadShedder(Overload())
    now, steps = 0.0, 0
    while taken(shedder, NORMAL) == 100:
        now = late(shedder, now, INTERVAL)
        steps += 1
    assert steps <= 3


def test_what_was_refused_comes_back_in_small_steps_and_within_seconds() -> None:
    shedder = LoadShedder(Overload())
    now = 0.0
    while shedder.pressure < 3.9:
        [taken(shedder, rank) for rank in RANKS]
        now = late(shedder, now, INTERVAL)
    ended = now
    before = shedder.pressure
    while shedder.pressure:
        now += 0.05
        shedder.observe(0.0, now)
        assert before - shedder.pressure <= 1.0
        before = shedder.pressure
    assert now - ended <= 5.0
    assert [taken(shedder, rank) for rank in RANKS] == [100] * 4


# -- an event loop -------------------------------------------------------------------------------------------------


class Loop:
    """One turn takes what came during the last one. A served request costs 1 ms, a refused one a twentieth of it."""

    SERVED, REFUSED = 0.001, 0.00005
    PEAK = 1 / SERVED

    def __init__(self, shedder: LoadShedder | None, seed: int = 3) -> None:
        self.shedder = shedder
        self.dice = random.Random(seed)
        self.now = 0.0
        self.debt = 0.0
        self.last = 0.0

    def run(
        self, rate: float, seconds: float, ranks: tuple[int, ...] = (NORMAL,)
    ) -> tuple[dict[int, list[int]], float]:
        """Let clients come; returns by rank [served, refused] after the first fifth, and the longest turn of those."""
        counts = {rank: [0, 0] for rank in ranks}
        start, longest = self.now, 0.0
        while self.now < start + seconds:
            self.debt += rate * max(self.last, 0.0005)
            came, self.debt = int(self.debt), self.debt % 1
            cost = 0.0
            in_flight = 0
            for _ in range(came):
                rank = self.dice.choice(ranks)
                shedder = self.shedder
                well = shedder is None or in_flight < shedder.bar or shedder.admits(rank, in_flight + 1)
                in_flight += well
                cost += self.SERVED if well else self.REFUSED
                if self.now > start + seconds / 5:
                    counts[rank][not well] += 1
            self.last = max(cost, 0.0005)
            self.now += self.last
            if self.now > start + seconds / 5:
                longest = max(longest, self.last)
            if self.shedder is not None:
                self.shedder.observe(self.last, self.now)
            if self.last > seconds:
                break
        return counts, longest


def test_without_shedding_the_simulated_loop_is_later_and_later() -> None:
    _, longest = Loop(None).run(2 * Loop.PEAK, 60)
    assert longest > 10


@pytest.mark.parametrize("overload", [2, 5])
def test_under_overload_the_loop_stays_busy_and_recovers(overload: int) -> None:
    loop = Loop(LoadShedder(Overload()))
    counts, _ = loop.run(0.5 * Loop.PEAK, 10)
    assert counts[NORMAL][1] == 0
    counts, longest = loop.run(overload * Loop.PEAK, 120)
    # What refusing costs is gone.
    peak = Loop.PEAK - (overload - 1) * Loop.PEAK * Loop.REFUSED / Loop.SERVED
    assert counts[NORMAL][0] / 96 >= 0.8 * peak
    assert longest < 3.0
    counts, longest = loop.run(0.5 * Loop.PEAK, 25)
    assert counts[NORMAL][1] == 0
    assert longest < 0.01


def test_under_overload_the_important_ones_are_served() -> None:
    loop = Loop(LoadShedder(Overload()))
    counts, _ = loop.run(3 * Loop.PEAK, 120, (CRITICAL, HIGH, *[NORMAL] * 4, *[LOW] * 4))
    served = {rank: each[0] / sum(each) for rank, each in counts.items()}
    assert served[CRITICAL] > 0.95
    assert served[CRITICAL] >= served[HIGH] > served[NORMAL] > served[LOW]
