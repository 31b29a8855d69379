"""A WebSocket that says everything back (RFC 6455), on asyncio's streams.

It answers pings, joins fragmented messages, and closes politely; what breaks the protocol closes it with 1002, and
a message above LARGEST with 1009.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib

LARGEST = 1 << 20

_CONTINUATION, _TEXT, _BINARY, _CLOSE, _PING, _PONG = 0, 1, 2, 8, 9, 10
# RFC 6455 section 1.3.
_ACCEPT_SUFFIX = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class _Closing(Exception):
    """The connection ends; the payload of our Close frame."""

    def __init__(self, payload: bytes) -> None:
        super().__init__(payload)
        self.payload = payload


async def echo(name: str, key: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Accept the handshake with that Sec-WebSocket-Key, greet as `name`, and say everything back until it is closed."""
    accept = base64.b64encode(hashlib.sha1(key.encode() + _ACCEPT_SUFFIX, usedforsecurity=False).digest())
    writer.write(
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Accept: %b\r\n\r\n" % accept
    )
    writer.write(frame(_TEXT, f"connected to {name}".encode()))
    try:
        while True:
            kind, message = await _message(reader, writer)
            writer.write(frame(kind, message))
            await writer.drain()
    except _Closing as closing:
        writer.write(frame(_CLOSE, closing.payload))
        await writer.drain()


def frame(opcode: int, payload: bytes) -> bytes:
    """Write one whole, unmasked frame (RFC 6455 section 5.2)."""
    size = len(payload)
    if size < 126:
        return bytes([0x80 | opcode, size]) + payload
    length = b"\x7e" + size.to_bytes(2) if size < 1 << 16 else b"\x7f" + size.to_bytes(8)
    return bytes([0x80 | opcode]) + length + payload


async def _message(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[int, bytes]:
    """Read one message, answering the control frames that come between its fragments."""
    kind, parts = 0, b""
    while True:
        final, opcode, payload = await _frame(reader)
        if opcode == _CLOSE:
            # Section 5.5.1: answer with the status that came.
            raise _Closing(payload[:2])
        if opcode == _PING:
            writer.write(frame(_PONG, payload))
            continue
        if opcode == _PONG:
            continue
        if opcode not in (_CONTINUATION, _TEXT, _BINARY) or (opcode == _CONTINUATION) != bool(kind):
            raise _Closing((1002).to_bytes(2))
        kind = kind or opcode
        parts += payload
        if len(parts) > LARGEST:
            raise _Closing((1009).to_bytes(2))
        if final:
            return kind, parts


async def _frame(reader: asyncio.StreamReader) -> tuple[bool, int, bytes]:
    first, second = await reader.readexactly(2)
    size = second & 0x7F
    if size > 125:
        size = int.from_bytes(await reader.readexactly(2 if size == 126 else 8))
    # Section 5.1: a client masks every frame, and one that does not is refused.
    if not second & 0x80 or first & 0x70:
        raise _Closing((1002).to_bytes(2))
    if size > LARGEST:
        raise _Closing((1009).to_bytes(2))
    mask = await reader.readexactly(4)
    payload = await reader.readexactly(size)
    key = (mask * (size // 4 + 1))[:size]
    unmasked = (int.from_bytes(payload) ^ int.from_bytes(key)).to_bytes(size)
    return bool(first & 0x80), first & 0x0F, unmasked
