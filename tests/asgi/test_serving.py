"""One request of an ASGI server: what it is told, in which order, and what becomes of those who leave."""

from __future__ import annotations

import asyncio

import pytest

from headgate.wire.settings import HttpLimits
from tests.asgi.stage import gateway
from tests.proxy.peers import Upstream, answering, eventually, ok
from tests.proxy.stage import on_loop, to


@on_loop
async def test_a_request_goes_to_its_service_and_the_answer_back() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        call = rig.call("/a%20b?c=d", ("x-one", "1"))
        link = await upstream.accepted()
        request = await link.message()
        assert request.target == "/a%20b?c=d"
        assert request.get("x-one") == "1"
        assert request.get("x-forwarded-for") == "203.0.113.9"
        await link.send(ok(b"hello", "X-Two: 2", "Date: then", "Server: theirs"))
        answer = await call.answer()
        assert (answer.status, answer.body, answer.ended) == (200, b"hello", True)
        assert answer.headers["content-length"] == "5"
        assert answer.headers["x-two"] == "2"
        assert answer.headers["x-request-id"] == request.get("x-request-id")
        # The server writes its own.
        assert not {"date", "server"} & answer.headers.keys()
        assert all(name == name.lower() for name, _ in call.sent[0]["headers"])
        assert rig.log[0]["status_code"] == 200


@on_loop
async def test_what_the_gateway_says_itself_is_told_as_well() -> None:
    async with Upstream() as upstream, gateway(to(upstream, route={"match": {"path": "/only"}})) as rig:
        answer = await rig.call("/else").answer()
        assert (answer.status, answer.ended) == (404, True)
        assert int(answer.headers["content-length"]) == len(answer.body)


@on_loop
async def test_lines_that_many_answers_share_are_taken_apart() -> None:
    limits = [{"name": "all", "requests": 5, "window": 60}]
    async with Upstream(answering(lambda _: ok(b""))) as upstream, gateway(to(upstream, limits=limits)) as rig:
        answer = await rig.call().answer()
        assert answer.headers["x-ratelimit-limit"] == "5"
        assert answer.headers["x-ratelimit-remaining"] == "4"


@on_loop
@pytest.mark.parametrize(("method", "status", "length"), [("HEAD", 200, "5"), ("GET", 204, None), ("GET", 304, None)])
async def test_an_answer_without_a_body_ends_all_the_same(method: str, status: int, length: str | None) -> None:
    lines = (f"HTTP/1.1 {status} X", *(("Content-Length: 5",) if length else ()), "", "")
    raw = "\r\n".join(lines).encode()
    async with Upstream(answering(lambda _: raw)) as upstream, gateway(to(upstream)) as rig:
        answer = await rig.call(method=method).answer()
        assert (answer.status, answer.body, answer.ended) == (status, b"", True)
        assert answer.headers.get("content-length") == length


@on_loop
async def test_a_body_of_a_known_length_streams() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        call = rig.call("/", ("content-length", "6"), body=None, method="POST")
        call.say(b"abc", more=True)
        link = await upstream.accepted()
        head = await link.head()
        assert head.get("content-length") == "6"
        assert await link.read(3) == b"abc"
        call.say(b"def")
        assert await link.read(3) == b"def"
        await link.send(ok(b"thanks"))
        assert (await call.answer()).body == b"thanks"


@on_loop
@pytest.mark.parametrize("version", ["1.1", "2"])
async def test_a_body_of_unknown_length_is_sent_in_chunks(version: str) -> None:
    coding = (("transfer-encoding", "chunked"),) if version == "1.1" else ()
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        call = rig.call("/", *coding, body=None, method="POST", http_version=version)
        call.say(b"abc", more=True)
        link = await upstream.accepted()
        assert (await link.head()).get("transfer-encoding") == "chunked"
        assert await link.chunk() == b"abc"
        call.say(b"def")
        assert await link.chunk() == b"def"
        assert await link.chunk() == b""
        await link.send(ok())
        assert (await call.answer()).status == 200


@on_loop
async def test_a_body_that_nothing_announced_is_taken_all_the_same() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        call = rig.call(body=b"abc", method="POST")
        link = await upstream.accepted()
        request = await link.message()
        assert request.body == b"abc"
        await link.send(ok())
        assert (await call.answer()).status == 200


