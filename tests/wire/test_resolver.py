"""Names become addresses: once for everybody who asks, in turn, and longer than the resolver lives."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from headgate.wire import resolver
from headgate.wire.resolver import STALE, TTL, Resolver


class Names:
    """A resolver of names that a test answers, and a clock that it turns."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asked: list[str] = []
        self.answers: dict[str, list[str]] = {}
        self.now = 1000.0
        self.gate: asyncio.Event | None = None
        monkeypatch.setattr(resolver, "monotonic", lambda: self.now)

    def attach(self) -> Resolver:
        """Stand in for the loop's getaddrinfo."""
        loop: Any = asyncio.get_running_loop()
        loop.getaddrinfo = self.look_up
        return Resolver()

    async def look_up(self, host: str, *_: Any, **__: Any) -> list[Any]:
        self.asked.append(host)
        if self.gate is not None:
            await self.gate.wait()
        if host not in self.answers:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, 0)) for address in self.answers[host]]


def test_addresses_take_turns_and_are_kept_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch)

    async def scenario() -> None:
        resolve = names.attach().resolve
        names.answers["a.test"] = ["10.0.0.1", "10.0.0.2", "10.0.0.1"]
        assert sorted([await resolve("a.test"), await resolve("a.test")]) == ["10.0.0.1", "10.0.0.2"]
        assert names.asked == ["a.test"]
        names.answers["a.test"] = ["10.0.0.3"]
        names.now += TTL
        assert await resolve("a.test") == "10.0.0.3"
        assert names.asked == ["a.test"] * 2

    asyncio.run(scenario())


@pytest.mark.parametrize(("written", "address"), [("127.0.0.1", "127.0.0.1"), ("[::1]", "::1"), ("::1", "::1")])
def test_addresses_are_not_looked_up(monkeypatch: pytest.MonkeyPatch, written: str, address: str) -> None:
    names = Names(monkeypatch)

    async def scenario() -> None:
        assert await names.attach().resolve(written) == address
        assert names.asked == []

    asyncio.run(scenario())


def test_an_old_answer_is_better_than_none_and_is_not_asked_for_by_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch)

    async def scenario() -> None:
        resolve = names.attach().resolve
        names.answers["a.test"] = ["10.0.0.1"]
        await resolve("a.test")
        del names.answers["a.test"]
        names.now += TTL
        for _ in range(5):
            assert await resolve("a.test") == "10.0.0.1"
        assert len(names.asked) == 2
        names.now += STALE
        with pytest.raises(socket.gaierror):
            await resolve("a.test")

    asyncio.run(scenario())


def test_one_look_up_serves_all_who_wait_and_outlives_those_who_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    names = Names(monkeypatch)

    async def scenario() -> None:
        faults: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: faults.append(context))
        resolve = names.attach().resolve
        names.answers["a.test"] = ["10.0.0.1"]
        names.gate = asyncio.Event()
        waiting = [asyncio.create_task(resolve(name)) for name in ("a.test", "a.test", "a.test", "none.test")]
        await asyncio.sleep(0)
        waiting[0].cancel()
        waiting[3].cancel()
        await asyncio.sleep(0)
        names.gate.set()
        assert await asyncio.gather(*waiting[1:3]) == ["10.0.0.1"] * 2
        assert sorted(names.asked) == ["a.test", "none.test"]
        for _ in range(3):
            await asyncio.sleep(0)
        assert faults == []

    asyncio.run(scenario())
