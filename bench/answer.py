"""Reads one HTTP/1.1 answer out of bytes as they come, for the clients of the soak. Pure.

It is written apart from the gateway's own parsing on purpose: a client that shared code with what it checks would
share its mistakes. It is strict: an answer it cannot read to its last byte is a broken one.
"""

from __future__ import annotations

from dataclasses import dataclass


class BrokenAnswerError(Exception):
    """The bytes are no answer: wrong framing, or bytes after the end."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A complete answer; header names in lower case. `last` tells that the server closes the connection after it."""

    status: int
    headers: dict[str, str]
    body: bytes
    last: bool


class AnswerReader:
    """Feed it bytes; it returns the Answer when its last byte has come. One reader reads one answer.

    `begun` tells whether a byte of it has come.
    """

    __slots__ = ("_body", "_buffer", "_headers", "_left", "_state", "_status", "begun")

    def __init__(self) -> None:
        self._buffer = b""
        self._state = "head"
        self._status = 0
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._left = 0
        self.begun = False

    def feed(self, data: bytes) -> Answer | None:
        """Take more bytes.

        Raises BrokenAnswerError when they cannot be part of this answer.
        """
        self._buffer += data
        self.begun = self.begun or bool(data)
        while True:
            before = (self._state, len(self._buffer))
            getattr(self, "_read_" + self._state)()
            if self._state == "done":
                if self._buffer:
                    raise BrokenAnswerError(f"bytes after the end of the answer: {self._buffer[:60]!r}")
                return self._answer()
            if before == (self._state, len(self._buffer)):
                return None

    def end(self) -> Answer | None:
        """Tell that the connection ended: the answer, when that is how its body ends, else None."""
        return self._answer() if self._state == "until_close" else None

    def _answer(self) -> Answer:
        last = self._headers.get("connection", "").lower() == "close"
        return Answer(self._status, self._headers, b"".join(self._body), last)

    def _read_head(self) -> None:
        head, found, rest = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.decode("latin-1").split("\r\n")
        version, _, status = lines[0].partition(" ")
        if version != "HTTP/1.1" or not status[:3].isdigit():
            raise BrokenAnswerError(f"no status line: {lines[0][:60]!r}")
        self._buffer = rest
        self._status = int(status[:3])
        self._headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        if 100 <= self._status < 200:
            return
        if self._headers.get("transfer-encoding") == "chunked":
            self._state = "size"
        elif "content-length" in self._headers:
            self._left = int(self._headers["content-length"])
            self._state = "body"
        else:
            self._state = "done" if self._status in (204, 304) else "until_close"

    def _read_body(self) -> None:
        self._take()
        if not self._left:
            self._state = "done"

    def _take(self) -> None:
        piece = self._buffer[: self._left]
        self._buffer = self._buffer[len(piece) :]
        self._left -= len(piece)
        self._body.append(piece)

    def _read_until_close(self) -> None:
        self._body.append(self._buffer)
        self._buffer = b""

    def _read_size(self) -> None:
        line, found, rest = self._buffer.partition(b"\r\n")
        if not found:
            return
        try:
            self._left = int(line.split(b";")[0], 16)
        except ValueError:
            raise BrokenAnswerError(f"no chunk size: {line[:60]!r}") from None
        self._buffer = rest
        self._state = "chunk" if self._left else "trailer"

    def _read_chunk(self) -> None:
        self._take()
        if not self._left:
            self._state = "chunk_end"

    def _read_chunk_end(self) -> None:
        if len(self._buffer) < 2:
            return
        if not self._buffer.startswith(b"\r\n"):
            raise BrokenAnswerError(f"no line end after a chunk: {self._buffer[:60]!r}")
        self._buffer = self._buffer[2:]
        self._state = "size"

    def _read_trailer(self) -> None:
        line, found, rest = self._buffer.partition(b"\r\n")
        if found:
            self._buffer = rest
            self._state = "trailer" if line else "done"
