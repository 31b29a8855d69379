"""Requests whose framing two readers may read in two ways: refused, the connection closed, nothing sent upstream.

Each payload stands before a marked request. Whole, not one byte may reach the upstream; byte by byte the head of a
request whose body breaks has been passed on, but neither it nor the marked one may ever be complete there.
"""

from __future__ import annotations

import pytest

from tests.proxy.raw import attack, connected
from tests.proxy.recorder import Recorder
from tests.proxy.stage import Rig

MARKED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
HOST = b"Host: a\r\n"


def post(*lines: bytes, body: bytes = b"", version: bytes = b"1.1") -> bytes:
    return b"\r\n".join((b"POST /first HTTP/" + version, b"Host: a", *lines, b"", body))


def te(value: bytes, body: bytes = b"0\r\n\r\n") -> bytes:
    return post(b"Transfer-Encoding:" + value, body=body)


def chunks(body: bytes) -> bytes:
    return te(b" chunked", body)


def get(target: bytes, *lines: bytes, method: bytes = b"GET", version: bytes = b"HTTP/1.1") -> bytes:
    return b"\r\n".join((method + b" " + target + b" " + version, *lines, b"", b""))


LENGTHS = {
    "cl.te": (post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400),
    "te.cl": (post(b"Transfer-Encoding: chunked", b"Content-Length: 5", body=b"0\r\n\r\n"), 400),
    "cl.te long": (post(b"Content-Length: 60", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400),
    "cl.te 1.0": (post(b"Content-Length: 5", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n", version=b"1.0"), 400),
    "cl twice": (post(b"Content-Length: 5", b"Content-Length: 6", body=b"hello"), 400),
    "cl twice alike": (post(b"Content-Length: 5", b"Content-Length: 5", body=b"hello"), 400),
    "cl list": (post(b"Content-Length: 5, 6", body=b"hello"), 400),
    "cl list alike": (post(b"Content-Length: 5, 5", body=b"hello"), 400),
    "cl plus": (post(b"Content-Length: +5", body=b"hello"), 400),
    "cl minus": (post(b"Content-Length: -5", body=b"hello"), 400),
    "cl minus zero": (post(b"Content-Length: -0"), 400),
    "cl hexadecimal": (post(b"Content-Length: 0x5", body=b"hello"), 400),
    "cl exponent": (post(b"Content-Length: 5e0", body=b"hello"), 400),
    "cl point": (post(b"Content-Length: 5.0", body=b"hello"), 400),
    "cl underscore": (post(b"Content-Length: 1_0", body=b"hellohello"), 400),
    "cl blank within": (post(b"Content-Length: 5 0", body=b"hello"), 400),
    "cl empty": (post(b"Content-Length:"), 400),
    "cl words": (post(b"Content-Length: five"), 400),
    "cl huge": (post(b"Content-Length: 18446744073709551621", body=b"hello"), 400),
    "cl huge still 64 bits": (post(b"Content-Length: 9223372036854775807", body=b"hello"), 400),
    "cl arabic digits": (post("Content-Length: \u0665".encode(), body=b"hello"), 400),
    "cl space before colon": (post(b"Content-Length : 5", body=b"hello"), 400),
    "cl nul": (post(b"Content-Length: 5\0", body=b"hello"), 400),
    "cl quoted": (post(b'Content-Length: "5"', body=b"hello"), 400),
}
CODINGS = {
    "te twice": (post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400),
    "te twice, other": (post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: x", body=b"0\r\n\r\n"), 400),
    "te other, twice": (post(b"Transfer-Encoding: x", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400),
    "te comma first": (te(b" ,chunked"), 400),
    "te comma last": (te(b" chunked,"), 400),
    "te gzip, chunked": (te(b" gzip, chunked"), 501),
    "te chunked, gzip": (te(b" chunked, gzip"), 400),
    "te chunked, identity": (te(b" chunked, identity"), 400),
    "te chunked, chunked": (te(b" chunked, chunked"), 400),
    "te identity": (te(b" identity"), 501),
    "te gzip": (te(b" gzip"), 501),
    "te xchunked": (te(b" xchunked"), 501),
    "te chunkedx": (te(b" chunkedx"), 501),
    "te quoted": (te(b' "chunked"'), 400),
    "te parameter": (te(b" chunked;q=1"), 400),
    "te empty": (te(b""), 400),
    "te vertical tab": (te(b"\x0bchunked"), 400),
    "te form feed": (te(b" \x0cchunked"), 400),
    "te nul": (te(b" chunked\0"), 400),
    "te bare cr": (te(b" chunked\r"), 400),
    "te space before colon": (post(b"Transfer-Encoding : chunked", body=b"0\r\n\r\n"), 400),
    "te tab before colon": (post(b"Transfer-Encoding\t: chunked", body=b"0\r\n\r\n"), 400),
    "te folded": (post(b"Transfer-Encoding:\r\n chunked", body=b"0\r\n\r\n"), 400),
    "te folded behind": (post(b"X: y\r\n Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400),
    "te leading space": (post(b" Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400),
    "te bare lf before": (post(b"X: y\nTransfer-Encoding: chunked", body=b"0\r\n\r\n"), 400),
    "te bare cr before": (post(b"X: y\rTransfer-Encoding: chunked", body=b"0\r\n\r\n"), 400),
    "te nul in name": (post(b"Transfer\0-Encoding: chunked", body=b"0\r\n\r\n"), 400),
    "te 1.0": (post(b"Transfer-Encoding: chunked", body=b"0\r\n\r\n", version=b"1.0"), 400),
    "te 1.0 kept": (
        post(b"Connection: keep-alive", b"Transfer-Encoding: chunked", body=b"0\r\n\r\n", version=b"1.0"),
        400,
    ),
}
CHUNKS = {
    "0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "plus": b"+5\r\nhello\r\n0\r\n\r\n",
    "minus": b"-5\r\nhello\r\n0\r\n\r\n",
    "underscore": b"0_5\r\nhello\r\n0\r\n\r\n",
    "space before": b" 5\r\nhello\r\n0\r\n\r\n",
    "space behind": b"5 \r\nhello\r\n0\r\n\r\n",
    "tab behind": b"5\t\r\nhello\r\n0\r\n\r\n",
    "empty": b"\r\nhello\r\n0\r\n\r\n",
    "extension only": b";a=b\r\nhello\r\n0\r\n\r\n",
    "overflow": b"10000000000000005\r\nhello\r\n0\r\n\r\n",
    "no number": b"xyz\r\nhello\r\n0\r\n\r\n",
    "lf": b"5\nhello\n0\n\n",
    "lf behind the size": b"5\nhello\r\n0\r\n\r\n",
    "lf behind the data": b"5\r\nhello\n0\r\n\r\n",
    "cr behind the size": b"5\rhello\r\n0\r\n\r\n",
    "lf in the extension": b"5;a\nhello\r\n0\r\n\r\n",
    "cr in the extension": b"5;a\rb\r\nhello\r\n0\r\n\r\n",
    "nul in the extension": b"5;a=\0\r\nhello\r\n0\r\n\r\n",
    "data too long": b"5\r\nhello!\r\n0\r\n\r\n",
    "data too short": b"6\r\nhello\r\n0\r\n\r\n",
    "last without end": b"5\r\nhello\r\n0\r\nX",
    "lf behind the last": b"5\r\nhello\r\n0\n\n",
    "negative last": b"5\r\nhello\r\n-0\r\n\r\n",
}
TRAILERS = {
    "host": b"Host: evil",
    "content-length": b"Content-Length: 9",
    "transfer-encoding": b"Transfer-Encoding: chunked",
    "authorization": b"Authorization: Bearer x",
    "cookie": b"Cookie: a=b",
    "folded": b"X: y\r\n z",
    "nul": b"X: \0",
    "space before colon": b"X : y",
    "bare lf": b"X: y\nZ: z",
}
HEADS = {
    "bare lf everywhere": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "bare lf after the line": (b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    "bare lf at the end": (b"GET / HTTP/1.1\r\nHost: a\r\n\n", 400),
    "bare cr in a value": (get(b"/", b"Host: a", b"X: a\rb"), 400),
    "cr cr lf": (get(b"/", b"Host: a", b"X: a\r"), 400),
    "nul in a value": (get(b"/", b"Host: a", b"X: a\0b"), 400),
    "nul in a name": (get(b"/", b"Host: a", b"X\0: a"), 400),
    "bell": (get(b"/", b"Host: a", b"X: \a"), 400),
    "escape": (get(b"/", b"Host: a", b"X: \x1b[2J"), 400),
    "delete": (get(b"/", b"Host: a", b"X: \x7f"), 400),
    "obs-fold": (get(b"/", b"Host: a", b"X: a\r\n b"), 400),
    "obs-fold tab": (get(b"/", b"Host: a", b"X: a\r\n\tb"), 400),
    "folded first": (get(b"/", b" X: a", b"Host: a"), 400),
    "no name": (get(b"/", b"Host: a", b": x"), 400),
    "no colon": (get(b"/", b"Host: a", b"X"), 400),
    "name with space": (get(b"/", b"Host: a", b"X Y: z"), 400),
    "name with slash": (get(b"/", b"Host: a", b"X/Y: z"), 400),
    "name not ascii": (get(b"/", b"Host: a", b"X\xff: z"), 400),
    "name with parentheses": (get(b"/", b"Host: a", b"X(): z"), 400),
    "content-type twice": (get(b"/", b"Host: a", b"Content-Type: a/b", b"Content-Type: c/d"), 400),
    "0.9": (b"GET /\r\n", 505),
    "0.9 with a field": (b"GET /\r\nHost: a\r\n\r\n", 505),
    "0.9 in the line": (get(b"/", b"Host: a", version=b"HTTP/0.9"), 505),
    "1.2": (get(b"/", b"Host: a", version=b"HTTP/1.2"), 505),
    "2.0": (get(b"/", b"Host: a", version=b"HTTP/2.0"), 505),
    "3.0": (get(b"/", b"Host: a", version=b"HTTP/3.0"), 505),
    "1.10": (get(b"/", b"Host: a", version=b"HTTP/1.10"), 400),
    "1": (get(b"/", b"Host: a", version=b"HTTP/1"), 400),
    "lower case": (get(b"/", b"Host: a", version=b"http/1.1"), 400),
    "other protocol": (get(b"/", b"Host: a", version=b"FTP/1.1"), 400),
    "no target": (b"GET HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "tab for space": (b"GET\t/\tHTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "space in the target": (b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "space behind": (b"GET / HTTP/1.1 \r\nHost: a\r\n\r\n", 400),
    "unknown method": (get(b"/", b"Host: a", method=b"BREW"), 501),
    "method in lower case": (get(b"/", b"Host: a", method=b"get"), 501),
    "method with nul": (get(b"/", b"Host: a", method=b"\0GET"), 400),
    "no preface of http/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", 400),
    "method of the preface": (get(b"/", b"Host: a", method=b"PRI"), 400),
    "tls": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)), 400),
    "an answer": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 501),
    "proxy line": (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n" + get(b"/", b"Host: a"), 501),
    "json": (b'{"a": 1}\r\n\r\n', 400),
    "nothing but nul": (b"\0" * 64, 400),
}
EXPECTS = {
    "other": (post(b"Expect: 200-ok", b"Content-Length: 0"), 417),
    "list": (post(b"Expect: 100-continue, x", b"Content-Length: 0"), 417),
    "empty": (post(b"Expect:", b"Content-Length: 0"), 417),
    "parameter": (post(b"Expect: 100-continue;a=b", b"Content-Length: 0"), 417),
}

ALL = {
    **LENGTHS,
    **CODINGS,
    **{f"chunk {name}": (chunks(body), 400) for name, body in CHUNKS.items()},
    **{
        f"trailer {name}": (chunks(b"5\r\nhello\r\n0\r\n" + line + b"\r\n\r\n"), 400) for name, line in TRAILERS.items()
    },
    **HEADS,
    **{f"expect {name}": row for name, row in EXPECTS.items()},
}


@pytest.mark.parametrize(("payload", "status"), ALL.values(), ids=ALL.keys())
def test_refused_whole(payload: bytes, status: int) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await client.send(payload + MARKED)
            [answer] = await client.responses()
        assert (answer.status, answer.get("connection"), upstream.raw) == (status, "close", b"")
        [line] = await rig.logged()
        assert line["status_code"] == status
        # Health of the worker: the next client is served.
        async with connected(rig) as client:
            assert (await client.ask(MARKED)).status == 200

    attack(scenario)


@pytest.mark.parametrize(("payload", "status"), ALL.values(), ids=ALL.keys())
def test_refused_byte_by_byte(payload: bytes, status: int) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await client.drip(payload)
            await client.send(MARKED)
            [answer] = await client.responses()
        assert (answer.status, answer.get("connection"), upstream.requests) == (status, "close", [])
        assert b"smuggled" not in upstream.raw
        [line] = await rig.logged()
        assert line["status_code"] == status

    attack(scenario)


@pytest.mark.parametrize(
    ("line", "sent"),
    [
        # RFC 9112 section 3: words may be told apart by any run of blanks, as long as we write one.
        (b"GET  /x HTTP/1.1", "GET /x"),
        # The parser knows two sister protocols; what goes on is HTTP/1.1 whatever it was called.
        (b"OPTIONS /x RTSP/1.1", "OPTIONS /x"),
        (b"SOURCE /x ICE/1.1", "SOURCE /x"),
        # RFC 9112 section 2.2: empty lines before a request.
        (b"\r\n\r\nGET /x HTTP/1.1", "GET /x"),
    ],
)
def test_unusual_lines_go_on_in_plain_form(line: bytes, sent: str) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            assert (await client.ask(line + b"\r\nHost: a\r\n\r\n")).status == 200
        [request] = upstream.requests
        assert (f"{request.method} {request.target}", request.start[2]) == (sent, "1")

    attack(scenario)


def test_a_line_without_version_is_answered_at_its_end() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            # As a client of HTTP/0.9 sends it, waiting for the answer then.
            assert (await client.ask(b"GET /\r\n")).status == 505

    attack(scenario)


@pytest.mark.parametrize(
    ("length", "body"),
    [(b"Content-Length: 005", b"hello"), (b"Transfer-Encoding: Chunked", b"0005;a=b\r\nhello\r\n000\r\nX: y\r\n\r\n")],
    ids=["zeros before", "extension, trailer"],
)
def test_framing_is_written_anew(length: bytes, body: bytes) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            assert (await client.ask(post(length, body=body))).status == 200
            assert (await client.ask(MARKED)).status == 200
        first, second = upstream.requests
        assert (first.body, first.trailers, second.target) == (b"hello", [], "/smuggled")
        assert first.chunked or first.get("content-length") == "5"
        assert b";a=b" not in upstream.raw

    attack(scenario)
