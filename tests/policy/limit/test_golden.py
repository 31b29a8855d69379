"""Sequences worked out by hand: when which request is let in, and what it is told."""

from __future__ import annotations

import pytest

from headgate.policy.limit.algorithm import NEVER, Algorithm, Reading
from headgate.policy.limit.concurrency import LEASE, RETRY, Concurrency
from headgate.policy.limit.fixed_window import FixedWindow
from headgate.policy.limit.leaky_bucket import LeakyBucket
from headgate.policy.limit.sliding_window import SlidingWindow
from headgate.policy.limit.sliding_window_log import SlidingWindowLog
from headgate.policy.limit.token_bucket import TokenBucket
from tests.policy.limit.cases import SECOND, START, ask

MINUTE = 60 * SECOND

# Seconds since the first, requests of cost 1 (more: so many one after the other), how many of them pass,
# and what the last one is told: remaining, seconds to reset, seconds to wait.
Row = tuple[float, int, int, tuple[int, float, float]]


def play(algorithm: Algorithm, rows: list[Row]) -> None:
    state = b""
    for at, count, passed, told in rows:
        now = START + round(at * SECOND)
        allowed = 0
        reading = Reading(0, 0, 0, 0, 0)
        for _ in range(count):
            state, reading, admitted = ask(algorithm, state, now)
            allowed += admitted
        seconds = (reading.remaining, reading.reset / SECOND, reading.wait / SECOND)
        assert (at, allowed, seconds) == (at, passed, told)


def test_a_token_bucket_gives_its_burst_at_once_and_refills_evenly() -> None:
    rows: list[Row] = [
        (0, 1, 1, (9, 0.1, 0)),
        (0, 9, 9, (0, 1.0, 0)),
        (0, 1, 0, (0, 1.0, 0.1)),
        (0.25, 2, 2, (0, 0.95, 0)),
        (0.25, 1, 0, (0, 0.95, 0.05)),
        (0.3, 1, 1, (0, 1.0, 0)),
        (9, 10, 10, (0, 1.0, 0)),
        (9, 1, 0, (0, 1.0, 0.1)),
    ]
    play(TokenBucket(10, SECOND, 10), rows)


def test_a_token_bucket_of_another_burst_than_rate() -> None:
    rows: list[Row] = [
        (0, 3, 3, (0, 1.5, 0)),
        (0, 1, 0, (0, 1.5, 0.5)),
        (1.0, 3, 2, (0, 1.5, 0.5)),
    ]
    play(TokenBucket(120, MINUTE, 3), rows)


def test_a_rate_that_does_not_divide_a_microsecond_is_exact() -> None:
    """Three in ten microseconds, asked at each microsecond: the first three, and then three of ten for ever."""
    bucket = TokenBucket(3, 10, 3)
    state, passed = b"", 0
    for now in range(START, START + 10_000):
        state, _, allowed = ask(bucket, state, now)
        passed += allowed
    assert passed == 3 + 9_999 * 3 // 10
    assert bucket.numbers[:5] == (3, 1, 3, 10, 0)


def test_a_leaky_bucket_polices_when_it_is_full() -> None:
    rows: list[Row] = [
        (0, 3, 2, (0, 1.0, 0.5)),
        (0.5, 2, 1, (0, 1.0, 0.5)),
        (2.0, 1, 1, (1, 0.5, 0)),
    ]
    play(LeakyBucket(2, SECOND, 2, 0), rows)


def test_a_leaky_bucket_with_a_delay_gives_each_request_its_turn() -> None:
    bucket = LeakyBucket(10, SECOND, 10, 250_000)
    state, delays = b"", []
    for _ in range(3):
        state, told, allowed = ask(bucket, state, START)
        assert allowed
        delays.append(told.delay)
    assert delays == [0, 100_000, 200_000]
    state, told, allowed = ask(bucket, state, START)
    assert (allowed, told) == (False, Reading(10, 0, 300_000, 50_000, 0))
    state, told, allowed = ask(bucket, state, START + 50_000)
    assert (allowed, told.delay) == (True, 250_000)
    _, told, allowed = ask(bucket, state, START + SECOND)
    assert (allowed, told) == (True, Reading(10, 2, 100_000, 0, 0))


