"""The adaptive limit: arithmetic step by step, then a service that queues, in virtual time and under overload."""

from __future__ import annotations

import heapq
import random
from collections import deque
from dataclasses import dataclass, field

import pytest

from headgate.policy.concurrency import SHARES, AdaptiveLimit
from headgate.policy.overload_settings import PRIORITIES, AdaptiveConcurrency

CRITICAL, HIGH, NORMAL, LOW = range(4)


def fill(limit: AdaptiveLimit, rank: int = NORMAL) -> int:
    """Admit as many as there is room for; returns how many."""
    count = 0
    while limit.admit(rank):
        count += 1
    return count


def window(limit: AdaptiveLimit, now: float, latency: float, demand: int | None = None) -> None:
    """Play one window of answers: `demand` at once (None: as many as there may be), again and again."""
    for _ in range(20):
        count = 0
        while (demand is None or count < demand) and limit.admit(NORMAL):
            count += 1
        for _ in range(count):
            limit.settle(latency, now)


def test_at_first_there_may_be_as_many_as_configured() -> None:
    assert fill(AdaptiveLimit(AdaptiveConcurrency(initial=7))) == 7
    assert fill(AdaptiveLimit(AdaptiveConcurrency(initial=7, min=9))) == 9
    assert fill(AdaptiveLimit(AdaptiveConcurrency(initial=7, max=5))) == 5


def test_low_priorities_find_less_room_and_critical_ones_a_little_more() -> None:
    limit = AdaptiveLimit(AdaptiveConcurrency(initial=100))
    filled = [fill(limit, rank) for rank in (LOW, NORMAL, HIGH, CRITICAL)]
    assert filled == [70, 30, 10, 10]
    assert len(SHARES) == len(PRIORITIES)


def test_who_was_refused_was_not_counted() -> None:
    limit = AdaptiveLimit(AdaptiveConcurrency(initial=5))
    fill(limit)
    assert not limit.admit(NORMAL)
    limit.settle(0.0, 0.0)
    assert limit.in_flight == 4
    assert fill(limit) == 1


def test_it_grows_while_it_holds_requests_back_and_latency_stays() -> None:
    limit = AdaptiveLimit(AdaptiveConcurrency(initial=10, max=60))
    seen = [limit.limit]
    for second in range(100):
        window(limit, second, 0.05)
        seen.append(limit.limit)
    assert seen == sorted(seen)
    assert seen[-1] == 60


def test_it_does_not_grow_when_there_is_no_demand() -> None:
    limit = AdaptiveLimit(AdaptiveConcurrency(initial=20))
    for second in range(50):
        window(limit, second, 0.05, demand=3)
    assert limit.limit == 20


def test_it_sinks_to_the_least_when_the_service_slows_down_and_no_further() -> None:
    limit = AdaptiveLimit(AdaptiveConcurrency(initial=50, min=6))
    for second in range(10):
        window(limit, second, 0.05)
    for second in range(10, 100):
        window(limit, second, 2.0)
    assert limit.limit == 6
    for second in range(100, 200):
        window(limit, second, 0.05)
    assert limit.limit > 50


@pytest.mark.parametrize(("factor", "sinks"), [(1.4, False), (4.0, True)])
def test_latency_within_the_tolerance_is_no_reason_to_sink(factor: float, sinks: bool) -> None:
    limit = AdaptiveLimit(AdaptiveConcurrency(initial=30, tolerance=1.5))
    for second in range(5):
        window(limit, second, 0.1, demand=5)
    before = limit.limit
    for second in range(5, 8):
        window(limit, second, 0.1 * factor)
    assert (limit.limit < before) is sinks


def test_what_waits_because_of_the_limit_never_becomes_usual() -> None:
    limit = AdaptiveLimit(AdaptiveConcurrency(initial=20))
    for second in range(15):
        window(limit, second, 0.05, demand=5)
    usual = limit.snapshot()["usual_latency"]
    for second in range(15, 2000):
        window(limit, second, 0.05 * limit.limit / 10)
    assert limit.snapshot()["usual_latency"] == pytest.approx(usual, rel=0.05)
    assert limit.limit < 40


def test_a_service_that_became_slower_for_good_is_believed_in_the_end() -> None:
    limit = AdaptiveLimit(AdaptiveConcurrency(initial=20))
    for second in range(4000):
        window(limit, second, 0.05 if second < 5 else 0.5, demand=2)
    assert limit.snapshot()["usual_latency"] == pytest.approx(0.5, rel=0.05)


def test_lost_answers_shrink_it_once_a_window() -> None:
    limit = AdaptiveLimit(AdaptiveConcurrency(initial=100, window=1.0))
    for _ in range(40):
        limit.admit(NORMAL)
    for _ in range(20):
        limit.dropped(1.0)
    assert limit.limit == 90
    for _ in range(20):
        limit.dropped(2.5)
    assert limit.limit == 81
    assert limit.in_flight == 0


def test_who_left_says_nothing_of_the_service() -> None:
    limit = AdaptiveLimit(AdaptiveConcurrency(initial=10))
    for second in range(20):
        for _ in range(fill(limit)):
            limit.settle(0.0, second)
    assert (limit.limit, limit.in_flight) == (10, 0)


