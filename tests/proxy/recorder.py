"""An upstream that writes down every byte it is sent, reads it strictly, and answers as it is told."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import cast

from tests.proxy.strict import Incomplete, Message, read_request

Script = Callable[["Seen", Message], "bytes | Awaitable[bytes | None] | None"]

OK = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nok"


class Seen(asyncio.Protocol):
    """One connection to the recorder: `raw` is all that came, `requests` what it was, read strictly."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.raw = b""
        self.at = 0
        self.requests: list[Message] = []
        self.malformed: AssertionError | None = None
        self.transport: asyncio.Transport
        self.closed = asyncio.get_running_loop().create_future()
        self.changed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.recorder.connections.append(self)
        self.recorder.changed.set()

    def data_received(self, data: bytes) -> None:
        self.raw += data
        self.changed.set()
        self.recorder.changed.set()
        if self.recorder.early is not None:
            early, self.recorder.early = self.recorder.early, None
            self.transport.write(early)
        while self.malformed is None and self.at < len(self.raw) and self.raw.endswith(self.recorder.ends):
            try:
                request, size = read_request(self.raw[self.at :])
            except Incomplete:
                return
            except AssertionError as error:
                self.malformed = error
                return
            self.at += size
            self.requests.append(request)
            self._answer(request)

    def _answer(self, request: Message) -> None:
        answer = self.recorder.script(self, request)
        if isinstance(answer, bytes):
            self.send(answer)
        elif answer is not None:
            self.recorder.tasks.append(asyncio.ensure_future(self._later(answer)))

    async def _later(self, answer: Awaitable[bytes | None]) -> None:
        data = await answer
        if data is not None:
            self.send(data)

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        if not self.transport.is_closing():
            self.transport.write(data)

    def close(self) -> None:
        """Close behind what was sent."""
        self.transport.close()

    def reset(self) -> None:
        """Close with a reset."""
        sock = self.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.closed.done():
            self.closed.set_result(None)
        self.changed.set()
        self.recorder.changed.set()


class Recorder:
    """The upstream. `script(connection, request)` returns what to answer to each request, None for nothing.

    `early` is sent once, as soon as the first bytes arrive; `ends`: nothing is read before these
    bytes have come last, since reading begins anew with every piece.
    """

    def __init__(self, script: Script | bytes = OK, *, ends: bytes = b"", early: bytes | None = None) -> None:
        self.script: Script = (lambda _seen, _request: script) if isinstance(script, bytes) else script
        self.ends = ends
        self.early = early
        self.connections: list[Seen] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.changed = asyncio.Event()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self) -> Recorder:
        """Listen on a port of the system's choice."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Seen(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def raw(self) -> bytes:
        """All bytes of all connections."""
        return b"".join(seen.raw for seen in self.connections)

    @property
    def requests(self) -> list[Message]:
        """All requests, read strictly; bytes that were no request are an error."""
        for seen in self.connections:
            if seen.malformed is not None:
                raise seen.malformed
        return [request for seen in self.connections for request in seen.requests]

    async def until(self, condition: Callable[[], bool], ceiling: float = 10.0) -> None:
        """Wait until something that happened here makes `condition` true."""
        async with asyncio.timeout(ceiling):
            while not condition():
                self.changed.clear()
                await self.changed.wait()

    async def stop(self) -> None:
        """Close everything."""
        if self._server is not None:
            self._server.close()
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        for seen in self.connections:
            seen.transport.abort()
        for seen in self.connections:
            await seen.closed
