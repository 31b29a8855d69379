"""A strict HTTP/1.1 reader for tests, sharing nothing with the gateway: what it takes is beyond doubt well framed.

Law: the grammar of RFC 9112 to the letter; anything else is a Malformed, so that a test fails on it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_REQUEST_LINE = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+) ([!-~]+) HTTP/1\.([01])")
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9][0-9]{2}) ([\t -~\x80-\xff]*)")
_FIELD = re.compile(
    rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*((?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?)[ \t]*"
)
_CHUNK = re.compile(rb"[0-9A-Fa-f]{1,16}")

Fields = list[tuple[str, str]]


class Malformed(AssertionError):
    """The bytes are not a well-framed message."""


class Incomplete(Exception):
    """More bytes are needed."""


@dataclass
class Message:
    """One request or answer: its first line's words, its fields with names in lower case, its body."""

    start: tuple[str, str, str]
    fields: Fields
    body: bytes = b""
    trailers: Fields = field(default_factory=list)
    chunked: bool = False
    by_close: bool = False

    @property
    def method(self) -> str:
        return self.start[0]

    @property
    def target(self) -> str:
        return self.start[1]

    @property
    def status(self) -> int:
        return int(self.start[1])

    def all(self, name: str) -> list[str]:
        """Return the values of all fields called `name` (in lower case)."""
        return [value for key, value in self.fields if key == name]

    def get(self, name: str) -> str | None:
        """Return the value of the only field called `name`; several are Malformed."""
        found = self.all(name)
        if len(found) > 1:
            raise Malformed(f"{name} stands {len(found)} times")
        return found[0] if found else None


def read_request(data: bytes) -> tuple[Message, int]:
    """Read one request from the start of `data`; returns it and where it ended.

    Raises:
        Incomplete, Malformed.
    """
    line, fields, at = _head(data)
    words = _REQUEST_LINE.fullmatch(line)
    if words is None:
        raise Malformed(f"request line {line!r}")
    message = Message((words[1].decode(), words[2].decode(), words[3].decode()), fields)
    if len(message.all("host")) != 1:
        raise Malformed("not exactly one Host")
    return _body(message, data, at, False)


def read_response(data: bytes, method: str = "GET", closed: bool = False) -> tuple[Message, int]:
    """Read one answer to a `method` request; `closed` tells that nothing follows `data`.

    Raises:
        Incomplete, Malformed.
    """
    line, fields, at = _head(data)
    words = _STATUS_LINE.fullmatch(line)
    if words is None:
        raise Malformed(f"status line {line!r}")
    message = Message((words[1].decode(), words[2].decode(), words[3].decode("latin-1")), fields)
    status = message.status
    if status < 200 or status in (204, 304) or method == "HEAD":
        if message.get("transfer-encoding") is not None and (status < 200 or status == 204):
            raise Malformed("Transfer-Encoding where no body can be")
        return message, at
    if message.get("content-length") is None and message.get("transfer-encoding") is None:
        if not closed:
            raise Incomplete
        message.body, message.by_close = data[at:], True
        return message, len(data)
    return _body(message, data, at, True)


def _head(data: bytes) -> tuple[bytes, Fields, int]:
    end = data.find(b"\r\n\r\n")
    if end < 0:
        raise Incomplete
    line, *rest = data[:end].split(b"\r\n")
    return line, [_field(each) for each in rest], end + 4


def _field(line: bytes) -> tuple[str, str]:
    found = _FIELD.fullmatch(line)
    if found is None:
        raise Malformed(f"field line {line!r}")
    return found[1].decode().lower(), found[2].decode("latin-1")


def _body(message: Message, data: bytes, at: int, answer: bool) -> tuple[Message, int]:
    length, coding = message.get("content-length"), message.get("transfer-encoding")
    if coding is not None:
        if length is not None or coding != "chunked":
            raise Malformed(f"Transfer-Encoding {coding!r}, Content-Length {length!r}")
        message.chunked = True
        return _chunks(message, data, at)
    if length is None:
        return message, at
    if not re.fullmatch("[0-9]+", length) or (length[0] == "0" and length != "0"):
        raise Malformed(f"Content-Length {length!r}")
    end = at + int(length)
    if len(data) < end:
        raise Incomplete
    message.body = data[at:end]
    return message, end


def _chunks(message: Message, data: bytes, at: int) -> tuple[Message, int]:
    pieces: list[bytes] = []
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            raise Incomplete
        if not _CHUNK.fullmatch(data[at:end]):
            raise Malformed(f"chunk size {data[at:end]!r}")
        size = int(data[at:end], 16)
        at = end + 2
        if not size:
            break
        if len(data) < at + size + 2:
            raise Incomplete
        if data[at + size : at + size + 2] != b"\r\n":
            raise Malformed("no CRLF behind a chunk")
        pieces.append(data[at : at + size])
        at += size + 2
    message.body = b"".join(pieces)
    while True:
        end = data.find(b"\r\n", at)
        if end < 0:
            raise Incomplete
        line, at = data[at:end], end + 2
        if not line:
            return message, at
        message.trailers.append(_field(line))
