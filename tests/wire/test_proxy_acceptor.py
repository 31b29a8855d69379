"""Accepting behind a PROXY header on loopback: with and without TLS, in pieces, and for those who may not."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import cast

import pytest
import uvloop

from headgate.wire.forwarded import TrustPolicy
from headgate.wire.proxy_acceptor import ProxyAcceptor, ProxyRules
from headgate.wire.proxy_protocol import MAX_HEADER
from headgate.wire.timers import TimerWheel
from tests.wire.certificates import Authority

HEADER = b"PROXY TCP4 203.0.113.9 192.0.2.1 4711 443\r\n"
LOOPBACK = TrustPolicy(["127.0.0.0/8"])
FAR_FUTURE = 10.0**12


class Echo(asyncio.Protocol):
    """Answers with the client's address, then with whatever comes."""

    def __init__(self, client: tuple[str, int], transports: list[asyncio.Transport]) -> None:
        self.client = client
        self.transports = transports

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transports.append(self.transport)
        self.transport.write(f"{self.client[0]} {self.client[1]}\n".encode())

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Rig:
    """An acceptor on a port of its own, and clients of it."""

    def __init__(self, rules: ProxyRules) -> None:
        self.sock = socket.create_server(("127.0.0.1", 0))
        self.wheel = TimerWheel()
        self.writers: list[asyncio.StreamWriter] = []
        self.transports: list[asyncio.Transport] = []
        self.acceptor = ProxyAcceptor(
            asyncio.get_running_loop(), self.sock, lambda client: Echo(client, self.transports), rules, self.wheel
        )

    async def client(self, first: bytes = b"") -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        reader, writer = await asyncio.open_connection(*self.sock.getsockname())
        self.writers.append(writer)
        writer.write(first)
        return reader, writer

    async def until(self, true: Callable[[], bool]) -> None:
        async with asyncio.timeout(60):
            while not true():  # noqa: ASYNC110 - the acceptor tells nobody of its books
                await asyncio.sleep(0)

    async def close(self) -> None:
        self.acceptor.close()
        await self.acceptor.wait_closed()
        self.sock.close()
        for transport in self.transports:
            transport.abort()
        for writer in self.writers:
            writer.transport.abort()
        # A transport gives its socket back a turn after it was aborted.
        for _ in range(3):
            await asyncio.sleep(0)


def play(scene: Callable[[Rig], Awaitable[None]], rules: ProxyRules) -> None:
    async def main() -> None:
        rig = Rig(rules)
        try:
            async with asyncio.timeout(60):
                await scene(rig)
        finally:
            await rig.close()

    uvloop.run(main())


def test_header_is_taken_off_and_nothing_more() -> None:
    async def scene(rig: Rig) -> None:
        reader, _ = await rig.client(HEADER + b"hello")
        assert await reader.readline() == b"203.0.113.9 4711\n"
        assert await reader.readexactly(5) == b"hello"
        assert len(rig.wheel) == 0

    play(scene, ProxyRules(LOOPBACK))


def test_header_in_single_bytes() -> None:
    async def scene(rig: Rig) -> None:
        reader, writer = await rig.client()
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(HEADER)):
            writer.write(HEADER[at : at + 1])
            await writer.drain()
            await asyncio.sleep(0)
        writer.write(b"x")
        assert await reader.readline() == b"203.0.113.9 4711\n"
        assert await reader.readexactly(1) == b"x"

    play(scene, ProxyRules(LOOPBACK))


def test_local_header_leaves_the_sockets_address() -> None:
    async def scene(rig: Rig) -> None:
        reader, writer = await rig.client(b"PROXY UNKNOWN\r\n")
        host, port = writer.get_extra_info("sockname")
        assert await reader.readline() == f"{host} {port}\n".encode()

    play(scene, ProxyRules(LOOPBACK))


def test_tls_behind_the_header(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("gate.test")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)

    async def scene(rig: Rig) -> None:
        reader, writer = await rig.client(HEADER)
        await writer.start_tls(authority.client_context(), server_hostname="gate.test")
        assert await reader.readline() == b"203.0.113.9 4711\n"
        writer.write(b"secret")
        assert await reader.readexactly(6) == b"secret"

    play(scene, ProxyRules(LOOPBACK, tls=lambda: server))


