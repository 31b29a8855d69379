"""The sample services of `headgate demo`: a JSON service, a stream of events, and a WebSocket echo, twice each.

One small process. It listens on free ports of 127.0.0.1 and prints them as one line of JSON. Then a line may come on
its standard input: an address to wait for and a text to print when it is ready. It ends when its standard input
does, so it never outlives the demo, however that ends. For trying things out only: it reads HTTP the simple way,
behind a gateway that sends it nothing else.

As `python -m headgate.cli.samples NAME HOST:PORT` it is the JSON service alone, called NAME, until it is told to end:
so there is one in a container, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple

from headgate.cli.echo import echo
from headgate.core.address import parse_listen

EVENT_EVERY = 0.3
_POLL = 0.05
_WORDS = ("Each", "of", "these", "words", "was", "passed", "on", "when", "it", "came.")
_LARGEST_BODY = 1 << 20


class Request(NamedTuple):
    """A request as a sample reads it; names of fields are in lower case."""

    method: str
    path: str
    fields: dict[str, str]
    body: bytes


Answer = Callable[[str, Request, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def main(words: Sequence[str] = ()) -> None:
    """Serve all until standard input ends; given a name and HOST:PORT, one until SIGTERM or SIGINT."""
    asyncio.run(_serve_one(words[0], words[1]) if words else _serve())


async def _serve_one(name: str, address: str) -> None:
    host, port, _ = parse_listen(address)
    server = await asyncio.start_server(partial(_connection, name, _json), host or None, port)
    over = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, over.set)
    await over.wait()
    server.close()


async def _serve() -> None:
    servers = {}
    for name, answer in (("json", _json), ("events", _events), ("socket", _socket)):
        for number in (1, 2):
            handler = partial(_connection, f"{name}-{number}", answer)
            servers[f"{name}-{number}"] = await asyncio.start_server(handler, "127.0.0.1", 0)
    print(json.dumps({name: server.sockets[0].getsockname()[1] for name, server in servers.items()}), flush=True)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin.buffer)
    line = await reader.readline()
    announcing = asyncio.create_task(_announce(**json.loads(line))) if line else None
    await reader.read()
    if announcing is not None:
        announcing.cancel()
    for server in servers.values():
        server.close()


async def _announce(host: str, port: int, text: str) -> None:
    """Print `text` to the terminal as soon as the gateway is ready."""
    # There is nobody to send an event: the gateway is another process, asked like any service.
    while not await _is_ready(host, port):  # noqa: ASYNC110
        await asyncio.sleep(_POLL)
    print(text, file=sys.stderr, flush=True)


async def _is_ready(host: str, port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection(host, port)
    except OSError:
        return False
    try:
        writer.write(b"GET /ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        return (await reader.readline()).split(b" ")[1:2] == [b"200"]
    except OSError:
        return False
    finally:
        writer.close()


async def _connection(name: str, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while (request := await _read(reader)) is not None:
            await answer(name, request, reader, writer)
            await writer.drain()
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError):
        # The gateway closed the connection, or said something beyond a sample's understanding.
        pass
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def _read(reader: asyncio.StreamReader) -> Request | None:
    """Read one request; None when the client has closed the connection."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    start, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, path, _ = start.split(" ")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    return Request(method, path, fields, await _read_body(reader, fields))


async def _read_body(reader: asyncio.StreamReader, fields: dict[str, str]) -> bytes:
    """Read a body, of which the first MiB is kept."""
    if fields.get("transfer-encoding", "").lower() == "chunked":
        body = b""
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            body += (await reader.readexactly(size + 2))[:-2]
        while await reader.readuntil(b"\r\n") != b"\r\n":
            pass
        return body[:_LARGEST_BODY]
    left = int(fields.get("content-length", "0"))
    body = await reader.readexactly(min(left, _LARGEST_BODY))
    left -= len(body)
    while left:
        piece = await reader.read(min(left, 65536))
        if not piece:
            raise asyncio.IncompleteReadError(b"", left)
        left -= len(piece)
    return body


# -- what they answer ---------------------------------------------------------------------------------------------


async def _json(name: str, request: Request, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Say what arrived here, and who is speaking."""
    seen = {
        "service": name,
        "method": request.method,
        "path": request.path,
        "request_id": request.fields.get("x-request-id"),
        "headers": request.fields,
    }
    if request.body:
        seen["body"] = request.body.decode("utf-8", "replace")
    body = json.dumps(seen, indent=2).encode() + b"\n"
    head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)
    writer.write(head if request.method == "HEAD" else head + body)


async def _events(name: str, request: Request, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Stream words one by one as server-sent events, as a language model streams its answer."""
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n"
    )
    if request.method == "HEAD":
        return
    for number, word in enumerate(_WORDS):
        data = json.dumps({"service": name, "word": word})
        event = f"id: {number}\ndata: {data}\n\n".encode()
        writer.write(b"%x\r\n%b\r\n" % (len(event), event))
        await writer.drain()
        await asyncio.sleep(EVENT_EVERY)
    writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")


async def _socket(name: str, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Switch to WebSocket and send every message back."""
    if request.fields.get("upgrade", "").lower() != "websocket":
        body = b"this path speaks WebSocket only\n"
        writer.write(
            b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nContent-Length: %d\r\n\r\n" % len(body) + body
        )
        return
    await echo(name, request.fields.get("sec-websocket-key", ""), reader, writer)
    raise ConnectionResetError


if __name__ == "__main__":
    main(sys.argv[1:])
