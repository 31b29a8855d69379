"""Pauses after failures."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.discovery import backoff
from headgate.discovery.backoff import Backoff, Throttled, persist
from headgate.discovery.source import NotFound
from tests.control.clock import timeless
from tests.discovery.stand_in import Heard


@pytest.fixture(autouse=True)
def as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST", 0.5)
    monkeypatch.setattr(backoff, "MOST", 30.0)
    monkeypatch.setattr(backoff, "BETWEEN", 0.1)


def test_pauses_grow_up_to_a_bound_and_begin_anew() -> None:
    pauses = Backoff(lambda: 1.0)
    assert [pauses.pause() for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    pauses.succeeded()
    assert pauses.pause() == 0.5


def test_no_pause_is_longer_than_a_source_wants_or_than_any_may_be() -> None:
    short, long = Backoff(lambda: 1.0, 3), Backoff(lambda: 1.0, 3600)
    assert [short.pause() for _ in range(5)] == [0.5, 1, 2, 3, 3]
    assert max(long.pause() for _ in range(20)) == 30


@given(st.floats(0, 1), st.integers(0, 200))
def test_chance_takes_no_more_than_half(chance: float, failures: int) -> None:
    pauses, longest = Backoff(lambda: chance), Backoff(lambda: 1.0)
    for _ in range(failures):
        pauses.pause()
        longest.pause()
    most = longest.pause()
    assert most / 2 <= pauses.pause() <= most <= 30


def test_a_talk_is_begun_again_for_ever_and_a_registry_that_wants_to_be_left_alone_is() -> None:
    heard, at = Heard(), list[float]()

    async def talk() -> None:
        at.append(asyncio.get_running_loop().time() - 1000)
        match len(at):
            case 1:
                raise NotFound("one")
            case 2:
                raise Throttled("two", 10)
            case 3:
                raise Throttled("three", 1e9)

    async def play() -> None:
        task = asyncio.get_running_loop().create_task(persist(talk, heard, Backoff(lambda: 1.0)))
        await asyncio.sleep(315)
        task.cancel()

    timeless(play)
    assert heard.failures == ["one", "two", "three"]
    assert at[:5] == pytest.approx([0, 0.5, 11.5, 313.5, 313.6])
