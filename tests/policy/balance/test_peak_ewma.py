"""Peak EWMA: the slow are avoided and come back, the unknown are tried, the failing never look fast."""

from __future__ import annotations

from collections import Counter
from math import exp

import pytest

from headgate.policy.balance.balancer import Balancer, Candidate
from headgate.policy.balance.peak_ewma import FAILURE, MOST_OF_FAILURE
from tests.policy.balance.rig import build, candidates, name


class Stage:
    """Endpoints that answer after given seconds, asked one request after the other."""

    def __init__(self, *seconds: float, decay: float = 10.0) -> None:
        self.seconds = list(seconds)
        self.ok = [True] * len(seconds)
        self.everybody = candidates(*[1] * len(seconds))
        self.balancer: Balancer[Candidate] = build("peak_ewma", decay=decay)
        self.balancer.take(self.everybody)
        self.now = 100.0

    def send(self, times: int) -> Counter[int]:
        picked: Counter[int] = Counter()
        for _ in range(times):
            one = self.balancer.pick(self.now)
            assert one is not None
            number = self.everybody.index(one)
            picked[number] += 1
            self.balancer.begin(one)
            self.now += self.seconds[number]
            self.balancer.end(one, self.now, self.seconds[number], self.ok[number])
        return picked


def test_everybody_is_tried_and_the_slow_one_is_avoided_then() -> None:
    stage = Stage(0.01, 0.01, 1.0)
    first = stage.send(50)
    assert first[2] == 1
    assert stage.send(50)[2] == 0


def test_a_slow_one_comes_back_when_it_is_fast_again() -> None:
    stage = Stage(0.01, 0.01, 1.0, decay=1.0)
    stage.send(50)
    stage.seconds[2] = 0.01
    # What it was known for sinks to a hundredth within ln(100) times the decay.
    stage.send(500)
    late = stage.send(900)
    assert late[2] >= 200


def test_one_that_stays_slow_is_asked_now_and_then() -> None:
    stage = Stage(0.01, 0.01, 1.0, decay=1.0)
    assert 2 <= stage.send(3000)[2] <= 20


def test_the_average_jumps_up_and_sinks_slowly() -> None:
    balancer = build("peak_ewma", decay=10.0)
    (one,) = everybody = candidates(1)
    balancer.take(everybody)
    for now, seconds, expected in (
        (0.0, 0.1, 0.1),
        (1.0, 2.0, 2.0),
        (6.0, 0.5, 0.5 + 1.5 * exp(-0.5)),
    ):
        balancer.begin(one)
        balancer.end(one, now, seconds, True)
        assert one.latency == pytest.approx(expected)
    balancer.begin(one)
    balancer.end(one, 7.0, None, True)
    assert one.latency == pytest.approx(0.5 + 1.5 * exp(-0.5))
    assert one.observed == 6.0
    # A clock that stands still, or an end that is told late, changes nothing for the worse.
    balancer.begin(one)
    balancer.end(one, 5.0, 0.2, True)
    assert one.latency == pytest.approx(0.5 + 1.5 * exp(-0.5))


def test_an_unknown_one_gets_one_request_until_it_answers() -> None:
    everybody = candidates(1, 1)
    balancer = build("peak_ewma")
    balancer.take(everybody)
    known, unknown = everybody
    balancer.begin(known)
    balancer.end(known, 0.0, 5.0, True)
    assert {name(balancer.pick(0.0)) for _ in range(20)} == {"e1"}
    balancer.begin(unknown)
    assert {name(balancer.pick(0.0)) for _ in range(20)} == {"e0"}


def test_a_busy_one_costs_more() -> None:
    everybody = candidates(1, 1)
    balancer = build("peak_ewma")
    balancer.take(everybody)
    for each, seconds in zip(everybody, (0.1, 0.3), strict=True):
        balancer.begin(each)
        balancer.end(each, 0.0, seconds, True)
    everybody[0].in_flight = 1
    assert {name(balancer.pick(0.0)) for _ in range(20)} == {"e0"}
    everybody[0].in_flight = 3
    assert {name(balancer.pick(0.0)) for _ in range(20)} == {"e1"}


def test_one_that_fails_at_once_does_not_look_fast() -> None:
    stage = Stage(0.2, 0.2, 0.0001)
    stage.ok[2] = False
    assert stage.send(50)[2] == 1
    broken = stage.everybody[2]
    assert broken.latency == FAILURE
    for expected in (2.0, 4.0, 8.0, 16.0, 32.0, MOST_OF_FAILURE, MOST_OF_FAILURE):
        stage.balancer.begin(broken)
        stage.balancer.end(broken, stage.now, 0.0001, False)
        assert broken.latency == expected


def test_both_draws_heed_weights() -> None:
    """With a fast half and a slow half of equal weights the fast ones get what is not drawn slow twice."""
    everybody = candidates(3, 1, 3, 1)
    balancer = build("peak_ewma")
    balancer.take(everybody)
    for each, seconds in zip(everybody, (0.1, 0.1, 9.0, 9.0), strict=True):
        balancer.begin(each)
        balancer.end(each, 0.0, seconds, True)
    picked = Counter(name(balancer.pick(0.0)) for _ in range(20_000))
    # Both draws are slow with 3/8 * 1/5 + 1/8 * 3/7; five standard deviations are 0.012.
    slow = (picked["e2"] + picked["e3"]) / 20_000
    assert abs(slow - (3 / 40 + 3 / 56)) < 0.012
