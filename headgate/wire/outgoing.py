"""A request on its way out, and its bytes on the wire."""

from __future__ import annotations

from headgate.core.message import UNKNOWN_LENGTH, Fields
from headgate.wire import http1

# RFC 9110 section 8.6: methods that anticipate content say so when it is empty.
SAY_EMPTY = frozenset(("POST", "PUT", "PATCH"))
_LINE = b": ".join


class Outgoing:
    """A request as the upstream shall see it. `length` as in RequestHead; `fields` are end-to-end fields.

    `block` holds further fields as lines, made once for many requests, `trace` those of its trace. An empty
    `authority` is the endpoint's own. `grpc`: a call of gRPC, whose servers ask for `te: trailers`. `challenge` is the
    key of a WebSocket whose client has sent none.
    """

    __slots__ = ("authority", "block", "challenge", "fields", "grpc", "length", "method", "target", "trace", "upgrade")

    def __init__(self, method: str, target: bytes, fields: Fields, length: int) -> None:
        self.method = method
        self.target = target
        self.authority = b""
        self.block = b""
        self.trace = b""
        self.fields = fields
        self.length = length
        self.upgrade = b""
        self.challenge = b""
        self.grpc = False

    def encode(self, prefix: bytes, authority: bytes, body: bytes, complete: bool) -> bytes:
        """Return head and `body`, for an endpoint with this `prefix` of paths and `authority`; `complete`: that is all.

        Chunked where more follows and the length is not known.
        """
        target = prefix + self.target if prefix else self.target
        lines = [http1.request_line(self.method, target, self.authority or authority)]
        lines += map(_LINE, self.fields)
        if self.block:
            lines.append(self.block)
        if self.trace:
            lines.append(self.trace)
        length = self.length
        if length == UNKNOWN_LENGTH:
            if complete:
                length = len(body)
            else:
                lines.append(b"Transfer-Encoding: chunked")
                body = http1.chunk(body) if body else body
        if length > 0 or (length == 0 and self.method in SAY_EMPTY):
            lines.append(b"Content-Length: %d" % length)
        if self.upgrade:
            lines += (b"Connection: Upgrade", b"Upgrade: " + self.upgrade)
            if self.challenge:
                lines.append(b"Sec-WebSocket-Key: " + self.challenge)
        lines.append(b"")
        lines.append(body)
        return b"\r\n".join(lines)
