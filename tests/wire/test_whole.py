"""Plain messages that came whole: what is taken without the parser is what the parser would have made of it."""

from __future__ import annotations

import httptools
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.failure import Failure
from headgate.core.message import Fields, RequestHead
from headgate.wire import http1
from headgate.wire.answer_head import response_head
from headgate.wire.field_filter import KEPT_OF_REQUESTS, FieldFilter
from headgate.wire.head import HeadReader
from headgate.wire.settings import HttpLimits
from headgate.wire.whole import LONGEST_FIELD, MOST_LINE_BYTES, MOST_LINES, WholeAnswers, request_lines

NAMES = ["Host", "host", "Accept", "Content-Length", "Content-Type", "X-Request-ID", "X-Forwarded-For", "Connection"]
NAMES += ["X-User", "x_user", "X-USER", "X-Secret-Key", "X_secret_key", "Origin", "If-Match", "Server"]
NAMES += ["Transfer-Encoding", "Expect", "Upgrade", "TE", "Trailer", "Date", "X_Under", "Bad Name", "", "Set-Cookie"]
VALUES = ["a.example", "0", "5", "05", "+5", "text/plain", "keep-alive", "close", "x-secret", "chunked"]
VALUES += ["100-continue", "websocket", ""]
VALUES += [" padded ", "two  words", "tab\there", "bell\x07", "caf\xe9", "bare\rcr", "1, 2"]
TARGETS = [
    "/",
    "/a/b",
    "/a//b",
    "/a/../b",
    "/%2e%2e/x",
    "/x?q=1",
    "/x?",
    "/a%2Fb",
    "http://a.example/",
    "*",
    "/#f",
    "x",
]

DENY = FieldFilter([], ["X-Secret-*", "Server"], KEPT_OF_REQUESTS)
REFUSE = FieldFilter([], ["X-Secret-*", "Server"], KEPT_OF_REQUESTS, refuse=True)
ALLOW = FieldFilter(["Accept", "x-user"], [], KEPT_OF_REQUESTS)
# What the operator made of names: underscores, what is ours alone, what is kept out.
JUDGED: dict[str, tuple[str, list[str], FieldFilter | None]] = {
    "as they come": ("drop", [], None),
    "ours": ("allow", ["X-User"], None),
    "denied": ("allow", [], DENY),
    "refused": ("refuse", ["X-User"], REFUSE),
    "allowed": ("allow", [], ALLOW),
}

lines = st.lists(
    st.tuples(st.sampled_from(NAMES), st.sampled_from(["", " ", "\t"]), st.sampled_from(VALUES)), max_size=6
)


class Parsed:
    """A request as the parser tells it."""

    def __init__(self, data: bytes, heads: HeadReader) -> None:
        self.url = b""
        self.fields: Fields = []
        self.body = b""
        self.whole = False
        self.more = False
        self.head: RequestHead | None = None
        self.heads = heads
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(data)

    def on_message_begin(self) -> None:
        self.more = self.whole

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.head = self.heads.request(self.parser, self.url, self.fields, self.parser.should_keep_alive(), False)

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.whole = True


def reader(judged: str = "as they come") -> HeadReader:
    kinds = http1.request_kinds(["X-Request-ID"], *JUDGED[judged])
    return HeadReader(HttpLimits(), "http", kinds, http1.response_kinds())


def told(head: RequestHead) -> list[object]:
    return [getattr(head, name) for name in RequestHead.__slots__]


@given(
    st.sampled_from(["GET", "POST", "OPTIONS", "PURGE", "get"]),
    st.sampled_from(TARGETS),
    st.sampled_from(["HTTP/1.1", "HTTP/1.0", "HTTP/2.0", "http/1.1"]),
    lines,
    st.sampled_from(["", "hello", "hello, and more"]),
    st.sampled_from(list(JUDGED)),
)
def test_a_request_that_is_taken_is_what_the_parser_reads(
    method: str, target: str, version: str, fields: list[tuple[str, str, str]], body: str, judged: str
) -> None:
    text = f"{method} {target} {version}\r\n" + "".join(f"{n}:{gap}{v}\r\n" for n, gap, v in fields) + "\r\n" + body
    data = text.encode("latin-1")
    whole = reader(judged).whole(data)
    if whole is None:
        return
    head, taken = whole
    parsed = Parsed(data, reader(judged))
    assert parsed.head is not None
    assert parsed.whole
    assert not parsed.more
    assert (told(head), taken) == (told(parsed.head), parsed.body)


