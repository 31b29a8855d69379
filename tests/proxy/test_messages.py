"""Messages of every shape, through the gateway and back."""

from __future__ import annotations

import asyncio

import pytest

from tests.proxy.peers import Message, Upstream, Wire, answering, get, ok, within
from tests.proxy.stage import gateway, on_loop, to

BIG = bytes(range(256)) * 4096
CHUNKED = "Transfer-Encoding: chunked"


def chunks(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


@on_loop
async def test_a_request_reaches_the_upstream_and_its_answer_the_client() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        await client.send(get("/a/b?q=1&q=%20", "X-Own: yes", "Accept: */*"))
        link = await upstream.accepted()
        request = await link.message()
        assert request.start == "GET /a/b?q=1&q=%20 HTTP/1.1"
        assert request.get("x-own") == "yes"
        assert request.get("host") == upstream.url.removeprefix("http://")
        assert request.get("x-forwarded-host") == "example.test"
        await link.send(ok(b"hello", "X-Theirs: yes", "Content-Type: text/plain"))
        answer = await client.answer()
        assert (answer.status, answer.body) == (200, b"hello")
        assert answer.get("x-theirs") == "yes"
        assert answer.get("content-length") == "5"
        assert answer.get("connection") is None


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
@pytest.mark.parametrize("body", [b"", b"x", BIG], ids=["none", "one byte", "large"])
@on_loop
async def test_bodies_of_known_length_pass_whole(method: str, body: bytes) -> None:
    seen: list[Message] = []
    async with Upstream(answering(lambda request: ok(request.body), seen)) as upstream, gateway(to(upstream)) as rig:
        answer = await rig.ask(get("/", method=method, body=body))
        assert seen[0].method == method
        assert seen[0].body == answer.body == body
        assert seen[0].get("transfer-encoding") is None
        assert (await rig.logged())[0]["bytes_in"] == rig.log[0]["bytes_out"] == len(body)


@pytest.mark.parametrize(
    ("method", "told"), [("POST", "0"), ("PUT", "0"), ("PATCH", "0"), ("GET", None), ("DELETE", None)]
)
@on_loop
async def test_an_empty_body_is_told_where_one_is_expected(method: str, told: str | None) -> None:
    seen: list[Message] = []
    async with Upstream(answering(lambda _: ok(), seen)) as upstream, gateway(to(upstream)) as rig:
        await rig.ask(get("/", "Content-Length: 0", method=method))
        assert seen[0].get("content-length") == told


@on_loop
async def test_a_chunked_request_that_came_in_one_piece_has_a_length() -> None:
    seen: list[Message] = []
    async with Upstream(answering(lambda _: ok(), seen)) as upstream, gateway(to(upstream)) as rig:
        await rig.ask(get("/", CHUNKED, method="POST") + chunks(b"ab", b"c"))
        assert (seen[0].body, seen[0].get("content-length")) == (b"abc", "3")


@on_loop
async def test_a_chunked_request_goes_on_chunked_while_it_arrives() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        await client.send(get("/", CHUNKED, method="POST"), b"2\r\nab\r\n")
        link = await upstream.accepted()
        request = await link.head()
        assert request.get("transfer-encoding") == "chunked"
        assert request.get("content-length") is None
        assert await link.chunk() == b"ab"
        await client.send(b"1\r\nc\r\n")
        assert await link.chunk() == b"c"
        await client.send(b"0\r\n\r\n")
        assert await link.chunk() == b""
        assert await link.read(2) == b"\r\n"
        await link.send(ok(b"done"))
        assert (await client.answer()).body == b"done"


@on_loop
async def test_a_request_byte_by_byte_is_the_same_request() -> None:
    seen: list[Message] = []
    async with Upstream(answering(lambda request: ok(request.body), seen)) as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        for byte in get("/x", "A: b", method="POST", body=b"body") + get("/y", CHUNKED, method="PUT") + chunks(b"cd"):
            await client.send(bytes((byte,)))
            await asyncio.sleep(0)
        assert [(await client.answer()).body, (await client.answer()).body] == [b"body", b"cd"]
        assert [request.target for request in seen] == ["/x", "/y"]


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@pytest.mark.parametrize("version", ["1.0", "1.1"])
@on_loop
async def test_an_answer_is_framed_for_its_client(framing: str, version: str) -> None:
    async def play(link: Wire) -> None:
        await link.message()
        if framing == "length":
            await link.send(ok(b"abc"))
        elif framing == "chunked":
            await link.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            await link.send(b"2\r\nab\r\n")
            await asyncio.sleep(0)
            await link.send(b"1\r\nc\r\n0\r\n\r\n")
        else:
            await link.send(b"HTTP/1.0 200 OK\r\n\r\nab")
            await asyncio.sleep(0)
            await link.send(b"c")
            link.close()

    async with Upstream(play) as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        await client.send(get("/", version=version))
        answer = await client.answer()
        assert answer.body == b"abc"
        assert answer.start.startswith("HTTP/1.1 200")
        if version == "1.0":
            assert answer.get("transfer-encoding") is None
            assert answer.get("connection") == "close"
            assert await client.rest() == b""
        else:
            assert answer.get("connection") is None


@pytest.mark.parametrize("length", ["Content-Length: 5", CHUNKED, "X-None: 1"])
@on_loop
async def test_head_has_the_fields_of_get_and_no_body(length: str) -> None:
    answers = {
        "HEAD": f"HTTP/1.1 200 OK\r\nX-Of: head\r\n{length}\r\n\r\n".encode(),
        "GET": ok(b"hello"),
    }
    play = answering(lambda request: answers[request.method])
    async with Upstream(play) as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        # Twice, and GET behind it: the upstream's connection and the client's are both still in step.
        for method in ("HEAD", "GET", "HEAD", "GET"):
            await client.send(get("/", method=method))
            answer = await client.answer(method)
            assert answer.status == 200
            assert answer.body == (b"hello" if method == "GET" else b"")
            if method == "HEAD" and "5" in length:
                assert answer.get("content-length") == "5"
        # Without any framing the parser takes even a HEAD answer to end with its connection: right, if wasteful.
        assert len(upstream.links) == (1 if "None" not in length else 3)


@pytest.mark.parametrize(
    ("status", "lines"), [(204, ""), (304, ""), (304, "Content-Length: 7\r\nETag: x\r\n"), (205, "")]
)
@on_loop
async def test_answers_without_body_leave_both_connections_in_step(status: int, lines: str) -> None:
    extra = "Content-Length: 0\r\n" if status == 205 else lines
    raw = f"HTTP/1.1 {status} Quiet\r\n{extra}\r\n".encode()
    async with Upstream(answering(lambda _: raw)) as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        for _ in range(3):
            await client.send(get())
            answer = await client.answer()
            assert answer.status == status
            assert answer.get("transfer-encoding") is None
            assert answer.get("content-length") == ("7" if "7" in lines else "0" if status == 205 else None)
        assert len(upstream.links) == 1


@pytest.mark.parametrize("version", ["1.1", "1.0"])
@on_loop
async def test_100_is_swallowed_and_103_passed_on_to_those_who_know_it(version: str) -> None:
    raw = (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\nConnection: x-hop\r\nX-Hop: 1\r\n\r\n"
        b"HTTP/1.1 103 Early Hints\r\nLink: </b>\r\n\r\n"
    )

    async def play(link: Wire) -> None:
        while True:
            await link.message()
            await link.send(raw + ok(b"x"))
            await link.message()
            await link.send(raw)
            await asyncio.sleep(0)
            await link.send(ok(b"y"))

    async with Upstream(play) as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        for body in (b"x", b"y"):
            await client.send(get("/", "Connection: keep-alive", version=version))
            answer = await client.answer()
            assert (answer.status, answer.body) == (200, body)
            hints = [(each.status, each.fields) for each in answer.interim]
            expected = [(103, [("link", "</a>")]), (103, [("link", "</b>")])]
            assert hints == (expected if version == "1.1" else [])


@on_loop
async def test_http_1_0_closes_unless_asked_to_stay() -> None:
    async with Upstream(answering(lambda _: ok(b"x"))) as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        await client.send(get("/", "Connection: keep-alive", version="1.0"))
        assert (await client.answer()).get("connection") == "keep-alive"
        await client.send(b"GET / HTTP/1.0\r\n\r\n")
        assert (await client.answer()).get("connection") == "close"
        assert await client.rest() == b""


@on_loop
async def test_connections_are_reused_on_both_sides() -> None:
    async with (
        Upstream(answering(lambda request: ok(request.target.encode()))) as upstream,
        gateway(to(upstream)) as rig,
    ):
        client = await rig.client()
        for number in range(5):
            await client.send(get(f"/{number}"))
            assert (await client.answer()).body == f"/{number}".encode()
        assert len(upstream.links) == 1
        assert rig.counted("connections_total") == 1
        await client.send(get("/", "Connection: close"))
        assert (await client.answer()).get("connection") == "close"
        assert await client.rest() == b""


@on_loop
async def test_pipelined_requests_are_answered_in_order() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        await client.send(b"".join(get(f"/{n}", method="POST", body=b"%d" % n) for n in range(30)))
        link = await upstream.accepted()
        for number in range(30):
            request = await link.message()
            assert (request.target, request.body) == (f"/{number}", b"%d" % number)
            await link.send(ok(b"answer %d" % number))
        for number in range(30):
            assert (await client.answer()).body == b"answer %d" % number


@pytest.mark.parametrize("framing", ["length", "chunked"])
@on_loop
async def test_pipelined_requests_with_streamed_answers_get_their_own(framing: str) -> None:
    heard = asyncio.Semaphore(0)

    async def play(link: Wire) -> None:
        while True:
            number = (await link.message()).target[1:]
            head = "Content-Length: 2" if framing == "length" else CHUNKED
            await link.send(f"HTTP/1.1 200 OK\r\nX-Number: {number}\r\n{head}\r\n\r\n".encode())
            await heard.acquire()
            await link.send(b"1\r\na\r\n" if framing == "chunked" else b"a")
            await heard.acquire()
            await link.send(b"1\r\nb\r\n0\r\n\r\n" if framing == "chunked" else b"b")

    async with Upstream(play) as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        await client.send(b"".join(get(f"/{n}") for n in range(8)))
        for number in range(8):
            assert (await client.head()).get("x-number") == str(number)
            for piece in (b"a", b"b"):
                heard.release()
                assert (await client.chunk() if framing == "chunked" else await client.read(1)) == piece
            if framing == "chunked":
                assert await client.read(5) == b"0\r\n\r\n"


@on_loop
async def test_a_thousand_pipelined_requests_that_need_nobody_are_answered() -> None:
    async with gateway(to("http://127.0.0.1:1", http={"max_pipelined": 1000})) as rig:
        client = await rig.client()
        await client.send(get("/health") * 1000)
        for _ in range(1000):
            assert (await client.answer()).status == 200


@on_loop
async def test_requests_are_read_ahead_only_so_far() -> None:
    document = to("http://127.0.0.1:1", http={"max_pipelined": 2, "buffer": 4096})
    async with Upstream() as upstream, gateway(document | to(upstream)) as rig:
        client = await rig.client()
        await client.send(get("/first"))
        link = await upstream.accepted()
        await link.message()
        flood = b"".join(get(f"/{n}", "X: " + "y" * 1000) for n in range(20_000))
        client.writer.write(flood)
        # 20 MB that the gateway does not read: the client's socket stays full until answers flow.
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.writer.drain(), 0.3)
        await link.send(ok(b"first"))
        assert (await client.answer()).body == b"first"


