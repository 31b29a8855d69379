"""Many requests for what is being fetched: one asks, all are answered, and nobody pays for another's troubles."""

from __future__ import annotations

import asyncio

import pytest

from headgate.proxy.filling import ROOM
from tests.proxy.caches import caching
from tests.proxy.peers import Cut, Message, Upstream, Wire, answering, eventually, free_port, get, in_between, ok
from tests.proxy.stage import Rig, on_loop

FRESH = "Cache-Control: max-age=60"
CROWD = 10


async def crowd(rig: Rig, request: bytes, count: int = CROWD) -> list[Wire]:
    """Send a request so many times, and see that all of them are under way."""
    before = rig.gateway.in_flight
    clients = [await rig.client() for _ in range(count)]
    for client in clients:
        await client.send(request)
    await eventually(lambda: rig.gateway.in_flight == before + count)
    return clients


@on_loop
async def test_one_asks_for_all() -> None:
    async with Upstream() as upstream, caching(upstream) as rig:
        clients = await crowd(rig, get("/a"))
        link = await upstream.accepted()
        await link.message()
        await link.send(ok(b"answer", FRESH))
        assert [(await client.answer()).body for client in clients] == [b"answer"] * CROWD
        assert len(upstream.links) == 1
        results = sorted(line["cache"] for line in await rig.logged(CROWD))
        assert results == ["collapsed"] * (CROWD - 1) + ["miss"]


@pytest.mark.parametrize("framing", ["length", "chunked"])
@on_loop
async def test_all_get_each_piece_as_it_arrives(framing: str) -> None:
    async with Upstream() as upstream, caching(upstream) as rig:
        clients = await crowd(rig, get("/a"), 3)
        link = await upstream.accepted()
        await link.message()
        chunked = framing == "chunked"
        told = "Transfer-Encoding: chunked" if chunked else "Content-Length: 6"
        await link.send(f"HTTP/1.1 200 Fine\r\n{told}\r\n{FRESH}\r\n\r\n".encode())
        for client in clients:
            assert (await client.head()).status == 200
        for number, piece in enumerate((b"one", b"two")):
            if number == 1:
                # Who comes in the middle gets what was there already, and then the rest with the others.
                late = await rig.client()
                await late.send(get("/a"))
                await late.head()
                assert await (late.chunk() if chunked else late.read(3)) == b"one"
                clients.append(late)
            await link.send(b"3\r\n%b\r\n" % piece if chunked else piece)
            for client in clients:
                assert await (client.chunk() if chunked else client.read(3)) == piece
        if chunked:
            await link.send(b"0\r\n\r\n")
            for client in clients:
                assert await client.chunk() == b""
        assert (await rig.ask(get("/a"))).body == b"onetwo"
        assert len(upstream.links) == 1


@on_loop
async def test_who_wants_a_part_or_has_it_already_shares_it_too() -> None:
    async with Upstream() as upstream, caching(upstream) as rig:
        first = await rig.client()
        await first.send(get("/a", "Range: bytes=4-5"))
        link = await upstream.accepted()
        await link.message()
        part, known = await rig.client(), await rig.client()
        await part.send(get("/a", "Range: bytes=2-3"))
        await known.send(get("/a", 'If-None-Match: "v"'))
        await eventually(lambda: rig.gateway.in_flight == 3)
        await link.send(f'HTTP/1.1 200 Fine\r\nETag: "v"\r\nContent-Length: 10\r\n{FRESH}\r\n\r\n0123'.encode())
        assert (await known.answer()).status == 304
        answer = await part.answer()
        assert (answer.status, answer.body) == (206, b"23")
        await link.send(b"456789")
        answer = await first.answer()
        assert (answer.status, answer.body, answer.get("content-range")) == (206, b"45", "bytes 4-5/10")
        assert (await rig.ask(get("/a"))).body == b"0123456789"


@on_loop
async def test_a_client_that_reads_slowly_holds_up_nobody() -> None:
    size = in_between() // 2 + (4 << 20)
    async with Upstream() as upstream, caching(upstream, {"max_entry": size}) as rig:
        slow, fast = await crowd(rig, get("/a"), 2)
        link = await upstream.accepted()
        await link.message()
        sent = asyncio.create_task(link.send(ok(b"x" * size, FRESH)))
        answer = await fast.answer()
        assert len(answer.body) == size
        await sent
        assert (await slow.head()).status == 200
        assert len(await slow.read(size)) == size


