"""Answers of services as JSON, for callers who read nothing else: `{"text": "..."}` of other text, `null` of nothing.

Laws:
- What is JSON by its Content-Type passes as it is; so does what is encoded, a part of a whole, or has no body.
- It streams: nothing is held back but the bytes of a character that is cut in two. What is no UTF-8 (or Latin-1, where
  the type says so) is replaced.
- A compressor may stand behind: it has the answers that pass as they are.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Callable
from typing import Final

from headgate.core.message import UNKNOWN_LENGTH, Fields, RequestHead, ResponseHead, speaks_grpc
from headgate.wire.compression import Compressor, Encoder

# Of these nothing is true of the new body.
_DROPPED: Final = frozenset(
    {b"content-type", b"content-length", b"etag", b"accept-ranges"}
    | {b"content-digest", b"repr-digest", b"digest", b"content-md5"}
)
_JSON: Final = re.compile(rb"[^;]*[/+]json[ \t]*(?:;.*)?", re.IGNORECASE | re.DOTALL)
_LATIN: Final = re.compile(rb"""charset="?(?:iso-8859-1|latin-?1)\b""", re.IGNORECASE)


class AsJson:
    """Decides for a route which answers are written as JSON, in place of a compressor or before one."""

    __slots__ = ("_behind",)

    def __init__(self, behind: Compressor | None = None) -> None:
        self._behind = behind

    def begin(self, request: RequestHead, head: ResponseHead) -> Encoder | None:
        """Return the encoder of this response and write its head accordingly; None leaves the body as it is."""
        kind = _kind(head.fields)
        if kind is None or request.method == "HEAD" or head.status < 200 or head.status in (204, 205, 206, 304):
            return self._pass(request, head)
        if head.length and (_JSON.fullmatch(kind) or speaks_grpc(kind)):
            return self._pass(request, head)
        head.fields = [field for field in head.fields if field[0].lower() not in _DROPPED]
        head.fields.append((b"Content-Type", b"application/json"))
        head.length = UNKNOWN_LENGTH
        return _TextEncoder("latin-1" if _LATIN.search(kind) else "utf-8")

    def _pass(self, request: RequestHead, head: ResponseHead) -> Encoder | None:
        return self._behind.begin(request, head) if self._behind is not None else None


class _TextEncoder(Encoder):
    """Writes one body as the text of an object."""

    __slots__ = ()

    def __init__(self, charset: str) -> None:
        decode = codecs.getincrementaldecoder(charset)("replace").decode
        begun = False

        def write(data: bytes, last: bool = False) -> bytes:
            nonlocal begun
            text = decode(data, last)
            opening = b'{"text": "' if text and not begun else b""
            begun = begun or bool(text)
            return opening + json.dumps(text)[1:-1].encode()

        def finish() -> bytes:
            rest = write(b"", True)
            return rest + b'"}' if begun else b"null"

        self.encode: Callable[[bytes], bytes] = write
        self.flush: Callable[[], bytes] = bytes
        self.finish: Callable[[], bytes] = finish
        self.flush_each = False


def _kind(fields: Fields) -> bytes | None:
    """Return the Content-Type, empty if there is none; None where the body is encoded or a part."""
    kind = b""
    for name, value in fields:
        lower = name.lower()
        if lower == b"content-type":
            kind = value
        elif lower in (b"content-encoding", b"content-range"):
            return None
    return kind