@on_loop
async def test_100_continue_is_sent_when_the_body_is_wanted() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        await client.send(get("/", "Expect: 100-continue", "Content-Length: 4", method="POST"))
        link = await upstream.accepted()
        request = await link.head()
        assert request.get("expect") is None
        assert (await client.head()).status == 100
        await client.send(b"body")
        assert await link.read(4) == b"body"
        await link.send(ok(b"taken"))
        assert (await client.answer()).body == b"taken"
        await client.send(get("/", "Expect: 100-continue", method="POST", body=b"here already"))
        assert (await link.message()).body == b"here already"
        await link.send(ok(b"again"))
        answer = await client.answer()
        assert (answer.body, answer.interim) == (b"again", [])


@pytest.mark.parametrize(("target", "status"), [("/", 413), ("/nowhere", 404)])
@on_loop
async def test_no_100_continue_for_a_body_that_nobody_wants(target: str, status: int) -> None:
    document = to("http://127.0.0.1:1", max_body=10, route={"match": {"path": {"exact": "/"}}})
    async with gateway(document) as rig:
        client = await rig.client()
        await client.send(get(target, "Expect: 100-continue", "Content-Length: 11", method="POST"))
        answer = await client.answer()
        assert (answer.status, answer.interim) == (status, [])
        assert answer.get("connection") == "close"
        assert await client.rest() == b""


