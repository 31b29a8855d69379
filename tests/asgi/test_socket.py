"""A WebSocket of an ASGI server: its messages are its service's frames, and both ends learn of the other's."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headgate.asgi.serving import serve_socket
from headgate.wire.websocket import BINARY, CLOSE, PING, PONG, TEXT, close_payload, read_close
from tests.asgi.stage import Call, Rig, gateway, request
from tests.proxy.peers import Upstream, Wire, eventually, ok, within
from tests.proxy.stage import on_loop, to
from tests.wire.test_websocket import unmasked

AGREE = (
    b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: x\r\n"
    b"Sec-WebSocket-Protocol: chat\r\nX-Two: 2\r\n\r\n"
)
ASK = (
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-key", "eA=="),
    ("sec-websocket-version", "13"),
    ("sec-websocket-protocol", "chat"),
    ("sec-websocket-extensions", "permessage-deflate"),
)


class Socket(Call):
    """One WebSocket that the server has for the application."""

    def __init__(self, rig: Rig, **scope: Any) -> None:
        asked = request("/socket", *ASK) | {"type": "websocket", "scheme": "ws"} | scope
        del asked["method"]
        super().__init__(rig.gateway, asked, [{"type": "websocket.connect"}], serve_socket)


async def read_frame(link: Wire) -> tuple[int, bytes]:
    """Read a masked frame."""
    first, second = await link.read(2)
    size = second & 127
    if size == 126:
        size = int.from_bytes(await link.read(2))
    elif size == 127:
        size = int.from_bytes(await link.read(8))
    key, payload = await link.read(4), await link.read(size) if size else b""
    return first & 15, bytes(byte ^ key[place % 4] for place, byte in enumerate(payload))


async def opened(rig: Rig, upstream: Upstream) -> tuple[Socket, Wire]:
    """Open one."""
    call = Socket(rig)
    link = await upstream.accepted()
    head = await link.head()
    assert head.get("upgrade") == "websocket"
    assert head.get("sec-websocket-protocol") == "chat"
    assert head.get("sec-websocket-extensions") is None
    await link.send(AGREE)
    await eventually(lambda: bool(call.sent))
    accept = call.sent[0]
    assert (accept["type"], accept["subprotocol"]) == ("websocket.accept", "chat")
    names = {name for name, _ in accept["headers"]}
    assert b"x-two" in names
    assert not any(name.startswith(b"sec-websocket") for name in names)
    return call, link


@on_loop
async def test_messages_go_both_ways() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        call, link = await opened(rig, upstream)
        call.tell({"type": "websocket.receive", "text": "grüß"})
        assert await read_frame(link) == (TEXT, "grüß".encode())
        call.tell({"type": "websocket.receive", "bytes": b"\x00" * 70_000})
        assert await read_frame(link) == (BINARY, b"\x00" * 70_000)
        await link.send(unmasked(TEXT, b"hi", False), unmasked(0, b" there"), unmasked(BINARY, b"\x01"))
        await eventually(lambda: len(call.sent) == 3)
        assert call.sent[1:] == [
            {"type": "websocket.send", "text": "hi there"},
            {"type": "websocket.send", "bytes": b"\x01"},
        ]
        call.tell({"type": "websocket.disconnect", "code": 1001, "reason": "gone"})
        opcode, payload = await read_frame(link)
        assert (opcode, read_close(payload)) == (CLOSE, (1001, "gone"))
        assert await link.rest() == b""
        await within(call.task)
        assert rig.log[0]["status_code"] == 101
        assert rig.log[0].get("error", "") == ""


@on_loop
async def test_a_ping_of_the_service_is_answered_here() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        call, link = await opened(rig, upstream)
        await link.send(unmasked(PING, b"now"))
        assert await read_frame(link) == (PONG, b"now")
        assert len(call.sent) == 1
        call.tell({"type": "websocket.disconnect", "code": 1005})
        await within(call.task)


@on_loop
@pytest.mark.parametrize(("sent", "told"), [(4001, 4001), (None, 1000)])
async def test_a_service_that_closes_says_why(sent: int | None, told: int) -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        call, link = await opened(rig, upstream)
        await link.send(unmasked(CLOSE, close_payload(sent, "over") if sent else b""))
        assert (await read_frame(link))[0] == CLOSE
        await within(call.task)
        assert call.sent[-1] == {"type": "websocket.close", "code": told, "reason": "over" if sent else ""}


@on_loop
async def test_a_service_that_dies_closes_with_an_error() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        call, link = await opened(rig, upstream)
        await link.send(unmasked(TEXT, b"last"))
        link.close()
        await within(call.task)
        assert [each["type"] for each in call.sent[1:]] == ["websocket.send", "websocket.close"]
        assert call.sent[-1]["code"] == 1011


@on_loop
@pytest.mark.parametrize(("frame", "code"), [(b"\xc1\x00", 1002), (unmasked(TEXT, b"\xff"), 1007)])
async def test_a_service_that_breaks_the_protocol_is_left(frame: bytes, code: int) -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        call, link = await opened(rig, upstream)
        await link.send(frame)
        opcode, payload = await read_frame(link)
        assert (opcode, read_close(payload)[0]) == (CLOSE, code)
        await within(call.task)
        assert call.sent[-1]["code"] == 1011


@on_loop
async def test_a_client_that_does_not_take_its_messages_holds_its_service_back() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        call, link = await opened(rig, upstream)
        call.takes.clear()
        message = unmasked(BINARY, bytes(60_000))
        writer = asyncio.ensure_future(link.send(*[message] * 1000))
        for _ in range(200):
            await asyncio.sleep(0)
        assert not writer.done()
        call.takes.set()
        await writer
        await eventually(lambda: len(call.sent) == 1001)
        call.tell({"type": "websocket.disconnect", "code": 1000})
        await within(call.task)


@on_loop
async def test_a_refusal_is_an_answer_where_the_server_can_say_so() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        call = Socket(rig, extensions={"websocket.http.response": {}})
        link = await upstream.accepted()
        await link.head()
        await link.send(ok(b"no", "X-Why: not", status=404))
        await within(call.task)
        start, body = call.sent
        assert (start["type"], start["status"]) == ("websocket.http.response.start", 404)
        assert (b"x-why", b"not") in start["headers"]
        assert body == {"type": "websocket.http.response.body", "body": b"no", "more_body": False}


@on_loop
async def test_elsewhere_it_is_a_close() -> None:
    async with Upstream() as upstream, gateway(to(upstream, identity={"jwt": {"secret": "s" * 32}})) as rig:
        call = Socket(rig)
        await within(call.task)
        assert call.sent == [{"type": "websocket.close", "code": 1008}]
        assert rig.log[0]["status_code"] == 401


@on_loop
async def test_a_client_that_leaves_before_the_tunnel_is_no_failure_of_the_service() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        call = Socket(rig)
        link = await upstream.accepted()
        await link.head()
        call.tell({"type": "websocket.disconnect", "code": 1006})
        assert await link.rest() == b""
        await within(call.task)
        assert rig.log[0]["error"] == "client_closed"