@on_loop
async def test_what_turns_out_too_large_goes_on_to_those_who_have_begun_it() -> None:
    async with Upstream() as upstream, caching(upstream, {"max_entry": 100_000}) as rig:
        clients = await crowd(rig, get("/a"), 3)
        link = await upstream.accepted()
        await link.message()
        await link.send(f"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n{FRESH}\r\n\r\n".encode())
        for client in clients:
            await client.head()
        got = [0, 0, 0]

        async def read(number: int) -> None:
            while piece := await clients[number].chunk():
                got[number] += len(piece)

        reading = [asyncio.create_task(read(number)) for number in range(3)]
        for _ in range(100):
            await link.send(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
        await link.send(b"0\r\n\r\n")
        await asyncio.gather(*reading)
        assert got == [1_000_000] * 3
        await eventually(lambda: rig.gateway.in_flight == 0)
        assert rig.gateway.caching.room.left == ROOM
        # From now on nobody waits for one of these.
        one, other = await crowd(rig, get("/a"), 2)
        for client in (one, other):
            carried = link if client is one else await upstream.accepted()
            await carried.message()
            await carried.send(ok(b"short", FRESH))
        assert {(await client.answer()).body for client in (one, other)} == {b"short"}


@on_loop
async def test_the_first_may_leave_while_others_wait() -> None:
    async with Upstream() as upstream, caching(upstream) as rig:
        first = await rig.client()
        await first.send(get("/a"))
        link = await upstream.accepted()
        await link.message()
        others = await crowd(rig, get("/a"), 2)
        first.cut()
        await eventually(lambda: rig.counted("connections_open") == 2)
        # More than would be fetched for nobody.
        rest = b"x" * 150_000
        await link.send(f"HTTP/1.1 200 Fine\r\nContent-Length: 150003\r\n{FRESH}\r\n\r\none".encode())
        for client in others:
            await client.head()
        others[0].cut()
        await eventually(lambda: rig.counted("connections_open") == 1)
        await link.send(rest)
        assert await others[1].read(150_003) == b"one" + rest
        log = await rig.logged(3)
        assert sorted(line["status_code"] for line in log) == [200, 499, 499]
        assert (await rig.ask(get("/a"))).body == b"one" + rest


@pytest.mark.parametrize("when", ["asked", "begun"])
@on_loop
async def test_what_nobody_waits_for_is_given_up(when: str) -> None:
    async with Upstream() as upstream, caching(upstream) as rig:
        clients = await crowd(rig, get("/a"), 2)
        link = await upstream.accepted()
        await link.message()
        if when == "begun":
            await link.send(f"HTTP/1.1 200 Fine\r\nContent-Length: 900000\r\n{FRESH}\r\n\r\none".encode())
            for client in clients:
                await client.head()
        for client in clients:
            client.cut()
        assert await link.rest() == b""
        assert [line["error"] for line in await rig.logged(2)] == ["client_closed"] * 2
        assert not rig.gateway.caching.fills
        assert rig.gateway.caching.room.left == ROOM


@on_loop
async def test_what_is_nearly_there_is_finished_though_nobody_waits() -> None:
    async with Upstream() as upstream, caching(upstream) as rig:
        client = await rig.client()
        await client.send(get("/a"))
        link = await upstream.accepted()
        await link.message()
        await link.send(f"HTTP/1.1 200 Fine\r\nContent-Length: 6\r\n{FRESH}\r\n\r\none".encode())
        await client.head()
        client.cut()
        await eventually(lambda: rig.counted("connections_open") == 0)
        await link.send(b"two")
        await rig.logged(1)
        assert (await rig.ask(get("/a"))).body == b"onetwo"
        assert len(upstream.links) == 1


@on_loop
async def test_all_share_the_failure_of_what_was_asked_twice() -> None:
    async with Upstream() as upstream, caching(upstream, service={"retry": {"attempts": 0}}) as rig:
        clients = await crowd(rig, get("/a"))
        # The first one may have failed for what it said itself.
        for _ in range(2):
            link = await upstream.accepted()
            await link.message()
            link.cut()
        assert [(await client.answer()).status for client in clients] == [502] * CROWD
        assert len(upstream.links) == 2
        assert rig.counted("upstream_requests_total", service="api") == 2


@on_loop
async def test_what_is_cut_is_cut_for_all_and_never_kept() -> None:
    async with Upstream() as upstream, caching(upstream) as rig:
        clients = await crowd(rig, get("/a"), 3)
        link = await upstream.accepted()
        await link.message()
        await link.send(f"HTTP/1.1 200 Fine\r\nContent-Length: 6\r\n{FRESH}\r\n\r\none".encode())
        for client in clients:
            await client.head()
            assert await client.read(3) == b"one"
        link.cut()
        for client in clients:
            with pytest.raises(Cut):
                await client.read(3)
        assert [line["error"] for line in await rig.logged(3)] == ["upstream_reset"] * 3
        again = await rig.client()
        await again.send(get("/a"))
        link = await upstream.accepted()
        await link.message()
        await link.send(ok(b"whole", FRESH))
        assert (await again.answer()).body == b"whole"


@on_loop
async def test_who_waited_for_what_is_not_kept_asks_for_himself_and_nobody_waits_again() -> None:
    async with Upstream() as upstream, caching(upstream) as rig:
        clients = await crowd(rig, get("/a"), 4)
        link = await upstream.accepted()
        await link.message()
        await link.send(ok(b"0", "Cache-Control: no-store"))
        assert (await clients[0].answer()).body == b"0"
        # All of them at once: nobody waits for another in turn.
        links = [await upstream.accepted() for _ in range(3)]
        for number, each in enumerate(links):
            await each.message()
            await each.send(ok(b"%d" % (number + 1), "Cache-Control: no-store"))
        assert {(await client.answer()).body for client in clients[1:]} == {b"1", b"2", b"3"}
        assert [line["cache"] for line in await rig.logged(4)] == ["miss"] * 4


@on_loop
async def test_variants_are_not_mixed_up_by_those_who_wait() -> None:
    async with Upstream() as upstream, caching(upstream) as rig:
        german = await crowd(rig, get("/a", "Accept-Language: de"), 2)
        link = await upstream.accepted()
        await link.message()
        french = await crowd(rig, get("/a", "Accept-Language: fr"), 2)
        await link.send(ok(b"deutsch", FRESH, "Vary: Accept-Language"))
        assert [(await client.answer()).body for client in german] == [b"deutsch"] * 2
        request = await link.message()
        assert request.get("accept-language") == "fr"
        await link.send(ok(b"francais", FRESH, "Vary: Accept-Language"))
        assert [(await client.answer()).body for client in french] == [b"francais"] * 2
        assert len(upstream.links) == 1


@on_loop
async def test_who_may_not_have_what_another_fetched_asks_for_himself() -> None:
    async with Upstream() as upstream, caching(upstream) as rig:
        first = await rig.client()
        await first.send(get("/a"))
        link = await upstream.accepted()
        await link.message()
        young = await rig.client()
        await young.send(get("/a", "Cache-Control: max-age=5"))
        await eventually(lambda: rig.gateway.in_flight == 2)
        await link.send(ok(b"old", "Age: 10", FRESH))
        assert (await first.answer()).body == b"old"
        await link.message()
        await link.send(ok(b"young", FRESH))
        assert (await young.answer()).body == b"young"


@on_loop
async def test_a_request_that_waits_ends_in_its_own_time() -> None:
    route = {"timeout": {"deadline_header": "X-Timeout"}}
    async with Upstream() as upstream, caching(upstream, route=route) as rig:
        first = await rig.client()
        await first.send(get("/a"))
        link = await upstream.accepted()
        await link.message()
        assert (await rig.ask(get("/a", "X-Timeout: 50"))).status == 504
        await link.send(ok(b"late", FRESH))
        assert (await first.answer()).body == b"late"


@on_loop
async def test_the_haste_of_the_first_is_no_reason_to_cut_the_others() -> None:
    route = {"timeout": {"deadline_header": "X-Timeout"}}
    async with Upstream() as upstream, caching(upstream, route=route) as rig:
        first = await rig.client()
        await first.send(get("/a", "X-Timeout: 150"))
        link = await upstream.accepted()
        await link.message()
        await link.send(f"HTTP/1.1 200 Fine\r\nContent-Length: 6\r\n{FRESH}\r\n\r\none".encode())
        await first.head()
        other = await rig.client()
        await other.send(get("/a"))
        await other.head()
        # Longer than the first would have waited for a head.
        assert (await rig.ask(get("/b", "X-Timeout: 200"))).status == 504
        await link.send(b"two")
        assert await other.read(6) == b"onetwo"


@on_loop
async def test_who_came_after_a_change_does_not_get_what_was_asked_for_before_it() -> None:
    async with Upstream() as upstream, caching(upstream) as rig:
        first = await rig.client()
        await first.send(get("/a"))
        slow = await upstream.accepted()
        await slow.message()
        changing = await rig.client()
        await changing.send(get("/a", method="POST", body=b"new"))
        link = await upstream.accepted()
        await link.message()
        await link.send(ok(b"done"))
        await changing.answer()
        await changing.send(get("/a"))
        await link.message()
        await link.send(ok(b"new", FRESH))
        assert (await changing.answer()).body == b"new"
        await slow.send(ok(b"old", FRESH))
        assert (await first.answer()).body == b"old"
        assert (await rig.ask(get("/a"))).body == b"new"


@on_loop
async def test_collapsing_can_be_switched_off() -> None:
    async with Upstream() as upstream, caching(upstream, {"collapse": False}) as rig:
        clients = await crowd(rig, get("/a"), 3)
        for number, _ in enumerate(clients):
            link = await upstream.accepted()
            await link.message()
            await link.send(ok(b"%d" % number, FRESH))
        assert {(await client.answer()).body for client in clients} == {b"0", b"1", b"2"}


@on_loop
async def test_nobody_is_left_waiting_when_nothing_can_be_reached() -> None:
    async with caching(f"http://127.0.0.1:{free_port()}") as rig:
        clients = [await rig.client() for _ in range(CROWD)]
        for client in clients:
            await client.send(get("/a"))
        assert [(await client.answer()).status for client in clients] == [502] * CROWD


@on_loop
async def test_a_crowd_at_many_things_gets_each_its_own() -> None:
    seen: list[Message] = []
    async with (
        Upstream(answering(lambda request: ok(request.target.encode(), FRESH), seen)) as upstream,
        caching(upstream) as rig,
    ):
        clients = [(await rig.client(), f"/{number % 7}") for number in range(60)]
        for client, target in clients:
            await client.send(get(target))
        for client, target in clients:
            assert (await client.answer()).body == target.encode()
        assert len(seen) == 7
