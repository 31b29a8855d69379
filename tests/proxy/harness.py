"""The real gateway in this process between a client and upstreams that a test plays by hand.

    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        await client.send(get("/x"))
        link = await upstream.accepted()
        request = await link.message()
        await link.send(ok(b"hello"))
        assert (await client.answer()).body == b"hello"

Laws: nothing sleeps to let time pass; every wait is for an event and has a ceiling. Leaving `gateway` proves that the
books are even: nothing in flight, no client connection counted as open, no deadline left filed, nobody's task failed.
"""

from __future__ import annotations

import asyncio
import functools
import json
import os
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, ParamSpec, Self

import uvloop

from headgate.config.loader import Layer, load
from headgate.config.resolve import ResolvedConfig
from headgate.proxy.gateway import Gateway
from headgate.telemetry.access_log import JsonLines
from headgate.telemetry.cells import SlotRegion, SlotWriter, read

CEILING = 20.0
ADDRESS = "127.0.0.1:8080"
P = ParamSpec("P")


def on_loop(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Run an async test on uvloop; a task that failed unseen fails the test."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        loop = uvloop.new_event_loop()
        faults: list[dict[str, Any]] = []
        loop.set_exception_handler(lambda _, context: faults.append(context))
        try:
            loop.run_until_complete(asyncio.wait_for(test(*args, **kwargs), CEILING * 2))
            loop.run_until_complete(_end_tasks())
        finally:
            loop.close()
        assert not faults, faults

    return run


async def _end_tasks() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.sleep(0)


async def within(work: Awaitable[Any]) -> Any:
    """Await an event that must come."""
    return await asyncio.wait_for(work, CEILING)


async def eventually(is_so: Callable[[], bool]) -> None:
    """Wait until something is so."""
    try:
        async with asyncio.timeout(CEILING):
            while not is_so():
                await asyncio.sleep(0.002)
    except TimeoutError:
        raise AssertionError("it never came to be so") from None


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

    def __init__(self, play: Callable[[Wire], Awaitable[None]] | None = None, unix: str = "") -> None:
        self.unix = unix
        self.links: list[Wire] = []
        self._play = play
        self._new: asyncio.Queue[Wire] = asyncio.Queue()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        if self.unix:
            self._server = await asyncio.start_unix_server(self._connected, self.unix)
        else:
            self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0, limit=1 << 20)
        return self

    async def __aexit__(self, *_: object) -> None:
        self.stop()
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
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def accepted(self) -> Wire:
        """Wait for the next connection."""
        link: Wire = await within(self._new.get())
        return link

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        link = Wire(reader, writer)
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


def free_port() -> int:
    """Return a port that refuses connections."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


# -- the gateway ---------------------------------------------------------------------------------------------------


def to(*upstreams: Upstream | str, route: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Write a configuration: one service `api` of these upstreams with one route `all`.

    `route` and `service` add to these two; everything else stands at the top level.
    """
    urls = [each if isinstance(each, str) else each.url for each in upstreams]
    routes = [{"name": "all", "match": {"path": "/"}, **(route or {})}]
    service = {"name": "api", "endpoints": urls, "routes": routes, **more.pop("service", {})}
    return {"services": [service], **more}


def resolved(document: dict[str, Any]) -> ResolvedConfig:
    """Load a configuration as the command line does; the access log is off unless the document says otherwise."""
    base = {"listen": [ADDRESS], "telemetry": {"access_log": {"enabled": False}}}
    result = load([], environ={}, layers=[Layer("test", json.dumps(base | document))])
    assert result.config is not None, "\n".join(str(problem) for problem in result.problems)
    return result.config


class Rig:
    """A gateway at work."""

    def __init__(self) -> None:
        self.region = SlotRegion.create(1 << 18, 1 << 14)
        self.gateway = Gateway(asyncio.get_running_loop(), SlotWriter(self.region), 0)
        self.log: list[dict[str, Any]] = []
        self.sockets: dict[str, list[socket.socket]] = {}
        self._lines = JsonLines()
        written = self.gateway.log

        def log(exchange: Any) -> None:
            self.log.append(json.loads(self._lines.line(exchange)))
            written(exchange)

        self.gateway.log = log

    def apply(self, document: dict[str, Any]) -> None:
        """Take a configuration; the next ones reload."""
        config = resolved(document)
        given = {listen.address: self.sockets.get(listen.address) or [_bound()] for listen in config.listeners}
        self.gateway.apply(config, given)
        self.sockets = given

    def port(self, address: str = ADDRESS) -> int:
        """Return the port that stands for a configured address."""
        port: int = self.sockets[address][0].getsockname()[1]
        return port

    async def client(self, address: str = ADDRESS) -> Wire:
        """Connect."""
        return Wire(*await within(asyncio.open_connection("127.0.0.1", self.port(address), limit=1 << 20)))

    async def ask(self, request: bytes, method: str = "GET") -> Message:
        """Send one request on a connection of its own and return the answer."""
        client = await self.client()
        await client.send(request)
        answer = await client.answer(method)
        client.close()
        return answer

    async def logged(self, count: int = 1) -> list[dict[str, Any]]:
        """Wait for so many lines of the access log, and see that there are no more."""
        await eventually(lambda: len(self.log) >= count)
        assert len(self.log) == count, self.log
        return self.log

    def counted(self, family: str, **labels: str) -> int:
        """Sum the series of a counter or gauge whose label values include all of these, in any place."""
        wanted = set(labels.values())
        return sum(
            each.values[0]
            for each in read([self.region])
            if each.name.family == f"headgate_{family}" and wanted <= set(each.name.labels)
        )


def _bound() -> socket.socket:
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("127.0.0.1", 0))
    sock.listen(128)
    sock.setblocking(False)
    return sock


@asynccontextmanager
async def gateway(document: dict[str, Any]) -> AsyncIterator[Rig]:
    """Run a gateway; at the end everything must be even."""
    rig = Rig()
    try:
        rig.apply(document)
        rig.gateway.set_ready(True)
        await asyncio.sleep(0)
        yield rig
        rig.gateway.begin_drain()
        await rig.gateway.stop_accepting()
        rig.gateway.abort()
        await eventually(lambda: rig.gateway.in_flight == 0)
        await eventually(lambda: rig.counted("connections_open") == 0)
        assert rig.counted("requests_in_flight") == 0
        assert rig.counted("requests_total") == len(rig.log)
    finally:
        rig.gateway.abort()
        for sockets in rig.sockets.values():
            for each in sockets:
                each.close()


def open_files() -> int:
    """Count this process's open file descriptors."""
    return len(os.listdir("/proc/self/fd"))
