"""HTTP/1.x framing rules, apart from any socket: how heads are judged, cleaned and written.

Laws: httptools (llhttp, strict) reads the bytes; everything it lets through and RFC 9112 does not is refused here.
One well-framed message in, one well-framed message out: no byte of a client or an upstream chooses our framing.
Fields are sorted by one table lookup on the raw spelling of the name (`FieldKinds`), since that is the hottest loop.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from http import HTTPStatus
from urllib.parse import quote

from headgate.core.field_names import read_as
from headgate.core.message import UNKNOWN_LENGTH, Field, Fields, RequestHead, tokens
from headgate.wire.field_filter import FieldFilter

# Kinds of request and response fields; PLAIN is 0 so that the common case is a falsy test.
PLAIN, DROP, HOST, LENGTH, CODING, CONNECTION, UPGRADE, EXPECT, FORWARDING, REQUEST_ID, CONTENT_TYPE, REFUSE = range(12)
DATE, KEEP_ALIVE, DENIED, CREDENTIAL, LIMIT, TRACE = 12, 13, 14, 15, 16, 17
# Kinds of fields that end-to-end means: they go on as they are.
PASSING = (PLAIN, CONTENT_TYPE, CREDENTIAL, LIMIT)

_METHOD_NAMES = (
    "GET HEAD POST PUT PATCH DELETE OPTIONS CONNECT TRACE QUERY ACL BIND CHECKOUT COPY LINK LOCK M-SEARCH MERGE"
    " MKACTIVITY MKCALENDAR MKCOL MOVE NOTIFY PROPFIND PROPPATCH PURGE REBIND REPORT SEARCH SOURCE SUBSCRIBE UNBIND"
    " UNLINK UNLOCK UNSUBSCRIBE"
)
# All that llhttp reads; a request with any other method is 501.
METHODS = frozenset(_METHOD_NAMES.split())

_HOP_BY_HOP = {
    # RFC 9110 section 7.6.1, and the two that were never registered but are sent.
    b"connection": CONNECTION,
    b"keep-alive": DROP,
    b"proxy-connection": DROP,
    b"te": DROP,
    b"trailer": DROP,
    b"transfer-encoding": CODING,
    b"upgrade": UPGRADE,
    b"http2-settings": DROP,
    b"content-length": LENGTH,
}
_REQUEST_ONLY = {b"host": HOST, b"expect": EXPECT, b"content-type": CONTENT_TYPE, b"proxy-authorization": DROP}
FORWARDING_NAMES = (
    b"forwarded",
    b"x-forwarded-for",
    b"x-forwarded-host",
    b"x-forwarded-port",
    b"x-forwarded-prefix",
    b"x-forwarded-proto",
    b"x-forwarded-server",
    b"x-forwarded-scheme",
    b"x-forwarded-ssl",
    b"x-real-ip",
)
# Bytes of a refused request's target that the log shows, and what of it needs no escape there.
_SHOWN = 256
_VISIBLE = "!$%&'()*+,/:;=@[]{}|^~"
_MAX_KINDS = 2048
_KEEP_ALIVE = re.compile(rb"(?:^|[,;\s])timeout=\"?([0-9]{1,6})", re.IGNORECASE)
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")


# Values of Connection that name no field.
PLAIN_CONNECTION = frozenset((b"keep-alive", b"Keep-Alive", b"close", b"Close"))


class FieldKinds(dict[bytes, int]):
    """What to do with a field, by the raw spelling of its name; learns spellings up to a cap, then computes."""

    __slots__ = ("_filter", "_known", "_noted", "_underscores")

    def __init__(
        self,
        known: dict[bytes, int],
        underscores: str = "allow",
        field_filter: FieldFilter | None = None,
        noted: dict[bytes, int] | None = None,
    ) -> None:
        """Compile; `field_filter` judges the names that are not in `known`; of those that pass some are `noted`."""
        super().__init__(known)
        self._noted = noted or {}
        self._known = known
        self._underscores = underscores
        self._filter = field_filter

    def __missing__(self, name: bytes) -> int:
        kind = self._judge(name.lower())
        if len(self) < _MAX_KINDS and len(name) <= 64:
            self[name] = kind
        return kind

    def _judge(self, lower: bytes) -> int:
        if b"_" in lower and self._underscores != "allow":
            return DROP if self._underscores == "drop" else REFUSE
        kind = self._known.get(lower)
        # X_Forwarded_For and its kin are the aliases of names we set: CGI-style upstreams read them as one field.
        if kind is None and read_as(lower) in self._known:
            return DROP
        if kind is not None:
            return kind
        judge = self._filter
        if judge is None or judge.passes(lower):
            return self._noted.get(lower, PLAIN)
        return DENIED if judge.refuse else DROP


def request_kinds(
    id_names: Iterable[str],
    underscores: str,
    owned: Iterable[str] = (),
    field_filter: FieldFilter | None = None,
    credentials: frozenset[bytes] = frozenset(),
    traces: frozenset[bytes] = frozenset(),
) -> FieldKinds:
    """Make the table for requests; `id_names` are the fields that may carry the request id.

    `owned` are names that only the gateway writes (identity.forward): what clients send under them is taken off where
    it is read, before anybody looks at it, in any case, with underscores for hyphens, and as a trailer. Naming one in
    Connection takes nothing off that is written later. Names that the wire itself acts on stay what they are.
    `credentials` are the fields that may say who asks (in lower case): they pass as others do, and are noted.
    `traces` are those of the trace context that the gateway reads, and writes anew.
    """
    known = _HOP_BY_HOP | _REQUEST_ONLY | dict.fromkeys(FORWARDING_NAMES, FORWARDING) | dict.fromkeys(traces, TRACE)
    known |= {name.lower().encode(): REQUEST_ID for name in id_names}
    return FieldKinds(_dropped(owned) | known, underscores, field_filter, dict.fromkeys(credentials, CREDENTIAL))


def response_kinds(
    owned: Iterable[str] = (), field_filter: FieldFilter | None = None, limits: Iterable[str] = ()
) -> FieldKinds:
    """Make the table for responses; fields named in `owned` are ours to set, so an upstream's are dropped.

    `limits` are the names under which answers tell of limits: they pass as others do, and are noted.
    """
    known = _HOP_BY_HOP | {b"date": DATE, b"keep-alive": KEEP_ALIVE} | {name.lower().encode(): DROP for name in owned}
    noted = {name.lower().encode(): LIMIT for name in limits}
    return FieldKinds(known, field_filter=field_filter, noted=noted)


def _dropped(names: Iterable[str]) -> dict[bytes, int]:
    """Return the names, and what they are to those who read a hyphen for an underscore."""
    lower = [name.lower().encode() for name in names]
    return dict.fromkeys([*lower, *map(read_as, lower)], DROP)


# -- reading -------------------------------------------------------------------------------------------------------


class Framing:
    """What the hop-by-hop fields of one head said. Made only when a head has any of them."""

    __slots__ = ("coding", "connection", "keep_alive", "length", "upgrade")

    def __init__(self) -> None:
        self.keep_alive = -1
        self.length: bytes | None = None
        self.coding: bytes | None = None
        self.connection: bytes = b""
        self.upgrade: bytes = b""

    def note(self, kind: int, value: bytes) -> None:
        """Take one hop-by-hop field in.

        Raises:
            ValueError: for a repeated Content-Length or Transfer-Encoding (RFC 9112 section 6.3: ought to be an error).
        """
        if kind == LENGTH:
            if self.length is not None:
                raise ValueError("repeated Content-Length")
            self.length = value
        elif kind == CODING:
            if self.coding is not None:
                raise ValueError("repeated Transfer-Encoding")
            self.coding = value
        elif kind == CONNECTION:
            self.connection = self.connection + b"," + value if self.connection else value
        elif kind == KEEP_ALIVE:
            # In no RFC in force, but sent by Node.js and Apache: Keep-Alive: timeout=5, max=100.
            said = _KEEP_ALIVE.search(value)
            if said is not None:
                self.keep_alive = int(said[1])
        elif kind == UPGRADE:
            self.upgrade = self.upgrade + b"," + value if self.upgrade else value

    def body_length(self) -> int | None:
        """Return the body's length, UNKNOWN_LENGTH when chunked, None when the head does not say.

        Raises:
            ValueError: for both framings at once, a malformed length, or a coding that is not exactly chunked.
        """
        if self.coding is not None:
            if self.length is not None:
                raise ValueError("Content-Length beside Transfer-Encoding")
            if self.coding.lower() != b"chunked":
                raise ValueError("Transfer-Encoding is not exactly chunked")
            return UNKNOWN_LENGTH
        if self.length is None:
            return None
        if not (self.length.isdigit() and len(self.length) <= 18):
            raise ValueError("malformed Content-Length")
        return int(self.length)


def named_by(connection: bytes) -> frozenset[bytes]:
    """Return the fields that a Connection field declares hop-by-hop (RFC 9110 section 7.6.1)."""
    return frozenset(tokens(connection)) - {b"close", b"keep-alive", b"upgrade"}


def without_named(fields: Fields, connection: bytes) -> Fields:
    """Take the fields off that Connection names. What we add ourselves is added later, so it cannot be named away."""
    named = named_by(connection)
    return [field for field in fields if field[0].lower() not in named] if named else fields


def unknown_coding(value: bytes) -> bool:
    """Tell whether a Transfer-Encoding is well formed but names a coding we do not know.

    That is 501 (RFC 9112 section 6.1); where chunked is repeated or not the last it is 400 (section 6.3).
    """
    codings = tokens(value)
    strangers = [coding for coding in codings if coding != b"chunked"]
    return bool(strangers) and b"chunked" not in codings[:-1] and all(map(safe_name, strangers))


def refused_head(method: bytes, target: bytes, scheme: str) -> RequestHead:
    """Build the head of a request that cannot be served, for the log: its path is bounded, escaped, not judged."""
    head = RequestHead(method.decode("ascii", "replace"), target, scheme)
    # No query: it may hold what is secret, and the paths of requests that are served are logged without it.
    head.path = quote(target.partition(b"?")[0][:_SHOWN], safe=_VISIBLE) or "-"
    return head


# -- writing -------------------------------------------------------------------------------------------------------

_PHRASES = {status.value: status.phrase for status in HTTPStatus}
# RFC 9110 has names for these that the standard library took up in Python 3.13.
_PHRASES |= {413: "Content Too Large", 414: "URI Too Long", 416: "Range Not Satisfiable", 422: "Unprocessable Content"}
STATUS_LINES = {code: f"HTTP/1.1 {code} {_PHRASES.get(code, '')}".encode() for code in range(100, 1000)}
CONTINUE = STATUS_LINES[100] + b"\r\n\r\n"
LAST_CHUNK = b"0\r\n\r\n"
_METHODS = {name: name.encode() + b" " for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")}


def safe_name(name: bytes) -> bool:
    """Tell whether `name` is a token (RFC 9110 section 5.1)."""
    return _TOKEN.fullmatch(name) is not None


def without_upgrade(head: RequestHead, fields: Iterable[Field]) -> bytes:
    """Write a request head again without its Upgrade, for a parser that shall frame its body."""
    kept = [f for f in fields if f[0].lower() not in (b"upgrade", b"connection", b"http2-settings", b"expect")]
    named = [name for key, value in fields if key.lower() == b"connection" for name in tokens(value)]
    # `close` must go on to close, and what it names must not go on at all.
    kept += [(b"Connection", name) for name in named if name not in (b"upgrade", b"http2-settings")]
    if head.expects_continue:
        kept.append((b"Expect", b"100-continue"))
    lines = [b"%b %b HTTP/%b\r\n" % (head.method.encode(), head.target, head.version.encode())]
    lines += [b"%b: %b\r\n" % field for field in kept]
    return b"".join(lines) + b"\r\n"


def last_chunk(trailers: Iterable[Field]) -> bytes:
    """Write the end of a chunked body; the trailers were judged by whoever chose them."""
    lines = [b"0", *map(b": ".join, trailers), b"", b""]
    return b"\r\n".join(lines)


def chunk(data: bytes) -> bytes:
    """Frame one piece of a chunked body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def request_line(method: str, target: bytes, authority: bytes) -> bytes:
    """Write the request line in origin form, and Host behind it (RFC 9110 section 7.2: the first field, by advice)."""
    return b"%b%b HTTP/1.1\r\nHost: %b" % (_METHODS.get(method) or method.encode() + b" ", target, authority)
