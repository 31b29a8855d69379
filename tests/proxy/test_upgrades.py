"""Upgrades: a tunnel after the upstream's 101, plain HTTP after anything else."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.proxy.peers import Upstream, Wire, eventually, get, in_between, ok
from tests.proxy.stage import Rig, gateway, on_loop, to

ASK = ("Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: eA==", "Sec-WebSocket-Version: 13")
AGREE = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n\r\n"
)
TEXT = b"\x81\x05hello"
MASKED = b"\x81\x85\x01\x02\x03\x04" + bytes(a ^ b for a, b in zip(b"hello", b"\x01\x02\x03\x04\x01", strict=True))
CLOSE = b"\x88\x02\x03\xe8"
PIECE = b"x" * 65536


async def joined(rig: Rig, upstream: Upstream, early: bytes = b"") -> tuple[Wire, Wire]:
    """Switch a client and an upstream over."""
    client = await rig.client()
    await client.send(get("/socket", *ASK) + early)
    link = await upstream.accepted()
    request = await link.head()
    assert request.get("connection") == "Upgrade"
    assert request.get("upgrade") == "websocket"
    assert request.get("sec-websocket-key") == "eA=="
    await link.send(AGREE)
    answer = await client.head()
    assert answer.status == 101
    assert (answer.get("connection"), answer.get("upgrade")) == ("Upgrade", "websocket")
    assert answer.get("sec-websocket-accept") == "x"
    assert answer.get("content-length") is answer.get("transfer-encoding") is None
    return client, link


@on_loop
async def test_frames_go_both_ways_and_the_end_is_settled_once() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client, link = await joined(rig, upstream)
        assert rig.counted("upgrades_open") == 1
        for _ in range(20):
            await client.send(MASKED)
            assert await link.read(len(MASKED)) == MASKED
            await link.send(TEXT)
            assert await client.read(len(TEXT)) == TEXT
        await client.send(CLOSE)
        assert await link.read(len(CLOSE)) == CLOSE
        await link.send(CLOSE)
        link.close()
        assert await client.rest() == CLOSE
        line = (await rig.logged())[0]
        assert (line["status_code"], line["bytes_in"], line["bytes_out"]) == (101, 20 * 11 + 4, 20 * 7 + 4)
        assert "error" not in line
        assert rig.counted("upgrades_open") == 0


@pytest.mark.parametrize("first", ["client", "upstream"])
@pytest.mark.parametrize("reset", [False, True])
@on_loop
async def test_either_end_takes_the_other_along(first: str, reset: bool) -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client, link = await joined(rig, upstream)
        one, other = (client, link) if first == "client" else (link, client)
        await one.send(b"last words")
        if reset:
            await other.read(10)
            one.cut()
            assert await other.rest() == b""
        else:
            one.close()
            assert await other.rest() == b"last words"
        assert (await rig.logged())[0]["status_code"] == 101


@on_loop
async def test_bytes_that_come_early_wait_for_the_101() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        await client.send(get("/socket", *ASK) + MASKED)
        link = await upstream.accepted()
        await link.head()
        await client.send(MASKED)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(link.reader.readexactly(1), 0.05)
        await link.send(AGREE + TEXT)
        assert await link.read(2 * len(MASKED)) == MASKED * 2
        assert (await client.head()).status == 101
        assert await client.read(len(TEXT)) == TEXT
        await client.send(MASKED)
        assert await link.read(len(MASKED)) == MASKED


@pytest.mark.parametrize("status", [200, 426, 400])
@on_loop
async def test_a_refused_upgrade_goes_on_as_http(status: int) -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        await client.send(get("/socket", *ASK) + get("/behind"))
        link = await upstream.accepted()
        await link.head()
        lines = ("Connection: Upgrade", "Upgrade: websocket") if status == 426 else ()
        await link.send(ok(b"no", *lines, status=status))
        answer = await client.answer()
        assert (answer.status, answer.body) == (status, b"no")
        assert (await link.message()).target == "/behind"
        await link.send(ok(b"yes"))
        assert (await client.answer()).body == b"yes"
        await client.send(get("/third"))
        await link.message()
        await link.send(ok(b"third"))
        assert (await client.answer()).body == b"third"


@pytest.mark.parametrize("target", ["/health", "/nowhere"])
@on_loop
async def test_an_upgrade_that_the_gateway_itself_refuses_goes_on_as_http(target: str) -> None:
    document = to("http://127.0.0.1:1", route={"match": {"path": {"exact": "/"}}})
    async with gateway(document) as rig:
        client = await rig.client()
        for _ in range(3):
            await client.send(get(target, *ASK))
            assert (await client.answer()).status == (200 if target == "/health" else 404)


@pytest.mark.parametrize(
    ("lines", "route"),
    [
        (("Connection: Upgrade", "Upgrade: h2c"), {}),
        (("Upgrade: websocket",), {}),
        (ASK, {"upgrade": []}),
        (("Connection: Upgrade", "Upgrade: websocket, other"), {}),
    ],
)
@on_loop
async def test_an_upgrade_that_is_not_taken_is_not_passed_on(lines: tuple[str, ...], route: dict[str, Any]) -> None:
    async with Upstream() as upstream, gateway(to(upstream, route=route)) as rig:
        client = await rig.client()
        await client.send(get("/", *lines, method="POST", body=b"body"))
        link = await upstream.accepted()
        request = await link.message()
        assert (request.get("upgrade"), request.get("connection"), request.body) == (None, None, b"body")
        await link.send(ok(b"plain"))
        assert (await client.answer()).body == b"plain"
        await client.send(get("/next", *lines))
        assert (await link.message()).target == "/next"
        await link.send(ok(b"next"))
        assert (await client.answer()).body == b"next"


@on_loop
async def test_a_silent_tunnel_is_closed_and_a_speaking_one_is_not() -> None:
    async with Upstream() as upstream, gateway(to(upstream, timeout={"tunnel": 30})) as rig:
        client, link = await joined(rig, upstream)
        for _ in range(10):
            rig.pass_time(20)
            await client.send(MASKED)
            await link.read(len(MASKED))
        rig.pass_time(31)
        assert await client.rest() == b""
        assert await link.rest() == b""


@pytest.mark.parametrize("towards", ["client", "upstream"])
@on_loop
async def test_a_tunnel_holds_back_who_sends_too_fast(towards: str) -> None:
    total = in_between() + (32 << 20)
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client, link = await joined(rig, upstream)
        sender, reader = (link, client) if towards == "client" else (client, link)
        sent = 0

        async def pour() -> None:
            nonlocal sent
            while sent < total:
                await sender.send(PIECE)
                sent += len(PIECE)

        task = asyncio.create_task(pour())
        before = 0
        while sent != before or not before:
            before = sent
            await asyncio.sleep(0.1)
        assert sent < in_between()
        got = 0
        while got < total:
            got += len(await reader.read(min(1 << 20, total - got)))
        await task


@on_loop
async def test_a_client_that_left_before_the_101_closes_the_upstream() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        await client.send(get("/", *ASK))
        link = await upstream.accepted()
        await link.head()
        client.cut()
        assert await link.rest() == b""
        assert (await rig.logged())[0]["status_code"] == 499


@on_loop
async def test_an_upstream_that_agrees_and_leaves_at_once_is_seen_to() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        await client.send(get("/", *ASK))
        link = await upstream.accepted()
        await link.head()
        link.writer.write(AGREE + TEXT)
        link.close()
        assert (await client.head()).status == 101
        assert await client.rest() == TEXT
        await rig.logged()


@on_loop
async def test_an_open_tunnel_outlives_a_reload_and_ends_with_the_gateway() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client, link = await joined(rig, upstream)
        rig.apply(to(upstream, route={"upgrade": []}))
        await client.send(MASKED)
        assert await link.read(len(MASKED)) == MASKED
        rig.gateway.begin_drain()
        await rig.gateway.stop_accepting()
        assert not await rig.gateway.wait_idle(0.05)
        rig.gateway.abort()
        await client.rest()
        await link.rest()
        await eventually(lambda: len(rig.log) == 1)
