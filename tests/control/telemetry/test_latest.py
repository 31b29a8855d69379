"""Records that are asked for: whoever asks waits for all workers that are there, and for nobody for long."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

import headgate.control.telemetry.latest as latest_module
from headgate.control.fleet import Fleet
from headgate.control.messages import Forget, TellRecords
from headgate.control.telemetry.latest import Latest
from tests.loops import on_plain_loop


class Workers:
    """As many workers as a test has; what they were told."""

    def __init__(self, *numbers: int) -> None:
        self.numbers = numbers
        self.told: list[TellRecords] = []

    def tell_once(self, message: Forget | TellRecords, among: int | None = None) -> tuple[int, ...]:
        assert isinstance(message, TellRecords)
        self.told.append(message)
        return self.numbers


def latest_of(workers: Workers) -> Latest:
    return Latest(cast("Fleet", workers))


@on_plain_loop
async def test_all_workers_are_waited_for() -> None:
    workers = Workers(1, 2)
    latest = latest_of(workers)
    fetching = asyncio.ensure_future(latest.fetch())
    await asyncio.sleep(0)
    (told,) = workers.told
    latest.on_said(1, {"type": "records", "records": [], "dropped": 0})
    latest.on_said(1, {"type": "told", "number": told.number})
    latest.on_said(1, {"type": "told", "number": told.number})
    latest.on_said(2, {"type": "told", "number": told.number + 1})
    await asyncio.sleep(0)
    assert not fetching.done()
    latest.on_said(2, {"type": "told", "number": told.number})
    await fetching
    # And nothing is kept of it.
    latest.on_said(2, {"type": "told", "number": told.number})
    assert latest._waiting == {}


@on_plain_loop
async def test_a_worker_that_hangs_is_waited_for_a_moment_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(latest_module, "PATIENCE", 0.0)
    latest = latest_of(Workers(1))
    await latest.fetch()
    assert latest._waiting == {}


@on_plain_loop
async def test_without_workers_nobody_waits() -> None:
    await latest_of(Workers()).fetch()