def test_failed_handshake_is_counted_and_closed(tmp_path: Path) -> None:
    cert, key = Authority(tmp_path).issue("gate.test")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(cert, key)

    async def scene(rig: Rig) -> None:
        reader, _ = await rig.client(HEADER + b"GET / HTTP/1.1\r\n\r\n")
        await reader.read()
        await rig.until(lambda: rig.acceptor.refused["handshake"] == 1)

    play(scene, ProxyRules(LOOPBACK, tls=lambda: server))


@pytest.mark.parametrize("first", [b"GET / HTTP/1.1\r\n\r\n", b"PROXY TCP4 a b 1 2\r\n", b"\r\n\r\n\x00\r\nQUIT\n\x41"])
def test_bad_header_is_closed_without_a_word(first: bytes) -> None:
    async def scene(rig: Rig) -> None:
        reader, _ = await rig.client(first)
        assert await _rest(reader) == b""
        assert rig.acceptor.refused["bad_header"] == 1
        assert len(rig.wheel) == 0

    play(scene, ProxyRules(LOOPBACK))


def test_others_may_not_send_it() -> None:
    async def scene(rig: Rig) -> None:
        reader, _ = await rig.client(HEADER)
        assert await _rest(reader) == b""
        assert rig.acceptor.refused["untrusted"] == 1

    play(scene, ProxyRules(TrustPolicy(["10.0.0.0/8"])))


def test_header_that_does_not_come_in_time() -> None:
    async def scene(rig: Rig) -> None:
        reader, _ = await rig.client(b"PROXY TCP4")
        await rig.until(lambda: len(rig.wheel) == 1)
        rig.wheel.advance(FAR_FUTURE)
        assert await _rest(reader) == b""
        assert rig.acceptor.refused["timeout"] == 1

    play(scene, ProxyRules(LOOPBACK))


def test_client_that_leaves_first() -> None:
    async def scene(rig: Rig) -> None:
        _, writer = await rig.client(b"PROXY TCP4")
        writer.close()
        await rig.until(lambda: rig.acceptor.refused["closed"] == 1)
        assert len(rig.wheel) == 0

    play(scene, ProxyRules(LOOPBACK))


def test_waiting_sockets_are_bounded_and_accepting_goes_on() -> None:
    async def scene(rig: Rig) -> None:
        for _ in range(2):
            await rig.client(b"PROXY")
        await rig.until(lambda: len(rig.wheel) == 2)
        late, _ = await rig.client(HEADER)
        for _ in range(20):
            await asyncio.sleep(0)
        assert len(rig.wheel) == 2
        rig.wheel.advance(FAR_FUTURE)
        assert await late.readline() == b"203.0.113.9 4711\n"

    play(scene, ProxyRules(LOOPBACK, max_pending=2))


def test_closing_drops_the_waiting_and_leaves_the_opened() -> None:
    async def scene(rig: Rig) -> None:
        reader, writer = await rig.client(HEADER)
        assert await reader.readline() == b"203.0.113.9 4711\n"
        waiting, _ = await rig.client(b"PROXY")
        await rig.until(lambda: len(rig.wheel) == 1)
        rig.acceptor.close()
        assert await _rest(waiting) == b""
        assert len(rig.wheel) == 0
        writer.write(b"still here")
        assert await reader.readexactly(10) == b"still here"

    play(scene, ProxyRules(LOOPBACK))


def test_longest_header() -> None:
    async def scene(rig: Rig) -> None:
        body = b"\x00" * (MAX_HEADER - 16)
        head = b"\r\n\r\n\x00\r\nQUIT\n\x21\x00" + len(body).to_bytes(2, "big")
        reader, _ = await rig.client(head + body + b"x")
        assert (await reader.readline()).startswith(b"127.0.0.1 ")
        assert await reader.readexactly(1) == b"x"

    play(scene, ProxyRules(LOOPBACK))


async def _rest(reader: asyncio.StreamReader) -> bytes:
    """Read to the end; what we left unread may make the kernel end it with a reset."""
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""
