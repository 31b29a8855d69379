"""From the fields of an HTTP/2 block to the heads that travel through the gateway: RFC 9113 sections 8.2 and 8.3.

Laws: the same tables and the same normal forms as for HTTP/1 (wire.head, wire.answer_head), so that a request is the
same request in both. Whatever HTTP/1 could write only by changing it is refused (section 10.3). What is malformed ends
its stream alone (section 8.1.1).
"""

from __future__ import annotations

import re
from typing import Final

from headgate.core.failure import Failure
from headgate.core.message import (
    UNKNOWN_LENGTH,
    Fields,
    RequestHead,
    ResponseHead,
    first,
    may_have_body,
    speaks_grpc,
)
from headgate.wire import answer_head, http1
from headgate.wire.head import ALLOWED, HeadReader
from headgate.wire.http2.fields import is_outgrown

# A field name is a token (RFC 9110 section 5.1) without capitals (RFC 9113 section 8.2).
_NAME = re.compile(rb"[!#$%&'*+\-.^_`|~0-9a-z]+")
# RFC 9113 section 8.2.1 forbids NUL, CR, LF and blanks at the ends; RFC 9110 section 5.5 all controls but HTAB.
_VALUE = re.compile(rb"(?:[!-~\x80-\xff](?:[\t -~\x80-\xff]*[!-~\x80-\xff])?)?")
_TARGET = re.compile(rb"[!-~]+")
_STATUS = re.compile(rb"[1-9][0-9][0-9]")
_PSEUDO = frozenset((b":method", b":scheme", b":authority", b":path", b":protocol"))
_SCHEMES = (b"http", b"https")
# Section 8.2.2; what they would say, the frames say.
_OF_CONNECTIONS = frozenset((b"connection", b"proxy-connection", b"keep-alive", b"transfer-encoding", b"upgrade"))
# What a name means here.
_FINE, _BAD, _FOREIGN, _TE, _COOKIE = range(5)
_MOST_NAMES = 2048
_LONGEST_NAME = 64


class _Names(dict[bytes, int]):
    """What is to be done with a field, by its name; learns names up to a cap, then computes."""

    __slots__ = ()

    def __missing__(self, name: bytes) -> int:
        if name in _OF_CONNECTIONS:
            verdict = _FOREIGN
        elif name == b"te":
            verdict = _TE
        elif name == b"cookie":
            verdict = _COOKIE
        else:
            verdict = _FINE if _NAME.fullmatch(name) else _BAD
        if len(self) < _MOST_NAMES and len(name) <= _LONGEST_NAME:
            self[name] = verdict
        return verdict


_names: Final = _Names()


class _Malformed(Exception):
    """A block breaks a rule; `args` say which."""


def request_head(heads: HeadReader, fields: Fields, ended: bool) -> RequestHead:
    """Build the head of a request; `ended`: END_STREAM came with it. An extended CONNECT reads GET with `upgrade`.

    Raises:
        Failure: with a reason of the client's side.
    """
    if is_outgrown(fields):
        raise Failure("headers_too_large", "fields")
    try:
        pseudo = _pseudo_fields(fields)
        method, target, scheme = pseudo[b":method"], pseudo.get(b":path"), pseudo.get(b":scheme")
        protocol = pseudo.get(b":protocol")
        kept, size = _judged(fields, len(pseudo), True)
    except _Malformed as error:
        raise Failure("bad_request", str(error)) from None
    except KeyError:
        raise Failure("bad_request", "no :method") from None
    if method == b"CONNECT" and protocol is not None:
        # RFC 8441 section 4: as an Upgrade would ask over HTTP/1.1, whose method is GET.
        method = b"GET"
        if ended or not http1.safe_name(protocol):
            raise Failure("bad_request", "extended CONNECT")
    elif protocol is not None:
        raise Failure("bad_request", ":protocol without CONNECT")
    elif method in (b"CONNECT", b"TRACE"):
        raise Failure("method_not_allowed", ALLOWED)
    if target is None or scheme not in _SCHEMES:
        raise Failure("bad_request", ":path or :scheme")
    if not http1.safe_name(method):
        raise Failure("bad_request", "method")
    name = method.decode()
    if name not in http1.METHODS:
        raise Failure("coding_not_implemented", "unknown method")
    if not _TARGET.fullmatch(target):
        raise Failure("bad_path", "target")
    head = RequestHead(name, target, heads.scheme)
    head.version = "2"
    head.length = 0 if ended else UNKNOWN_LENGTH
    heads.fill(head, pseudo.get(b":authority"), kept, size + len(target) <= heads.small_head)
    if method == b"POST":
        head.grpc = speaks_grpc(first(head.fields, b"content-type") or b"")
    if protocol is not None:
        _ask_for_tunnel(head, protocol)
    elif ended and head.length:
        raise Failure("bad_request", "no body of the length that was told")
    return head


