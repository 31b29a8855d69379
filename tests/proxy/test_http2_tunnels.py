"""WebSocket over HTTP/2 (RFC 8441) on either side, or both: what is asked, what is answered, and how both ends end."""

from __future__ import annotations

import asyncio

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from headgate.wire.challenge import accept
from tests.proxy.http2_client import ClientStream, Http2Client, http2
from tests.proxy.http2_upstream import Asked, Http2Upstream, Link
from tests.proxy.peers import Message, Upstream, Wire, eventually, get, in_between, ok
from tests.proxy.stage import Rig, gateway, on_loop, to

MASKED = b"\x81\x85\x01\x02\x03\x04" + bytes(a ^ b for a, b in zip(b"hello", b"\x01\x02\x03\x04\x01", strict=True))
TEXT = b"\x81\x05hello"
HTTP2 = {"protocol": "http2"}
TUNNELS = {SettingCodes.ENABLE_CONNECT_PROTOCOL: 1}
KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def connect(client: Http2Client, *fields: tuple[str, str], protocol: str = "websocket") -> ClientStream:
    """Ask for a tunnel."""
    more = ((":protocol", protocol),)
    fields = (("sec-websocket-version", "13"), *fields)
    return client.request("/socket", *fields, method="CONNECT", end=False, more=more)


def agreed(request: Message, proof: bytes | None = None) -> bytes:
    """Write the answer of a server of HTTP/1.1."""
    key = request.get("sec-websocket-key")
    assert key is not None
    proof = accept(key.encode()) if proof is None else proof
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Protocol: chat\r\nSec-WebSocket-Accept: " + proof + b"\r\n\r\n"
    )


async def joined(rig: Rig, upstream: Upstream) -> tuple[Http2Client, ClientStream, Wire]:
    """Join a client that speaks HTTP/2 with an upstream that does not."""
    client = await http2(rig)
    stream = connect(client, ("sec-websocket-protocol", "chat"))
    link = await upstream.accepted()
    request = await link.head()
    assert request.start == "GET /socket HTTP/1.1"
    assert (request.get("connection"), request.get("upgrade")) == ("Upgrade", "websocket")
    assert request.get("sec-websocket-protocol") == "chat"
    assert request.get("content-length") is request.get("transfer-encoding") is None
    await link.send(agreed(request))
    head = await stream.started()
    assert (head.status, head.get("sec-websocket-protocol")) == (200, "chat")
    assert head.get("sec-websocket-accept") is head.get("upgrade") is head.get("content-length") is None
    return client, stream, link


@on_loop
async def test_a_key_of_the_clients_own_is_none_over_http2() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        stream = connect(await http2(rig), ("sec-websocket-key", KEY))
        link = await upstream.accepted()
        request = await link.head()
        assert [value for value in request.all("sec-websocket-key") if value != KEY] == request.all("sec-websocket-key")
        await link.send(agreed(request))
        assert (await stream.started()).status == 200


@on_loop
async def test_a_client_of_http2_and_an_upstream_of_http1() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client, stream, link = await joined(rig, upstream)
        assert rig.counted("upgrades_open") == 1
        for number in range(1, 20):
            await stream.send(MASKED)
            assert await link.read(len(MASKED)) == MASKED
            await link.send(TEXT)
            assert await stream.received(number * len(TEXT)) == TEXT * number
        # The connection carries requests beside it.
        other = client.request("/beside")
        beside = await upstream.accepted()
        await beside.message()
        await beside.send(ok(b"yes"))
        assert (await other.answer()).body == b"yes"
        await link.send(b"last words")
        link.close()
        await client.until(lambda: stream.over)
        assert stream.body.endswith(b"last words")
        assert stream.complete
        lines = await rig.logged(2)
        line = next(each for each in lines if each["path"] == "/socket")
        assert (line["status_code"], line["protocol"]) == (101, "HTTP/2")
        assert (line["bytes_in"], line["bytes_out"]) == (19 * len(MASKED), 19 * len(TEXT) + 10)
        assert rig.counted("upgrades_open") == 0


@pytest.mark.parametrize("how", ["end", "reset", "connection"])
@on_loop
async def test_a_client_of_http2_takes_its_upstream_along(how: str) -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client, stream, link = await joined(rig, upstream)
        if how == "end":
            await stream.send(b"last words", end=True)
            assert await link.rest() == b"last words"
        elif how == "reset":
            stream.reset()
            assert await link.rest() == b""
        else:
            client.close()
            assert await link.rest() == b""
        assert (await rig.logged())[0]["status_code"] == 101
        assert rig.counted("upgrades_open") == 0


@on_loop
async def test_bytes_that_come_early_wait_for_the_tunnel() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client = await http2(rig)
        stream = connect(client)
        await stream.send(b"early")
        await client.ping()
        link = await upstream.accepted()
        request = await link.head()
        await link.send(agreed(request) + b"at once")
        assert await link.read(5) == b"early"
        assert await stream.received(7) == b"at once"
        await stream.send(b"later", end=True)
        assert await link.rest() == b"later"
        assert (await rig.logged())[0]["bytes_in"] == 10


@on_loop
async def test_an_upstream_that_cannot_prove_that_it_means_it_is_refused() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        stream = connect(await http2(rig))
        link = await upstream.accepted()
        await link.send(agreed(await link.head(), b"bm90aGluZw=="))
        assert (await stream.started()).status == 502
        assert (await rig.logged())[0]["error"] == "upstream_protocol"


