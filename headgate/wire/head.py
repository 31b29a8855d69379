"""From what the parser collected to a RequestHead: every rule that llhttp leaves to us.

Laws: host and path are brought into their one normal form here and nowhere else; whatever is ambiguous is refused
with the Failure that names it; results are cached by raw bytes, bounded, because hosts and paths repeat.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import httptools

from headgate.core.failure import Failure
from headgate.core.message import Field, Fields, RequestHead, tokens
from headgate.core.uri import BadTarget, normalize_path, parse_authority, split_target
from headgate.wire import http1
from headgate.wire.settings import HttpLimits
from headgate.wire.whole import LONGEST_LINE, request_lines

# RFC 9110 section 15.5.6: a 405 has Allow. CONNECT names no path whose routes could tell theirs.
ALLOWED = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
# As many as a large table has routes; at most 256 bytes each.
_CACHED = 16_384
_CACHED_LENGTH = 256
_LONGEST_SHOWN = 100
# No fragment: the parser refuses one.
_PLAIN_LINE = re.compile(rb"(GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (/[!\"$-~]*) HTTP/1\.1")
Place = tuple[str, bytes, str, bytes | None]
"""What a request line says: method, target, path in its normal form, query."""
_FORBIDDEN_TRAILERS = frozenset(
    # RFC 9110 section 6.5.1: framing, routing, authentication; and what an upstream would take our word for.
    (b"host", b"content-length", b"transfer-encoding", b"authorization", b"cookie", b"te", b"trailer", b"connection")
)
_NOTED = (http1.CREDENTIAL, http1.FORWARDING, http1.REQUEST_ID, http1.TRACE)


def _note(head: RequestHead, kind: int, field: Field) -> None:
    """Put a field where those look who read it."""
    if kind == http1.CREDENTIAL:
        head.fields.append(field)
        head.shown = [*(head.shown or ()), field]
    elif kind == http1.FORWARDING:
        head.forwarding = [*(head.forwarding or ()), field]
    elif kind == http1.REQUEST_ID:
        head.ids = [*(head.ids or ()), field]
    else:
        head.traces = [*(head.traces or ()), field]


class HeadReader:
    """Judge and build request heads for one listener."""

    __slots__ = (
        "_default_port",
        "_hosts",
        "_kinds",
        "_limits",
        "_lines",
        "_paths",
        "_places",
        "_request_trailers",
        "_trailers",
        "scheme",
        "small_head",
    )

    def __init__(
        self, limits: HttpLimits, scheme: str, kinds: http1.FieldKinds, answer_kinds: http1.FieldKinds
    ) -> None:
        """Compile; the kinds of an upstream's fields say which of its trailers may pass."""
        self.scheme = scheme
        self._limits = limits
        self._default_port = 443 if scheme == "https" else 80
        self._hosts: dict[bytes, tuple[str, int, bytes]] = {}
        self._paths: dict[bytes, str] = {}
        self._places: dict[bytes, Place] = {}
        # Bytes of a head none of whose parts can exceed a bound of its own.
        self.small_head = min(limits.max_header_line, limits.max_request_line, limits.max_header_bytes)
        self.judge_by(kinds, answer_kinds)

    def judge_by(self, kinds: http1.FieldKinds, answer_kinds: http1.FieldKinds) -> None:
        """Judge names by these from the next head on."""
        self._kinds = kinds
        self._lines = request_lines(kinds)
        # A field that does not pass in the head does not pass behind it, and neither does one that says who asks.
        listed = frozenset(name.lower().encode() for name in self._limits.trailers) - _FORBIDDEN_TRAILERS
        self._request_trailers = frozenset(name for name in listed if kinds[name] == http1.PLAIN)
        self._trailers = frozenset(name for name in listed if answer_kinds[name] in http1.PASSING)

    def judge_again(self, head: RequestHead, trailers: Fields) -> Fields:
        """Take off a head that waits what may not come any more, by the names that count now; return its trailers."""
        kinds = self._kinds
        head.fields = [field for field in head.fields if kinds[field[0]] in http1.PASSING]
        # Which of them may hold a credential may have changed, too.
        head.shown = None
        return [field for field in trailers if field[0].lower() in self._request_trailers]

    def whole(self, data: bytes) -> tuple[RequestHead, bytes] | None:
        """Return head and body of the plain request that `data` is, at most `small_head` bytes; see wire.whole."""
        end = data.find(b"\r\n\r\n")
        if end < 0:
            return None
        lines = data[:end].split(b"\r\n")
        place = self._places.get(lines[0]) or self._learn_place(lines[0])
        if place is None or len(lines) > self._limits.max_headers:
            return None
        head = RequestHead(place[0], place[1], self.scheme)
        head.path = place[2]
        head.query = place[3]
        known = self._lines
        fields = head.fields
        host: bytes | None = None
        length = -1
        typed = False
        for at in range(1, len(lines)):
            line = known[lines[at]]
            if line is None:
                return None
            kind = line.kind
            if not kind:
                fields.append(line.field)
            elif kind == http1.HOST:
                if host is not None:
                    return None
                host = line.field[1]
            elif kind == http1.LENGTH:
                if length >= 0:
                    return None
                length = line.number
            elif kind == http1.CONTENT_TYPE:
                if typed:
                    return None
                typed = True
                fields.append(line.field)
            elif kind != http1.DROP:
                _note(head, kind, line.field)
        if host is None or len(data) - end - 4 != (max(0, length)):
            return None
        named = self._hosts.get(host) or self._learn_host(host)
        if named is None:
            return None
        head.host, head.port, head.authority = named
        if length > 0:
            head.length = length
        return head, data[end + 4 :]

    def _learn_host(self, raw: bytes) -> tuple[str, int, bytes] | None:
        try:
            return self._new_host(raw)
        except Failure:
            return None

    def _learn_place(self, line: bytes) -> Place | None:
        """Take a request line apart; None for one that only the parser may judge."""
        found = _PLAIN_LINE.fullmatch(line)
        if found is None:
            return None
        target = found[2]
        raw, mark, query = target.partition(b"?")
        try:
            path = self._paths.get(raw) or self._new_path(raw)
        except Failure:
            return None
        place = (found[1].decode(), target, path, query if mark else None)
        if not mark and len(line) <= LONGEST_LINE:
            if len(self._places) >= _CACHED:
                self._places.clear()
            self._places[line] = place
        return place

    def request(
        self, parser: httptools.HttpRequestParser, target: bytes, fields: Fields, persistent: bool, small: bool
    ) -> RequestHead:
        """Build the head of a request; `persistent` is the parser's word on keep-alive.

        `small`: the head as a whole was within `small_head` bytes, so no part of it can exceed its own bound.

        Raises:
            Failure: with a reason of the client's side.
        """
        limits = self._limits
        if len(target) > limits.max_request_line:
            raise Failure("uri_too_long")
        if len(fields) > limits.max_headers:
            raise Failure("headers_too_large", "too many fields")
        head = RequestHead(parser.get_method().decode(), target, self.scheme)
        if head.method in ("TRACE", "CONNECT"):
            # RFC 9110 section 9.3.8: it shows what arrived, and so what was put on here that clients must not see.
            # Section 9.3.6: there are no tunnels, whatever form the target has; the parser takes the rest for one.
            raise Failure("method_not_allowed", ALLOWED)
        if not small:
            self._check_sizes(fields)
        host, framing = self._sort_fields(head, fields)
        if not persistent or framing is not None:
            # Persistent without any Connection field can only be HTTP/1.1, and asking costs a format.
            self._check_version(head, parser.get_http_version(), framing)
        if framing is not None:
            self._frame(head, framing)
        if target[:1] == b"/":
            self._set_target(head, target)
            self._set_host(head, host)
        else:
            self._other_form(head, target, host)
        return head

    def fill(self, head: RequestHead, authority: bytes | None, fields: Fields, small: bool) -> None:
        """Finish the head of an HTTP/2 request whose fields were judged one by one (wire.http2.head).

        `head.length` must tell what it is without Content-Length; `small` as for `request`.

        Raises:
            Failure: with a reason of the client's side.
        """
        limits = self._limits
        target = head.target
        if len(target) > limits.max_request_line:
            raise Failure("uri_too_long")
        if len(fields) > limits.max_headers:
            raise Failure("headers_too_large", "too many fields")
        if not small:
            self._check_sizes(fields)
        host, framing = self._sort_fields(head, fields)
        if framing is not None:
            self._frame(head, framing)
        if target == b"*" and head.method == "OPTIONS":
            head.path = "*"
        else:
            self._set_target(head, target)
        self._set_host(head, host if authority is None else authority)
        if authority is not None and host is not None and host != authority:
            # RFC 9113 section 8.3.1: what names another authority is malformed; another spelling is none.
            named = head.host, head.port
            self._set_host(head, host)
            if named != (head.host, head.port):
                raise Failure("bad_host", "differs from the target")

    def _sort_fields(self, head: RequestHead, fields: Fields) -> tuple[bytes | None, http1.Framing | None]:
        """Keep the end-to-end fields, act on the others; return Host and what the hop-by-hop fields said."""
        kinds = self._kinds
        host: bytes | None = None
        framing: http1.Framing | None = None
        kept = head.fields
        typed = False
        for field in fields:
            kind = kinds[field[0]]
            if not kind:
                kept.append(field)
                continue
            value = field[1]
            if kind == http1.HOST:
                if host is not None:
                    raise Failure("bad_host", "repeated")
                host = value
            elif kind == http1.CONTENT_TYPE:
                if typed:
                    raise Failure("bad_request", "repeated Content-Type")
                typed = True
                kept.append(field)
            elif kind in _NOTED:
                _note(head, kind, field)
            elif kind == http1.EXPECT:
                if value.lower() != b"100-continue":
                    raise Failure("expectation_failed")
                head.expects_continue = True
            elif kind == http1.REFUSE:
                raise Failure("bad_request", "underscore in a field name")
            elif kind == http1.DENIED:
                raise _denied(field[0])
            elif kind != http1.DROP:
                framing = framing or http1.Framing()
                try:
                    framing.note(kind, value)
                except ValueError as error:
                    raise Failure("bad_request", str(error)) from None
        return host, framing

    def _check_sizes(self, fields: Fields) -> None:
        limits = self._limits
        sizes = [len(name) + len(value) for name, value in fields]
        if sizes and max(sizes) > limits.max_header_line:
            raise Failure("headers_too_large", "a field is too long")
        if sum(sizes) > limits.max_header_bytes:
            raise Failure("headers_too_large", "too many bytes of fields")

    def _check_version(self, head: RequestHead, version: str, framing: http1.Framing | None) -> None:
        if version == "1.1":
            return
        if version != "1.0":
            raise Failure("version_not_supported", version)
        if framing is not None and framing.coding is not None:
            # RFC 9112 section 6.1: a coding in HTTP/1.0 means the framing is faulty.
            raise Failure("bad_request", "Transfer-Encoding in HTTP/1.0")
        head.version = version
        head.expects_continue = False

    def _frame(self, head: RequestHead, framing: http1.Framing) -> None:
        try:
            head.length = framing.body_length() or 0
        except ValueError as error:
            unknown = framing.length is None and framing.coding is not None and http1.unknown_coding(framing.coding)
            raise Failure("coding_not_implemented" if unknown else "bad_request", str(error)) from None
        if framing.connection and framing.connection not in http1.PLAIN_CONNECTION:
            head.fields = http1.without_named(head.fields, framing.connection)
            # Whatever was named away is no credential any more.
            head.shown = None
            if framing.upgrade and b"upgrade" in tokens(framing.connection) and head.version == "1.1":
                head.upgrade = framing.upgrade.strip().lower()

    def _set_target(self, head: RequestHead, target: bytes) -> None:
        raw, mark, query = target.partition(b"?")
        if mark:
            head.query = query
        path = self._paths.get(raw)
        if path is None:
            path = self._new_path(raw)
        if mark and (b"#" in query or not query.isascii()):
            raise Failure("bad_path", "query")
        head.path = path

    def _new_path(self, raw: bytes) -> str:
        limits = self._limits
        try:
            path = normalize_path(raw, limits.merge_slashes, limits.encoded_slashes == "keep")
        except BadTarget as error:
            raise Failure("bad_path", error.reason) from None
        if len(raw) <= _CACHED_LENGTH:
            if len(self._paths) >= _CACHED:
                self._paths.clear()
            self._paths[raw] = path
        return path

    def _set_host(self, head: RequestHead, raw: bytes | None) -> None:
        if raw is None:
            if head.version == "1.0":
                head.port = self._default_port
                return
            raise Failure("bad_host", "missing")
        known = self._hosts.get(raw)
        if known is None:
            known = self._new_host(raw)
        head.host, head.port, head.authority = known

    def _new_host(self, raw: bytes) -> tuple[str, int, bytes]:
        try:
            host, port = parse_authority(raw, self._default_port)
        except BadTarget as error:
            raise Failure("bad_host", error.reason) from None
        authority = host if port == self._default_port else f"{host}:{port}"
        known = (host, port, authority.encode())
        if len(raw) <= _CACHED_LENGTH:
            if len(self._hosts) >= _CACHED:
                self._hosts.clear()
            self._hosts[raw] = known
        return known

    def _other_form(self, head: RequestHead, target: bytes, host: bytes | None) -> None:
        """Read absolute, authority and asterisk form (RFC 9112 section 3.2)."""
        try:
            parts = split_target(target)
        except BadTarget as error:
            raise Failure("bad_path", error.reason) from None
        if parts.form == "asterisk" and head.method == "OPTIONS":
            head.path = "*"
            self._set_host(head, host)
            return
        if parts.form != "absolute":
            raise Failure("bad_path", "form")
        # RFC 9112 section 3.2.2: the target's authority replaces Host. Two that differ are two readers in the making.
        self._set_host(head, host)
        named = head.host, head.port
        self._set_host(head, parts.authority)
        if host is not None and named != (head.host, head.port):
            raise Failure("bad_host", "differs from the target")
        self._set_target(head, parts.path + (b"?" + parts.query if parts.query is not None else b""))

    def trailers(self, fields: Fields) -> Fields:
        """Return the trailer fields of a request that may pass.

        Raises:
            Failure: when there are too many, one that nobody may be told so late, or one that is refused.
        """
        size = sum(len(name) + len(value) for name, value in fields)
        if len(fields) > self._limits.max_headers or size > self._limits.max_header_bytes:
            raise Failure("headers_too_large", "trailers")
        if any(name.lower() in _FORBIDDEN_TRAILERS for name, _ in fields):
            raise Failure("bad_request", "a trailer that belongs in the head")
        for name, _ in fields:
            if self._kinds[name] == http1.DENIED:
                raise _denied(name)
        return [field for field in fields if field[0].lower() in self._request_trailers]

    def passed(self, trailers: Iterable[Field]) -> Fields:
        """Return the trailer fields of an answer that configuration lets pass."""
        return [field for field in trailers if field[0].lower() in self._trailers]


def _denied(name: bytes) -> Failure:
    # A name is a token, so the log can show it; how long it is, the client chose.
    return Failure("header_refused", name[:_LONGEST_SHOWN].decode("ascii", "replace"))