def test_the_plain_request_is_taken() -> None:
    whole = reader().whole(b"POST /a/b?q=1 HTTP/1.1\r\nHost: A.example:80\r\nContent-Length: 2\r\nX-A: 1\r\n\r\nhi")
    assert whole is not None
    head, body = whole
    assert (head.method, head.path, head.query, head.host, head.length) == ("POST", "/a/b", b"q=1", "a.example", 2)
    assert head.fields == [(b"X-A", b"1")]
    assert body == b"hi"


SPELLINGS = [b"X-User", b"x-user", b"X-USER", b"x_user", b"X_User"]


@pytest.mark.parametrize("name", SPELLINGS)
@pytest.mark.parametrize("underscores", ["drop", "allow"])
def test_what_only_the_gateway_writes_is_taken_off_however_it_is_spelled(name: bytes, underscores: str) -> None:
    for owned in ("X-User", "x_user"):
        kinds = http1.request_kinds([], underscores, [owned])
        heads = HeadReader(HttpLimits(), "http", kinds, http1.response_kinds())
        data = b"GET / HTTP/1.1\r\nHost: a\r\n%b: me\r\nX-A: 1\r\n\r\n" % name
        whole = heads.whole(data)
        assert whole is not None
        assert whole[0].fields == [(b"X-A", b"1")]
        parsed = Parsed(data, heads).head
        assert parsed is not None
        assert parsed.fields == [(b"X-A", b"1")]


def test_what_is_refused_names_the_field() -> None:
    data = b"GET / HTTP/1.1\r\nHost: a\r\nX-Secret-%b: 1\r\n\r\n" % (b"a" * 300)
    assert reader("refused").whole(data) is None
    with pytest.raises(httptools.HttpParserError) as caught:
        Parsed(data, reader("refused"))
    failure = caught.value.__context__
    assert isinstance(failure, Failure)
    assert (failure.reason, failure.detail) == ("header_refused", "X-Secret-" + "a" * 91)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", id="two at once"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nhi", id="a body in part"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n", id="a head in part"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", id="two hosts"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\n\r\n\r\n", id="a bare line feed"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", id="a folded line"),
        pytest.param(b"GET / HTTP/1.1\r\n\r\n", id="no host"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", id="a host that is none"),
        pytest.param(b"GET /%2f HTTP/1.1\r\nHost: a\r\n\r\n", id="a path that is refused"),
        pytest.param(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", id="the last one"),
        pytest.param(b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", id="chunks"),
    ],
)
def test_what_is_not_plain_is_left_to_the_parser(data: bytes) -> None:
    assert reader().whole(data) is None


class Answer:
    """An answer as the parser tells it."""

    def __init__(self, data: bytes) -> None:
        self.fields: Fields = []
        self.body = b""
        self.ends = 0
        # Asked when the head has come: behind an answer that has ended, the parser speaks of the next one.
        self.persistent = False
        self.parser = httptools.HttpResponseParser(self)
        self.parser.feed_data(data)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name, value))

    def on_headers_complete(self) -> None:
        self.persistent = self.parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.ends += 1


