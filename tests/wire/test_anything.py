"""Any bytes at all: an answer or a close, never an exception, and one verdict however they were cut."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from headgate.wire.settings import HttpLimits
from tests.wire.fake import FakeClient

_PIECES = [
    b"GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    b"HEAD /x?y HTTP/1.0\r\n\r\n",
    b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
    b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello",
    b"POST /p HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n",
    b"POST /u HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nhi",
    b"GET /w HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    b"POST /e HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi",
    b"GET http://a/x HTTP/1.1\r\nHost: a\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
    b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 3\r\n",
    b"Host: b\r\n",
    b"\r\n",
    b"0\r\n\r\n",
    b"\0",
    b"\n",
]
_MUTATIONS = st.tuples(st.integers(0, 400), st.integers(0, 3), st.binary(max_size=3))


@st.composite
def hostile(draw: st.DrawFn) -> bytes:
    """Draw a run of requests and their parts, with bytes taken out, put in and replaced."""
    data = b"".join(draw(st.lists(st.sampled_from(_PIECES), min_size=1, max_size=6)))
    for at, gone, put in draw(st.lists(_MUTATIONS, max_size=4)):
        at %= len(data) + 1
        data = data[:at] + put + data[at + gone :]
    return data


def _verdict(client: FakeClient) -> tuple[object, int, bool]:
    # Which of 400 and 501 an unknown method behind whole requests gets may depend on where it was cut.
    complete, refusals, closed = client.verdict
    return complete, len(refusals), closed


def _agree(data: bytes, sizes: list[int], limits: HttpLimits | None = None) -> None:
    whole = FakeClient(limits).feed(data)
    assert _verdict(FakeClient(limits).drip(data)) == _verdict(whole)
    assert _verdict(FakeClient(limits).feed(data, sizes)) == _verdict(whole)
    assert len(whole.refusals) <= 1
    assert not whole.refusals or whole.transport.closed
    whole.connection.connection_lost(None)


@given(st.binary(max_size=300), st.lists(st.integers(1, 40), max_size=8))
@example(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", [])
@settings(max_examples=150, deadline=None)
def test_any_bytes(data: bytes, sizes: list[int]) -> None:
    _agree(data, sizes)


@given(hostile(), st.lists(st.integers(1, 60), max_size=12))
@settings(max_examples=600, deadline=None)
def test_mutated_requests(data: bytes, sizes: list[int]) -> None:
    _agree(data, sizes)


@given(hostile(), st.lists(st.integers(1, 60), max_size=12))
@settings(max_examples=200, deadline=None)
def test_requests_that_wait_for_those_before_them(data: bytes, sizes: list[int]) -> None:
    """With an upstream that does not answer only the first request is ever given away."""
    limits = HttpLimits(max_pipelined=2)
    for client in (
        FakeClient(limits, answers=False).feed(data),
        FakeClient(limits, answers=False).drip(data),
        FakeClient(limits, answers=False).feed(data, sizes),
    ):
        assert len(client.asked) <= 1
        assert len(client.refusals) <= 1
        client.connection.connection_lost(None)