@on_loop
async def test_a_date_is_added_only_where_the_upstream_sent_none() -> None:
    dates = iter(["X: 1", "Date: Sun, 06 Nov 1994 08:49:37 GMT", "Connection: x-hop"])
    async with Upstream(answering(lambda _: ok(b"x", next(dates)))) as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        found = []
        for _ in range(3):
            await client.send(get())
            found.append((await client.answer()).get("date"))
        assert found[1] == "Sun, 06 Nov 1994 08:49:37 GMT"
        assert found[0] and found[0].endswith(" GMT") and found[0] != found[1]
        assert found[2] and found[2].endswith(" GMT")


@on_loop
async def test_the_absolute_form_names_the_host() -> None:
    seen: list[Message] = []
    async with Upstream(answering(lambda _: ok(), seen)) as upstream, gateway(to(upstream)) as rig:
        await rig.ask(get("http://example.test/x?y"))
        assert seen[0].target == "/x?y"
        assert seen[0].get("x-forwarded-host") == "example.test"


@on_loop
async def test_hop_by_hop_fields_stay_on_their_hop() -> None:
    seen: list[Message] = []
    theirs = ("Connection: keep-alive, X-Mine", "Keep-Alive: timeout=5", "X-Mine: 1", "X-End: 1")
    async with Upstream(answering(lambda _: ok(b"", *theirs), seen)) as upstream, gateway(to(upstream)) as rig:
        answer = await rig.ask(get("/", "Connection: X-Mine", "X-Mine: 1", "TE: trailers", "X-End: 1"))
        for message in (seen[0], answer):
            assert message.all("x-mine") == message.all("keep-alive") == message.all("te") == []
            assert message.get("x-end") == "1"
        await within(asyncio.sleep(0))
