"""The two messages of gRPC's health protocol (grpc/doc/health-checking.md), written and read by hand.

Law: whatever an endpoint sends is read without an error, and what is not exactly SERVING is not well.
"""

from __future__ import annotations

from typing import Final, Literal

from headgate.core.message import Fields
from headgate.policy import grpc

METHOD: Final = "/grpc.health.v1.Health/Check"
"""The path of the call."""
# Bytes of an answer that are looked at: five of the frame, two of the message, and room for fields of the future.
MOST: Final = 4096

Verdict = Literal["well", "status", "grpc_status", "not_serving"]

_OK = 200
_SERVING = 1
_FRAME = 5
# Protocol buffers, encoding.md: a key is the field's number, three bits up, with the kind of what follows.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_SERVICE = 1 << 3 | _BYTES
_STATUS = 1
_STATES = ("UNKNOWN", "SERVING", "NOT_SERVING", "SERVICE_UNKNOWN")


def question(service: str) -> bytes:
    """Write a HealthCheckRequest in its frame; an empty `service` asks for the server as a whole."""
    name = service.encode()
    body = bytes((_SERVICE,)) + _varint(len(name)) + name if name else b""
    return b"\0" + len(body).to_bytes(4, "big") + body


def state(data: bytes) -> int | None:
    """Return the status in a framed HealthCheckResponse; None for what is none."""
    if len(data) < _FRAME or data[0] != 0 or int.from_bytes(data[1:_FRAME], "big") != len(data) - _FRAME:
        return None
    found, at = 0, _FRAME
    while at < len(data):
        key, at = _read(data, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _read(data, at)
            if key >> 3 == _STATUS and at >= 0:
                found = value
        elif kind == _BYTES:
            length, at = _read(data, at)
            at = at + length if at >= 0 else -1
        elif kind in (_FIXED32, _FIXED64):
            at += 4 if kind == _FIXED32 else 8
        else:
            at = -1
        if at < 0 or at > len(data):
            return None
    return found


def judge(status: int, fields: Fields, body: bytes) -> tuple[Verdict, str]:
    """Tell whether an answer means well, or what about it does not, and that in words for a log line.

    `status` is HTTP's; `fields` are those of the head and of the trailers.
    """
    if status != _OK:
        return "status", f"status {status}"
    said = [value for name, value in fields if name.lower() == grpc.STATUS]
    if not said:
        return "grpc_status", "the answer has no grpc-status"
    code = grpc.code_in(said[-1])
    if code != grpc.OK:
        return "grpc_status", f"grpc-status {code} ({grpc.NAMES[code]})"
    found = state(body)
    if found == _SERVING:
        return "well", ""
    if found is None:
        return "not_serving", "the answer is no HealthCheckResponse"
    return "not_serving", f"it says {_STATES[found] if found < len(_STATES) else found}"


def _varint(number: int) -> bytes:
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def _read(data: bytes, at: int) -> tuple[int, int]:
    """Read a number of at most ten bytes; the place behind it is -1 where there is none, or none was expected."""
    number = shift = 0
    while 0 <= at < len(data) and shift < 70:
        byte = data[at]
        number |= (byte & 0x7F) << shift
        at += 1
        if byte < 0x80:
            return number, at
        shift += 7
    return 0, -1
