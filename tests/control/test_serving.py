"""What a client of control's applications can make it hold: each of them over a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

import pytest

from headgate.control import connection
from headgate.control.connection import MOST_SILENT, MOST_WAITING
from headgate.control.serving import serve_app

CEILING = 60.0
MOST = 4
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
ANSWER = b"HTTP/1.1 200 OK"
# More than all buffers on the way hold.
MUCH = 64 * 1024 * 1024


class Client(NamedTuple):
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        with contextlib.suppress(ConnectionError):
            await self.writer.drain()

    async def answered(self) -> bytes:
        """Return the head of an answer."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def rest(self) -> bytes:
        """Return what comes until the other side has closed."""
        found = b""
        with contextlib.suppress(ConnectionError):
            while piece := await self.reader.read(65536):
                found += piece
        return found


class Served:
    """An application that answers `size` bytes, after it has read the whole body and `release` is set."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.clients: list[Client] = []
        self.size = 2
        self.release = asyncio.Event()
        self.release.set()
        self.gone = asyncio.Event()

    async def __call__(
        self, _scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        try:
            while (await receive()).get("more_body"):
                pass
            await self.release.wait()
            headers = [(b"content-length", str(self.size).encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            for _ in range(max(1, self.size // 65536)):
                await send({"type": "http.response.body", "body": b"x" * min(self.size, 65536), "more_body": True})
            await send({"type": "http.response.body", "body": b""})
        finally:
            self.gone.set()

    async def client(self) -> Client:
        self.clients.append(Client(*await asyncio.open_connection("127.0.0.1", self.port)))
        return self.clients[-1]


def run(test: Callable[[Served], Awaitable[None]]) -> None:
    async def all_of_it() -> None:
        async with asyncio.timeout(CEILING), serving() as served:
            await test(served)

    asyncio.run(all_of_it())


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[Served]:
    listening = socket.create_server(("127.0.0.1", 0))
    served = Served(listening.getsockname()[1])
    task = asyncio.create_task(serve_app(served, [listening], MOST))
    # It listens already: who connects now waits for it.
    try:
        yield served
    finally:
        served.release.set()
        for client in served.clients:
            client.writer.transport.abort()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        listening.close()


ENDLESS = {
    "the target": (b"GET /", b"a"),
    "a field": (b"GET / HTTP/1.1\r\nHost: a\r\nX-Y: ", b"a"),
    "many fields": (b"GET / HTTP/1.1\r\nHost: a\r\n", b"X-Y: aaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n"),
    "a trailer": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nX-Y: ", b"a"),
    "trailers": (
        b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n",
        b"X-Y: aaaaaaaa\r\n",
    ),
    "an extension": (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1;x=", b"a"),
}


@pytest.mark.parametrize("what", ENDLESS)
def test_what_stands_around_bodies_has_an_end(what: str) -> None:
    beginning, more = ENDLESS[what]

    async def test(served: Served) -> None:
        client = await served.client()
        await client.send(beginning)
        for _ in range(MUCH // (1 << 20)):
            await client.send(more * ((1 << 20) // len(more)))
            if client.writer.is_closing() or client.reader.at_eof():
                break
        else:
            pytest.fail("all of it was read")
        assert ANSWER not in await client.rest()

    run(test)


def test_a_large_body_is_no_matter() -> None:
    async def test(served: Served) -> None:
        client = await served.client()
        body = b"a" * (40 * MOST_SILENT)
        await client.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(body))
        await client.send(body)
        assert (await client.answered()).startswith(ANSWER)
        assert await client.reader.readexactly(2) == b"xx"
        await client.send(GET)
        assert (await client.answered()).startswith(ANSWER)

    run(test)


@pytest.mark.parametrize(
    "begun", [b"", b"\r\n", b"GET /", b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nab"], ids=repr
)
def test_who_does_not_ask_is_let_go(begun: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.05)

    async def test(served: Served) -> None:
        client = await served.client()
        await client.send(begun)
        assert await client.rest() == b""

    run(test)


def test_blank_lines_keep_no_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.05)

    async def test(served: Served) -> None:
        client = await served.client()
        await client.send(GET)
        await client.answered()
        await client.send(b"\r\n")
        assert await client.rest() == b"xx"

    run(test)


def test_whoever_waits_for_an_answer_is_not_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "PATIENCE", 0.05)

    async def test(served: Served) -> None:
        served.release.clear()
        asking, idle = await served.client(), await served.client()
        await asking.send(GET)
        # So long that this one has gone twice.
        await idle.rest()
        await (await served.client()).rest()
        served.release.set()
        assert (await asking.answered()).startswith(ANSWER)

    run(test)


def test_who_takes_no_answer_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "STALLED", 0.05)

    async def test(served: Served) -> None:
        served.size = MUCH
        client = await served.client()
        await client.send(GET)
        await served.gone.wait()

    run(test)


def test_requests_do_not_pile_up_behind_one() -> None:
    async def test(served: Served) -> None:
        served.release.clear()
        client = await served.client()
        await client.send(GET * (MOST_WAITING + 2))
        assert (await client.rest()).startswith(b"HTTP/1.1 400 ")
        served.release.set()
        client = await served.client()
        await client.send(GET * MOST_WAITING)
        for _ in range(MOST_WAITING):
            assert (await client.answered()).startswith(ANSWER)
            await client.reader.readexactly(2)

    run(test)


@pytest.mark.parametrize("asked", [b"", GET], ids=["never asked", "has its answer"])
def test_nobody_keeps_others_out_by_asking_nothing(asked: bytes) -> None:
    async def test(served: Served) -> None:
        crowd = [await served.client() for _ in range(MOST)]
        for each in crowd:
            await each.send(asked)
            if asked:
                await each.answered()
        for _ in range(2 * MOST):
            client = await served.client()
            await client.send(GET)
            assert (await client.answered()).startswith(ANSWER)
        for each in crowd:
            assert await each.rest() == (b"xx" if asked else b"")

    run(test)


def test_who_is_being_answered_keeps_his_place() -> None:
    async def test(served: Served) -> None:
        served.release.clear()
        busy = [await served.client() for _ in range(MOST)]
        for each in busy:
            await each.send(GET)
        # It finds no place, for all the others are asking; when it has gone, they were all known.
        assert await (await served.client()).rest() == b""
        served.release.set()
        for each in busy:
            assert (await each.answered()).startswith(ANSWER)

    run(test)