@given(
    st.sampled_from(
        ["HTTP/1.1 200 OK", "HTTP/1.1 404 ", "HTTP/1.1 204 No", "HTTP/1.1 100 C", "HTTP/1.1 099 x", "HTTP/1.0 200 OK"]
    ),
    lines,
    st.sampled_from(["", "hello", "hello, and more"]),
    st.sampled_from([None, DENY, ALLOW]),
)
def test_an_answer_that_is_taken_is_what_the_parser_reads(
    start: str, fields: list[tuple[str, str, str]], body: str, field_filter: FieldFilter | None
) -> None:
    text = f"{start}\r\n" + "".join(f"{n}:{gap}{v}\r\n" for n, gap, v in fields) + "\r\n" + body
    data = text.encode("latin-1")
    kinds = http1.response_kinds(["X-Request-ID"], field_filter)
    whole = WholeAnswers(kinds).read(data)
    if whole is None:
        return
    head, taken = whole
    parsed = Answer(data)
    expected, until_close, _ = response_head(parsed.parser.get_status_code(), parsed.fields, kinds, "GET")
    assert parsed.ends == (len(taken) == head.length)
    assert not until_close
    assert parsed.persistent
    assert (head.status, head.length, head.fields, taken) == (
        expected.status,
        expected.length,
        expected.fields,
        parsed.body,
    )


def test_the_plain_answer_is_taken() -> None:
    data = b"HTTP/1.1 200 OK\r\nDate: now\r\nContent-Length: 2\r\nConnection: keep-alive\r\nX-Request-ID: 1\r\n\r\nhi"
    whole = WholeAnswers(http1.response_kinds(["X-Request-ID"])).read(data)
    assert whole is not None
    assert (whole[0].status, whole[0].fields, whole[0].length, whole[1]) == (200, [(b"Date", b"now")], 2, b"hi")


def test_the_tables_are_bounded() -> None:
    answers = WholeAnswers(http1.response_kinds())
    heads = reader()
    for number in range(20_000):
        assert answers.read(b"HTTP/1.1 200 %d\r\nX-N: %d\r\nContent-Length: 0\r\n\r\n" % (number, number)) is not None
        assert heads.whole(b"GET /%d HTTP/1.1\r\nHost: h%d\r\nX-N: %d\r\n\r\n" % (number, number, number)) is not None
    assert len(answers._lines) <= MOST_LINES
    assert len(answers._statuses) <= 4096
    assert len(heads._lines) <= MOST_LINES
    assert len(heads._places) <= 16_384
    assert len(heads._hosts) <= 16_384
    assert len(heads._paths) <= 16_384


def test_a_request_that_is_a_part_of_a_trace_is_taken() -> None:
    kinds = http1.request_kinds([], "allow", traces=frozenset((b"traceparent", b"b3")))
    heads = HeadReader(HttpLimits(), "http", kinds, http1.response_kinds())
    data = b"GET / HTTP/1.1\r\nHost: a\r\nTraceParent: 1\r\nb3: 0\r\ntracestate: a=1\r\n\r\n"
    whole = heads.whole(data)
    assert whole is not None
    head, _ = whole
    assert head.traces == [(b"TraceParent", b"1"), (b"b3", b"0")]
    assert head.fields == [(b"tracestate", b"a=1")]
    parsed = Parsed(data, heads)
    assert parsed.head is not None
    assert told(head) == told(parsed.head)


def test_a_host_that_is_refused_is_refused_by_the_parser_s_way_too() -> None:
    data = b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n"
    assert reader().whole(data) is None
    with pytest.raises(httptools.HttpParserError) as caught:
        Parsed(data, reader())
    assert isinstance(caught.value.__context__, Failure)


def test_the_table_of_lines_is_bounded_in_lines_and_in_bytes() -> None:
    kinds = http1.request_kinds([], "allow")
    many, long = request_lines(kinds), request_lines(kinds)
    for number in range(MOST_LINES + 10):
        assert many[b"a: %d" % number] is not None
    assert 0 < len(many) <= MOST_LINES
    for number in range(2 * MOST_LINE_BYTES // 4000):
        assert long[b"a: %04000d" % number] is not None
    assert sum(map(len, long)) <= MOST_LINE_BYTES
    assert long[b"a: " + b"1" * LONGEST_FIELD] is not None
    assert long
    assert all(len(line) <= LONGEST_FIELD for line in long)
