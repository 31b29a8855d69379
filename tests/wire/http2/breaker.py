"""Frames of HTTP/2 by hand: a client that may break every rule, because nothing here knows one.

    breaker = await Breaker.connect(port)
    breaker.send(SETTINGS, headers(1, block(GET), end=False), rst_stream(1))
    await breaker.goaway()

What comes back is read frame by frame. Blocks of fields are coded by hpack, or by hand where hpack would not.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Self

from hpack import Encoder
from hpack.hpack import Decoder, encode_integer

from tests.proxy.peers import CEILING, Cut

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS_TYPE, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = range(10)
END_STREAM = ACK = 0x1
END_HEADERS = 0x4
PADDED = 0x8
WITH_PRIORITY = 0x20
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, FLOW_CONTROL_ERROR = 0, 1, 2, 3
STREAM_CLOSED, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL, COMPRESSION_ERROR = 5, 6, 7, 8, 9
ENHANCE_YOUR_CALM = 11

GET = [(":method", "GET"), (":scheme", "http"), (":authority", "example.test"), (":path", "/")]
POST = [(":method", "POST"), *GET[1:]]


def frame(kind: int, flags: int, stream: int, content: bytes = b"", length: int | None = None) -> bytes:
    """Write a frame; `length` may lie."""
    size = len(content) if length is None else length
    return struct.pack(">I", size)[1:] + struct.pack(">BBI", kind, flags, stream) + content


def settings(*pairs: tuple[int, int]) -> bytes:
    """Write SETTINGS."""
    return frame(SETTINGS_TYPE, 0, 0, b"".join(struct.pack(">HI", *pair) for pair in pairs))


SETTINGS = settings()
SETTINGS_ACK = frame(SETTINGS_TYPE, ACK, 0)


def literal(name: bytes, value: bytes, indexed: bool = False) -> bytes:
    """Write a field as it is, without Huffman; `indexed`: the peer shall remember it."""
    return b"".join(
        (
            b"\x40" if indexed else b"\x00",
            bytes(encode_integer(len(name), 7)),
            name,
            bytes(encode_integer(len(value), 7)),
            value,
        )
    )


def block(fields: list[tuple[str, str]]) -> bytes:
    """Write fields as literals that nobody remembers."""
    return b"".join(literal(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields)


def headers(stream: int, content: bytes, end: bool = True, whole: bool = True, flags: int = 0) -> bytes:
    """Write HEADERS; `whole`: no CONTINUATION follows."""
    return frame(HEADERS, flags | (END_STREAM if end else 0) | (END_HEADERS if whole else 0), stream, content)


def continuation(stream: int, content: bytes = b"", last: bool = False) -> bytes:
    """Write CONTINUATION."""
    return frame(CONTINUATION, END_HEADERS if last else 0, stream, content)


def data(stream: int, content: bytes = b"", end: bool = False) -> bytes:
    """Write DATA."""
    return frame(DATA, END_STREAM if end else 0, stream, content)


def rst_stream(stream: int, code: int = CANCEL) -> bytes:
    """Write RST_STREAM."""
    return frame(RST_STREAM, 0, stream, struct.pack(">I", code))


def ping(content: bytes = b"12345678") -> bytes:
    """Write PING."""
    return frame(PING, 0, 0, content)


def window_update(stream: int, increment: int) -> bytes:
    """Write WINDOW_UPDATE."""
    return frame(WINDOW_UPDATE, 0, stream, struct.pack(">I", increment))


def priority(stream: int, on: int = 0) -> bytes:
    """Write PRIORITY."""
    return frame(PRIORITY, 0, stream, struct.pack(">IB", on, 15))


class Frame:
    """A frame that came."""

    def __init__(self, kind: int, flags: int, stream: int, content: bytes) -> None:
        self.kind = kind
        self.flags = flags
        self.stream = stream
        self.content = content

    @property
    def code(self) -> int:
        """The error code of a RST_STREAM or a GOAWAY."""
        at = 0 if self.kind == RST_STREAM else 4
        return int(struct.unpack_from(">I", self.content, at)[0])

    def __repr__(self) -> str:
        return f"<frame {self.kind} flags={self.flags:#x} stream={self.stream} {self.content[:40]!r}>"


class Breaker:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.encoder = Encoder()
        self.decoder = Decoder()
        self.frames: list[Frame] = []

    @classmethod
    async def connect(cls, port: int, greet: bool = True, receive_buffer: int = 0) -> Self:
        """Connect; `greet`: with the preface and an empty SETTINGS."""
        sock = socket.socket()
        sock.setblocking(False)
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        async with asyncio.timeout(CEILING):
            await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
            breaker = cls(*await asyncio.open_connection(sock=sock, limit=1 << 20))
        if greet:
            breaker.send(PREFACE, SETTINGS)
        return breaker

    def send(self, *pieces: bytes) -> None:
        """Write; what the other side closed meanwhile is for the reading to tell."""
        if not self.writer.is_closing():
            self.writer.write(b"".join(pieces))

    async def pour(self, *pieces: bytes) -> bool:
        """Write as fast as the other side takes it; tell whether it took all."""
        try:
            async with asyncio.timeout(CEILING):
                for piece in pieces:
                    if self.writer.is_closing():
                        return False
                    self.writer.write(piece)
                    await self.writer.drain()
        except ConnectionError:
            return False
        return not self.writer.is_closing()

    async def next(self) -> Frame | None:
        """Read a frame; None where the other side closed."""
        try:
            async with asyncio.timeout(CEILING):
                head = await self.reader.readexactly(9)
                size = int.from_bytes(head[:3])
                content = await self.reader.readexactly(size) if size else b""
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        came = Frame(head[3], head[4], int.from_bytes(head[5:]) & 0x7FFFFFFF, content)
        self.frames.append(came)
        return came

    async def wait_for(self, kind: int, stream: int | None = None, flags: int = 0) -> Frame:
        """Read until a frame of this kind comes, on this stream, with these flags.

        Raises:
            Cut: when the connection ends before it.
        """
        while (came := await self.next()) is not None:
            if came.kind == kind and stream in (None, came.stream) and came.flags & flags == flags:
                return came
        raise Cut(f"connection closed before frame {kind} on {stream}; there came {self.frames[-5:]}")

    async def goaway(self) -> Frame:
        """Read until a GOAWAY with an error comes, and to the end behind it."""
        while (came := await self.wait_for(GOAWAY)).code == NO_ERROR:
            pass
        while await self.next() is not None:
            pass
        return came

    async def answer(self, stream: int) -> list[tuple[str, str]]:
        """Read the head of a stream's answer; blocks are decoded in the order in which they come."""
        while True:
            came = await self.wait_for(HEADERS)
            fields = self.decoder.decode(came.content, raw=False)
            if came.stream == stream:
                return [(str(name), str(value)) for name, value in fields]

    async def status(self, stream: int) -> int:
        """Read the status of a stream's answer."""
        return int(dict(await self.answer(stream))[":status"])

    async def rest(self) -> list[Frame]:
        """Read until the other side closes."""
        while await self.next() is not None:
            pass
        return self.frames

    def close(self) -> None:
        """Close at once."""
        with suppress(ConnectionError):
            self.writer.transport.abort()
