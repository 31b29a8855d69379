"""One question to an endpoint: every kind of answer, every way not to answer, over every kind of connection."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from headgate.core.address import parse_endpoint
from headgate.core.failure import Failure
from headgate.wire.probe import Answer, Prober
from headgate.wire.tls import client_context
from tests.loops import on_plain_loop
from tests.proxy.peers import CEILING, Upstream, Wire, answering, free_port, ok, within
from tests.wire.certificates import Authority

REQUEST = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
MOST = 64 * 1024


async def asked(upstream: Upstream, most: int = 0, timeout: float = CEILING) -> Answer:
    return await Prober().ask(parse_endpoint(upstream.url), None, REQUEST, most, timeout)


async def fails(work: Awaitable[object]) -> tuple[str, str]:
    with pytest.raises(Failure) as caught:
        await work
    return caught.value.reason, caught.value.detail


def saying(*pieces: bytes, close: bool = True) -> Callable[[Wire], Awaitable[None]]:
    """Make the play of an upstream that reads the request and says this, then closes or keeps silent."""

    async def play(link: Wire) -> None:
        await link.head()
        for piece in pieces:
            await link.send(piece)
            await asyncio.sleep(0)
        if close:
            link.close()

    return play


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"


@pytest.mark.parametrize(
    ("said", "most", "close", "answer"),
    [
        (HEAD + b"hello", MOST, False, Answer(200, b"hello")),
        (HEAD + b"hello", 3, False, Answer(200, b"hel")),
        (HEAD, 0, False, Answer(200, b"")),
        (b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n", MOST, False, Answer(503, b"")),
        (b"HTTP/1.1 204 No\r\n\r\n", MOST, False, Answer(204, b"")),
        (b"HTTP/1.1 302 Found\r\nLocation: /else\r\nContent-Length: 0\r\n\r\n", MOST, False, Answer(302, b"")),
        (CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", MOST, False, Answer(200, b"hello")),
        (CHUNKED + b"5\r\nhello\r\n", 5, False, Answer(200, b"hello")),
        # Until the end of the connection.
        (b"HTTP/1.1 200 OK\r\n\r\nhello", MOST, True, Answer(200, b"hello")),
        (b"HTTP/1.0 200 OK\r\n\r\nhello", MOST, True, Answer(200, b"hello")),
        # Interim answers are none.
        (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + HEAD + b"hello", MOST, False, Answer(200, b"hello")),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 3 + HEAD + b"hello", 0, False, Answer(200, b"")),
        (b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nzz", MOST, False, Answer(101, b"")),
        # What stands behind the answer is not looked at.
        (HEAD + b"hello\0\0garbage", MOST, False, Answer(200, b"hello")),
    ],
)
@pytest.mark.parametrize("whole", [True, False], ids=["whole", "byte by byte"])
@on_plain_loop
async def test_an_answer_is_read(said: bytes, most: int, close: bool, answer: Answer, whole: bool) -> None:
    pieces = (said,) if whole else tuple(said[at : at + 1] for at in range(len(said)))
    async with Upstream(saying(*pieces, close=close)) as upstream:
        assert await asked(upstream, most) == answer


@pytest.mark.parametrize(
    ("said", "most", "reason", "detail"),
    [
        (b"", 0, "upstream_reset", "before the end of the answer"),
        (b"HTTP/1.1 200 OK\r\nContent-", 0, "upstream_reset", "before the end of the answer"),
        (HEAD + b"hel", MOST, "upstream_reset", "before the end of the answer"),
        (CHUNKED + b"5\r\nhello\r\n", MOST, "upstream_reset", "before the end of the answer"),
        (b"HTTP/1.1 100 Continue\r\n\r\n", 0, "upstream_reset", "before the end of the answer"),
        (b"\x16\x03\x01\x02\x00\x01\x00", 0, "upstream_protocol", "no HTTP answer"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", 0, "upstream_protocol", "no HTTP answer"),
        (b"HTTP/1.1 2x0 OK\r\n\r\n", 0, "upstream_protocol", "no HTTP answer"),
        (CHUNKED + b"zz\r\nhello\r\n", MOST, "upstream_protocol", "no HTTP answer"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: %b\r\n" % (b"y" * 100) * 1000, 0, "upstream_protocol", "more than 65536 bytes"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 5000, 0, "upstream_protocol", "more than 65536 bytes"),
    ],
)
@on_plain_loop
async def test_what_is_no_answer_says_why(said: bytes, most: int, reason: str, detail: str) -> None:
    async with Upstream(saying(said)) as upstream:
        failure = await fails(asked(upstream, most))
    assert failure[0] == reason
    assert detail in failure[1]


@on_plain_loop
async def test_a_body_without_end_is_read_to_the_bound_and_no_further() -> None:
    sent = 0

    async def play(link: Wire) -> None:
        nonlocal sent
        await link.head()
        await link.send(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            await link.send(b"x" * 65536)
            sent += 65536

    async with Upstream(play) as upstream:
        answer = await asked(upstream, MOST)
        link = await upstream.accepted()
        await within(link.rest())
    assert answer == Answer(200, b"x" * MOST)
    # Nothing but what the two sockets hold was taken.
    assert sent < 64 << 20


@on_plain_loop
async def test_a_reset_says_so() -> None:
    async def play(link: Wire) -> None:
        await link.head()
        link.cut()

    async with Upstream(play) as upstream:
        assert (await fails(asked(upstream)))[0] == "upstream_reset"


@on_plain_loop
async def test_silence_ends_with_the_deadline_and_the_connection_is_closed() -> None:
    async with Upstream() as upstream:
        assert await fails(asked(upstream, timeout=0.2)) == ("response_timeout", "no answer within 0.2 s")
        link = await upstream.accepted()
        assert await within(link.rest()) == REQUEST


@on_plain_loop
async def test_the_deadline_holds_for_all_of_the_answer() -> None:
    async def play(link: Wire) -> None:
        await link.send(CHUNKED)
        while True:
            await link.send(b"1\r\nx\r\n")
            await asyncio.sleep(0.01)

    async with Upstream(play) as upstream:
        assert (await fails(asked(upstream, MOST, timeout=0.2)))[0] == "response_timeout"


@on_plain_loop
async def test_nobody_listening_says_so() -> None:
    endpoint = parse_endpoint(f"http://127.0.0.1:{free_port()}")
    refused = "connect_refused"
    assert (await fails(Prober().ask(endpoint, None, REQUEST, 0, CEILING)))[0] == refused
    assert (await fails(Prober().connect(endpoint, None, CEILING)))[0] == refused
    gone = parse_endpoint("unix:/nowhere/at/all.sock")
    assert (await fails(Prober().ask(gone, None, REQUEST, 0, CEILING)))[0] == refused


@on_plain_loop
async def test_a_name_that_is_none_says_so() -> None:
    endpoint = parse_endpoint("http://no-such-name.invalid:80")
    assert (await fails(Prober().ask(endpoint, None, REQUEST, 0, CEILING)))[0] == "dns"


@on_plain_loop
async def test_connecting_is_all_of_a_tcp_question() -> None:
    async with Upstream() as upstream:
        await Prober().connect(parse_endpoint(upstream.url), None, CEILING)
        link = await upstream.accepted()
        assert await within(link.rest()) == b""


def test_over_a_unix_socket(tmp_path: Path) -> None:
    @on_plain_loop
    async def test() -> None:
        async with Upstream(answering(lambda _: ok(b"hello")), unix=str(tmp_path / "a.sock")) as upstream:
            assert await asked(upstream, MOST) == Answer(200, b"hello")

    test()


def test_over_tls_whose_name_and_authority_are_verified(tmp_path: Path) -> None:
    authority, stranger = Authority(tmp_path), Authority(tmp_path, "Stranger")
    cert, key = authority.issue("api.internal")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(cert, key)

    @on_plain_loop
    async def test() -> None:
        async with Upstream(answering(lambda _: ok(b"hello")), tls=context) as upstream:
            endpoint, prober = parse_endpoint(upstream.url), Prober()

            async def ask(ca: str, name: str) -> Answer:
                return await prober.ask(endpoint, (client_context(ca=ca), name), REQUEST, MOST, CEILING)

            assert await ask(authority.path, "api.internal") == Answer(200, b"hello")
            assert (await fails(ask(authority.path, "other.internal")))[0] == "tls"
            assert (await fails(ask(stranger.path, "api.internal")))[0] == "tls"
            unverified = client_context(verify=False), "other.internal"
            assert (await prober.ask(endpoint, unverified, REQUEST, 0, CEILING)).status == 200

    test()


@on_plain_loop
async def test_tls_with_whoever_speaks_none_says_so() -> None:
    async with Upstream(lambda link: link.send(ok())) as upstream:
        endpoint = parse_endpoint(upstream.url.replace("http:", "https:"))
        asking = Prober().ask(endpoint, (client_context(verify=False), "a"), REQUEST, 0, CEILING)
        assert (await fails(asking))[0] == "tls"
