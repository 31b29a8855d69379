"""Peers of the gateway that a test plays by hand: clients and upstreams, byte by byte."""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from tests.ports import free_port as free_port

CEILING = 60.0


async def within(work: Awaitable[Any]) -> Any:
    """Await an event that must come."""
    return await asyncio.wait_for(work, CEILING)


async def eventually(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = asyncio.get_running_loop().time() + CEILING
    while not is_so():
        assert asyncio.get_running_loop().time() < end, "it never came to be so"
        await asyncio.sleep(0.002)


# -- messages ------------------------------------------------------------------------------------------------------


@dataclass
class Message:
    """One message as it was read from a socket; names of fields in lower case."""

    start: str
    fields: list[tuple[str, str]]
    body: bytes = b""
    trailers: list[tuple[str, str]] = field(default_factory=list)
    interim: list[Message] = field(default_factory=list)

    @property
    def status(self) -> int:
        """The status of an answer."""
        return int(self.start.split(" ", 2)[1])

    @property
    def method(self) -> str:
        """The method of a request."""
        return self.start.split(" ", 1)[0]

    @property
    def target(self) -> str:
        """The target of a request."""
        return self.start.split(" ")[1]

    def all(self, name: str) -> list[str]:
        """Return the values of all fields of this name."""
        return [value for key, value in self.fields if key == name]

    def get(self, name: str) -> str | None:
        """Return the value of the only field of this name, or None."""
        values = self.all(name)
        assert len(values) < 2, f"{name} is repeated: {values}"
        return values[0] if values else None

    def json(self) -> Any:
        """Return the body as JSON."""
        return json.loads(self.body)


class Cut(AssertionError):
    """A message ended before its end."""


class Wire:
    """One end of a connection, read and written by hand."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, *data: bytes) -> None:
        """Write, and wait until the socket took it."""
        if self.writer.is_closing():
            raise Cut("before writing")
        for each in data:
            self.writer.write(each)
        await within(self.writer.drain())

    async def head(self) -> Message:
        """Read one head."""
        try:
            raw: bytes = await within(self.reader.readuntil(b"\r\n\r\n"))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise Cut(f"in a head: {getattr(error, 'partial', b'')!r}") from None
        start, *lines = raw[:-4].decode("latin-1").split("\r\n")
        pairs = [line.split(":", 1) for line in lines]
        return Message(start, [(name.lower(), value.strip()) for name, value in pairs])

    async def message(self) -> Message:
        """Read a request with its body."""
        message = await self.head()
        await self._body(message, until_close=False)
        return message

    async def answer(self, method: str = "GET") -> Message:
        """Read an answer with its body, interim ones before it."""
        interim: list[Message] = []
        while (message := await self.head()).status < 200 and message.status != 101:
            interim.append(message)
        message.interim = interim
        if method != "HEAD" and message.status not in (101, 204, 304):
            await self._body(message, until_close=True)
        return message

    async def _body(self, message: Message, until_close: bool) -> None:
        length = message.get("content-length")
        if message.get("transfer-encoding") == "chunked":
            assert length is None, "two framings"
            while data := await self.chunk():
                message.body += data
            message.trailers = await self._trailers()
        elif length is not None:
            message.body = await self.read(int(length))
        elif until_close:
            message.body = await within(self.reader.read())

    async def chunk(self) -> bytes:
        """Read one chunk; behind the last one, which is empty, the trailers are still to be read."""
        size = int((await self._until(b"\r\n")).split(b";")[0], 16)
        return (await self.read(size + 2))[:-2] if size else b""

    async def _trailers(self) -> list[tuple[str, str]]:
        found: list[tuple[str, str]] = []
        while line := (await self._until(b"\r\n"))[:-2].decode():
            name, value = line.split(":", 1)
            found.append((name.lower(), value.strip()))
        return found

    async def _until(self, end: bytes) -> bytes:
        try:
            line: bytes = await within(self.reader.readuntil(end))
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Cut("in a body") from None
        return line

    async def read(self, size: int) -> bytes:
        """Read so many bytes."""
        try:
            data: bytes = await within(self.reader.readexactly(size))
        except (asyncio.IncompleteReadError, ConnectionError):
            raise Cut("in a body") from None
        return data

    async def rest(self) -> bytes:
        """Read until the other side closes, or cuts."""
        found = b""
        with suppress(ConnectionError):
            while piece := await within(self.reader.read(65536)):
                found += piece
        return found

    def close(self) -> None:
        """Close."""
        self.writer.close()

    def cut(self) -> None:
        """Close with a reset."""
        sock = self.writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


def get(target: str = "/", *lines: str, method: str = "GET", version: str = "1.1", body: bytes = b"") -> bytes:
    """Write a request; `lines` are further fields."""
    if body:
        lines = (*lines, f"Content-Length: {len(body)}")
    head = [f"{method} {target} HTTP/{version}", "Host: example.test", *lines, "", ""]
    return "\r\n".join(head).encode() + body


def ok(body: bytes = b"", *lines: str, status: int = 200) -> bytes:
    """Write an answer with a length."""
    head = [f"HTTP/1.1 {status} Fine", f"Content-Length: {len(body)}", *lines, "", ""]
    return "\r\n".join(head).encode() + body


# -- upstreams -----------------------------------------------------------------------------------------------------


class Upstream:
    """A server: each connection is played by hand, or by `play`."""

    def __init__(
        self,
        play: Callable[[Wire], Awaitable[None]] | None = None,
        unix: str = "",
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self.unix = unix
        self.tls = tls
        self.links: list[Wire] = []
        self._play = play
        self._new: asyncio.Queue[Wire] = asyncio.Queue()
        self._server: asyncio.Server | None = None
        self._over = False

    async def __aenter__(self) -> Self:
        if self.unix:
            self._server = await asyncio.start_unix_server(self._connected, self.unix)
        else:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=1 << 20, ssl=self.tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()
        self._over = True
        for link in self.links:
            link.writer.transport.abort()

    def stop(self) -> None:
        """Accept no more."""
        if self._server is not None:
            self._server.close()

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None
        if self.unix:
            return f"unix:{self.unix}"
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        """The TCP port it listens on."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return port

    async def accepted(self) -> Wire:
        """Wait for the next connection."""
        link: Wire = await within(self._new.get())
        return link

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Wire(reader, writer)
        if self._over:
            # Accepted in the last moment.
            writer.transport.abort()
            return
        self.links.append(link)
        self._new.put_nowait(link)
        if self._play is not None:
            with suppress(Cut, ConnectionError):
                await self._play(link)


def answering(
    answer: Callable[[Message], bytes], seen: list[Message] | None = None
) -> Callable[[Wire], Awaitable[None]]:
    """Make the play of an upstream that answers every request at once."""

    async def play(link: Wire) -> None:
        while True:
            request = await link.message()
            if seen is not None:
                seen.append(request)
            await link.send(answer(request))

    return play


def in_between() -> int:
    """Return how many bytes may be on their way over two connections: what kernels hold, which they grow, and we."""
    held = [int(Path(f"/proc/sys/net/ipv4/{name}").read_text().split()[2]) for name in ("tcp_rmem", "tcp_wmem")]
    return 2 * sum(held) + (8 << 20)
