"""Balancing in a whole gateway: what a reload keeps, and that copies are counted out."""

from __future__ import annotations

from typing import Any

import pytest

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
