"""Heads from the fields of HTTP/2: RFC 9113 sections 8.2 and 8.3, and what HTTP/1 makes of the same request."""

from __future__ import annotations

from typing import Any

import httptools
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from headgate.core.failure import Failure
from headgate.core.message import UNKNOWN_LENGTH, Fields, RequestHead
from headgate.wire import http1
from headgate.wire.head import HeadReader
from headgate.wire.http2.fields import OUTGROWN, FieldDecoder
from headgate.wire.http2.head import (
    refused_head,
    request_head,
    request_trailers,
    response_head,
    response_trailers,
    to_keep,
)
from headgate.wire.settings import HttpLimits
from tests.wire.http2.breaker import literal

Pairs = list[tuple[bytes, bytes]]
START: Pairs = [(b":method", b"GET"), (b":scheme", b"http"), (b":authority", b"Example.test"), (b":path", b"/a?b=c")]
KINDS = http1.response_kinds()


def reader(**limits: Any) -> HeadReader:
    kinds = http1.request_kinds(["X-Request-ID"], "drop", credentials=frozenset((b"authorization",)))
    return HeadReader(HttpLimits(**limits), "http", kinds, KINDS)


def with_(*fields: tuple[bytes, bytes], start: Pairs = START) -> Fields:
    return [*start, *fields]


def without(name: bytes) -> Pairs:
    return [field for field in START if field[0] != name]


def instead(name: bytes, value: bytes) -> Pairs:
    return [(key, value if key == name else old) for key, old in START]


def read(fields: Fields, ended: bool = True, **limits: Any) -> RequestHead:
    return request_head(reader(**limits), fields, ended)


def refused(fields: Fields, ended: bool = True, **limits: Any) -> str:
    with pytest.raises(Failure) as caught:
        read(fields, ended, **limits)
    assert caught.value.side == "client"
    return caught.value.reason


# -- what a request is ---------------------------------------------------------------------------------------------


def test_a_plain_request() -> None:
    head = read(with_((b"accept", b"*/*"), (b"x-request-id", b"r1"), (b"x-forwarded-for", b"1.2.3.4")))
    assert (head.method, head.scheme, head.host, head.port, head.authority) == (
        "GET",
        "http",
        "example.test",
        80,
        b"example.test",
    )
    assert (head.path, head.query, head.version, head.length, head.upgrade) == ("/a", b"b=c", "2", 0, b"")
    assert head.fields == [(b"accept", b"*/*")]
    assert head.ids == [(b"x-request-id", b"r1")]
    assert head.forwarding == [(b"x-forwarded-for", b"1.2.3.4")]


def test_its_scheme_is_the_listeners() -> None:
    # What the client writes there is checked and believed as little as X-Forwarded-Proto.
    assert read(instead(b":scheme", b"https")).scheme == "http"


def test_a_body_may_follow() -> None:
    assert read(with_(), ended=False).length == UNKNOWN_LENGTH
    assert read(with_((b"content-length", b"5")), ended=False).length == 5
    assert read(with_((b"content-length", b"0")), ended=True).length == 0
    assert read(with_((b"expect", b"100-continue")), ended=False).expects_continue


def test_host_stands_for_authority_and_may_repeat_it() -> None:
    assert read([*without(b":authority"), (b"host", b"h.test")]).host == "h.test"
    assert read(with_((b"host", b"example.TEST:80"))).host == "example.test"


def test_options_of_the_whole() -> None:
    head = read([(b":method", b"OPTIONS"), *START[1:3], (b":path", b"*")])
    assert head.path == "*"


def test_crumbs_become_one_cookie() -> None:
    crumbs = [(b"cookie", b"a=1"), (b"x", b"y"), (b"cookie", b"b=2"), (b"cookie", b"c=3")]
    assert read(with_(*crumbs)).fields == [(b"cookie", b"a=1; b=2; c=3"), (b"x", b"y")]


def test_te_says_trailers_and_goes_no_further() -> None:
    assert read(with_((b"te", b"trailers"))).fields == []


def test_credentials_are_noted() -> None:
    field = (b"authorization", b"Bearer x")
    head = read(with_(field))
    assert head.fields == [field]
    assert head.shown == [field]


