"""Bodies in motion: chunk by chunk, with backpressure, both ways at once, and broken off at every place."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.proxy.peers import Cut, Upstream, Wire, eventually, get, in_between, ok
from tests.proxy.stage import Rig, gateway, on_loop, to

CHUNKED = "Transfer-Encoding: chunked"
PIECE = b"x" * 65536
# What sockets, transports and the gateway may hold between two ends that do not read: kernels grow their buffers.
IN_BETWEEN = in_between()
# So much that it is noticed when somebody in between takes all of it.
TOTAL = IN_BETWEEN + (64 << 20)


async def stalled(task: asyncio.Task[None], written: list[int]) -> None:
    """Wait until a writer makes no more progress."""
    while True:
        before = written[0]
        await asyncio.sleep(0.1)
        if before and written[0] == before and not task.done():
            return


@on_loop
async def test_an_event_arrives_before_the_next_one_is_sent() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        await client.send(get("/events"))
        link = await upstream.accepted()
        await link.message()
        await link.send(f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n{CHUNKED}\r\n\r\n".encode())
        assert (await client.head()).status == 200
        for number in range(50):
            event = b"data: %d\n\n" % number
            await link.send(b"%x\r\n%b\r\n" % (len(event), event))
            assert await client.chunk() == event
        await link.send(b"0\r\n\r\n")
        assert await client.chunk() == b""
        assert (await rig.logged())[0]["status_code"] == 200


@pytest.mark.parametrize("framing", ["length", "chunked", "close"])
@on_loop
async def test_an_upstream_waits_for_a_client_that_reads_slowly(framing: str) -> None:
    written = [0]

    async def play(link: Wire) -> None:
        await link.message()
        head = {"length": f"Content-Length: {TOTAL}", "chunked": CHUNKED, "close": "Connection: close"}[framing]
        await link.send(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode())
        while written[0] < TOTAL:
            written[0] += len(PIECE)
            await link.send(b"%x\r\n%b\r\n" % (len(PIECE), PIECE) if framing == "chunked" else PIECE)
        if framing == "chunked":
            await link.send(b"0\r\n\r\n")
        if framing == "close":
            link.close()

    async with Upstream(play) as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        await client.send(get())
        await client.head()
        asyncio.get_running_loop()
        before = 0
        while written[0] != before or not before:
            before = written[0]
            await asyncio.sleep(0.1)
        assert written[0] < IN_BETWEEN
        got = 0
        if framing == "length":
            while got < TOTAL:
                got += len(await client.read(min(TOTAL - got, 1 << 20)))
        else:
            while piece := await client.chunk():
                got += len(piece)
        assert got == TOTAL
        assert (await rig.logged())[0]["bytes_out"] == TOTAL


@pytest.mark.parametrize("framing", ["length", "chunked"])
@on_loop
async def test_a_client_waits_for_an_upstream_that_reads_slowly(framing: str) -> None:
    written = [0]
    async with Upstream() as upstream, gateway(to(upstream, max_body=TOTAL)) as rig:
        client = await rig.client()
        head = {"length": f"Content-Length: {TOTAL}", "chunked": CHUNKED}[framing]
        await client.send(get("/", head, method="POST"))

        async def upload() -> None:
            while written[0] < TOTAL:
                written[0] += len(PIECE)
                await client.send(b"%x\r\n%b\r\n" % (len(PIECE), PIECE) if framing == "chunked" else PIECE)
            if framing == "chunked":
                await client.send(b"0\r\n\r\n")

        task = asyncio.create_task(upload())
        link = await upstream.accepted()
        await link.head()
        await stalled(task, written)
        assert written[0] < IN_BETWEEN
        got = 0
        if framing == "length":
            while got < TOTAL:
                got += len(await link.read(min(TOTAL - got, 1 << 20)))
        else:
            while piece := await link.chunk():
                got += len(piece)
            await link.read(2)
        await task
        await link.send(ok(b"all"))
        assert ((await client.answer()).body, got) == (b"all", TOTAL)
        assert (await rig.logged())[0]["bytes_in"] == TOTAL


@on_loop
async def test_a_client_that_asks_and_never_reads_is_not_answered_into_memory() -> None:
    answered = [0]

    async def play(link: Wire) -> None:
        while True:
            await link.message()
            await link.send(ok(PIECE))
            answered[0] += len(PIECE)

    async with Upstream(play) as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()

        async def ask() -> None:
            with contextlib.suppress(ConnectionError, Cut):
                while True:
                    await client.send(get("/", "X: " + "y" * 1000))

        task = asyncio.create_task(ask())
        await stalled(task, answered)
        assert answered[0] < IN_BETWEEN
        task.cancel()
        for _ in range(100):
            assert (await client.answer()).body == PIECE


@on_loop
async def test_an_answer_overtakes_the_upload_it_does_not_want() -> None:
    async def play(link: Wire) -> None:
        await link.head()
        await link.send(ok(b"too much", "Connection: close", status=413))
        link.close()

    async with Upstream(play) as upstream, gateway(to(upstream, max_body=1 << 30)) as rig:
        client = await rig.client()
        await client.send(get("/", f"Content-Length: {1 << 29}", method="POST"), PIECE)

        async def upload() -> None:
            with contextlib.suppress(ConnectionError, Cut):
                while True:
                    await client.send(PIECE)

        task = asyncio.create_task(upload())
        answer = await client.answer()
        assert (answer.status, answer.body) == (413, b"too much")
        assert answer.get("connection") == "close"
        task.cancel()
        assert (await rig.logged())[0]["status_code"] == 413


@on_loop
async def test_an_upload_is_echoed_while_it_goes_on() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        await client.send(get("/", CHUNKED, method="POST"), b"1\r\na\r\n")
        link = await upstream.accepted()
        await link.head()
        assert await link.chunk() == b"a"
        await link.send(f"HTTP/1.1 200 OK\r\n{CHUNKED}\r\n\r\n1\r\na\r\n".encode())
        assert (await client.head()).status == 200
        assert await client.chunk() == b"a"
        for number in range(30):
            piece = b"%d" % number
            await client.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            assert await link.chunk() == piece
            await link.send(b"%x\r\n%b\r\n" % (len(piece), piece))
            assert await client.chunk() == piece
        await client.send(b"0\r\n\r\n")
        assert await link.chunk() == b""
        await link.send(b"0\r\n\r\n")
        assert await client.chunk() == b""
        assert (await rig.logged())[0]["status_code"] == 200


@pytest.mark.parametrize("head", ["Content-Length: 10", CHUNKED])
@pytest.mark.parametrize("reset", [False, True])
@on_loop
async def test_an_answer_that_breaks_off_is_seen_to(head: str, reset: bool) -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        await client.send(get())
        link = await upstream.accepted()
        await link.message()
        await link.send(f"HTTP/1.1 200 OK\r\n{head}\r\n\r\n".encode(), b"4\r\nabcd\r\n" if head == CHUNKED else b"abcd")
        await client.head()
        assert (await client.chunk() if head == CHUNKED else await client.read(4)) == b"abcd"
        if reset:
            link.cut()
        else:
            link.close()
        # Neither a last chunk nor ten bytes: nobody can take this for the end.
        assert await client.rest() == b""
        line = (await rig.logged())[0]
        assert (line["status_code"], line["error"]) == (200, "upstream_reset")


PHASES = ["before the answer", "in the upload", "in the answer", "behind an early answer"]


@pytest.mark.parametrize("phase", PHASES)
@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@on_loop
async def test_a_client_that_leaves_takes_its_upstream_along(phase: str, reset: bool) -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        lines = ["Content-Length: 100"] if phase in PHASES[1::2] else []
        await client.send(get("/", *lines, method="POST"))
        link = await upstream.accepted()
        await link.head()
        if phase in PHASES[2:]:
            await link.send(f"HTTP/1.1 200 OK\r\n{CHUNKED}\r\n\r\n1\r\na\r\n".encode())
            await client.head()
            await client.chunk()
        if reset:
            client.cut()
        else:
            client.close()
        await link.rest()
        line = (await rig.logged())[0]
        assert (line["status_code"], line["error"]) == (499, "client_closed")
        assert rig.counted("requests_total", status="499") == 1


@on_loop
async def test_a_client_that_leaves_while_a_connection_is_made_costs_nothing_more() -> None:
    async with Upstream() as upstream:
        document = to(upstream, service={"pool": {"max_connections": 1}})
        async with gateway(document) as rig:
            first, second = await rig.client(), await rig.client()
            await first.send(get("/first"))
            link = await upstream.accepted()
            await link.message()
            await second.send(get("/second"))
            await eventually(lambda: rig.gateway.in_flight == 2)
            second.close()
            assert (await rig.logged())[0]["status_code"] == 499
            await link.send(ok(b"x"))
            assert (await first.answer()).body == b"x"
            await first.send(get("/third"))
            assert (await link.message()).target == "/third"
            await link.send(ok())
            await first.answer()


@on_loop
async def test_pipelined_requests_of_a_client_that_left_are_not_begun() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        await client.send(get("/a") + get("/b"))
        link = await upstream.accepted()
        await link.message()
        client.close()
        with pytest.raises(Cut):
            await link.head()
        await rig.logged(1)


@on_loop
async def test_a_broken_chunk_is_answered_and_never_completed() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client = await rig.client()
        await client.send(get("/", CHUNKED, method="POST"), b"1\r\na\r\n")
        link = await upstream.accepted()
        await link.head()
        assert await link.chunk() == b"a"
        await client.send(b"zz\r\n")
        assert (await client.answer()).status == 400
        assert await link.rest() == b""
        assert (await rig.logged())[0]["error"] == "bad_request"


async def _paused_at_the_end(rig: Rig, upstream: Upstream) -> None:
    body = PIECE * 40
    client = await rig.client()
    for _ in range(3):
        await client.send(get())
        link = upstream.links[0] if upstream.links else await upstream.accepted()
        await link.message()
        link.writer.write(ok(body))
        answer = await client.answer()
        assert answer.body == body


@on_loop
async def test_a_connection_that_was_paused_when_its_answer_ended_serves_the_next() -> None:
    async with Upstream() as upstream, gateway(to(upstream, http={"buffer": 4096})) as rig:
        await _paused_at_the_end(rig, upstream)
        assert len(upstream.links) == 1
