"""When workers are told how the own endpoints answer: first when all is there, then each second and when they ask."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from headgate.control.log import Log
from headgate.control.surface import part


def endpoints(own_health: Any = None) -> Any:
    """Return own endpoints that tell nobody; what is private of them is looked at here."""
    made: Any = part.OwnEndpoints(Log("test"), lambda _: None, lambda _: None, own_health)  # type: ignore[arg-type]
    return made


def subject(*, alive: bool = True) -> Any:
    shown = {"plan": 1, "workers": [{"alive": True}, {"alive": alive}]}
    return SimpleNamespace(snapshot=lambda: shown)


async def settled() -> None:
    """Let everything happen that needs no time."""
    for _ in range(5):
        await asyncio.sleep(0)


def test_a_worker_that_asks_is_told_at_once() -> None:
    async def run() -> None:
        own = endpoints()
        passing = asyncio.ensure_future(own._pass(1000))
        own.on_said(1, {"type": "records"})
        await settled()
        assert not passing.done()
        own.on_said(1, {"type": "own_answers"})
        async with asyncio.timeout(60):
            await passing

    asyncio.run(run())


def test_it_goes_on_by_itself() -> None:
    async def run() -> None:
        async with asyncio.timeout(60):
            await endpoints()._pass(0)

    asyncio.run(run())


def test_the_first_word_waits_for_all_workers_and_all_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        monkeypatch.setattr(part, "_HURRIED", 0.0)
        monkeypatch.setattr(part, "_FIRST_LOOKS", 1000.0)
        health = SimpleNamespace(has_looked=False)
        own = endpoints(health)
        own._subject = subject(alive=False)
        beginning = asyncio.ensure_future(own._begun())
        await settled()
        own._subject = subject()
        await settled()
        assert not beginning.done()
        health.has_looked = True
        async with asyncio.timeout(60):
            await beginning

    asyncio.run(run())


def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        monkeypatch.setattr(part, "_FIRST_LOOKS", 0.0)
        own = endpoints(SimpleNamespace(has_looked=False))
        own._subject = subject()
        async with asyncio.timeout(60):
            await own._begun()

    asyncio.run(run())
