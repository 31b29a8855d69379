"""Answers that are over their time: while another is fetched, and when there is none to get (RFC 5861)."""

from __future__ import annotations

import asyncio

import pytest

from tests.proxy.caches import caching, counting
from tests.proxy.peers import Message, Upstream, answering, eventually, free_port, get, ok
from tests.proxy.stage import on_loop

# Over its time on the day it is made.
STALE = ("Age: 100", "Cache-Control: max-age=60")
BREAKER = {"circuit_breaker": {"enabled": True, "threshold": 1, "timeout": 60}, "retry": {"attempts": 0}}


@on_loop
async def test_a_stale_answer_is_given_at_once_while_another_is_fetched_behind_it() -> None:
    async with Upstream() as upstream, caching(upstream) as rig:
        client = await rig.client()
        await client.send(get("/a", "X-Mine: first"))
        link = await upstream.accepted()
        await link.message()
        await link.send(ok(b"old", "Age: 100", "Cache-Control: max-age=60, stale-while-revalidate=600"))
        assert (await client.answer()).body == b"old"
        for _ in range(3):
            await client.send(get("/a", "X-Mine: second"))
            answer = await client.answer()
            assert answer.body == b"old"
            assert "hit; ttl=-" in (answer.get("cache-status") or "")
        # One for all three.
        request = await link.message()
        assert (request.method, request.target, request.get("x-mine")) == ("GET", "/a", "second")
        assert rig.gateway.in_flight == 0
        await link.send(ok(b"new", "Cache-Control: max-age=60"))
        await eventually(lambda: not rig.gateway.caching.fills)
        await client.send(get("/a"))
        assert (await client.answer()).body == b"new"
        assert [line["cache"] for line in await rig.logged(5)] == ["miss", "stale", "stale", "stale", "hit"]
        # What no client asked for is in no count of clients' requests, and in that of the service.
        assert rig.counted("requests_total") == 5
        assert rig.counted("upstream_requests_total", service="api") == 2


@on_loop
async def test_head_and_a_part_have_the_whole_fetched_behind_them() -> None:
    async with Upstream() as upstream, caching(upstream) as rig:
        client = await rig.client()
        await client.send(get("/a"))
        link = await upstream.accepted()
        await link.message()
        await link.send(ok(b"0123456789", "Age: 100", "Cache-Control: max-age=60, stale-while-revalidate=600"))
        await client.answer()
        await client.send(get("/a", "Range: bytes=0-1", 'If-Range: "x"', method="HEAD"))
        assert (await client.answer("HEAD")).get("content-length") == "10"
        request = await link.message()
        assert (request.method, request.get("range"), request.get("if-range")) == ("GET", None, None)
        await link.send(ok(b"abc", "Cache-Control: max-age=60"))
        await eventually(lambda: not rig.gateway.caching.fills)
        await client.send(get("/a"))
        assert (await client.answer()).body == b"abc"


@on_loop
async def test_a_refresh_ends_with_the_gateway() -> None:
    async with Upstream() as upstream, caching(upstream) as rig:
        client = await rig.client()
        await client.send(get("/a"))
        link = await upstream.accepted()
        await link.message()
        await link.send(ok(b"old", "Age: 100", "Cache-Control: max-age=60, stale-while-revalidate=600"))
        await client.answer()
        await client.send(get("/a"))
        await client.answer()
        await link.message()
        rig.gateway.refreshes.close()
        await eventually(lambda: not rig.gateway.caching.fills)
        assert await link.rest() == b""


@on_loop
async def test_a_refresh_that_fails_counts_against_the_service_and_nobody_else() -> None:
    async with Upstream() as upstream, caching(upstream, service=BREAKER) as rig:
        client = await rig.client()
        await client.send(get("/a"))
        link = await upstream.accepted()
        await link.message()
        await link.send(ok(b"old", "Age: 100", "Cache-Control: max-age=60, stale-while-revalidate=600"))
        await client.answer()
        await client.send(get("/a"))
        assert (await client.answer()).body == b"old"
        await link.message()
        link.cut()
        await eventually(lambda: not rig.gateway.caching.fills)
        await client.send(get("/b"))
        assert (await client.answer()).status == 503
        await client.send(get("/a"))
        assert (await client.answer()).body == b"old"


