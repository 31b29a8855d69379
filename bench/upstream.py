"""The upstream of the soak and of the fault table: answers with what it got, and misbehaves on request.

What it does is asked for in the query, so that one port serves every check: `delay=S` waits before the answer,
`stall=S` stops reading the body for a while, `size=N` makes the answer longer, `pieces=N` streams it in N chunks 5 ms
apart, `close=before` and `close=middle` drop the connection, `work=S` takes one of the server's places for so long
(who finds none waits for one), `name=TEXT` makes it an answer of that name and of no single request. The answer is
JSON: the id the client sent in X-Soak-Id, who asks by X-Soak-Caller, the bytes and the CRC-32 of the body received, the
name of this server, and padding that is this request's own.

Run as a process by the bench: `python -m bench.upstream PORT`.
"""

from __future__ import annotations

import asyncio
import sys
import zlib
from collections import Counter
from typing import cast
from urllib.parse import parse_qsl

import httptools
import uvloop

from bench.stage import free_port

_PIECE_SECONDS = 0.005


def padding(name: str, size: int) -> str:
    """Return `size` characters that belong to this request: its id, again and again."""
    return (name * (size // max(1, len(name)) + 1))[:size] if name else "x" * size


def written(name: str, received: int, crc: int, server: str, caller: str, size: int) -> bytes:
    """Write the body of an answer."""
    said = f'{{"id":"{name}","received":{received},"crc":{crc},"server":"{server}","caller":"{caller}"'
    return f'{said},"size":{size},"pad":"{padding(name, size)}"}}'.encode()


class Upstream:
    """A server in this process.

    `places` is how many requests with `work` it does at once; `keep_alive` the seconds after which it closes a
    connection without a request, 0 for never. `seen` counts how often the head of each request has come, by its id;
    `first` is how many had come when the first was answered; `expired` the connections that were closed idle. It
    listens at so many `addresses`, from 127.0.0.1 on.
    """

    def __init__(self, name: str = "one", places: int = 1000, keep_alive: float = 0.0, addresses: int = 1) -> None:
        self.name = name
        self._hosts = [f"127.0.0.{number}" for number in range(1, addresses + 1)]
        self.places = asyncio.Semaphore(places)
        self.keep_alive = keep_alive
        self.expired = self.first = 0
        self.seen: Counter[str] = Counter()
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: set[_Connection] = set()

    async def start(self, port: int = 0) -> None:
        """Listen on a port of all its addresses: the one it had before, when it was closed in between."""
        loop = asyncio.get_running_loop()
        self.port = port or self.port or free_port()
        self._server = await loop.create_server(
            lambda: _Connection(self, self._open), self._hosts, self.port, backlog=4096
        )

    def endpoints(self) -> list[str]:
        """Return HOST:PORT of each address."""
        return [f"{host}:{self.port}" for host in self._hosts]

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        if self._server:
            self._server.close()
        for connection in list(self._open):
            connection.drop()
        if self._server:
            await self._server.wait_closed()
            self._server = None


class _Connection(asyncio.Protocol):
    __slots__ = (
        "_caller",
        "_crc",
        "_expiry",
        "_id",
        "_open",
        "_parser",
        "_query",
        "_received",
        "_server",
        "_task",
        "_transport",
    )

    def __init__(self, server: Upstream, open_now: set[_Connection]) -> None:
        self._server = server
        self._open = open_now
        self._expiry: asyncio.TimerHandle | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._task: asyncio.Task[None] | None = None
        self._query: dict[str, str] = {}
        self._id = self._caller = ""
        self._received = 0
        self._crc = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast and no check: the transports of uvloop are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._open.add(self)
        self._wait()

    def connection_lost(self, _error: Exception | None) -> None:
        self._open.discard(self)
        self._stop_waiting()
        if self._task:
            self._task.cancel()

    def drop(self) -> None:
        self._transport.abort()

    def _wait(self) -> None:
        if self._server.keep_alive:
            self._expiry = asyncio.get_running_loop().call_later(self._server.keep_alive, self._expire)

    def _stop_waiting(self) -> None:
        if self._expiry:
            self._expiry.cancel()

    def _expire(self) -> None:
        self._server.expired += 1
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._stop_waiting()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._transport.abort()

    # The parser calls these, in this order for each request.

    def on_url(self, url: bytes) -> None:
        self._query = dict(parse_qsl(url.decode("latin-1").partition("?")[2])) if b"?" in url else {}
        self._id = self._caller = ""
        self._received = self._crc = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"x-soak-id":
            self._id = value.decode()
            self._server.seen[self._id] += 1
        elif name.lower() == b"x-soak-caller":
            self._caller = f"{self._caller},{value.decode()}" if self._caller else value.decode()

    def on_headers_complete(self) -> None:
        if stall := self._query.get("stall"):
            self._transport.pause_reading()
            asyncio.get_running_loop().call_later(float(stall), self._transport.resume_reading)

    def on_body(self, body: bytes) -> None:
        self._received += len(body)
        self._crc = zlib.crc32(body, self._crc)

    def on_message_complete(self) -> None:
        slow = self._query.keys() & {"delay", "pieces", "close", "work"}
        if slow:
            self._task = asyncio.get_running_loop().create_task(self._answer_slowly(dict(self._query), self._body()))
        else:
            self._answer(self._body())
            self._wait()

    def _answer(self, body: bytes) -> None:
        self._server.first = self._server.first or self._server.seen.total()
        self._transport.write(self._head(f"Content-Length: {len(body)}") + body)

    def _body(self) -> bytes:
        size = int(self._query.get("size", 50))
        return written(self._name(), self._received, self._crc, self._server.name, self._caller, size)

    def _name(self) -> str:
        return self._query.get("name", self._id)

    def _head(self, framing: str) -> bytes:
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Soak-Id: {self._name()}\r\n{framing}\r\n\r\n"
        return head.encode()

    async def _answer_slowly(self, query: dict[str, str], body: bytes) -> None:
        await asyncio.sleep(float(query.get("delay", 0)))
        if "work" in query:
            async with self._server.places:
                await asyncio.sleep(float(query["work"]))
        if query.get("close") == "before":
            self._transport.abort()
        elif query.get("close") == "middle":
            self._transport.write(self._head(f"Content-Length: {len(body)}") + body[: len(body) // 2])
            self._transport.close()
        elif "pieces" in query:
            await self._stream(body, int(query["pieces"]))
        else:
            self._answer(body)

    async def _stream(self, body: bytes, pieces: int) -> None:
        self._transport.write(self._head("Transfer-Encoding: chunked"))
        step = -(-len(body) // pieces)
        for first in range(0, len(body), step):
            piece = body[first : first + step]
            self._transport.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
            await asyncio.sleep(_PIECE_SECONDS)
        self._transport.write(b"0\r\n\r\n")


async def _serve(port: int) -> None:
    await Upstream().start(port)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