def test_a_leaky_bucket_that_is_full_refuses_whoever_would_wait() -> None:
    bucket = LeakyBucket(10, SECOND, 2, 60 * SECOND)
    state = ask(bucket, b"", START, 2)[0]
    assert ask(bucket, state, START)[1:] == (Reading(2, 0, 200_000, 100_000, 0), False)


def test_a_log_admits_again_when_the_first_moments_leave_the_window() -> None:
    limit = SlidingWindowLog(100, MINUTE)
    first: list[Row] = [(n / 100, 1, 1, (99 - n, 60, 0)) for n in range(100)]
    rows: list[Row] = [
        (1.0, 1, 0, (0, 59.99, 59.0)),
        (59.999999, 1, 0, (0, 0.990001, 0.000001)),
        (60.1, 11, 11, (0, 60, 0)),
        (60.1, 1, 0, (0, 60, 0.01)),
    ]
    play(limit, first + rows)


FIFTY: list[Row] = [(0, 50, 50, (50, 60, 0)), (50, 50, 50, (0, 60, 0)), (59, 1, 0, (0, 51, 1))]


def test_fifty_and_fifty_ten_seconds_before_the_minute_leave_room_for_few() -> None:
    play(SlidingWindowLog(100, MINUTE), [*FIFTY, (61, 50, 50, (0, 60, 0)), (61, 1, 0, (0, 60, 49))])


def test_two_counters_weigh_the_last_window_by_what_is_left_of_it() -> None:
    rows: list[Row] = [
        (0, 50, 50, (50, 120, 0)),
        (50, 50, 50, (0, 70, 0)),
        # A hundred of the last minute are 99 when a hundredth of this one is past.
        (60, 1, 0, (0, 60, 0.6)),
        (61, 1, 1, (0, 119, 0)),
        (61, 1, 0, (0, 119, 0.2)),
        (90, 49, 49, (0, 90, 0)),
        (90, 1, 0, (0, 90, 0.6)),
        (400, 100, 100, (0, 120, 0)),
    ]
    play(SlidingWindow(100, MINUTE), rows)


def test_a_fixed_window_opens_with_the_first_request() -> None:
    rows: list[Row] = [
        (0, 1, 1, (2, 10, 0)),
        (4, 2, 2, (0, 6, 0)),
        (9.9, 1, 0, (0, 0.1, 0.1)),
        (10, 1, 1, (2, 10, 0)),
        (25, 1, 1, (2, 10, 0)),
    ]
    play(FixedWindow(3, 10 * SECOND), rows)


def test_concurrency_counts_what_runs_over_all_workers() -> None:
    limit = Concurrency(3)
    state, told, _ = ask(limit, b"", START, owner=1)
    state, told, _ = ask(limit, state, START, owner=2)
    assert told == Reading(3, 1, RETRY, 0, 0)
    state, told, _ = ask(limit, state, START, owner=1)
    state, told, allowed = ask(limit, state, START, owner=3)
    assert (allowed, told) == (False, Reading(3, 0, RETRY, RETRY, 0))
    state = limit.settle(state, START, -1, 2)
    state, told, allowed = ask(limit, state, START, owner=3)
    assert (allowed, told.remaining) == (True, 0)
    for owner in (1, 1, 3):
        state = limit.settle(state, START, -1, owner)
    assert state == b""