def test_an_extended_connect_reads_as_an_upgrade() -> None:
    start = [(b":method", b"CONNECT"), (b":protocol", b"WebSocket"), *START[1:]]
    head = read([*start, (b"sec-websocket-version", b"13")], ended=False)
    assert (head.method, head.upgrade, head.length) == ("GET", b"websocket", 0)
    assert refused(start, ended=True) == "bad_request"
    assert refused([*start, (b"content-length", b"3")], ended=False) == "bad_request"
    assert refused([(b":protocol", b"websocket"), *START], ended=False) == "bad_request"


# -- what is malformed ---------------------------------------------------------------------------------------------

MALFORMED = {
    "LF in a value": with_((b"x", b"a\nb")),
    "CR in a value": with_((b"x", b"a\rb")),
    "CRLF and a field": with_((b"x", b"a\r\nhost: evil")),
    "NUL in a value": with_((b"x", b"a\x00b")),
    "another control": with_((b"x", b"a\x1bb")),
    "blank before": with_((b"x", b" a")),
    "tab behind": with_((b"x", b"a\t")),
    "capitals in a name": with_((b"X-Name", b"a")),
    "blank in a name": with_((b"x name", b"a")),
    "colon in a name": with_((b"x:y", b"a")),
    "CRLF in a name": with_((b"x\r\ny", b"a")),
    "empty name": with_((b"", b"a")),
    "a name above ASCII": with_((b"x\xc3\xa9", b"a")),
    "connection": with_((b"connection", b"close")),
    "connection that names": with_((b"connection", b"x-secret")),
    "keep-alive": with_((b"keep-alive", b"timeout=5")),
    "proxy-connection": with_((b"proxy-connection", b"close")),
    "upgrade": with_((b"upgrade", b"websocket")),
    "transfer-encoding": with_((b"transfer-encoding", b"chunked")),
    "transfer-encoding, disguised": with_((b"transfer-encoding ", b"chunked")),
    "te": with_((b"te", b"gzip")),
    "te, and more": with_((b"te", b"trailers, deflate")),
    "two methods": with_(start=[*START, (b":method", b"POST")]),
    "two paths": with_(start=[*START, (b":path", b"/admin")]),
    "two authorities": with_(start=[*START, (b":authority", b"evil.test")]),
    "unknown pseudo-field": with_(start=[*START, (b":path2", b"/")]),
    "pseudo-field of answers": with_(start=[*START, (b":status", b"200")]),
    "pseudo-field behind a field": with_((b"x", b"y"), (b":authority", b"evil.test"), start=without(b":authority")),
    "no method": without(b":method"),
    "no path": without(b":path"),
    "no scheme": without(b":scheme"),
    "scheme that is a URL": instead(b":scheme", b"http://evil.test/?"),
    "scheme with CRLF": instead(b":scheme", b"http\r\nx: y"),
    "method with a blank": instead(b":method", b"GET / HTTP/1.1\r\nHost: evil\r\n\r\n"),
    "empty method": instead(b":method", b""),
    "repeated content-length": with_((b"content-length", b"0"), (b"content-length", b"0")),
    "signed content-length": with_((b"content-length", b"+0")),
    "content-length above ASCII": with_((b"content-length", "\u0661".encode())),
    "content-length and nothing": with_((b"content-length", b"5")),
    "nothing": [],
}
PATHS = [
    b"",
    b"a",
    b"http://evil.test/",
    b"/a b",
    b"/a\r\nb",
    b"/a?b c",
    b"/a?b\r\nx: y",
    b"/a#b",
    b"/a?b#c",
    b"/\x00",
    b"*",
]
PATHS += [b"/%2e%2e/x", b"/..", b"/a\xc3\xa9", b"/a?\xc3\xa9", b"/%", b"/a%00", b"/a\\b", b"/a%2fb", b"/?\x7f"]
HOSTS = [
    b"",
    b"a b",
    b"user@example.test",
    b"a/b",
    b"a,b",
    b"example.test:99999",
    b"example.test\r\nx: y",
    b"[::1",
    b"a\x00",
]


@pytest.mark.parametrize("case", MALFORMED)
def test_what_is_malformed_is_refused(case: str) -> None:
    assert refused(MALFORMED[case]) == "bad_request"


