"""A name server on loopback, over UDP and TCP at one port, that answers as a test says."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import dns.flags
import dns.message
import dns.rcode
import dns.rrset

from tests.ports import free_port

# What a question without EDNS may be answered with (RFC 1035 section 4.2.1).
_LONGEST_UDP = 512


class NameServer:
    """Records by type, each as text; `rcode`, `silent` and `garbage` are its bad days, by type ("" = all)."""

    def __init__(self) -> None:
        self.records: dict[str, list[str]] = {}
        self.ttl = 300
        self.rcode: dict[str, dns.rcode.Rcode] = {}
        self.silent: set[str] = set()
        self.garbage = False
        self.asked: list[tuple[str, str, str]] = []
        self.port = 0
        self._news = asyncio.Event()
        self._tcp: asyncio.Server | None = None
        self._udp: asyncio.DatagramTransport | None = None

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    async def until_asked(self, count: int) -> None:
        while len(self.asked) < count:
            self._news.clear()
            await self._news.wait()

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        udp: Any
        # One for both: a port that the kernel chose for the one may be somebody's over the other.
        self.port = free_port()
        udp, _ = await loop.create_datagram_endpoint(
            lambda: _Datagrams(self._datagram), local_addr=("127.0.0.1", self.port)
        )
        self._udp = udp
        self._tcp = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    def close(self) -> None:
        assert self._tcp is not None
        assert self._udp is not None
        self._tcp.close()
        self._udp.close()

    def answer(self, wire: bytes, way: str) -> bytes | None:
        query = dns.message.from_wire(wire)
        (question,) = query.question
        kind = question.rdtype.name
        self.asked.append((question.name.to_text(), kind, way))
        self._news.set()
        if {"", kind} & self.silent:
            return None
        if self.garbage:
            return wire[:2] + b"\xff" * 20
        response = dns.message.make_response(query)
        code = self.rcode.get(kind, self.rcode.get("", dns.rcode.NOERROR))
        response.set_rcode(code)
        if code == dns.rcode.NOERROR and self.records.get(kind):
            response.answer.append(dns.rrset.from_text_list(question.name, self.ttl, "IN", kind, self.records[kind]))
        whole = response.to_wire()
        if way == "udp" and len(whole) > _LONGEST_UDP:
            response.answer.clear()
            response.flags |= dns.flags.TC
            return response.to_wire()
        return whole

    def _datagram(self, wire: bytes, sender: Any) -> None:
        answered = self.answer(wire, "udp")
        if answered is not None and self._udp is not None:
            self._udp.sendto(answered, sender)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            (length,) = struct.unpack("!H", await reader.readexactly(2))
            answered = self.answer(await reader.readexactly(length), "tcp")
            if answered is not None:
                writer.write(struct.pack("!H", len(answered)) + answered)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()


class _Datagrams(asyncio.DatagramProtocol):
    def __init__(self, received: Callable[[bytes, Any], None]) -> None:
        self._received = received

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self._received(data, addr)


@asynccontextmanager
async def name_server(**records: list[str]) -> AsyncIterator[NameServer]:
    """Serve these records until the end of the block."""
    server = NameServer()
    server.records = dict(records)
    await server.start()
    try:
        yield server
    finally:
        server.close()
