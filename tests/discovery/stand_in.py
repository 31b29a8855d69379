"""Stand-ins for registries on loopback, which answer byte for byte as a test says, and for whoever takes endpoints."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from headgate.core.endpoint import Endpoint
from headgate.discovery.source import Given, Source


class Asked(NamedTuple):
    """A question: names of `fields` in lower case."""

    method: str
    path: str
    query: dict[str, str]
    fields: dict[str, str]
    body: Any


class Reply:
    """How a stand-in answers one question."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.is_cut = False

    def raw(self, data: bytes) -> None:
        """Write bytes as they are."""
        self._writer.write(data)

    def json(self, value: Any, status: int = 200, fields: Mapping[str, object] | None = None) -> None:
        """Answer with JSON, or with the bytes that are no JSON."""
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        lines = "".join(f"{name}: {field}\r\n" for name, field in (fields or {}).items())
        head = f"HTTP/1.1 {status} Word\r\nContent-Length: {len(body)}\r\n{lines}\r\n"
        self._writer.write(head.encode() + body)

    def begin(self) -> None:
        """Begin an answer of pieces."""
        self._writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")

    def piece(self, data: bytes) -> None:
        """Write one."""
        self._writer.write(b"%x\r\n%s\r\n" % (len(data), data))

    async def line(self, value: Any) -> None:
        """Write a JSON line, and let it go."""
        self.piece(json.dumps(value).encode() + b"\n")
        await self._writer.drain()

    def end(self) -> None:
        """End an answer of pieces as it should."""
        self._writer.write(b"0\r\n\r\n")

    async def cut(self) -> None:
        """Let go what was written, then close the connection."""
        with suppress(ConnectionError):
            await self._writer.drain()
        self.is_cut = True


Answer = Callable[[Asked, Reply], Awaitable[None]]


class StandIn:
    """A server whose answers are made by `answer`, with `tls` over TLS."""

    def __init__(self, answer: Answer, tls: ssl.SSLContext | None = None) -> None:
        self.answer = answer
        self._tls = tls
        self.asked: list[Asked] = []
        self.faults: list[BaseException] = []
        self.port = 0
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.StreamWriter, asyncio.Task[Any]] = {}
        self._news = asyncio.Event()

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self._tls)
        self.port = self._server.sockets[0].getsockname()[1]

    async def until_asked(self, count: int) -> Asked:
        """Wait for so many questions; return the last of them."""
        while len(self.asked) < count:
            self._news.clear()
            await self._news.wait()
        return self.asked[count - 1]

    async def stop(self) -> None:
        """Close the port and all connections."""
        assert self._server is not None
        self._server.close()
        for writer, task in list(self._open.items()):
            writer.transport.abort()
            task.cancel()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[writer] = task
        try:
            while True:
                asked = await _question(reader)
                self.asked.append(asked)
                self._news.set()
                reply = Reply(writer)
                await self.answer(asked, reply)
                if reply.is_cut:
                    return
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            return
        except BaseException as fault:
            self.faults.append(fault)
        finally:
            del self._open[writer]
            writer.close()


async def _question(reader: asyncio.StreamReader) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    first, *rest = head.split("\r\n")
    method, target, _ = first.split(" ")
    fields = dict(line.split(": ", 1) for line in rest if line)
    fields = {name.lower(): value for name, value in fields.items()}
    body = await reader.readexactly(int(fields.get("content-length", 0)))
    parts = urlsplit(target)
    return Asked(method, unquote(parts.path), dict(parse_qsl(parts.query)), fields, json.loads(body) if body else None)


class Heard:
    """Takes what a source says."""

    def __init__(self) -> None:
        self.sets: list[tuple[Endpoint, ...]] = []
        self.failures: list[str] = []
        self._news = asyncio.Event()

    def take(self, endpoints: tuple[Endpoint, ...]) -> None:
        self.sets.append(endpoints)
        self._news.set()

    def failed(self, why: str) -> None:
        self.failures.append(why)
        self._news.set()

    @property
    def names(self) -> list[str] | None:
        """The names in the newest set."""
        return [each.name for each in self.sets[-1]] if self.sets else None

    async def until(self, is_so: Callable[[], object]) -> None:
        """Wait for news until it is so; the test's own bound in time holds."""
        while not is_so():
            self._news.clear()
            await self._news.wait()

    async def until_names(self, *names: str) -> None:
        """Wait for a set of these."""
        await self.until(lambda: self.names == list(names))

    async def until_failed(self, words: str) -> None:
        """Wait for a sentence with these words."""
        await self.until(lambda: any(words in each for each in self.failures))


def given(service: str = "chat", environ: dict[str, str] | None = None, chance: float = 0.0) -> Given:
    """What a source is given where nothing registers."""
    return Given(service, environ or {}, lambda _: (), lambda _: lambda: None, lambda: chance)


@asynccontextmanager
async def running(source: Source) -> AsyncIterator[Heard]:
    """Run a source; a fault in it fails the test."""
    heard = Heard()
    task = asyncio.get_running_loop().create_task(source.run(heard))
    task.add_done_callback(lambda _: heard._news.set())
    try:
        yield heard
        assert not task.done(), task.exception()
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


@asynccontextmanager
async def serving(answer: Answer, tls: ssl.SSLContext | None = None) -> AsyncIterator[StandIn]:
    """Serve until the end of the block; a fault of the stand-in fails the test."""
    server = StandIn(answer, tls)
    await server.start()
    try:
        yield server
        assert server.faults == []
    finally:
        await server.stop()
