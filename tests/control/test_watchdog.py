"""When the watchdog looks, and whom it calls stuck."""

from __future__ import annotations

from headgate.control.watchdog import Watchdog


def test_it_looks_once_every_period() -> None:
    dog = Watchdog(limit=10.0, every=1.0)
    assert [dog.looks(now) for now in (100.0, 100.5, 101.0, 101.9, 102.0, 103.5)] == [
        True,
        False,
        True,
        False,
        True,
        True,
    ]


def test_stuck_is_longer_than_the_limit() -> None:
    dog = Watchdog(limit=10.0)
    assert [dog.is_stuck(100.0, now) for now in (100.0, 110.0, 110.1)] == [False, False, True]


def test_after_standing_still_itself_it_gives_everybody_one_more_period() -> None:
    dog = Watchdog(limit=10.0, every=1.0)
    assert dog.looks(100.0)
    assert not dog.looks(160.0)
    assert not dog.looks(160.5)
    assert dog.looks(161.0)


def test_it_asks_what_a_child_has_done_before_it_calls_it_stuck() -> None:
    dog = Watchdog(limit=10.0)
    assert [dog.wonders(100.0, now) for now in (100.0, 102.5, 102.6, 111.0)] == [False, False, True, True]


def test_what_a_child_waited_for_a_processor_does_not_count() -> None:
    dog = Watchdog(limit=10.0)
    assert [dog.is_stuck(100.0, 130.0, starved) for starved in (0.0, 19.9, 20.0, 25.0)] == [True, True, False, False]