@pytest.mark.parametrize(("status", "seen"), [(200, 501), (426, 426), (404, 404)])
@on_loop
async def test_what_is_no_tunnel_is_not_taken_for_one(status: int, seen: int) -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client = await http2(rig)
        stream = connect(client)
        link = await upstream.accepted()
        await link.message()
        await link.send(ok(b"no", status=status))
        head = await stream.started()
        assert head.status == seen
        await client.until(lambda: stream.over)
        assert (await rig.logged())[0]["status_code"] == status


@on_loop
async def test_a_protocol_that_the_route_does_not_allow_makes_no_tunnel() -> None:
    async with Upstream() as upstream, gateway(to(upstream, route={"upgrade": []})) as rig:
        stream = connect(await http2(rig))
        link = await upstream.accepted()
        request = await link.message()
        assert request.get("upgrade") is None
        await link.send(ok(b"plain"))
        assert (await stream.started()).status == 501


# -- upstreams of HTTP/2 -------------------------------------------------------------------------------------------


async def _asked(upstream: Http2Upstream) -> tuple[Link, Asked]:
    link = await upstream.accepted()
    asked = await link.asked()
    assert asked.pseudo[":method"] == "CONNECT"
    assert asked.pseudo[":protocol"] == "websocket"
    assert asked.pseudo[":path"] == "/socket"
    assert asked.get("sec-websocket-key") is asked.get("content-length") is None
    assert not asked.ended
    return link, asked


@on_loop
async def test_a_client_of_http1_and_an_upstream_of_http2() -> None:
    async with Http2Upstream(settings=TUNNELS) as upstream, gateway(to(upstream.url, service=HTTP2)) as rig:
        client = await rig.client()
        ask = ("Connection: Upgrade", "Upgrade: websocket", f"Sec-WebSocket-Key: {KEY}", "Sec-WebSocket-Version: 13")
        await client.send(get("/socket", *ask) + b"early")
        link, asked = await _asked(upstream)
        link.head(asked)
        link.data(asked, b"at once")
        answer = await client.head()
        assert (answer.status, answer.get("upgrade")) == (101, "websocket")
        # RFC 6455 section 1.3.
        assert answer.get("sec-websocket-accept") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        assert await client.read(7) == b"at once"
        await client.send(b"late")
        await eventually(lambda: asked.body == b"earlylate")
        link.data(asked, b"last words", end=True)
        assert await client.rest() == b"last words"
        await eventually(lambda: asked.ended)
        assert (await rig.logged())[0]["status_code"] == 101
        (pool,) = rig.gateway._pools.values()
        assert (pool.calls, pool.open) == (0, 1)


@pytest.mark.parametrize("first", ["client", "upstream", "link"])
@on_loop
async def test_both_of_http2(first: str) -> None:
    async with Http2Upstream(settings=TUNNELS) as upstream, gateway(to(upstream.url, service=HTTP2)) as rig:
        client = await http2(rig)
        stream = connect(client)
        link, asked = await _asked(upstream)
        link.head(asked)
        head = await stream.started()
        assert (head.status, head.get("sec-websocket-accept")) == (200, None)
        await stream.send(b"to and")
        await eventually(lambda: asked.body == b"to and")
        link.data(asked, b"fro")
        assert await stream.received(3) == b"fro"
        if first == "client":
            stream.reset()
            await eventually(lambda: asked.ended or asked.reset is not None)
        elif first == "upstream":
            link.reset(asked, ErrorCodes.CANCEL)
            await client.until(lambda: stream.over)
        else:
            link.cut()
            await client.until(lambda: stream.over)
        await rig.logged()
        (pool,) = rig.gateway._pools.values()
        assert pool.calls == 0
        assert rig.counted("upgrades_open") == 0


@pytest.mark.parametrize("status", [403, 501])
@on_loop
async def test_an_upstream_of_http2_may_refuse(status: int) -> None:
    async with Http2Upstream(settings=TUNNELS) as upstream, gateway(to(upstream.url, service=HTTP2)) as rig:
        stream = connect(await http2(rig))
        link, asked = await _asked(upstream)
        link.answer(asked, b"no", status=status)
        assert (await stream.started()).status == status


@on_loop
async def test_an_upstream_that_announces_no_tunnels_is_not_asked_for_one() -> None:
    async with Http2Upstream() as upstream, gateway(to(upstream.url, service=HTTP2)) as rig:
        stream = connect(await http2(rig))
        assert (await stream.started()).status == 502
        link = await upstream.accepted()
        assert not link.requests
        assert (await rig.logged())[0]["error"] == "upstream_protocol"


@pytest.mark.parametrize("slow", ["client", "upstream"])
@on_loop
async def test_what_one_end_does_not_take_the_other_does_not_send(slow: str) -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client, stream, link = await joined(rig, upstream)
        if slow == "client":
            stream.hold = True
            link.writer.write(bytes(in_between()))
            await client.until(lambda: len(stream.body) == 65535)
            await client.ping()
            assert len(stream.body) == 65535
            assert link.writer.transport.get_write_buffer_size() > 0
            stream.hold = False
            stream.acknowledge()
            await client.until(lambda: len(stream.body) > 1 << 20)
        else:
            link.writer.transport.pause_reading()  # type: ignore[attr-defined]
            sent = 0
            while sent < in_between():
                # Until the window stays closed.
                for _ in range(50):
                    if client.codec.local_flow_control_window(stream.number) > 0:
                        break
                    await asyncio.sleep(0.002)
                room = min(client.codec.local_flow_control_window(stream.number), 16384)
                if not room:
                    break
                await stream.send(bytes(room))
                sent += room
            assert sent < in_between()
            link.writer.transport.resume_reading()  # type: ignore[attr-defined]
            await link.read(sent)