def _ask_for_tunnel(head: RequestHead, protocol: bytes) -> None:
    if head.length != UNKNOWN_LENGTH:
        raise Failure("bad_request", "CONNECT with a body")
    head.length = 0
    head.upgrade = protocol.lower()
    # RFC 8441 section 5: not used here; an upstream of HTTP/1.1 would have two, of which the first is not ours.
    head.fields = [field for field in head.fields if field[0] != b"sec-websocket-key"]


def to_keep(failure: Failure) -> Failure:
    """Return a failure that lives as long as its stream: what it was raised over must not live as long."""
    # A traceback holds the frames, and these the fields that were refused: a few bytes may stand for 64 KiB.
    failure.__context__ = None
    return failure.with_traceback(None)


def refused_head(fields: Fields, scheme: str) -> RequestHead:
    """Build the head of a request that cannot be served, for the log."""
    method, target, kind = b"-", b"", b""
    for name, value in fields:
        if name == b":method" and http1.safe_name(value) and len(value) <= _LONGEST_NAME:
            method = value
        elif name == b":path":
            target = value
        elif name == b"content-type":
            kind = value
    head = http1.refused_head(method, target, scheme)
    head.version = "2"
    head.grpc = method == b"POST" and speaks_grpc(kind)
    return head


def request_trailers(heads: HeadReader, fields: Fields) -> Fields:
    """Return those trailers of a request that may pass.

    Raises:
        Failure: with a reason of the client's side.
    """
    if is_outgrown(fields):
        raise Failure("headers_too_large", "trailers")
    try:
        kept, _ = _judged(fields, 0, False)
    except _Malformed as error:
        raise Failure("bad_request", f"trailers: {error}") from None
    return heads.trailers(kept)


def response_head(fields: Fields, kinds: http1.FieldKinds, method: str, ended: bool) -> ResponseHead:
    """Build the head of an upstream's answer to `method`; `ended`: END_STREAM came with it.

    Raises:
        Failure: upstream_protocol.
    """
    if not fields or is_outgrown(fields):
        raise Failure("upstream_protocol", "too many fields")
    name, status = fields[0]
    if name != b":status" or not _STATUS.fullmatch(status) or status == b"101":
        # RFC 9113 section 8.6: HTTP/2 has no 101.
        raise Failure("upstream_protocol", "status")
    try:
        kept, _ = _judged(fields, 1, False)
    except _Malformed as error:
        raise Failure("upstream_protocol", str(error)) from None
    head, _, _ = answer_head.response_head(int(status), kept, kinds, method)
    head.version = "2"
    if ended:
        if head.status < 200 or (head.length > 0 and may_have_body(method, head.status)):
            raise Failure("upstream_protocol", "no body of the length that was told")
        if may_have_body(method, head.status):
            head.length = 0
    return head


def response_trailers(fields: Fields) -> Fields:
    """Return the trailers of an answer, well formed; which may pass is chosen later (HeadReader.passed).

    Raises:
        Failure: upstream_protocol.
    """
    if is_outgrown(fields):
        raise Failure("upstream_protocol", "too many trailers")
    try:
        kept, _ = _judged(fields, 0, False)
    except _Malformed as error:
        raise Failure("upstream_protocol", f"trailers: {error}") from None
    return kept


def _pseudo_fields(fields: Fields) -> dict[bytes, bytes]:
    """Take the pseudo-fields of a request, which stand first (RFC 9113 section 8.3)."""
    pseudo: dict[bytes, bytes] = {}
    for name, value in fields:
        if name[:1] != b":":
            break
        if name not in _PSEUDO:
            raise _Malformed("unknown pseudo-field")
        if name in pseudo:
            raise _Malformed("repeated pseudo-field")
        pseudo[name] = value
    return pseudo


def _judged(fields: Fields, start: int, request: bool) -> tuple[Fields, int]:
    """Return the fields from `start` on, each well formed, the crumbs of Cookie put together; and their bytes."""
    names = _names
    matches = _VALUE.fullmatch
    kept: Fields = []
    crumbs: list[bytes] | None = None
    at = size = 0
    for place in range(start, len(fields)):
        name, value = fields[place]
        verdict = names[name]
        size += len(name) + len(value)
        if matches(value) is None:
            raise _Malformed("value of a field")
        if verdict:
            if verdict == _BAD:
                raise _Malformed("name of a field")
            if verdict == _FOREIGN:
                raise _Malformed("field of a connection")
            if verdict == _COOKIE:
                if crumbs is None:
                    crumbs = [value]
                    at = len(kept)
                else:
                    # Section 8.2.3: clients take Cookie apart, and HTTP/1 has one.
                    crumbs.append(value)
                    size += 2
                    continue
            elif request and value.lower() != b"trailers":
                raise _Malformed("TE")
        kept.append((name, value))
    if crumbs is not None and len(crumbs) > 1:
        kept[at] = (b"cookie", b"; ".join(crumbs))
    return kept, size
