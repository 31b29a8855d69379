"""What is said of each kind of dependency, well or not, and that none is waited for longer than it may take."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from headgate.config.admin_settings import Dependency
from headgate.control.dependencies import look
from tests.wire.certificates import Authority

Play = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def server(play: Play, secured: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """Serve on a free port until the end."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await play(reader, writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    listening = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=secured)
    try:
        yield listening.sockets[0].getsockname()[1]
    finally:
        listening.close()


def says(answer: bytes, seen: list[bytes] | None = None, until: bytes = b"\r\n\r\n") -> Play:
    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await reader.readuntil(until)
        if seen is not None:
            seen.append(asked)
        writer.write(answer)
        await writer.drain()

    return play


def redis(password: str = "", ping: bytes = b"+PONG\r\n", seen: list[list[bytes]] | None = None) -> Play:
    """Speak as much of RESP2 as a check needs; with a password only who shows it may ask."""

    async def play(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        known = not password
        while True:
            count = int((await reader.readuntil(b"\r\n"))[1:])
            words = []
            for _ in range(count):
                size = int((await reader.readuntil(b"\r\n"))[1:])
                words.append((await reader.readexactly(size + 2))[:-2])
            if seen is not None:
                seen.append(words)
            if words[0] == b"AUTH":
                known = words[-1] == password.encode()
                writer.write(b"+OK\r\n" if known else b"-WRONGPASS invalid username-password pair\r\n")
            else:
                writer.write(ping if known else b"-NOAUTH Authentication required.\r\n")

    return play


def ask(url: str, timeout: float = 60.0) -> Dependency:
    return Dependency(name="it", url=url, timeout=timeout)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", ""),
        (b"HTTP/1.0 204 No Content\r\n\r\n", ""),
        (b"HTTP/1.1 503 No\r\n\r\n", "status 503"),
        (b"HTTP/1.1 302 Elsewhere\r\nLocation: http://evil\r\n\r\n", "status 302"),
        (b"SSH-2.0-OpenSSH\r\n", "an answer that is no HTTP"),
        (b"HTTP/1.1 two OK\r\n", "an answer that is no HTTP"),
    ],
)
def test_a_server_is_well_when_it_answers_2xx(answer: bytes, said: str) -> None:
    async def run() -> None:
        seen: list[bytes] = []
        async with server(says(answer, seen)) as port:
            assert await look(ask(f"http://user:secret@127.0.0.1:{port}/healthz?x=1")) == said
        assert seen[0].startswith(b"GET /healthz?x=1 HTTP/1.1\r\n")
        assert f"Host: 127.0.0.1:{port}\r\n".encode() in seen[0]
        assert b"secret" not in seen[0]

    asyncio.run(run())


def test_a_port_is_well_when_it_is_connected_to() -> None:
    async def run() -> None:
        async def nothing(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await reader.read()

        async with server(nothing) as port:
            assert await look(ask(f"tcp://127.0.0.1:{port}")) == ""
        assert await look(ask("tcp://127.0.0.1:1")) == "connection refused"
        assert await look(ask("http://127.0.0.1:1")) == "connection refused"

    asyncio.run(run())


@pytest.mark.parametrize(
    ("url", "play", "said"),
    [
        ("redis://127.0.0.1:{}", redis(), ""),
        ("redis://:pass%21@127.0.0.1:{}/2", redis("pass!"), ""),
        ("redis://ada:right@127.0.0.1:{}", redis("right"), ""),
        ("redis://:wrong@127.0.0.1:{}", redis("right"), "it does not take the password"),
        ("redis://127.0.0.1:{}", redis("right"), "it answers NOAUTH"),
        ("redis://127.0.0.1:{}", redis(ping=b"-LOADING Redis is loading\r\n"), "it answers LOADING"),
        ("redis://127.0.0.1:{}", redis(ping=b"HTTP/1.1 400 Bad\r\n"), "no Redis answer"),
        ("redis://127.0.0.1:{}", redis(ping=b"-" + b"X" * 100 + b"\r\n"), "no Redis answer"),
    ],
)
def test_redis_is_well_when_it_answers_a_ping(url: str, play: Play, said: str) -> None:
    async def run() -> None:
        async with server(play) as port:
            assert await look(ask(url.format(port))) == said

    asyncio.run(run())


def test_who_we_are_is_told_as_it_was_written() -> None:
    async def run() -> None:
        seen: list[list[bytes]] = []
        async with server(redis("s p", seen=seen)) as port:
            assert await look(ask(f"redis://ada:s%20p@127.0.0.1:{port}")) == ""
        assert seen == [[b"AUTH", b"ada", b"s p"], [b"PING"]]

    asyncio.run(run())


@pytest.mark.parametrize("scheme", ["http", "redis", "https", "rediss"])
def test_what_does_not_answer_is_given_up(scheme: str) -> None:
    async def run() -> None:
        async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
            await reader.read()

        async with server(silent) as port:
            assert await look(ask(f"{scheme}://127.0.0.1:{port}", timeout=0.05)) == "no answer within 0.05 s"

    asyncio.run(run())


def test_what_never_ends_is_given_up_and_what_closes_is_away() -> None:
    async def run() -> None:
        async with server(says(b"x" * 200_000)) as port:
            assert await look(ask(f"http://127.0.0.1:{port}")) != ""
        async with server(says(b"")) as port:
            assert await look(ask(f"http://127.0.0.1:{port}")) != ""

    asyncio.run(run())


@pytest.mark.parametrize("scheme", ["https", "rediss"])
def test_a_certificate_that_nobody_vouches_for_is_none(scheme: str, tmp_path: Path) -> None:
    async def run() -> None:
        secured = Authority(tmp_path).server_context("127.0.0.1")
        async with server(redis(), secured) as port:
            assert await look(ask(f"{scheme}://127.0.0.1:{port}")) == "no trusted connection"

    asyncio.run(run())
