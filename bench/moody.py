"""Servers of the soak that others believe, and should not always: they are slow, talk nonsense, cut, and are away.

A Moody answers each question with its own message, over HTTP; a NameServer answers SRV questions, over UDP. `mode` is
what they do in place of that.
"""

from __future__ import annotations

import asyncio
import os
from abc import ABC, abstractmethod
from contextlib import suppress
from typing import cast

import dns.message
import dns.rcode
import dns.rrset

MODES = ("away", "silent", "dripping", "garbage", "html", "empty", "half", "endless", "failing", "cut")


class Moody(ABC):
    """A server over HTTP; "" is well."""

    def __init__(self) -> None:
        self.mode = ""
        self.port = 0
        self.asked = 0
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()

    @abstractmethod
    async def message(self, target: str) -> bytes:
        """Return the whole answer to a question for this target."""

    @abstractmethod
    def empty(self) -> bytes:
        """Return an answer that is well formed, knows nothing, and may not be believed."""

    @property
    def url(self) -> str:
        """Return where it is."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen, on the port it had before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Be away."""
        if self._server is not None:
            self._server.close()
            self._drop()
            await self._server.wait_closed()
            self._server = None

    async def turn(self, mode: str) -> None:
        """Behave like this from now on."""
        self.mode = mode
        if mode == "away":
            await self.close()
        elif self._server is None:
            await self.start()
        else:
            # Who waits for news is to notice, too.
            self._drop()

    def _drop(self) -> None:
        for writer in list(self._open):
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        # RuntimeError is what uvloop says of a transport that was closed.
        with suppress(OSError, EOFError, RuntimeError):
            head = await reader.readuntil(b"\r\n\r\n")
            self.asked += 1
            await self._answer(writer, head.split(b" ")[1].decode())
        writer.close()
        self._open.discard(writer)

    async def _answer(self, writer: asyncio.StreamWriter, target: str) -> None:
        if self.mode == "silent":
            await asyncio.sleep(60)
        whole = await self.message(target)
        match self.mode:
            case "dripping":
                for byte in whole:
                    writer.write(bytes((byte,)))
                    await asyncio.sleep(0.2)
            case "garbage":
                writer.write(os.urandom(2000))
            case "html":
                writer.write(http_message(b"<html>Please log in</html>"))
            case "empty":
                writer.write(self.empty())
            case "half":
                writer.write(whole[: -len(whole) // 3])
            case "endless":
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n{")
                while True:
                    writer.write(b" " * 65536)
                    await writer.drain()
            case "failing":
                writer.write(http_message(b"{}", 500))
            case "cut":
                writer.transport.abort()
                return
            case _:
                writer.write(whole)
        await writer.drain()


def http_message(body: bytes, status: int = 200, more: str = "") -> bytes:
    """Return an answer with a JSON body and further header lines, after which the connection ends."""
    head = f"HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n{more}"
    return f"{head}Connection: close\r\n\r\n".encode() + body


class NameServer(asyncio.DatagramProtocol):
    """Says of any name that these `endpoints` (ADDRESS:PORT) serve it."""

    def __init__(self) -> None:
        self.mode = ""
        self.port = 0
        self.endpoints: list[str] = []
        self._transport: asyncio.DatagramTransport | None = None

    async def start(self) -> None:
        """Listen, on the port it had before."""
        loop = asyncio.get_running_loop()
        await loop.create_datagram_endpoint(lambda: self, ("127.0.0.1", self.port))

    async def close(self) -> None:
        """Be away."""
        if self._transport is not None:
            self._transport.close()
            self._transport = None

    async def turn(self, mode: str) -> None:
        """Behave like this from now on."""
        self.mode = mode
        if mode == "away":
            await self.close()
        elif self._transport is None:
            await self.start()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast and no check: the transports of uvloop are no subclasses of asyncio's.
        self._transport = cast(asyncio.DatagramTransport, transport)
        self.port = self._transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        if self._transport is None or self.mode in ("silent", "dripping", "endless", "cut"):
            return
        self._transport.sendto(self._answer(data), addr)

    def _answer(self, data: bytes) -> bytes:
        query = dns.message.from_wire(data)
        answer = dns.message.make_response(query)
        match self.mode:
            case "garbage" | "html":
                return data[:2] + os.urandom(40)
            case "half":
                return answer.to_wire()[:-8]
            case "failing":
                answer.set_rcode(dns.rcode.SERVFAIL)
            case "empty":
                answer.set_rcode(dns.rcode.NXDOMAIN)
            case _:
                parts = [each.split(":") for each in self.endpoints]
                records = [f"1 1 {port} {host}." for host, port in parts]
                answer.answer.append(dns.rrset.from_text_list(query.question[0].name, 1, "IN", "SRV", records))
        return answer.to_wire()
