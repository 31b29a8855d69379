"""Whole sets of endpoints in a running gateway: who leaves, who comes, who stays, and no request that notices."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from headgate.catalog import BALANCERS
from headgate.core.address import parse_endpoint
from headgate.core.endpoint import Endpoint
from headgate.stores.board import OWN_CELLS
from tests.proxy.peers import Upstream, answering, eventually, get, ok
from tests.proxy.script import held_hedges
from tests.proxy.stage import Rig, gateway, on_loop, resolved, to
from tests.wire.certificates import Authority


def found(**service: Any) -> dict[str, Any]:
    """Write a configuration: one service `api` whose endpoints are found out."""
    return to(service={"discovery": "registry", "endpoints": [], **service}, retry={"attempts": 0})


def endpoints(*upstreams: Upstream | str, weight: int = 1) -> tuple[Endpoint, ...]:
    urls = [each if isinstance(each, str) else each.url for each in upstreams]
    return tuple(parse_endpoint(url, weight) for url in urls)


def named(number: int) -> Upstream:
    """An upstream that says its number."""
    return Upstream(answering(lambda _: ok(b"%d" % number)))


def take(rig: Rig, *upstreams: Upstream | str, weight: int = 1, whole: bool = False) -> None:
    """Let the service have these endpoints."""
    assert rig.gateway.plan is not None
    source = rig.gateway.plan.clusters["api"].source
    rig.gateway.take_endpoint_sets({source: endpoints(*upstreams, weight=weight)}, whole)


def records(rig: Rig) -> dict[str, int]:
    """What this worker has in flight by the board, by record."""
    return {name: rig.gateway.board.cells[base + OWN_CELLS] for name, base in rig.gateway.board.entries()}


def held(rig: Rig) -> set[str]:
    """The records that nobody else may have."""
    board = rig.gateway.board
    board.free([name for name, _ in board.entries()])
    return {name for name, _ in board.entries()}


@on_loop
async def test_before_the_first_set_there_is_nobody_and_then_there_is() -> None:
    async with Upstream(answering(lambda _: ok(b"here"))) as upstream, gateway(found()) as rig:
        assert (await rig.ask(get())).status == 503
        take(rig, upstream)
        assert (await rig.ask(get())).body == b"here"
        take(rig)
        assert (await rig.ask(get())).status == 503


@pytest.mark.parametrize("balancer", sorted(BALANCERS))
def test_a_request_in_flight_where_one_left_ends_well(balancer: str) -> None:
    @on_loop
    async def test() -> None:
        document = found(balancer=balancer, outlier={})
        async with Upstream() as old, Upstream(answering(lambda _: ok(b"new"))) as new, gateway(document) as rig:
            take(rig, old)
            client = await rig.client()
            await client.send(get())
            link = await old.accepted()
            await link.message()
            take(rig, new)
            assert (await rig.ask(get())).body == b"new"
            await link.send(ok(b"old"))
            assert (await client.answer()).body == b"old"
            # Nothing is kept for one that is gone: neither its connection nor its record, which was held till now.
            assert await link.rest() == b""
            await eventually(lambda: not any(records(rig).values()))
            assert {name for name in held(rig) if name.startswith("endpoint")} == {f"endpoint api {new_name(new)}"}

    test()


def new_name(upstream: Upstream) -> str:
    return parse_endpoint(upstream.url).name


@on_loop
async def test_the_record_of_one_that_left_is_held_as_long_as_it_has_a_request() -> None:
    async with Upstream() as old, gateway(found(balancer="least_connections")) as rig:
        take(rig, old)
        client = await rig.client()
        await client.send(get())
        link = await old.accepted()
        await link.message()
        name = f"endpoint api {new_name(old)}"
        take(rig)
        assert name in held(rig)
        assert records(rig)[name] == 1
        await link.send(ok())
        await client.answer()
        await eventually(lambda: records(rig)[name] == 0)
        client.close()
        await eventually(lambda: name not in held(rig))


@on_loop
async def test_who_stays_keeps_connections_and_what_is_known_of_it() -> None:
    async with (
        Upstream(answering(lambda _: ok(b"one"))) as one,
        Upstream(answering(lambda _: ok(b"two"))) as two,
        gateway(found(balancer="peak_ewma")) as rig,
    ):
        take(rig, one)
        await rig.ask(get())
        assert rig.gateway.plan is not None
        (before,) = rig.gateway.plan.clusters["api"].targets
        take(rig, two, one, weight=3)
        after = rig.gateway.plan.clusters["api"].targets
        assert after[1] is before
        assert before.latency > 0
        assert [each.endpoint.weight for each in after] == [3, 3]
        for _ in range(8):
            await rig.ask(get())
        assert len(one.links) == 1


@on_loop
async def test_an_equal_set_changes_nothing() -> None:
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(found()) as rig:
        take(rig, upstream)
        assert rig.gateway.plan is not None
        cluster = rig.gateway.plan.clusters["api"]
        await rig.ask(get())
        targets, version = cluster.targets, cluster._version
        take(rig, upstream)
        take(rig, upstream, whole=True)
        assert cluster.targets is targets
        assert cluster._version == version


@on_loop
async def test_a_retry_goes_to_one_that_came_while_the_first_try_was_under_way() -> None:
    document = to(service={"discovery": "registry", "endpoints": []}, retry={"attempts": 1})
    async with Upstream() as old, Upstream(answering(lambda _: ok(b"new"))) as new, gateway(document) as rig:
        take(rig, old)
        client = await rig.client()
        await client.send(get())
        link = await old.accepted()
        await link.message()
        take(rig, new)
        link.cut()
        assert (await client.answer()).body == b"new"


@on_loop
async def test_a_second_try_beside_the_first_goes_to_one_that_came() -> None:
    document = to(
        service={"discovery": "registry", "endpoints": [], "balancer": "least_connections"},
        retry={"attempts": 1, "hedge": 60},
    )
    async with Upstream() as old, Upstream(answering(lambda _: ok(b"new"))) as new, gateway(document) as rig:
        hedges = held_hedges(rig)
        take(rig, old)
        client = await rig.client()
        await client.send(get())
        link = await old.accepted()
        await link.message()
        take(rig, new)
        hedges.begin()
        assert (await client.answer()).body == b"new"
        assert await link.rest() == b""
        await eventually(lambda: not any(records(rig).values()))


@on_loop
async def test_a_failure_of_one_that_left_judges_nobody() -> None:
    document = found(outlier={"consecutive_failures": 1})
    async with Upstream() as old, named(1) as one, named(2) as two, gateway(document) as rig:
        take(rig, old)
        client = await rig.client()
        await client.send(get())
        link = await old.accepted()
        await link.message()
        take(rig, one, two)
        link.cut()
        assert (await client.answer()).status == 502
        assert rig.log[-1]["error"] == "upstream_reset"
        assert rig.counted("outlier_ejections_total") == 0
        assert not rig.said


@on_loop
async def test_one_that_came_is_judged_as_all_are() -> None:
    document = found(outlier={"consecutive_failures": 2, "ejection_time": 60})
    async with (
        Upstream(answering(lambda _: ok(b"good"))) as good,
        Upstream(answering(lambda _: ok(b"bad", status=500))) as bad,
        gateway(document) as rig,
    ):
        take(rig, good)
        await rig.ask(get())
        take(rig, good, bad)
        for _ in range(12):
            await rig.ask(get())
        assert rig.counted("outlier_ejections_total") == 1
        assert [(await rig.ask(get())).status for _ in range(6)] == [200] * 6


@on_loop
async def test_keys_of_those_who_stay_stay_with_them() -> None:
    balancer = {"type": "consistent_hash", "header": "x-user"}
    fleet = [named(number) for number in range(4)]
    async with fleet[0], fleet[1], fleet[2], fleet[3], gateway(found(balancer=balancer)) as rig:

        async def owners() -> dict[int, bytes]:
            return {key: (await rig.ask(get("/", f"X-User: {key}"))).body for key in range(60)}

        take(rig, *fleet[:3])
        before = await owners()
        take(rig, *fleet[1:])
        after = await owners()
        assert set(before.values()) == {b"0", b"1", b"2"}
        assert {after[key] for key, owner in before.items() if owner == b"0"} & {b"1", b"2", b"3"}
        assert all(after[key] in (owner, b"3") for key, owner in before.items() if owner != b"0")


@on_loop
async def test_what_is_in_flight_is_counted_right_through_a_hundred_sets() -> None:
    document = found(balancer="least_connections", pool={"max_connections": 500})
    async with Upstream() as slow, Upstream() as other, gateway(document) as rig:
        take(rig, slow, other)
        clients = [await rig.client() for _ in range(20)]
        for client in clients:
            await client.send(get())
        await eventually(lambda: len(slow.links) + len(other.links) == 20)
        for turn in range(100):
            take(rig, *([slow, other], [other], [slow], [other, slow])[turn % 4], weight=1 + turn % 3)
        take(rig, slow, other)
        assert sum(records(rig).values()) == 20
        for link in [*slow.links, *other.links]:
            await link.message()
            await link.send(ok())
        for client in clients:
            assert (await client.answer()).status == 200
        await eventually(lambda: not any(records(rig).values()))
        assert rig.gateway.plan is not None
        cluster = rig.gateway.plan.clusters["api"]
        assert cluster.pick(rig.gateway.loop.time()) is not None


@on_loop
async def test_a_reload_goes_on_with_the_endpoints_that_are_known() -> None:
    async with Upstream(answering(lambda _: ok(b"here"))) as upstream, gateway(found()) as rig:
        take(rig, upstream)
        await rig.ask(get())
        rig.apply({**found(), "max_body": 7})
        assert (await rig.ask(get())).body == b"here"
        assert len(upstream.links) == 1
        # Control came back and knows nothing yet.
        rig.gateway.take_endpoint_sets({}, True)
        rig.apply({**found(), "max_body": 8})
        assert (await rig.ask(get())).body == b"here"


@on_loop
async def test_other_settings_of_a_source_make_it_another_one() -> None:
    async with Upstream(answering(lambda _: ok(b"here"))) as upstream, gateway(found()) as rig:
        take(rig, upstream)
        other = found(discovery={"type": "registry", "service": "other"})
        rig.apply(other)
        assert (await rig.ask(get())).status == 503
        take(rig, upstream)
        assert (await rig.ask(get())).body == b"here"


@on_loop
async def test_sets_that_come_before_their_plan_are_there_with_it() -> None:
    async with Upstream(answering(lambda _: ok(b"here"))) as upstream, gateway(to("http://127.0.0.1:1")) as rig:
        source = resolved(found()).services[0].source
        rig.gateway.take_endpoint_sets({source: endpoints(upstream)}, False)
        rig.apply(found())
        assert (await rig.ask(get())).body == b"here"


@on_loop
async def test_a_pool_that_another_service_uses_is_not_closed() -> None:
    async with Upstream(answering(lambda _: ok(b"here"))) as upstream:
        document = found()
        other = {"name": "other", "url": upstream.url, "routes": [{"name": "other", "match": {"path": "/other"}}]}
        document["services"].append(other)
        async with gateway(document) as rig:
            take(rig, upstream)
            await rig.ask(get())
            take(rig)
            assert (await rig.ask(get("/other"))).body == b"here"
            assert len(upstream.links) == 1


@on_loop
async def test_a_set_that_cannot_be_taken_leaves_the_one_before_until_it_can(tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    ca.hardlink_to(Authority(tmp_path).path)
    async with Upstream(answering(lambda _: ok(b"here"))) as upstream, gateway(found(tls={"ca": str(ca)})) as rig:
        take(rig, upstream)
        ca.unlink()
        take(rig, "https://127.0.0.1:1")
        assert (await rig.ask(get())).body == b"here"
        assert any("api stays with the endpoints it has" in line for line in rig.said)
        ca.hardlink_to(Authority(tmp_path).path)
        # With whatever message comes next.
        rig.gateway.take_endpoint_sets({}, False)
        assert (await rig.ask(get())).status == 502


@on_loop
async def test_sets_change_under_load_and_no_request_fails() -> None:
    upstreams = [Upstream(answering(lambda _: ok(b"here"))) for _ in range(6)]
    document = found(balancer="least_connections", outlier={}, candidates={"slow_start": 1})
    async with AsyncExitStack() as stack:
        for each in upstreams:
            await stack.enter_async_context(each)
        # Other tests may keep the machine busy: who is refused for that is not the matter here.
        rig = await stack.enter_async_context(gateway({**document, "overload": {"enabled": False}}))
        take(rig, *upstreams[:3])
        over = False

        async def ask() -> int:
            client = await rig.client()
            asked = 0
            while not over:
                await client.send(get())
                assert (await client.answer()).status == 200
                asked += 1
            return asked

        clients = [asyncio.get_running_loop().create_task(ask()) for _ in range(8)]
        for turn in range(200):
            first = turn % 4
            take(rig, *upstreams[first : first + 3], weight=1 + turn % 2)
            for _ in range(3):
                await asyncio.sleep(0)
            await rig.ask(get())
        over = True
        assert sum(await asyncio.gather(*clients)) > 200
        await eventually(lambda: not any(records(rig).values()))
