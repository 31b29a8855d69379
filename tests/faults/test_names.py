"""The name of an upstream: unknown, slow to be found, lost again, and moved.

The lookup itself is the system's; what stands in for it here is what the loop would ask.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from bench import client
from bench.client import Outcome
from headgate.wire import resolver
from headgate.wire.resolver import TTL
from tests.faults.proxy import FaultProxy
from tests.faults.scene import Tally, ask, upstream
from tests.proxy.peers import eventually
from tests.proxy.stage import gateway, on_loop, to

NAME = "upstream.test"


class Names:
    """A resolver that a test answers: `addresses` of each name; `known` lets all answers come."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.addresses: dict[str, str] = {}
        self.asked = 0
        self.known = asyncio.Event()
        self.known.set()
        self.now = 1000.0
        loop: Any = asyncio.get_running_loop()
        loop.getaddrinfo = self._look_up
        monkeypatch.setattr(resolver, "monotonic", lambda: self.now)

    async def _look_up(self, host: str, *_: Any, **__: Any) -> list[Any]:
        self.asked += 1
        await self.known.wait()
        if host not in self.addresses:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.addresses[host], 0))]


def test_an_unknown_name_is_a_bad_gateway(monkeypatch: pytest.MonkeyPatch) -> None:
    @on_loop
    async def test() -> None:
        Names(monkeypatch)
        async with gateway(to(f"http://{NAME}:80", retry={"attempts": 0})) as rig:
            assert await ask(rig, client.small()) == (Outcome.ERROR, "502 dns")

    test()


def test_while_one_name_is_looked_up_others_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    @on_loop
    async def test() -> None:
        names = Names(monkeypatch)
        names.addresses[NAME] = "127.0.0.1"
        names.known.clear()
        async with upstream() as server:
            document = to(f"http://127.0.0.1:{server.port}", timeout={"connect": 20})
            route = {"name": "slow", "match": {"path": "/slow"}}
            document["services"].append({"name": "slow", "url": f"http://{NAME}:{server.port}", "routes": [route]})
            async with gateway(document) as rig:
                waiting = [asyncio.ensure_future(ask(rig, client.small("/slow"))) for _ in range(5)]
                await eventually(lambda: names.asked == 1 and rig.gateway.in_flight == 5)
                for _ in range(20):
                    assert await ask(rig, client.small()) == (Outcome.GOOD, "")
                names.known.set()
                assert await asyncio.gather(*waiting) == [(Outcome.GOOD, "")] * 5
                assert names.asked == 1

    test()


def test_a_look_up_that_never_ends_is_a_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    @on_loop
    async def test() -> None:
        names = Names(monkeypatch)
        names.known.clear()
        document = to(f"http://{NAME}:80", timeout={"connect": 0.1}, retry={"attempts": 0})
        async with gateway(document) as rig:
            assert await ask(rig, client.small()) == (Outcome.ERROR, "504 connect_timeout")
            names.known.set()

    test()


def test_a_name_that_is_lost_keeps_its_address(monkeypatch: pytest.MonkeyPatch) -> None:
    @on_loop
    async def test() -> None:
        names = Names(monkeypatch)
        names.addresses[NAME] = "127.0.0.1"
        async with upstream() as server, gateway(to(f"http://{NAME}:{server.port}")) as rig:
            assert (await ask(rig, client.small()))[0] is Outcome.GOOD
            names.addresses.clear()
            names.now += TTL
            await server.close()
            await server.start()
            tally = Tally()
            for _ in range(5):
                await ask(rig, client.small(), tally)
            assert tally.outcomes == {Outcome.GOOD: 5}
            assert names.asked == 2

    test()


def test_a_name_that_moved_is_followed_by_new_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    @on_loop
    async def test() -> None:
        names = Names(monkeypatch)
        names.addresses[NAME] = "127.0.0.2"
        async with (
            upstream() as server,
            FaultProxy(server.port, host="127.0.0.2") as old,
            FaultProxy(server.port, host="127.0.0.3", port=old.port) as new,
            gateway(to(f"http://{NAME}:{old.port}")) as rig,
        ):
            assert (await ask(rig, client.small()))[0] is Outcome.GOOD
            names.addresses[NAME] = "127.0.0.3"
            names.now += TTL
            # It goes on being served by the connection that is there, until that ends.
            assert (await ask(rig, client.small()))[0] is Outcome.GOOD
            assert (len(old.passages), len(new.passages)) == (1, 0)
            old.close_all()
            await eventually(lambda: old.alive == 0)
            assert (await ask(rig, client.small()))[0] is Outcome.GOOD
            assert (len(old.passages), len(new.passages)) == (1, 1)

    test()
