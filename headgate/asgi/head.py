"""From the scope of an ASGI request to the head that travels through the gateway.

Laws: the same tables and the same normal forms as for our own connections (wire.head). The server has parsed the
request, but what it lets through is not ours to trust: what HTTP/1 could not carry is refused here. What the server has
added to the path for itself (root_path) is taken off again.
"""

from __future__ import annotations

import re
from typing import Any, Final
from urllib.parse import quote

from headgate.core.failure import Failure
from headgate.core.message import UNKNOWN_LENGTH, RequestHead
from headgate.wire import http1
from headgate.wire.head import ALLOWED, HeadReader

Scope = dict[str, Any]

_MOST_NAMES: Final = 2048
_LONGEST_NAME: Final = 64

# RFC 9110 sections 5.1 and 5.5.
_NAME: Final = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE: Final = re.compile(rb"[\t -~\x80-\xff]*")
_TARGET: Final = re.compile(rb"[!-~]+")
# RFC 3986 section 3.3, for servers that do not say how a path came.
_PATH_SAFE: Final = "/!$&'()*+,;=:@-._~"


class _Names(dict[bytes, bool]):
    """Whether a field may be called so; learns names up to a cap, then computes."""

    __slots__ = ()

    def __missing__(self, name: bytes) -> bool:
        fine = _NAME.fullmatch(name) is not None
        if len(self) < _MOST_NAMES and len(name) <= _LONGEST_NAME:
            self[name] = fine
        return fine


_names: Final = _Names()


def target_of(scope: Scope) -> bytes:
    """Return path and query as the client has sent them."""
    raw: bytes = scope.get("raw_path") or quote(scope["path"], safe=_PATH_SAFE).encode()
    root = scope.get("root_path", "").encode()
    if root and raw.startswith(root) and raw[len(root) : len(root) + 1] in (b"", b"/"):
        raw = raw[len(root) :] or b"/"
    query: bytes = scope.get("query_string", b"")
    return raw + b"?" + query if query else raw


def head_of(heads: HeadReader, scope: Scope) -> RequestHead:
    """Build the head of a request.

    Raises:
        Failure: with a reason of the client's side.
    """
    method = scope.get("method", "GET")
    if method in ("CONNECT", "TRACE"):
        raise Failure("method_not_allowed", ALLOWED)
    if method not in http1.METHODS:
        raise Failure("coding_not_implemented", "unknown method")
    target = target_of(scope)
    if not _TARGET.fullmatch(target):
        raise Failure("bad_path", "target")
    head = RequestHead(method, target, heads.scheme)
    head.version = version = scope.get("http_version", "1.1")
    # HTTP/1 says where there is a body; later versions may leave it to the end of the stream.
    head.length = 0 if version[:1] == "1" else UNKNOWN_LENGTH
    fields = [(name, value) for name, value in scope["headers"]]
    size = len(target)
    for name, value in fields:
        if not _names[name] or not _VALUE.fullmatch(value):
            raise Failure("bad_request", "a field")
        size += len(name) + len(value)
    heads.fill(head, None, fields, size <= heads.small_head)
    # Whoever asks for another protocol may be answered in this one (RFC 9110 section 7.8).
    head.upgrade = b""
    return head


def refused_head(scope: Scope, scheme: str) -> RequestHead:
    """Build the head of a request that cannot be served, for the log."""
    method = str(scope.get("method", "-")).encode("ascii", "replace")
    return http1.refused_head(method if http1.safe_name(method) else b"-", target_of(scope), scheme)