@pytest.mark.parametrize("fault", ["503", "refused", "cut", "breaker", "timeout"])
@on_loop
async def test_a_stale_answer_stands_in_for_a_service_that_fails(fault: str) -> None:
    sick = asyncio.Event()
    silent = [False]

    async def play(link: object) -> None:
        while True:
            await link.message()  # type: ignore[attr-defined]
            if not sick.is_set():
                await link.send(ok(b"old", "Age: 100", "Cache-Control: max-age=60, stale-if-error=600"))  # type: ignore[attr-defined]
            elif fault == "503":
                await link.send(ok(b"sick", status=503))  # type: ignore[attr-defined]
            elif fault == "timeout":
                silent[0] = True
                await link.rest()  # type: ignore[attr-defined]
            else:
                link.cut()  # type: ignore[attr-defined]
                return

    service = {**BREAKER, "timeout": {"response": 20}}
    async with Upstream(play) as upstream, caching(upstream, service=service) as rig:
        assert (await rig.ask(get("/a"))).body == b"old"
        sick.set()
        if fault == "refused":
            upstream.stop()
            for link in upstream.links:
                link.cut()
            await eventually(lambda: rig.counted("pool_connections", state="idle") == 0)
        for _ in range(2 if fault == "breaker" else 1):
            asking = asyncio.ensure_future(rig.ask(get("/a")))
            if fault == "timeout":
                await eventually(lambda: silent[0])
                rig.pass_time(20)
            answer = await asking
            assert (answer.status, answer.body) == (200, b"old")
        line = rig.log[-1]
        assert (line["status_code"], line["cache"], line.get("error")) == (200, "stale", None)
        # The breaker has heard of it all the same.
        assert (await rig.ask(get("/b"))).status == 503
        assert rig.log[-1]["error"] == "breaker_open"


@on_loop
async def test_an_error_that_answers_head_has_the_old_answer_in_its_place() -> None:
    sick = [False]

    def answer(_: Message) -> bytes:
        return ok(b"", status=503) if sick[0] else ok(b"old", "X-Of: old", *STALE)

    async with Upstream(answering(answer)) as upstream, caching(upstream, {"stale_if_error": 600}) as rig:
        await rig.ask(get("/a"))
        sick[0] = True
        client = await rig.client()
        await client.send(get("/a", method="HEAD"))
        answered = await client.answer("HEAD")
        assert (answered.status, answered.get("x-of"), answered.get("content-length")) == (200, "old", "3")
        line = (await rig.logged(2))[-1]
        assert (line["status_code"], line["cache"], line.get("error")) == (200, "stale", None)
        assert rig.counted("upstream_requests_total", service="api", outcome="5xx") == 1


@on_loop
async def test_a_refresh_that_is_answered_with_an_error_to_be_kept_leaves_the_old_answer() -> None:
    sick = [False]

    def answer(_: Message) -> bytes:
        lines = ("Age: 100", "Cache-Control: max-age=60, stale-while-revalidate=600, stale-if-error=600")
        return ok(b"sick", status=503) if sick[0] else ok(b"old", *lines)

    cache = {"negative": {"statuses": [503], "ttl": 60}}
    async with Upstream(answering(answer)) as upstream, caching(upstream, cache) as rig:
        await rig.ask(get("/a"))
        sick[0] = True
        assert (await rig.ask(get("/a"))).body == b"old"
        await eventually(lambda: not rig.gateway.caching.fills and not rig.gateway.refreshes._under_way)
        assert (await rig.ask(get("/a"))).body == b"old"
        assert rig.said == []


@on_loop
@pytest.mark.parametrize(("there", "body"), [("x", b"1"), ("y", b"3")], ids=["the same", "another"])
async def test_an_answer_to_head_tells_whether_what_is_kept_is_still_there(there: str, body: bytes) -> None:
    tags = iter(("x", there, there))
    counted = counting("Cache-Control: max-age=60")

    def answer(message: Message) -> bytes:
        return counted(message).replace(b"\r\n\r\n", b'\r\nETag: "%b"\r\n\r\n' % next(tags).encode(), 1)

    async with Upstream(answering(answer)) as upstream, caching(upstream) as rig:
        await rig.ask(get("/a"))
        client = await rig.client()
        await client.send(get("/a", "Cache-Control: no-cache", method="HEAD"))
        assert (await client.answer("HEAD")).status == 200
        assert (await rig.ask(get("/a"))).body == body


@on_loop
async def test_what_may_not_be_used_stale_is_not() -> None:
    sick = [False]

    def answer(_: Message) -> bytes:
        lines = ("Age: 100", "Cache-Control: max-age=60, must-revalidate, stale-if-error=600", 'ETag: "a"')
        return ok(b"sick", status=503) if sick[0] else ok(b"old", *lines)

    async with Upstream(answering(answer)) as upstream, caching(upstream) as rig:
        await rig.ask(get("/a"))
        sick[0] = True
        answered = await rig.ask(get("/a"))
        assert (answered.status, answered.body) == (503, b"sick")


@on_loop
async def test_without_an_old_answer_the_failure_is_told() -> None:
    async with caching(f"http://127.0.0.1:{free_port()}", {"stale_if_error": 600}) as rig:
        assert (await rig.ask(get("/a"))).status == 502


@on_loop
async def test_errors_are_kept_for_a_moment_where_that_is_wanted() -> None:
    seen: list[Message] = []
    cache = {"negative": {"statuses": [404], "ttl": 60}}

    def answer(request: Message) -> bytes:
        return ok(b"none", status=404 if request.target == "/a" else 500)

    async with Upstream(answering(answer, seen)) as upstream, caching(upstream, cache) as rig:
        assert [(await rig.ask(get("/a"))).status for _ in range(3)] == [404] * 3
        assert [(await rig.ask(get("/b"))).status for _ in range(2)] == [500] * 2
        assert [each.target for each in seen] == ["/a", "/b", "/b"]