def test_what_a_dead_worker_held_is_free_after_the_lease_and_a_renewed_one_keeps_its_place() -> None:
    limit = Concurrency(2)
    state = ask(limit, b"", START, owner=1)[0]
    state = ask(limit, state, START, owner=2)[0]
    state = limit.settle(state, START + LEASE - 1, 0, 2)
    assert not ask(limit, state, START + LEASE - 1, 1, owner=3)[2]
    state, told, allowed = ask(limit, state, START + LEASE, owner=3)
    assert (allowed, told.remaining) == (True, 0)
    # The first worker was only slow: what it gives back is not counted any more, and takes nothing from the others.
    state = limit.settle(state, START + LEASE, -1, 1)
    assert not ask(limit, state, START + LEASE, owner=4)[2]
    assert limit.settle(b"", START, 0, 1) == b""


def test_only_so_many_workers_have_a_place() -> None:
    limit = Concurrency(1_000_000)
    state = b"".join(ask(limit, b"", START, owner=owner)[0] for owner in range(limit.numbers[2]))
    assert ask(limit, state, START, owner=5)[2]
    after, told, allowed = ask(limit, state, START, owner=1_000_000)
    assert (allowed, told.wait, after) == (False, RETRY, state)
    assert limit.settle(state, START, 1, 1_000_000) == state


def test_a_debt_in_a_window_ends_with_it_and_in_a_bucket_when_it_is_refilled() -> None:
    bucket = TokenBucket(10, SECOND, 10)
    state = bucket.settle(ask(bucket, b"", START)[0], START, 99, 0)
    assert ask(bucket, state, START)[1] == Reading(10, 0, 10 * SECOND, 9_100_000, 0)
    assert bucket.expires(state, START) == START + 10 * SECOND
    window = FixedWindow(10, SECOND)
    state = window.settle(ask(window, b"", START)[0], START, 99, 0)
    assert ask(window, state, START)[1] == Reading(10, 0, SECOND, SECOND, 0)
    log = SlidingWindowLog(10, SECOND)
    state = log.settle(ask(log, b"", START)[0], START + 1, 1_000_000, 0)
    assert len(state) == 88
    assert ask(log, state, START + 1)[1] == Reading(10, 0, SECOND, SECOND, 0)
    counters = SlidingWindow(10, SECOND)
    state = counters.settle(ask(counters, b"", START)[0], START, 99, 0)
    # 100 in the window before weigh 9 when 91 hundredths of this one are past.
    assert ask(counters, state, START)[1] == Reading(10, 0, 2 * SECOND, 1_910_000, 0)


def test_a_window_is_not_gone_on_with_when_all_that_counted_in_it_is_over() -> None:
    counters = SlidingWindow(10, SECOND)
    _, counted, _ = counters.admit(b"", START, 3, 0)
    # Given back in the next window: nothing is counted in that one, and two in the one before.
    state = counters.settle(counted, START + SECOND, -1, 0)
    end = counters.expires(state, START + SECOND)
    for later in (0, 1, SECOND // 8):
        assert counters.admit(state, end + later, 1, 0) == counters.admit(b"", end + later, 1, 0)
        assert counters.settle(state, end + later, 1, 0) == counters.settle(b"", end + later, 1, 0)


def test_the_largest_debt_lasts_seventy_years_and_no_longer() -> None:
    bucket = TokenBucket(1, 366 * 86400 * SECOND, 1)
    state = b""
    for _ in range(100):
        state = bucket.settle(state, START, 1_000_000, 0)
    assert bucket.expires(state, START) == START + 2**51


@pytest.mark.parametrize(
    "algorithm",
    [TokenBucket(5, SECOND, 5), SlidingWindow(5, SECOND), SlidingWindowLog(5, SECOND), FixedWindow(5, SECOND)],
)
def test_a_cost_of_several_is_admitted_whole_or_not_at_all(algorithm: Algorithm) -> None:
    state, told, allowed = ask(algorithm, b"", START, 3)
    assert (allowed, told.remaining) == (True, 2)
    state, told, allowed = ask(algorithm, state, START, 3)
    assert (allowed, told.remaining) == (False, 2)
    assert 0 < told.wait < NEVER
    assert ask(algorithm, state, START, 2)[2]
    assert ask(algorithm, state, START, 6)[1].wait == NEVER
