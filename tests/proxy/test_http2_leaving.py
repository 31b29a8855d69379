"""The end of HTTP/2 connections: nobody who goes by GOAWAY loses a request."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from h2.errors import ErrorCodes

from tests.proxy.http2_client import Http2Client, http2
from tests.proxy.peers import Cut, Upstream, answering, eventually, ok
from tests.proxy.stage import Rig, gateway, on_loop, to

HIGHEST = (1 << 31) - 1


async def stop(rig: Rig) -> None:
    rig.gateway.begin_drain()
    await rig.gateway.stop_accepting()


def deaf(client: Http2Client) -> list[bytes]:
    """Let a client send nothing by itself: what it would is returned."""
    held: list[bytes] = []
    setattr(client, "raw", held.append)  # noqa: B010
    return held


@on_loop
async def test_an_idle_client_is_told_twice_and_let_go() -> None:
    async with Upstream(answering(lambda _: ok(b"x"))) as upstream, gateway(to(upstream)) as rig:
        client = await http2(rig)
        for each in range(3):
            assert (await client.ask(f"/{each}")).body == b"x"
        await stop(rig)
        await client.closed()
        assert client.goaways == [(0, HIGHEST, b""), (0, 5, b"")]


@on_loop
async def test_a_request_on_its_way_when_we_leave_is_served() -> None:
    async with Upstream(answering(lambda _: ok(b"x"))) as upstream, gateway(to(upstream)) as rig:
        client = await http2(rig)
        assert (await client.ask()).body == b"x"
        # Stopping, and a request that crosses what the gateway says of it.
        await stop(rig)
        late = client.request("/late")
        assert (await late.answer()).body == b"x"
        await client.closed()
        assert client.goaways == [(0, HIGHEST, b""), (0, late.number, b"")]


@on_loop
async def test_what_is_in_progress_is_finished_and_what_comes_behind_is_refused_unprocessed() -> None:
    seen: list[str] = []
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client = await http2(rig)
        stream = client.request("/first")
        link = await upstream.accepted()
        seen.append((await link.message()).target)
        await stop(rig)
        await client.until(lambda: len(client.goaways) == 2)
        refused = client.request("/second")
        assert await refused.reset_code() == ErrorCodes.REFUSED_STREAM
        await link.send(ok(b"x"))
        assert (await stream.answer()).body == b"x"
        await client.closed()
        assert seen == ["/first"]
        assert len(await rig.logged()) == 1


@on_loop
async def test_a_client_that_does_not_answer_pings_is_not_waited_for() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client = await http2(rig)
        stream = client.request()
        link = await upstream.accepted()
        await link.message()
        deaf(client)
        await stop(rig)
        await client.until(lambda: len(client.goaways) == 2)
        await link.send(ok(b"x"))
        assert (await stream.answer()).body == b"x"
        await client.closed()


@on_loop
async def test_who_has_just_come_may_ask_once() -> None:
    async with Upstream(answering(lambda _: ok(b"x"))) as upstream, gateway(to(upstream)) as rig:
        client = await http2(rig)
        await eventually(lambda: type(rig.connections[0]).__name__ == "Http2Connection")
        await stop(rig)
        await client.ping()
        assert not client.goaways
        assert (await client.ask()).body == b"x"
        await client.closed()
        assert client.goaways == [(0, HIGHEST, b""), (0, 1, b"")]


@on_loop
async def test_a_connection_serves_so_many_requests_and_those_that_cross_the_end() -> None:
    document = {"http": {"keepalive_requests": 3}}
    async with Upstream(answering(lambda _: ok(b"x"))) as upstream, gateway(to(upstream, **document)) as rig:
        client = await http2(rig)
        streams = [client.request(f"/{each}") for each in range(5)]
        assert [(await each.answer()).body for each in streams] == [b"x"] * 5
        await client.closed()
        assert client.goaways == [(0, HIGHEST, b""), (0, 9, b"")]


@on_loop
async def test_an_idle_connection_ends_and_pings_keep_none_alive() -> None:
    async with (
        Upstream(answering(lambda _: ok(b"x"))) as upstream,
        gateway(to(upstream, http={"keepalive_timeout": 0.2})) as rig,
    ):
        client = await http2(rig)
        assert (await client.ask()).body == b"x"
        while not client.goaways:
            client.events.clear()
            # The last one may find the connection closed.
            with suppress(Cut):
                await client.ping()
            await asyncio.sleep(0.02)
        await client.closed()
        assert client.goaways[-1] == (0, 1, b"")


@on_loop
async def test_a_connection_with_a_request_is_not_idle() -> None:
    async with Upstream() as upstream, gateway(to(upstream, http={"keepalive_timeout": 0.1})) as rig:
        client, other = await http2(rig), await http2(rig)
        stream = client.request()
        link = await upstream.accepted()
        await link.message()
        # The other one, which asks nothing, is gone by then.
        await other.closed()
        await link.send(ok(b"x"))
        assert (await stream.answer()).body == b"x"
        await client.closed()


@on_loop
async def test_at_the_end_only_who_is_owed_an_answer_is_cut() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        owed, idle = await http2(rig), await http2(rig)
        stream = owed.request()
        link = await upstream.accepted()
        await link.message()
        await idle.ping()
        for each in rig.connections:
            each.end()
        await owed.closed()
        await idle.closed()
        with pytest.raises(Cut):
            await stream.answer()
        assert idle.goaways == [(0, 0, b"")]


@on_loop
async def test_a_reload_keeps_connections_and_their_requests() -> None:
    async with (
        Upstream(answering(lambda _: ok(b"old"))) as old,
        Upstream(answering(lambda _: ok(b"new"))) as new,
        gateway(to(old)) as rig,
    ):
        client = await http2(rig)
        assert (await client.ask()).body == b"old"
        for each in range(4):
            rig.apply(to(new if each % 2 == 0 else old))
            assert (await client.ask()).body == (b"new" if each % 2 == 0 else b"old")
        assert not client.goaways
        assert rig.counted("connections_total") == 1


@on_loop
async def test_a_client_that_leaves_by_goaway_gets_what_it_asked_for() -> None:
    async with Upstream() as upstream, gateway(to(upstream)) as rig:
        client = await http2(rig)
        stream = client.request()
        link = await upstream.accepted()
        await link.message()
        # GOAWAY of a client: last stream 0, NO_ERROR.
        client.raw(b"\0\0\x08\7\0\0\0\0\0" + b"\0" * 8)
        await client.ping()
        await link.send(ok(b"x" * 100_000))
        assert len((await stream.answer()).body) == 100_000
