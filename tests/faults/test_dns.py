"""The name server behind a service that DNS tells of: refusals, silence, other addresses, and very many of them.

Row 5 of the fault table: what was known is used on, nothing that blocks is called, and a change is in force as soon
as an answer was good for. The name server is one of our own on loopback; all of 127.0.0.0/8 is this machine.
"""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import dns.rcode
import pytest

from headgate.control.discovery import Discovery
from headgate.control.messages import Beside, EndpointSets
from headgate.discovery import backoff
from headgate.stores.board import Board
from tests.control.test_probes import Lines
from tests.discovery.name_server import NameServer, name_server
from tests.proxy.peers import eventually, free_port, get
from tests.proxy.stage import Rig, gateway, on_loop, resolved

# The shortest TTL that is heeded, so that a change is found in a moment.
SOON = 0.1


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backoff, "FIRST", 0.002)
    monkeypatch.setattr(backoff, "MOST", 0.02)


class Scene:
    """A gateway whose service `api` DNS tells of, and clients that ask it all the time."""

    def __init__(self, rig: Rig, names: NameServer, discovery: Discovery, document: dict[str, Any]) -> None:
        self.rig = rig
        self.names = names
        self.discovery = discovery
        self.document = document
        self.statuses: Counter[int] = Counter()
        self.answered: Counter[str] = Counter()
        self.asking = True

    @property
    def shown(self) -> dict[str, Any]:
        return self.discovery.describe()[0]

    async def ask(self) -> None:
        """Ask until the end, as several clients do."""
        client = await self.rig.client()
        while self.asking:
            await client.send(get())
            answer = await client.answer()
            self.statuses[answer.status] += 1
            self.answered[answer.body.decode()] += 1

    async def until_answers_only(self, *addresses: str) -> None:
        """Wait until nobody else answers, and each of these does."""
        self.answered.clear()
        while set(self.answered) != set(addresses):
            self.answered.clear()
            await eventually(lambda: self.answered.total() > 3 * len(addresses))

    async def until_it_fails(self) -> None:
        await eventually(lambda: self.shown["state"] == "failing")
        # It is asked again and again meanwhile.
        await self.names.until_asked(len(self.names.asked) + 3)


@asynccontextmanager
async def scene(monkeypatch: pytest.MonkeyPatch, *addresses: str, **found: Any) -> AsyncIterator[Scene]:
    """Play it over upstreams at these addresses, which say which one they are."""
    port = free_port()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        own = writer.get_extra_info("sockname")[0].encode()
        while await reader.readline():
            while (await reader.readline()).strip():
                pass
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(own), own))
        writer.close()

    async with await asyncio.start_server(serve, addresses, port), name_server(A=[addresses[0]]) as names:
        names.ttl = 0
        told = {"type": "dns", "name": "api.test.", "record": "a", "port": port, "servers": names.address}
        told |= {"min_ttl": SOON, **found}
        services = [{"name": "api", "discovery": told, "routes": [{"name": "all"}]}]
        # Other tests may keep the machine busy: who is refused for that is not the matter here.
        document = {"services": services, "overload": {"enabled": False}}
        async with gateway(document) as rig:
            _forbid_what_blocks(monkeypatch)
            discovery = _discovery(rig)
            discovery.follow(resolved(document))
            await eventually(lambda: discovery.describe()[0]["state"] == "current")
            await eventually(lambda: bool(rig.gateway.plan and rig.gateway.plan.clusters["api"].targets))
            played = Scene(rig, names, discovery, document)
            clients = [asyncio.get_running_loop().create_task(played.ask()) for _ in range(2)]
            try:
                yield played
            finally:
                played.asking = False
                await asyncio.gather(*clients)
                discovery.close()


def _discovery(rig: Rig) -> Discovery:
    def publish(message: Beside, news: Beside | None = None) -> None:
        assert isinstance(message, EndpointSets)
        rig.gateway.take_endpoint_sets(message.sets, message.whole)

    def spawn(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return asyncio.get_running_loop().create_task(work)

    return Discovery(Board.create(), Lines(), spawn, publish, environ={}, chance=lambda: 0.0)


def _forbid_what_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    def blocks(*_: object, **__: object) -> Any:
        raise AssertionError("this waits for a name server, and the loop with it")

    for name in ("getaddrinfo", "gethostbyname", "gethostbyname_ex", "gethostbyaddr", "getnameinfo"):
        monkeypatch.setattr(socket, name, blocks)


@pytest.mark.parametrize("code", [dns.rcode.NXDOMAIN, dns.rcode.SERVFAIL, dns.rcode.REFUSED])
def test_a_refusal_takes_nothing_away(code: dns.rcode.Rcode, monkeypatch: pytest.MonkeyPatch) -> None:
    @on_loop
    async def test() -> None:
        async with scene(monkeypatch, "127.0.0.1", "127.0.0.2") as played:
            played.names.rcode[""] = code
            await played.until_it_fails()
            await played.until_answers_only("127.0.0.1")
            played.names.rcode.clear()
            played.names.records["A"] = ["127.0.0.2"]
            await played.until_answers_only("127.0.0.2")
        assert set(played.statuses) == {200}

    test()


def test_silence_and_garbage_take_nothing_away(monkeypatch: pytest.MonkeyPatch) -> None:
    @on_loop
    async def test() -> None:
        async with scene(monkeypatch, "127.0.0.1", timeout=0.05) as played:
            played.names.silent.add("")
            await played.until_it_fails()
            await played.until_answers_only("127.0.0.1")
            played.names.silent.clear()
            await eventually(lambda: played.shown["state"] == "current")
            played.names.garbage = True
            await played.until_it_fails()
            await played.until_answers_only("127.0.0.1")
        assert set(played.statuses) == {200}

    test()


def test_another_address_is_asked_and_no_request_notices(monkeypatch: pytest.MonkeyPatch) -> None:
    @on_loop
    async def test() -> None:
        async with scene(monkeypatch, "127.0.0.1", "127.0.0.2", "127.0.0.3") as played:
            for addresses in (["127.0.0.2"], ["127.0.0.1", "127.0.0.3"], ["127.0.0.3"]):
                played.names.records["A"] = addresses
                await played.until_answers_only(*addresses)
        assert set(played.statuses) == {200}

    test()


def test_a_ttl_of_zero_is_not_asked_for_all_the_time(monkeypatch: pytest.MonkeyPatch) -> None:
    @on_loop
    async def test() -> None:
        async with scene(monkeypatch, "127.0.0.1", min_ttl=3600, max_ttl=3600) as played:
            asked = len(played.names.asked)
            for _ in range(10):
                await played.until_answers_only("127.0.0.1")
            assert len(played.names.asked) == asked == 1

    test()


def test_a_hundred_addresses_all_get_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    @on_loop
    async def test() -> None:
        many = [f"127.0.1.{number}" for number in range(1, 101)]
        async with scene(monkeypatch, "127.0.0.1", *many) as played:
            played.names.records["A"] = many
            await eventually(lambda: played.shown["endpoints"] == 100)
            await played.until_answers_only(*many)
            assert "tcp" in {way for _, _, way in played.names.asked}
        assert set(played.statuses) == {200}

    test()
