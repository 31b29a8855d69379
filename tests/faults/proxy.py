"""A TCP proxy that does harm on purpose, between a client and the gateway or between the gateway and an upstream.

    def script(number: int) -> Fault:            # the fate of the n-th connection, counted from 0
        return Fault(down=Lane(after=20, then="reset"))

    async with FaultProxy(upstream.port, script) as proxy:
        ...  # the gateway is told proxy.url

Laws: bytes are passed on as they are, in order, and never changed; what happens is decided by the script and by the
number of bytes alone, so a test that runs twice sees the same. When one side ends, the other is ended likewise.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Literal, Self

Way = Literal["up", "down"]
_READ = 65536


@dataclass(frozen=True, slots=True)
class Lane:
    """One direction. `after` bytes pass (None: all); the next one is swallowed, and `then` happens to the connection.

    reset: RST to both sides; close: FIN to both; stall: this direction stands still, the connection stays.
    Until then each read is cut into pieces of at most `piece` bytes (0: as they come), one in a turn of the loop;
    each waits `delay` seconds, and so long that no more than `rate` bytes pass in a second (0: no bound).
    """

    after: int | None = None
    then: Literal["reset", "close", "stall"] = "reset"
    piece: int = 0
    delay: float = 0.0
    rate: int = 0


@dataclass(frozen=True, slots=True)
class Fault:
    """The fate of one connection: what happens when it is accepted, and in each direction (`up`: to the target)."""

    accept: Literal["pass", "reset", "hang"] = "pass"
    up: Lane = field(default_factory=Lane)
    down: Lane = field(default_factory=Lane)


UNHARMED = Fault()


class Passage:
    """One connection through the proxy. `passed` counts the bytes of each direction; `ended` is set when it is over."""

    __slots__ = ("_writers", "ended", "number", "passed")

    def __init__(self, number: int, near: asyncio.StreamWriter) -> None:
        self.number = number
        self.passed: dict[Way, int] = {"up": 0, "down": 0}
        self.ended = asyncio.Event()
        self._writers = [near]

    def add(self, far: asyncio.StreamWriter) -> None:
        """Take the connection to the target, too."""
        self._writers.append(far)

    def reset(self) -> None:
        """End both sides with RST."""
        for writer in self._writers:
            sock = writer.get_extra_info("socket")
            if sock is not None and not writer.is_closing():
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    def close(self) -> None:
        """End both sides with FIN, behind what was passed on."""
        for writer in self._writers:
            writer.close()


class FaultProxy:
    """The proxy, before port `target` of this machine; on a free port unless one is given."""

    def __init__(
        self,
        target: int,
        script: Callable[[int], Fault] | Fault = UNHARMED,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.script: Callable[[int], Fault] = script if callable(script) else lambda _: script
        self.passages: list[Passage] = []
        self.host = host
        self.port = port
        self._target = target
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._open = asyncio.Event()
        self._open.set()

    async def __aenter__(self) -> Self:
        await self.listen()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.refuse()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://{self.host}:{self.port}"

    async def listen(self) -> None:
        """Take connections; on the port it had before, if it had one."""
        self._server = await asyncio.start_server(self._accepted, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    def refuse(self) -> None:
        """Take no more connections: whoever connects is refused. Those that are there stay."""
        if self._server is not None:
            self._server.close()
            self._server = None

    def hold(self) -> None:
        """Let no byte pass, either way, on any connection."""
        self._open.clear()

    def let_go(self) -> None:
        """Pass on what was held."""
        self._open.set()

    def reset_all(self) -> None:
        """End every connection with RST."""
        for passage in self.passages:
            passage.reset()

    def close_all(self) -> None:
        """End every connection with FIN."""
        for passage in self.passages:
            passage.close()

    @property
    def alive(self) -> int:
        """How many connections are not over."""
        return sum(not passage.ended.is_set() for passage in self.passages)

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        passage = Passage(len(self.passages), writer)
        self.passages.append(passage)
        fault = self.script(passage.number)
        try:
            if fault.accept == "reset":
                passage.reset()
            elif fault.accept == "hang":
                # Read, so that its end is noticed.
                while await reader.read(_READ):
                    pass
            else:
                await self._pass(passage, fault, reader, writer)
        except OSError:
            passage.reset()
        finally:
            passage.close()
            passage.ended.set()

    async def _pass(
        self, passage: Passage, fault: Fault, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
        passage.add(far_writer)

        async def up() -> None:
            await self._carry(passage, "up", fault.up, reader, far_writer)

        async def down() -> None:
            await self._carry(passage, "down", fault.down, far_reader, writer)

        await asyncio.gather(up(), down())

    async def _carry(
        self,
        passage: Passage,
        way: Way,
        lane: Lane,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
    ) -> None:
        """Carry the bytes of one direction to their end, or to the harm that is done to them."""
        left = lane.after
        while data := await self._read(passage, source):
            harmed = left is not None and len(data) > left
            for piece in _pieces(data if left is None else data[:left], lane.piece):
                await self._linger(lane, len(piece))
                sink.write(piece)
                passage.passed[way] += len(piece)
                with suppress(ConnectionError):
                    await sink.drain()
            if harmed:
                await self._harm(passage, lane, source)
                return
            if left is not None:
                left -= len(data)
        passage.close()

    async def _read(self, passage: Passage, source: asyncio.StreamReader) -> bytes:
        try:
            data = await source.read(_READ)
        except ConnectionError:
            # A reset is passed on as one.
            passage.reset()
            return b""
        await self._open.wait()
        return data

    async def _linger(self, lane: Lane, size: int) -> None:
        """Wait as long as the lane asks for before each piece; at least one turn of the loop between two."""
        wait = lane.delay + (size / lane.rate if lane.rate else 0.0)
        if wait or lane.piece:
            await asyncio.sleep(wait)

    async def _harm(self, passage: Passage, lane: Lane, source: asyncio.StreamReader) -> None:
        if lane.then == "reset":
            passage.reset()
        elif lane.then == "close":
            passage.close()
        else:
            # Read on, so that the end of this side is noticed, and pass nothing.
            while await self._read(passage, source):
                pass
            passage.close()


def _pieces(data: bytes, size: int) -> list[bytes]:
    if not data:
        return []
    return [data[at : at + size] for at in range(0, len(data), size)] if size else [data]
