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
