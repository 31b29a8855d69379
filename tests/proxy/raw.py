"""A client that sends bytes as they are and reads answers strictly, for tests of what is hostile.

def test_something() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            assert (await client.ask(b"GET /x HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n")).status == 200
    attack(scenario)
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from socket import SO_LINGER, SOL_SOCKET
from typing import Any

from tests.proxy.peers import CEILING, eventually
from tests.proxy.recorder import Recorder
from tests.proxy.stage import ADDRESS, Rig, gateway, on_loop, to
from tests.proxy.strict import Incomplete, Message, read_response


class Client:
    """A raw connection to the gateway."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.raw = b""
        self.reset = False

    async def send(self, data: bytes, sizes: Iterable[int] = ()) -> None:
        """Send bytes: first pieces of these sizes, each read before the next is sent, then the rest."""
        try:
            for size in sizes:
                self.writer.write(data[:size])
                data = data[size:]
                # The loop is shared with the gateway: after two turns it has read what was written.
                await self.writer.drain()
                await asyncio.sleep(0)
                await asyncio.sleep(0)
            self.writer.write(data)
            await self.writer.drain()
        except ConnectionError:
            self.reset = True

    async def drip(self, data: bytes) -> None:
        """Send byte by byte."""
        await self.send(data, [1] * len(data))

    async def response(self, method: str = "GET") -> Message:
        """Read one answer (1xx included) to a `method` request, strictly."""
        closed = False
        async with asyncio.timeout(CEILING):
            while True:
                try:
                    message, size = read_response(self.raw, method, closed)
                except Incomplete:
                    if closed:
                        raise AssertionError(f"closed within an answer: {self.raw!r}, reset: {self.reset}") from None
                    closed = not await self.more()
                    continue
                self.raw = self.raw[size:]
                return message

    async def ask(self, data: bytes, method: str = "GET") -> Message:
        """Send a request and read its answer."""
        await self.send(data)
        return await self.response(method)

    async def rest(self) -> bytes:
        """Read until the gateway closes."""
        async with asyncio.timeout(CEILING):
            while await self.more():
                pass
        rest, self.raw = self.raw, b""
        return rest

    async def responses(self, method: str = "GET") -> list[Message]:
        """Read answers until the gateway closes; what is behind the last one must be nothing."""
        data = await self.rest()
        found: list[Message] = []
        while data:
            message, size = read_response(data, method, True)
            found.append(message)
            data = data[size:]
        return found

    async def more(self) -> bool:
        """Read some bytes; False at the end."""
        try:
            data = await self.reader.read(65536)
        except ConnectionError:
            self.reset = True
            return False
        self.raw += data
        return bool(data)

    def abort(self) -> None:
        """Leave with a reset."""
        sock = self.writer.get_extra_info("socket")
        if sock is not None:
            sock.setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@asynccontextmanager
async def connected(rig: Rig, source: str | None = None) -> AsyncIterator[Client]:
    """Connect, from the loopback address `source` if given."""
    local = (source, 0) if source is not None else None
    client = Client(*await asyncio.open_connection("127.0.0.1", rig.port(ADDRESS), local_addr=local))
    try:
        yield client
    finally:
        client.writer.transport.abort()


def attack(scenario: Callable[[Rig, Recorder], Awaitable[None]], upstream: Recorder | None = None, **more: Any) -> None:
    """Run `scenario` against a gateway with one route to `upstream`.

    `service` and `route` add to those two; everything else is configuration of the top level.
    """

    async def body() -> None:
        recorder = await (upstream or Recorder()).start()
        try:
            async with gateway(to(recorder.url, **more)) as rig:
                await scenario(rig, recorder)
                await eventually(lambda: rig.gateway.in_flight == 0)
        finally:
            await recorder.stop()

    on_loop(body)()
