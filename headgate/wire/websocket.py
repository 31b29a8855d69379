"""Messages of WebSocket in frames, from the client's side: RFC 6455 section 5, without extensions.

Law: what the other side may not send ends the connection with the code that says so (section 7.4.1), and a message is
bounded before it is gathered. Text is handed on only as text.
"""

from __future__ import annotations

import os
from typing import Final, NamedTuple

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

_FINAL: Final = 0x80
_RESERVED: Final = 0x70
_MASKED: Final = 0x80
_LONGEST_CONTROL: Final = 125
_KNOWN: Final = frozenset((CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG))
# Codes of section 7.4.1.
PROTOCOL_ERROR, NO_CODE, ABNORMAL, NOT_TEXT, TOO_LARGE = 1002, 1005, 1006, 1007, 1009


class Message(NamedTuple):
    """A whole message, or a control frame."""

    opcode: int
    payload: bytes


class BadFrame(Exception):
    """What came breaks the protocol; `code` says how."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


def frame(opcode: int, payload: bytes) -> bytes:
    """Write one whole message, or a control frame, as clients have to: masked (section 5.3)."""
    size = len(payload)
    if size < 126:
        head = bytes((_FINAL | opcode, _MASKED | size))
    elif size < 1 << 16:
        head = bytes((_FINAL | opcode, _MASKED | 126)) + size.to_bytes(2)
    else:
        head = bytes((_FINAL | opcode, _MASKED | 127)) + size.to_bytes(8)
    key = os.urandom(4)
    mask = int.from_bytes((key * (size // 4 + 1))[:size])
    return head + key + (int.from_bytes(payload) ^ mask).to_bytes(size)


def close_payload(code: int, reason: str = "") -> bytes:
    """Write what a close frame says; a code that may not be sent is none (section 7.4.1)."""
    if code in (NO_CODE, ABNORMAL) or not 1000 <= code < 5000:
        return b""
    text = reason.encode()[: _LONGEST_CONTROL - 2].decode(errors="ignore")
    return code.to_bytes(2) + text.encode()


def read_close(payload: bytes) -> tuple[int, str]:
    """Return code and reason of a close frame."""
    if len(payload) < 2:
        return NO_CODE, ""
    return int.from_bytes(payload[:2]), payload[2:].decode(errors="replace")


class FrameReader:
    """From the bytes of a server to its messages; at most `most` bytes in each."""

    __slots__ = ("_buffer", "_most", "_opcode", "_pieces", "_size")

    def __init__(self, most: int) -> None:
        self._most = most
        self._buffer = bytearray()
        # Of a message in several frames.
        self._opcode = CONTINUATION
        self._pieces: list[bytes] = []
        self._size = 0

    def feed(self, data: bytes) -> list[Message]:
        """Take bytes; return what is whole now.

        Raises:
            BadFrame: nothing that follows can be read.
        """
        self._buffer += data
        found = []
        while (each := self._frame()) is not None:
            message = self._gather(*each)
            if message is not None:
                found.append(message)
        return found

    def _frame(self) -> tuple[int, bool, bytes] | None:
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        opcode, final, size, at = buffer[0] & 15, bool(buffer[0] & _FINAL), buffer[1] & 127, 2
        if buffer[0] & _RESERVED or buffer[1] & _MASKED or opcode not in _KNOWN:
            raise BadFrame(PROTOCOL_ERROR)
        if opcode >= CLOSE and (size > _LONGEST_CONTROL or not final):
            raise BadFrame(PROTOCOL_ERROR)
        if size > _LONGEST_CONTROL:
            at += 2 if size == 126 else 8
            if len(buffer) < at:
                return None
            size = int.from_bytes(buffer[2:at])
        if opcode < CLOSE and self._size + size > self._most:
            raise BadFrame(TOO_LARGE)
        if len(buffer) < at + size:
            return None
        payload = bytes(buffer[at : at + size])
        del buffer[: at + size]
        return opcode, final, payload

    def _gather(self, opcode: int, final: bool, payload: bytes) -> Message | None:
        if opcode >= CLOSE:
            return Message(opcode, payload)
        if (opcode == CONTINUATION) != (self._opcode != CONTINUATION):
            # Neither the first frame of a message in the middle of one, nor a later one of none.
            raise BadFrame(PROTOCOL_ERROR)
        self._opcode = self._opcode or opcode
        self._pieces.append(payload)
        self._size += len(payload)
        if not final:
            return None
        whole = payload if len(self._pieces) == 1 else b"".join(self._pieces)
        message = Message(self._opcode, whole)
        self._opcode, self._pieces, self._size = CONTINUATION, [], 0
        return message