@pytest.mark.parametrize("path", PATHS, ids=repr)
def test_paths_that_two_may_read_differently_are_refused(path: bytes) -> None:
    assert refused(instead(b":path", path)) == "bad_path"


@pytest.mark.parametrize("host", HOSTS, ids=repr)
def test_hosts_that_are_none_are_refused(host: bytes) -> None:
    assert refused(instead(b":authority", host)) == "bad_host"


def test_host_and_authority_must_be_one() -> None:
    assert refused(with_((b"host", b"evil.test"))) == "bad_host"
    assert refused(with_((b"host", b"example.test:8080"))) == "bad_host"
    assert refused(with_((b"host", b"example.test"), (b"host", b"example.test"))) == "bad_host"
    assert refused(without(b":authority")) == "bad_host"


def test_methods_that_are_not_served() -> None:
    assert refused(instead(b":method", b"TRACE")) == "method_not_allowed"
    assert refused([(b":method", b"CONNECT"), (b":authority", b"example.test:443")]) == "method_not_allowed"
    assert refused(instead(b":method", b"BREW")) == "coding_not_implemented"
    assert refused(instead(b":method", b"get")) == "coding_not_implemented"


def test_what_is_too_large_is_told_so() -> None:
    assert refused(instead(b":path", b"/" + b"a" * 100), max_request_line=100) == "uri_too_long"
    assert refused(with_((b"x", b"a" * 100)), max_header_line=100) == "headers_too_large"
    assert refused(with_(*[(b"x", b"a")] * 11), max_headers=10) == "headers_too_large"
    crumbs = [(b"cookie", b"a" * 30)] * 4
    assert refused(with_(*crumbs), max_header_line=100) == "headers_too_large"
    assert refused([*START, OUTGROWN]) == "headers_too_large"


def test_a_peer_cannot_write_our_own_mark() -> None:
    fields = FieldDecoder(10, 1000).decode(b"".join(literal(name, value) for name, value in [*START, OUTGROWN]))
    assert refused(list(fields)) == "bad_request"


def test_the_log_sees_what_was_refused_escaped_and_without_its_query() -> None:
    head = refused_head([(b":method", b"GET"), (b":path", b"/a\r\nb?token=secret"), (b"x", b"\n")], "http")
    assert (head.method, head.path, head.version) == ("GET", "/a%0D%0Ab", "2")
    assert refused_head([(b":method", b"G\nT")], "http").method == "-"


def test_a_failure_that_is_kept_keeps_nothing_else() -> None:
    # Four bytes of a peer may stand for 16 KiB of fields, and a stream whose answer waits holds its failure.
    crumbs = [(b"cookie", b"a" * 4000)] * 4
    for fields in (with_(*crumbs), with_((b"Bad", b"x"), *crumbs)):
        with pytest.raises(Failure) as caught:
            read(fields)
        kept = to_keep(caught.value)
        assert kept.__traceback__ is None
        assert kept.__context__ is None


# -- trailers ------------------------------------------------------------------------------------------------------


def test_trailers_that_may_pass() -> None:
    heads = reader(trailers=["X-Sum"])
    assert request_trailers(heads, [(b"x-sum", b"1"), (b"x-other", b"2")]) == [(b"x-sum", b"1")]
    for bad in ([(b":path", b"/")], [(b"x-sum", b"a\nb")], [(b"X-Sum", b"1")], [(b"connection", b"close")], [OUTGROWN]):
        with pytest.raises(Failure):
            request_trailers(heads, list(bad))
        with pytest.raises(Failure, match="upstream_protocol"):
            response_trailers(list(bad))
    with pytest.raises(Failure):
        request_trailers(heads, [(b"content-length", b"1")])
    assert response_trailers([(b"grpc-status", b"0")]) == [(b"grpc-status", b"0")]


# -- answers -------------------------------------------------------------------------------------------------------


def answer(*fields: tuple[bytes, bytes], status: bytes = b"200", method: str = "GET", ended: bool = False) -> Any:
    return response_head([(b":status", status), *fields], KINDS, method, ended)