def test_a_caller_who_gave_it_too_little_time_says_nothing_of_the_service_and_others_do() -> None:
    limit = AdaptiveLimit(AdaptiveConcurrency(initial=10, tolerance=1.5, window=1.0))
    for second in range(10):
        for _ in range(fill(limit)):
            limit.abandoned(60.0, second)
    assert (limit.limit, limit.in_flight) == (10, 0)
    for second in range(10, 13):
        window(limit, second, 0.1)
    before = limit.limit
    fill(limit)
    limit.abandoned(0.14, 20.0)
    assert limit.limit >= before
    before = limit.limit
    limit.abandoned(0.16, 30.0)
    assert limit.limit < before


# -- a service that queues -----------------------------------------------------------------------------------------


@dataclass
class Result:
    """What clients saw in the part of the run that counts."""

    good: int = 0
    late: int = 0
    refused: int = 0
    latencies: list[float] = field(default_factory=list)

    def p99(self) -> float:
        return sorted(self.latencies)[int(len(self.latencies) * 0.99)]


class Service:
    """Ten servers behind one endless queue, 50 ms of work each on average: 200 answers a second at best.

    Clients come at random whatever happens, and an answer after one second is of no use to them.
    """

    SERVERS, WORK, PATIENCE = 10, 0.05, 1.0
    PEAK = SERVERS / WORK

    def __init__(self, limit: AdaptiveLimit | None, seed: int = 7) -> None:
        self.limit = limit
        self.dice = random.Random(seed)
        self.now = 0.0
        self.queue: deque[float] = deque()
        self.busy: list[tuple[float, float]] = []
        self.ranks: dict[float, int] = {}

    def run(self, rate: float, seconds: float, ranks: tuple[int, ...] = (NORMAL,)) -> dict[int, Result]:
        """Let clients come at this rate; the result counts by rank what came after the first fifth of the time."""
        results = {rank: Result() for rank in ranks}
        started, end = self.now, self.now + seconds
        arrival = self.now + self.dice.expovariate(rate)
        while min(arrival, self.busy[0][0] if self.busy else end) < end:
            if self.busy and self.busy[0][0] <= arrival:
                self.now, came = heapq.heappop(self.busy)
                self._start()
                latency = self.now - came
                rank = self.ranks.pop(came)
                if self.limit is not None:
                    self.limit.settle(latency, self.now)
                if came > started + seconds / 5 and rank in results:
                    result = results[rank]
                    result.latencies.append(latency)
                    result.good += latency <= self.PATIENCE
                    result.late += latency > self.PATIENCE
                continue
            self.now = arrival
            rank = self.dice.choice(ranks)
            if self.limit is None or self.limit.admit(rank):
                self.ranks[arrival] = rank
                self.queue.append(arrival)
                self._start()
            elif arrival > started + seconds / 5:
                results[rank].refused += 1
            arrival += self.dice.expovariate(rate)
        return results

    def _start(self) -> None:
        while self.queue and len(self.busy) < self.SERVERS:
            heapq.heappush(self.busy, (self.now + self.dice.gammavariate(4, self.WORK / 4), self.queue.popleft()))


def good_rate(result: Result, seconds: float) -> float:
    return result.good / (seconds * 0.8)


def test_without_a_limit_the_simulated_service_collapses() -> None:
    """The simulation shows the harm that the next tests show to be averted."""
    result = Service(None).run(rate=2 * Service.PEAK, seconds=60)[NORMAL]
    assert good_rate(result, 60) < 0.1 * Service.PEAK


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("overload", [2, 5])
def test_under_overload_the_service_stays_busy_and_quick_and_recovers(overload: int, seed: int) -> None:
    service = Service(AdaptiveLimit(AdaptiveConcurrency()), seed)
    calm = service.run(rate=0.5 * Service.PEAK, seconds=30)[NORMAL]
    assert calm.refused <= 0.01 * calm.good
    result = service.run(rate=overload * Service.PEAK, seconds=300)[NORMAL]
    assert good_rate(result, 300) >= 0.8 * Service.PEAK
    assert result.p99() <= 3 * calm.p99()
    assert result.late == 0
    after = service.run(rate=0.5 * Service.PEAK, seconds=25)[NORMAL]
    assert after.refused <= 0.01 * after.good
    assert after.p99() <= 1.5 * calm.p99()


def test_an_overload_from_the_first_moment_on_is_held_too() -> None:
    service = Service(AdaptiveLimit(AdaptiveConcurrency()))
    result = service.run(rate=5 * Service.PEAK, seconds=300)[NORMAL]
    assert good_rate(result, 300) >= 0.8 * Service.PEAK
    assert result.p99() < 0.5


def test_under_overload_the_important_ones_pass() -> None:
    service = Service(AdaptiveLimit(AdaptiveConcurrency()))
    service.run(rate=0.5 * Service.PEAK, seconds=30)
    # A tenth of the requests is critical: less than the service takes.
    results = service.run(rate=3 * Service.PEAK, seconds=120, ranks=(CRITICAL, *[NORMAL] * 4, *[LOW] * 5))
    served = {rank: each.good / (each.good + each.refused) for rank, each in results.items()}
    assert served[CRITICAL] > 0.9 > served[NORMAL] > served[LOW]
