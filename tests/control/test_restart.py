"""The restart rule: at once while deaths are rare, slower and slower in a crash loop, calm after a good run."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headgate.control.restart import BURST, LONGEST, WINDOW, Restarts


def crash(restarts: Restarts, times: int, every: float, now: float = 1000.0) -> list[float]:
    delays = []
    for _ in range(times):
        started, now = now, now + every
        delays.append(restarts.delay(started, now))
        now += delays[-1]
    return delays


def test_four_deaths_are_replaced_at_once_the_fifth_waits() -> None:
    restarts = Restarts(lambda: 1.0)
    assert crash(restarts, 10, every=0.1) == [0, 0, 0, 0, 1, 2, 4, 8, 16, 30]
    assert restarts.looping


def test_the_longest_wait_holds_for_ever() -> None:
    assert set(crash(Restarts(lambda: 1.0), 2000, every=0.1)[10:]) == {LONGEST}


def test_rare_deaths_are_never_a_loop() -> None:
    assert crash(Restarts(lambda: 1.0), 50, every=WINDOW / (BURST - 2)) == [0.0] * 50


def test_a_good_run_ends_the_loop() -> None:
    restarts = Restarts(lambda: 1.0)
    crash(restarts, 8, every=0.1)
    assert restarts.delay(5000.0, 5000.0 + WINDOW) == 0.0
    assert not restarts.looping
    assert crash(restarts, 3, every=0.1, now=6000.0) == [0.0] * 3


def test_a_short_run_after_a_long_wait_is_still_the_loop() -> None:
    restarts = Restarts(lambda: 1.0)
    crash(restarts, 9, every=0.1)
    assert restarts.delay(9000.0, 9000.0 + WINDOW - 1) == LONGEST


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 1)), max_size=60))
def test_every_wait_is_zero_or_between_one_and_the_longest(runs: list[tuple[float, float]]) -> None:
    now = 0.0
    drawn = iter([random for _, random in runs])
    restarts = Restarts(lambda: next(drawn))
    for uptime, _ in runs:
        started, now = now, now + uptime
        delay = restarts.delay(started, now)
        assert delay == 0.0 or 1.0 <= delay <= LONGEST
        if uptime >= WINDOW:
            assert delay == 0.0
        now += delay
