"""Balancing in a whole gateway: what is counted and what a key leads to, who is asked, what a reload keeps."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.policy.endpoint_record import DISABLED, record_name
from tests.proxy.peers import Upstream, answering, eventually, free_port, get, ok
from tests.proxy.stage import Rig, gateway, on_loop, to

WAYS: list[dict[str, Any]] = [
    {"balancer": "random"},
    {"balancer": "least_connections"},
    {"balancer": {"type": "consistent_hash", "header": "X-User"}},
    {"candidates": {"zone_preference": True, "slow_start": 10}},
]


def in_flight(rig: Rig, service: str) -> list[int]:
    assert rig.gateway.plan is not None
    return [target.in_flight for target in rig.gateway.plan.clusters[service].targets]


@on_loop
async def test_how_often_an_endpoint_is_chosen_is_no_matter_of_its_pool() -> None:
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream)) as rig:
        await rig.ask(get())
        endpoint = {"url": upstream.url, "weight": 7, "zone": "b"}
        for changed in ({}, *WAYS):
            rig.apply(to(service={"endpoints": [endpoint], **changed}))
            assert (await rig.ask(get())).status == 200
        assert len(upstream.links) == 1


@pytest.mark.parametrize("reached", [True, False])
@on_loop
async def test_a_copy_is_in_flight_until_its_answer_is_read(reached: bool) -> None:
    async with Upstream(answering(lambda _: ok())) as upstream, Upstream() as shadow:
        document: dict[str, Any] = to(upstream, route={"mirror": {"service_name": "shadow"}})
        url = shadow.url if reached else f"http://127.0.0.1:{free_port()}"
        document["services"].append({"name": "shadow", "url": url, "balancer": "least_connections"})
        async with gateway(document) as rig:
            assert (await rig.ask(get())).status == 200
            if reached:
                link = await shadow.accepted()
                await link.message()
                assert in_flight(rig, "shadow") == [1]
                await link.send(ok())
            await eventually(lambda: in_flight(rig, "shadow") == [0])
            assert rig.counted("upstream_requests_total", service="shadow") == 1


# -- in flight ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["least_connections", "peak_ewma", "consistent_hash"])
@on_loop
async def test_an_answer_is_in_flight_to_the_end_of_its_body(kind: str) -> None:
    async with Upstream() as upstream, gateway(to(upstream, service={"balancer": kind})) as rig:
        client = await rig.client()
        await client.send(get())
        link = await upstream.accepted()
        for _ in range(2):
            await link.message()
            assert in_flight(rig, "api") == [1]
            await link.send(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab")
            await client.head()
            assert in_flight(rig, "api") == [1]
            await link.send(b"cd")
            assert await client.read(4) == b"abcd"
            await eventually(lambda: in_flight(rig, "api") == [0])
            await client.send(get())


@on_loop
async def test_the_idle_one_is_asked() -> None:
    async with (
        Upstream() as one,
        Upstream() as other,
        gateway(to(one, other, service={"balancer": "least_connections"})) as rig,
    ):
        held = await rig.client()
        await held.send(get("/held"))
        await eventually(lambda: len(one.links) + len(other.links) == 1)
        busy, idle = (one, other) if one.links else (other, one)
        link = await busy.accepted()
        await link.message()
        client = await rig.client()
        await client.send(get("/0"))
        free = await idle.accepted()
        await free.message()
        await free.send(ok())
        await client.answer()
        for number in range(1, 6):
            await client.send(get(f"/{number}"))
            assert (await free.message()).target == f"/{number}"
            await free.send(ok())
            await client.answer()
        await link.send(ok())
        await held.answer()
        await eventually(lambda: in_flight(rig, "api") == [0, 0])


@pytest.mark.parametrize("ending", ["refused", "reset", "status", "client leaves", "hedged"])
@on_loop
async def test_every_try_is_counted_out_however_it_ends(ending: str) -> None:
    retry: dict[str, Any] = {"attempts": 1, "on": ["connect", 503]}
    if ending == "hedged":
        retry["hedge"] = 0.01
    async with Upstream() as one, Upstream() as other:
        nobody = [f"http://127.0.0.1:{free_port()}", f"http://localhost:{free_port()}"]
        upstreams = nobody if ending == "refused" else [one, other]
        document = to(*upstreams, service={"balancer": "least_connections"}, retry=retry)
        async with gateway(document) as rig:
            client = await rig.client()
            await client.send(get())
            if ending != "refused":
                await eventually(lambda: bool(one.links or other.links))
                first, second = (one, other) if one.links else (other, one)
                link = await first.accepted()
                await link.message()
                assert sum(in_flight(rig, "api")) == 1 or ending == "hedged"
            match ending:
                case "refused":
                    assert (await client.answer()).status == 502
                case "reset":
                    link.writer.transport.abort()
                    assert (await client.answer()).status == 502
                case "status":
                    await link.send(b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
                    again = await second.accepted()
                    await again.message()
                    assert sorted(in_flight(rig, "api")) == [0, 1]
                    await again.send(ok())
                    assert (await client.answer()).status == 200
                case "client leaves":
                    client.close()
                case "hedged":
                    again = await second.accepted()
                    await again.message()
                    assert in_flight(rig, "api") == [1, 1]
                    await again.send(ok())
                    assert (await client.answer()).status == 200
            await eventually(lambda: in_flight(rig, "api") == [0, 0])


# -- keys --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "fields"),
    [
        ({"header": "X-User"}, [f"X-User: {user}" for user in range(40)]),
        ({"cookie": "sid"}, [f"Cookie: a=1; sid={user}" for user in range(40)]),
    ],
)
@on_loop
async def test_a_caller_stays_with_its_endpoint(settings: dict[str, str], fields: list[str]) -> None:
    async with (
        Upstream(answering(lambda _: ok(b"0"))) as one,
        Upstream(answering(lambda _: ok(b"1"))) as other,
        gateway(to(one, other, service={"balancer": {"type": "consistent_hash", **settings}})) as rig,
    ):
        rounds = [[(await rig.ask(get("/", field))).body for field in fields] for _ in range(2)]
        assert rounds[0] == rounds[1]
        assert set(rounds[0]) == {b"0", b"1"}


@on_loop
async def test_a_path_stays_with_its_endpoint() -> None:
    async with (
        Upstream(answering(lambda _: ok(b"0"))) as one,
        Upstream(answering(lambda _: ok(b"1"))) as other,
        gateway(to(one, other, service={"balancer": {"type": "consistent_hash", "by": "path"}})) as rig,
    ):
        rounds = [[(await rig.ask(get(f"/{page}?{turn}"))).body for page in range(40)] for turn in range(2)]
        assert rounds[0] == rounds[1]
        assert set(rounds[0]) == {b"0", b"1"}


# -- what the board says -----------------------------------------------------------------------------------------------


@on_loop
async def test_a_disabled_endpoint_gets_nothing_and_without_any_the_answer_is_503() -> None:
    async with (
        Upstream(answering(lambda _: ok(b"0"))) as one,
        Upstream(answering(lambda _: ok(b"1"))) as other,
        gateway(to(one, other)) as rig,
    ):
        board = rig.gateway.board
        records = [board.claim(record_name("api", f"127.0.0.1:{each.port}")) for each in (one, other)]
        board.cells[records[0] + DISABLED] = 1
        board.touch()
        assert [(await rig.ask(get())).body for _ in range(4)] == [b"1"] * 4
        board.cells[records[1] + DISABLED] = 1
        board.touch()
        answer = await rig.ask(get())
        assert answer.status == 503
        assert rig.log[-1]["error"] == "no_endpoint"
        assert "attempts" not in rig.log[-1]
        board.cells[records[0] + DISABLED] = 0
        board.touch()
        assert [(await rig.ask(get())).body for _ in range(4)] == [b"0"] * 4


@on_loop
async def test_endpoints_of_the_own_zone_are_asked() -> None:
    async with (
        Upstream(answering(lambda _: ok(b"0"))) as near,
        Upstream(answering(lambda _: ok(b"1"))) as far,
    ):
        endpoints = [{"url": near.url, "zone": "eu"}, {"url": far.url, "zone": "us"}]
        service = {"endpoints": endpoints, "candidates": {"zone_preference": True}}
        async with gateway(to(service=service, zone="eu")) as rig:
            assert [(await rig.ask(get())).body for _ in range(4)] == [b"0"] * 4