@on_loop
async def test_a_body_that_ends_too_soon_never_looks_complete() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        call = rig.call("/", ("content-length", "6"), body=None, method="POST")
        call.say(b"abc", more=True)
        link = await upstream.accepted()
        await link.head()
        call.say(b"")
        assert await link.rest() == b"abc"
        assert (await call.answer()).status == 400


@on_loop
async def test_a_client_that_sends_more_than_is_taken_is_not_asked_for_it() -> None:
    piece = b"x" * HttpLimits().buffer
    async with Upstream() as upstream, gateway(to(upstream, identity={"jwt": {"secret": "s" * 32}})) as rig:
        # Refused before anybody takes a byte.
        call = rig.call("/", ("content-length", str(9 * len(piece))), body=None, method="POST")
        for _ in range(8):
            call.say(piece, more=True)
        assert (await call.answer()).status == 401
        assert call.asked <= 2


@on_loop
async def test_a_body_that_is_too_large_is_refused() -> None:
    async with Upstream() as upstream, gateway(to(upstream, route={"max_body": 4})) as rig:
        answer = await rig.call("/", ("content-length", "5"), body=None, method="POST").answer()
        assert answer.status == 413


@on_loop
async def test_who_waits_for_100_continue_is_asked_only_when_somebody_wants_the_body() -> None:
    expecting = ("content-length", "3"), ("expect", "100-continue")
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        refused = rig.call("/", *expecting, body=None, method="TRACE")
        assert (await refused.answer()).status == 405
        assert refused.asked == 0
        call = rig.call("/", *expecting, body=b"abc", method="POST")
        link = await upstream.accepted()
        assert (await link.message()).body == b"abc"
        await link.send(ok())
        assert (await call.answer()).status == 200


@on_loop
async def test_pieces_of_an_answer_are_sent_as_they_come() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        call = rig.call()
        link = await upstream.accepted()
        await link.message()
        await link.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        await link.send(b"8\r\ndata: 1\n\r\n")
        await eventually(lambda: call.so_far.body == b"data: 1\n")
        assert not call.so_far.ended
        assert "content-length" not in call.so_far.headers
        await link.send(b"8\r\ndata: 2\n\r\n0\r\n\r\n")
        assert (await call.answer()).body == b"data: 1\ndata: 2\n"
        assert call.so_far.ended


@on_loop
async def test_a_client_that_does_not_take_its_answer_holds_its_service_back() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        call = rig.call()
        link = await upstream.accepted()
        await link.message()
        call.takes.clear()
        # More than all buffers of kernel and gateway hold.
        size = 64 << 20
        writer = asyncio.ensure_future(link.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size, bytes(size)))
        await eventually(lambda: rig.gateway.in_flight == 1 and not call.task.done() and not writer.done())
        for _ in range(100):
            await asyncio.sleep(0)
        assert not writer.done()
        call.takes.set()
        answer = await call.answer()
        await writer
        assert len(answer.body) == size
        assert answer.ended


@on_loop
async def test_a_client_that_leaves_takes_its_request_along() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        call = rig.call()
        link = await upstream.accepted()
        await link.message()
        call.leave()
        assert await link.rest() == b""
        await call.answer()
        assert call.sent == []
        assert rig.log[0]["error"] == "client_closed"


@on_loop
async def test_a_server_that_cancels_a_request_ends_it() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        call = rig.call()
        link = await upstream.accepted()
        await link.message()
        call.task.cancel()
        assert await link.rest() == b""
        with pytest.raises(asyncio.CancelledError):
            await call.task


@on_loop
async def test_an_answer_that_is_cut_is_never_ended() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        call = rig.call()
        link = await upstream.accepted()
        await link.message()
        await link.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc")
        await eventually(lambda: call.so_far.body == b"abc")
        link.cut()
        answer = await call.answer()
        assert not answer.ended


@on_loop
async def test_an_upgrade_is_not_asked_of_the_service() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        call = rig.call("/", ("connection", "Upgrade, x-mine"), ("upgrade", "websocket"), ("x-mine", "1"))
        link = await upstream.accepted()
        request = await link.message()
        assert request.get("upgrade") is None
        assert request.get("x-mine") is None
        await link.send(ok(b"plain"))
        assert (await call.answer()).body == b"plain"


@on_loop
async def test_https_of_the_server_is_told_on() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        call = rig.call(scheme="https")
        link = await upstream.accepted()
        assert (await link.message()).get("x-forwarded-proto") == "https"
        await link.send(ok())
        await call.answer()
