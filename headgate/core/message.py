"""The two heads that travel through the gateway, free of any one HTTP version.

Law: `fields` hold end-to-end fields only, as they came (name, value) in order; framing, hop-by-hop fields and Host
have become attributes by the time a head exists, and each codec writes its own again.
"""

from __future__ import annotations

Field = tuple[bytes, bytes]
Fields = list[Field]

UNKNOWN_LENGTH = -1
_NO_BODY = frozenset((204, 304))
_GRPC = b"application/grpc"


class RequestHead:
    """One request as everybody reads it.

    `host`, `port`, `path` are in their normal form (core.uri); `query` is what followed `?`, as it came, or None;
    `target` is the raw request target, for nobody but the log of refused requests. `length` counts body bytes:
    0 = no body, UNKNOWN_LENGTH = its end is not known yet. `forwarding` holds the client's X-Forwarded-* and its kin.
    `traces` holds what it says of its trace, where the gateway takes part in traces.
    `shown` repeats those of `fields` that may hold a credential.
    `certificate` is what the connection says of the client's certificate, where a route asks for it, else empty.
    `grpc`: it is a call of gRPC, which only HTTP/2 carries; its end is told in trailers, and they pass.
    """

    __slots__ = (
        "authority",
        "certificate",
        "expects_continue",
        "fields",
        "forwarding",
        "grpc",
        "host",
        "ids",
        "length",
        "method",
        "path",
        "port",
        "query",
        "scheme",
        "shown",
        "target",
        "traces",
        "upgrade",
        "version",
    )

    def __init__(self, method: str, target: bytes, scheme: str) -> None:
        self.method = method
        self.target = target
        self.scheme = scheme
        self.authority = b""
        self.host = ""
        self.port = 0
        self.path = "/"
        self.query: bytes | None = None
        self.version = "1.1"
        self.fields: Fields = []
        self.length = 0
        self.expects_continue = self.grpc = False
        self.upgrade = b""
        self.forwarding: Fields | None = None
        self.ids: Fields | None = None
        self.shown: Fields | None = None
        self.traces: Fields | None = None
        self.certificate = b""

    def get(self, name: bytes) -> bytes | None:
        """Return the value of the first field called `name` (in lower case)."""
        return first(self.fields, name)

    def __repr__(self) -> str:
        return f"<RequestHead {self.method} {self.scheme}://{self.host}:{self.port}{self.path}>"


class ResponseHead:
    """One answer's head. `length` as in RequestHead; `upgrade` is the protocol of a 101.

    `blocks` are further fields as lines, made once for many answers; `limited`: `fields` hold some that tell of limits;
    `version` is the one that it came in, "1.1" for our own.
    """

    __slots__ = ("blocks", "fields", "length", "limited", "status", "upgrade", "version")

    def __init__(self, status: int, fields: Fields, length: int = 0) -> None:
        self.status = status
        self.fields = fields
        self.length = length
        self.upgrade = b""
        self.blocks: tuple[bytes, ...] = ()
        self.limited = False
        self.version = "1.1"

    def get(self, name: bytes) -> bytes | None:
        """Return the value of the first field called `name` (in lower case)."""
        return first(self.fields, name)

    def __repr__(self) -> str:
        return f"<ResponseHead {self.status} length={self.length}>"


def first(fields: Fields, name: bytes) -> bytes | None:
    """Return the value of the first field called `name` (in lower case), or None."""
    for key, value in fields:
        if key == name or key.lower() == name:
            return value
    return None


def speaks_grpc(content_type: bytes) -> bool:
    """Tell whether this Content-Type is one of gRPC over HTTP/2 (PROTOCOL-HTTP2.md); gRPC-Web is another protocol."""
    media = content_type.lower()
    return media.startswith(_GRPC) and media[len(_GRPC) :][:1] in (b"", b"+", b";", b" ")


def tokens(value: bytes) -> list[bytes]:
    """Split a comma-separated field value into lower-case tokens, empty ones left out (RFC 9110 section 5.6.1)."""
    return [token for part in value.lower().split(b",") if (token := part.strip(b" \t"))]


def may_have_body(method: str, status: int) -> bool:
    """Tell whether an answer with `status` to `method` can have a body (RFC 9110 section 6.4.1)."""
    return status >= 200 and status not in _NO_BODY and method != "HEAD"
