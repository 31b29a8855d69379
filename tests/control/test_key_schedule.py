"""When keys are fetched, and how long they are good: `now` is all there is of time."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from headgate.auth.settings import KeySetSource
from headgate.control.key_schedule import KeySchedule

START = 1000.0


def schedule(chance: float = 0.0, **settings: float) -> KeySchedule:
    source = KeySetSource(url="https://idp.example/keys", **settings)  # type: ignore[arg-type]
    return KeySchedule(source, START, lambda: chance)


def test_the_first_fetch_is_due_at_once() -> None:
    assert schedule().due == START


def test_the_next_one_after_refresh_or_somewhat_sooner() -> None:
    for chance, due in ((0.0, 300.0), (1.0, 270.0)):
        times = schedule(chance, refresh=300)
        times.fetched(START, None)
        assert times.due == START + due


def test_an_issuer_may_shorten_the_wait_but_not_below_the_cooldown_and_not_lengthen_it() -> None:
    for max_age, due in ((600.0, 300.0), (60.0, 60.0), (5.0, 30.0), (0.0, 30.0)):
        times = schedule(refresh=300, cooldown=30)
        times.fetched(START, max_age)
        assert times.due == START + due
    times = schedule(refresh=10, cooldown=30)
    times.fetched(START, 0.0)
    assert times.due == START + 10


def test_failures_are_followed_by_tries_that_grow_apart_up_to_the_cooldown() -> None:
    times = schedule(refresh=300, cooldown=20)
    now, waits = START, []
    for _ in range(8):
        times.failed(now)
        waits.append(times.due - now)
        now = times.due
    assert waits == [1, 2, 4, 8, 16, 20, 20, 20]
    times.fetched(now, None)
    times.failed(now)
    assert times.due == now + 1


def test_unknown_keys_are_worth_one_fetch_in_the_cooldown() -> None:
    times = schedule(cooldown=30, refresh=300)
    times.fetched(START, None)
    assert times.asked(START + 1)
    assert times.due == START + 1
    times.fetched(START + 1, None)
    assert not any(times.asked(START + 1 + second) for second in range(30))
    assert times.asked(START + 31)


def test_keys_are_good_until_max_stale_after_they_should_have_been_fetched_anew() -> None:
    times = schedule(refresh=300, max_stale=600)
    assert times.good_until == START + 900
    times.fetched(START + 50, None)
    times.failed(START + 350)
    assert times.good_until == START + 950


def test_the_end_is_not_overslept() -> None:
    times = schedule(refresh=300, max_stale=10, cooldown=3600)
    times.fetched(START, None)
    now = times.due
    while now < times.good_until:
        times.failed(now)
        now = times.due
    assert now == times.good_until == START + 310
    times.failed(now)
    assert times.due > now


@given(st.lists(st.sampled_from(["fetch", "fail", "ask"]), max_size=60), st.floats(0, 1))
def test_no_course_of_events_makes_it_ask_all_the_time(events: list[str], chance: float) -> None:
    times = schedule(chance, refresh=300, cooldown=30)
    now = START
    asked = []
    for event in events:
        if event == "ask":
            asked += [now] if times.asked(now) else []
        elif event == "fetch":
            times.fetched(now, 0.0)
            assert times.due >= now + 27
        else:
            times.failed(now)
            assert times.due >= now + 0.9
        now += 5
    assert all(later - earlier >= 30 for earlier, later in pairwise(asked))
