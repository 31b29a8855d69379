"""The fault proxy does the harm that it is told to do, and none besides."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.faults.proxy import UNHARMED, Fault, FaultProxy, Lane
from tests.proxy.peers import Upstream, Wire, eventually, free_port, within
from tests.proxy.stage import on_loop

TEXT = bytes(range(256)) * 40


async def echo(link: Wire) -> None:
    while data := await within(link.reader.read(4096)):
        await link.send(data)
    link.close()


@asynccontextmanager
async def through(fault: Fault = UNHARMED) -> AsyncIterator[tuple[FaultProxy, Wire]]:
    """Connect through a proxy to a server that returns what it is sent."""
    async with Upstream(echo) as server:
        async with FaultProxy(server.port, fault) as proxy:
            client = await connect(proxy)
            yield proxy, client
            client.writer.transport.abort()
        assert proxy.alive == 0


async def connect(proxy: FaultProxy) -> Wire:
    return Wire(*await within(asyncio.open_connection("127.0.0.1", proxy.port)))


async def end_of(wire: Wire) -> tuple[bytes, str]:
    """Read to the end; return what came, and how it ended."""
    found = b""
    try:
        while data := await within(wire.reader.read(65536)):
            found += data
    except ConnectionResetError:
        return found, "reset"
    return found, "close"


@pytest.mark.parametrize("lane", [Lane(), Lane(piece=7), Lane(piece=1000, delay=0.001), Lane(piece=1024, rate=10**6)])
@on_loop
async def test_bytes_pass_as_they_are(lane: Lane) -> None:
    async with through(Fault(up=lane, down=lane)) as (proxy, client):
        await client.send(TEXT)
        assert await client.read(len(TEXT)) == TEXT
        assert proxy.passages[0].passed == {"up": len(TEXT), "down": len(TEXT)}


@pytest.mark.parametrize("then", ["reset", "close"])
@pytest.mark.parametrize("after", [0, 1, 5000])
@pytest.mark.parametrize("way", ["up", "down"])
@on_loop
async def test_the_byte_after_so_many_ends_the_connection(way: str, after: int, then: str) -> None:
    lane = Lane(after=after, then=then)  # type: ignore[arg-type]
    async with through(Fault(up=lane) if way == "up" else Fault(down=lane)) as (proxy, client):
        await client.send(TEXT[:after])
        assert await client.read(after) == TEXT[:after]
        await client.send(b"x")
        assert await end_of(client) == (b"", then)
        await eventually(lambda: proxy.alive == 0)


@on_loop
async def test_a_direction_stalls_and_the_connection_stays_until_somebody_leaves() -> None:
    async with through(Fault(down=Lane(after=3, then="stall"))) as (proxy, client):
        await client.send(b"abcdef")
        assert await client.read(3) == b"abc"
        await eventually(lambda: proxy.passages[0].passed["up"] == 6)
        assert proxy.alive == 1
        client.close()
        await eventually(lambda: proxy.alive == 0)


@pytest.mark.parametrize("reset", [True, False])
@on_loop
async def test_an_end_is_passed_on_as_what_it_was(reset: bool) -> None:
    ends: list[str] = []

    async def watch(link: Wire) -> None:
        ends.append((await end_of(link))[1])
        link.close()

    async with Upstream(watch) as server, FaultProxy(server.port) as proxy:
        client = await connect(proxy)
        await client.send(b"x")
        await eventually(lambda: proxy.passages[0].passed["up"] == 1)
        client.cut() if reset else client.close()
        await eventually(lambda: ends == ["reset" if reset else "close"])


@on_loop
async def test_connections_are_refused_reset_and_left_hanging() -> None:
    script = {0: Fault(accept="reset"), 1: Fault(accept="hang")}
    async with FaultProxy(free_port(), lambda number: script[number]) as proxy:
        assert await end_of(await connect(proxy)) == (b"", "reset")
        hanging = await connect(proxy)
        await hanging.send(TEXT)
        await eventually(lambda: len(proxy.passages) == 2)
        assert proxy.alive == 1
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            await connect(proxy)
        port = proxy.port
        await proxy.listen()
        assert proxy.port == port
        proxy.reset_all()
        assert await end_of(hanging) == (b"", "reset")


@on_loop
async def test_what_is_held_comes_when_it_is_let_go() -> None:
    async with through() as (proxy, client):
        proxy.hold()
        await client.send(b"abc")
        for _ in range(10):
            await asyncio.sleep(0)
        assert proxy.passages[0].passed == {"up": 0, "down": 0}
        proxy.let_go()
        assert await client.read(3) == b"abc"


@on_loop
async def test_a_target_that_refuses_is_a_reset() -> None:
    async with FaultProxy(free_port()) as proxy:
        assert await end_of(await connect(proxy)) == (b"", "reset")