def test_an_answer() -> None:
    head = answer((b"content-length", b"5"), (b"date", b"today"), (b"x", b"y"))
    assert (head.status, head.length, head.fields) == (200, 5, [(b"date", b"today"), (b"x", b"y")])
    assert answer().length == UNKNOWN_LENGTH
    assert answer(ended=True).length == 0
    assert answer((b"content-length", b"5"), method="HEAD", ended=True).length == 5
    assert answer((b"content-length", b"5"), status=b"304", ended=True).length == 5
    assert answer(status=b"103", ended=False).status == 103


@pytest.mark.parametrize(
    "fields",
    [
        [],
        [(b"x", b"y")],
        [(b":status", b"20")],
        [(b":status", b"2000")],
        [(b":status", b"+20")],
        [(b":status", b"099")],
        [(b":status", b"101")],
        [(b":status", b"103")],
        [(b":status", b"200"), (b":status", b"200")],
        [(b":status", b"200"), (b":path", b"/")],
        [(b":status", b"200"), (b"x", b"a\r\nset-cookie: b")],
        [(b":status", b"200"), (b"Set-Cookie", b"a")],
        [(b":status", b"200"), (b"connection", b"close")],
        [(b":status", b"200"), (b"transfer-encoding", b"chunked")],
        [(b":status", b"200"), (b"content-length", b"5")],
        [(b":status", b"200"), (b"content-length", b"5"), (b"content-length", b"6")],
        [(b":status", b"200"), OUTGROWN],
    ],
    ids=repr,
)
def test_answers_that_are_refused(fields: Fields) -> None:
    with pytest.raises(Failure, match="upstream_protocol"):
        response_head(fields, KINDS, "GET", True)


# -- the same as HTTP/1 --------------------------------------------------------------------------------------------


class _Http1:
    """What the parser of HTTP/1 and our rules make of a request."""

    def __init__(self, heads: HeadReader) -> None:
        self.heads = heads
        self.url = b""
        self.fields: Fields = []
        self.head: RequestHead | None = None
        self.parser = httptools.HttpRequestParser(self)

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.head = self.heads.request(self.parser, self.url, self.fields, True, False)


TEXT = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), max_size=20).map(str.encode)
BYTES = st.one_of(TEXT, st.binary(max_size=12))


@settings(max_examples=400, deadline=None)
@given(
    st.sampled_from([b"GET", b"POST", b"OPTIONS", b"TRACE", b"BREW", b"QUERY"]),
    st.one_of(BYTES, TEXT.map(lambda text: b"/" + text)),
    st.one_of(BYTES, st.sampled_from([b"example.test", b"EXAMPLE.test:80", b"[::1]:90", b"10.0.0.1"])),
    st.lists(st.tuples(TEXT.map(bytes.lower), BYTES), max_size=4),
)
def test_both_versions_read_the_same_request(method: bytes, path: bytes, host: bytes, fields: Fields) -> None:
    names = {name for name, _ in fields}
    # What only one of them has, or what crumbs and lists are put together from.
    assume(not names & {b"host", b"content-length", b"connection", b"te", b"expect", b"transfer-encoding", b"upgrade"})
    assume(all(b":" not in name for name in names))
    two: RequestHead | None = None
    try:
        start = [(b":method", method), (b":scheme", b"http"), (b":authority", host), (b":path", path)]
        two = request_head(reader(), [*start, *fields], True)
    except Failure as failure:
        assert failure.side == "client"
    lines = [b"%b %b HTTP/1.1" % (method, path), b"Host: " + host, *map(b": ".join, fields), b"", b""]
    one = _Http1(reader())
    try:
        one.parser.feed_data(b"\r\n".join(lines))
    except (httptools.HttpParserError, Failure):
        one.head = None
    if two is None:
        # HTTP/1 trims blanks around values, knows absolute targets, and takes capitals; all else is one judgement.
        lenient = path[:1] != b"/" or any(value != value.strip(b" \t\r\n") for _, value in fields)
        assert one.head is None or lenient or host != host.strip(b" \t\r\n")
        return
    assert one.head is not None
    for name in ("method", "scheme", "host", "port", "authority", "path", "query", "fields", "ids", "shown"):
        assert getattr(one.head, name) == getattr(two, name), name
