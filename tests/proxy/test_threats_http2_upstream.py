"""Upstreams that use HTTP/2 as a weapon against clients and against the gateway; and some that only look like it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from tests.proxy.http2_client import http2
from tests.proxy.http2_upstream import Asked, Http2Upstream, Link
from tests.proxy.peers import Cut, eventually, get, within
from tests.proxy.stage import gateway, on_loop, to
from tests.wire.http2.breaker import data, rst_stream

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL"


def over(upstream: Http2Upstream, **service: Any) -> dict[str, Any]:
    """Write a configuration whose only service speaks HTTP/2."""
    return to(upstream.url, service={"protocol": "http2", **service})


# -- what is no body -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("late", [False, True], ids=["with the head", "behind it"])
@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 204), ("GET", 304)])
def test_a_body_where_there_is_none_becomes_no_answer_to_somebody_else(method: str, status: int, late: bool) -> None:
    @on_loop
    async def play() -> None:
        async with Http2Upstream() as upstream, gateway(over(upstream)) as rig:
            client = await rig.client()
            await client.send(get("/first", method=method))
            link = await upstream.accepted()
            asked = await link.asked()
            if late:
                link.head(asked, status=status)
                assert (await client.head()).status == status
                link.raw(data(asked.number, ANSWER))
                # Cut: whoever reads the connection on finds nothing there.
                assert await client.rest() == b""
            else:
                link.codec.send_headers(asked.number, [(":status", str(status))])
                link.raw(data(asked.number, ANSWER))
                assert (await client.answer(method)).status == 502
            assert [line["error"] for line in await rig.logged()] == ["upstream_protocol"]
            async with await http2(rig) as other:
                stream = other.request("/second", method=method)
                asked = await link.asked()
                link.head(asked, status=status)
                assert (await stream.started()).status == status
                link.raw(data(asked.number, ANSWER))
                with pytest.raises(Cut):
                    await stream.answer()
                assert stream.body == b""

    play()


# -- storms --------------------------------------------------------------------------------------------------------


def _refuse(link: Link, asked: Asked) -> None:
    link.raw(rst_stream(asked.number, ErrorCodes.REFUSED_STREAM))


def _leave(link: Link, asked: Asked) -> None:
    link.go_away(0)


@pytest.mark.parametrize("storm", [_refuse, _leave])
def test_who_refuses_all_is_not_asked_several_times_as_often(storm: Callable[[Link, Asked], None]) -> None:
    @on_loop
    async def play() -> None:
        asked = 0

        def count(link: Link, request: Asked) -> None:
            nonlocal asked
            asked += 1
            storm(link, request)

        retry = {"attempts": 10, "backoff": {"base": 0.001}, "budget": {"percent": 0, "minimum": 1}}
        async with Http2Upstream(count) as upstream, gateway(over(upstream, retry=retry)) as rig:
            async with await http2(rig) as client:
                answers = await within(asyncio.gather(*(client.ask("/") for _ in range(20))))
            assert {answer.status for answer in answers} == {502}
            # One of them at a time may be tried again, so most never were.
            assert asked < 20 + 2 * 10, asked

    play()


@on_loop
async def test_who_measures_its_connection_is_no_flood() -> None:
    """Servers of gRPC in Go send a PING for what comes, as often as it comes."""

    def play(link: Link, asked: Asked) -> None:
        for _ in range(40):
            link.codec.ping(b"bdp-ping")
        link.answer(asked, b"x")

    async with Http2Upstream(play) as upstream, gateway(over(upstream)) as rig:
        async with await http2(rig) as client:
            for _ in range(30):
                stream = client.request("/", method="POST", end=False)
                for _ in range(12):
                    await stream.send(b"a message")
                await stream.send(end=True)
                assert (await stream.answer()).status == 200
        assert len(upstream.links) == 1


@on_loop
async def test_events_on_their_way_to_clients_who_leave_cost_nobody_else() -> None:
    async with Http2Upstream() as upstream, gateway(over(upstream)) as rig, await http2(rig) as client:
        streams = [client.request("/") for _ in range(21)]
        link = await upstream.accepted()
        asked = [await link.asked() for _ in streams]
        for each in asked:
            link.head(each)
        for stream in streams:
            await stream.started()
        for stream in streams[1:]:
            stream.reset()
        await client.ping()
        # Sent before the upstream knew.
        for each in asked[1:]:
            link.raw(data(each.number, b"an event") * 200)
        link.data(asked[0], b"the last event", end=True)
        assert (await streams[0].answer()).body == b"the last event"


@on_loop
async def test_an_answer_in_tiny_pieces_costs_about_what_it_weighs() -> None:
    settings = {SettingCodes.INITIAL_WINDOW_SIZE: 0}
    async with (
        Http2Upstream() as upstream,
        gateway(over(upstream)) as rig,
        await http2(rig, settings=settings) as client,
    ):
        stream = client.request("/")
        link = await upstream.accepted()
        asked = await link.asked()
        link.head(asked)
        await stream.started()
        link.raw(data(asked.number, b"ab") * 20_000)
        (lane,) = (lane for each in rig.connections for lane in each.lanes.values())
        await eventually(lambda: lane.queued == 40_000)
        assert len(lane._pieces) < 60
