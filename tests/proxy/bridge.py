"""From HTTP/1 to HTTP/2 inside a test: what a test writes as HTTP/1 reaches the gateway as HTTP/2, and back.

So every test of the engine that plays a client by hand says the same of both versions: `Rig.client` connects through a
bridge where the suite runs for HTTP/2 (tests/proxy/conftest.py).

    test -- HTTP/1 over a socket pair -- Bridge -- HTTP/2 -- gateway

Laws: nothing is made better on the way. A stream that is reset is a cut to the test, an end of the connection its end;
a client that leaves leaves at once; both directions hold back whoever sends too much. Requests behind each other become
streams beside each other; their answers come back in order.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any, cast

import httptools

from tests.proxy.http2_client import ClientStream, Http2Client, connect
from tests.proxy.peers import Cut, Wire

_HOP_BY_HOP = ("connection", "keep-alive", "transfer-encoding", "upgrade", "proxy-connection", "http2-settings", "te")
# Of HTTP/1 alone (RFC 8441 section 5).
_KEYS = ("sec-websocket-key",)
_MOST_HELD = 65536
_ROOM = 1 << 24


class Bridge(asyncio.Protocol):
    """The test's side of one connection."""

    def __init__(self, client: Http2Client, scheme: str) -> None:
        self.client = client
        self._scheme = scheme
        self._transport: asyncio.Transport | None = None
        self._parser: Any = httptools.HttpRequestParser(self)
        self._target = b""
        self._pairs: list[tuple[str, str]] = []
        self._stream: ClientStream | None = None
        self._tunnel: ClientStream | None = None
        self._sending: asyncio.Queue[tuple[ClientStream, bytes | None, tuple[tuple[str, str], ...]]] = asyncio.Queue()
        self._held = 0
        self._answers: asyncio.Queue[tuple[ClientStream, bool, bool]] = asyncio.Queue()
        self._room = asyncio.Event()
        self._room.set()
        self._tasks: list[asyncio.Task[None]] = []

    # -- the test's socket -----------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)
        self._tasks = [asyncio.create_task(work()) for work in (self._send, self._answer, self._follow)]

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave, as the test did."""
        self.client.abort()
        self._room.set()
        for task in self._tasks:
            task.cancel()

    def data_received(self, data: bytes) -> None:
        """Take what the test wrote."""
        if self._tunnel is not None:
            self._sending.put_nowait((self._tunnel, data, ()))
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            rest = data[upgrade.args[0] :]
            # Whoever is asked for a protocol it does not know goes on with HTTP.
            self._parser = httptools.HttpRequestParser(self)
            if rest:
                self.data_received(rest)

    def pause_writing(self) -> None:
        """Learn that the test does not read."""
        self._room.clear()

    def resume_writing(self) -> None:
        """Learn that it reads again."""
        self._room.set()

    # -- its requests ----------------------------------------------------------------------------------------------

    def on_url(self, url: bytes) -> None:
        """Collect the target."""
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a field."""
        self._pairs.append((name.decode("latin-1").lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        """Send the head on a stream of its own."""
        method = self._parser.get_method().decode()
        pairs, self._pairs = self._pairs, []
        authority = next((value for name, value in pairs if name == "host"), "")
        said = dict(pairs)
        switching = said.get("upgrade") == "websocket"
        fields = [pair for pair in pairs if pair[0] not in (*_HOP_BY_HOP, "host", *(_KEYS if switching else ()))]
        pseudo = [(":method", "CONNECT" if switching else method), (":scheme", self._scheme), (":authority", authority)]
        if switching:
            # RFC 8441 section 5.
            pseudo.append((":protocol", "websocket"))
        pseudo.append((":path", self._target.decode("latin-1")))
        self._target = b""
        bodiless = not switching and said.get("content-length", "0") == "0" and "transfer-encoding" not in said
        stream = self.client.fields(pseudo + fields, end=bodiless)
        stream.hold = True
        self._stream = None if bodiless or switching else stream
        self._tunnel = stream if switching else None
        self._answers.put_nowait((stream, method == "HEAD", said.get("connection") == "close"))

    def on_body(self, data: bytes) -> None:
        """Send a piece of a body."""
        if self._stream is not None:
            self._held += len(data)
            if self._held > _MOST_HELD and self._transport is not None:
                self._transport.pause_reading()
            self._sending.put_nowait((self._stream, data, ()))

    def on_message_complete(self) -> None:
        """End a body; what was collected behind its head are trailers."""
        if self._stream is not None:
            self._sending.put_nowait((self._stream, None, tuple(self._pairs)))
        self._pairs = []
        self._stream = None

    async def _send(self) -> None:
        while True:
            stream, data, trailers = await self._sending.get()
            try:
                if data is None:
                    await stream.send(end=True, trailers=trailers)
                else:
                    await stream.send(data)
            except Cut:
                # Its answer tells.
                pass
            self._held -= len(data or b"")
            if self._held <= _MOST_HELD and self._transport is not None:
                self._transport.resume_reading()

    # -- the gateway's answers -------------------------------------------------------------------------------------

    async def _answer(self) -> None:
        """Write answers in the order of their requests, each as it comes."""
        while True:
            stream, to_head, last = await self._answers.get()
            try:
                await self._pass(stream, to_head)
            except (Cut, AssertionError, TimeoutError):
                self._cut()
            self._answers.task_done()
            if last and self._transport is not None:
                self._transport.close()

    async def _pass(self, stream: ClientStream, to_head: bool) -> None:
        client = self.client
        while stream.head is None:
            await client.until(lambda: bool(stream.head or stream.over or stream.interim))
            interims, stream.interim = stream.interim, []
            for interim in interims:
                self._head(interim.status, interim.fields, "")
            if stream.head is None and stream.over:
                raise Cut("no head")
        head = stream.head
        if stream is self._tunnel:
            if head.status == 200:
                self._head(101, head.fields, "connection: Upgrade\r\nupgrade: websocket\r\n")
                await self._pour(stream, framed=True)
                raise Cut("the tunnel is closed")
            self._tunnel = None
        bodiless = to_head or head.status in (204, 304)
        framed = bodiless or head.get("content-length") is not None
        self._head(head.status, head.fields, "" if framed else "transfer-encoding: chunked\r\n")
        passed = await self._pour(stream, framed)
        length = head.get("content-length")
        if not bodiless and length is not None and passed != int(length):
            raise Cut("shorter than it says")
        if not framed:
            lines = "".join(f"{name}: {value}\r\n" for name, value in stream.trailers)
            self._write(f"0\r\n{lines}\r\n".encode("latin-1"))

    async def _pour(self, stream: ClientStream, framed: bool) -> int:
        """Write a body as it comes; return its size."""
        passed = 0
        while True:
            await self.client.until(lambda: stream.over or len(stream.body) > 0)
            piece, stream.body = stream.body, b""
            if piece:
                passed += len(piece)
                self._write(piece if framed else b"%x\r\n%b\r\n" % (len(piece), piece))
                await self._room.wait()
                if not self.client.lost:
                    stream.acknowledge()
            elif stream.complete:
                return passed
            elif stream.over:
                raise Cut("in a body")

    def _head(self, status: int, fields: list[tuple[str, str]], framing: str) -> None:
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields)
        self._write(f"HTTP/1.1 {status} -\r\n{lines}{framing}\r\n".encode("latin-1"))

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    async def _follow(self) -> None:
        """Close when the gateway has closed, behind what came before."""
        try:
            await self.client.closed()
        except (TimeoutError, AssertionError):
            self._cut()
            return
        # Every stream is over now, so their answers are written without a further wait.
        await self._answers.join()
        if self._transport is not None:
            self._transport.close()

    def _cut(self) -> None:
        if self._transport is not None:
            self._transport.abort()


async def bridged(port: int, tls: ssl.SSLContext | None, name: str | None) -> Wire:
    """Connect to a gateway: a wire that speaks HTTP/1 with a test, and carries what is said by HTTP/2."""
    if tls is not None:
        tls.set_alpn_protocols(["h2"])
    client = await connect(("127.0.0.1", port), tls=tls, name=name)
    # Answers are written in the order of their requests: those that come first must leave room for the one in turn.
    client.codec.increment_flow_control_window(_ROOM)
    client.flush()
    ours, theirs = socket.socketpair()
    scheme = "http" if tls is None else "https"
    await asyncio.get_running_loop().create_unix_connection(lambda: Bridge(client, scheme), sock=theirs)
    return Wire(*await asyncio.open_unix_connection(sock=ours, limit=1 << 20))
