"""Faults on purpose, through the whole gateway."""

from __future__ import annotations

from typing import Any

import pytest

from tests.proxy.peers import eventually, get
from tests.proxy.script import Script, scripted
from tests.proxy.stage import gateway, on_loop, to


def document(script: Script, **fault: Any) -> dict[str, Any]:
    return to(*script.upstreams, route={"fault": fault})


@pytest.mark.parametrize("status", [418, 503])
@on_loop
async def test_an_abort_answers_with_its_status_and_asks_nobody(status: int) -> None:
    async with scripted() as script, gateway(document(script, abort={"status": status})) as rig:
        answered = await rig.ask(get())
        assert (answered.status, answered.json()["status"]) == (status, status)
        assert answered.json()["reason"] == "fault_injected"
        assert not any(each.links for each in script.upstreams)
        assert rig.counted("faults_injected_total", route="all", kind="abort") == 1
        assert rig.counted("requests_total", status=str(status)) == 1
        assert (await rig.logged())[0]["error"] == "fault_injected"


@on_loop
async def test_a_delay_comes_before_anything_is_sent() -> None:
    async with scripted() as script, gateway(document(script, delay={"seconds": 300})) as rig:
        client = await rig.client()
        await client.send(get())
        await eventually(lambda: rig.counted("faults_injected_total", kind="delay") == 1)
        assert not any(each.links for each in script.upstreams)
        client.close()
        line = (await rig.logged())[0]
        assert (line["status_code"], line["error"]) == (499, "client_closed")


@on_loop
async def test_after_a_delay_the_request_goes_on_or_is_aborted() -> None:
    async with scripted() as script, gateway(document(script, delay={"seconds": 0.01})) as rig:
        assert (await rig.ask(get(method="PUT", body=b"body"))).body == b"body"
    async with scripted() as script, gateway(document(script, delay={"seconds": 0.01}, abort={})) as rig:
        assert (await rig.ask(get())).status == 503
        assert script.seen == []
        assert rig.counted("faults_injected_total") == 2


@on_loop
async def test_only_requests_that_ask_for_it_by_a_header() -> None:
    async with scripted() as script, gateway(document(script, abort={}, header="X-Chaos")) as rig:
        assert (await rig.ask(get())).status == 200
        assert (await rig.ask(get("/", "x-chaos: yes"))).status == 503
        assert len(script.seen) == 1


@on_loop
async def test_a_part_of_the_requests() -> None:
    async with scripted() as script, gateway(document(script, abort={"percent": 50})) as rig:
        client = await rig.client()
        statuses = []
        for _ in range(200):
            await client.send(get())
            statuses.append((await client.answer()).status)
        assert 50 < statuses.count(503) < 150
        assert rig.counted("faults_injected_total") == statuses.count(503)


@on_loop
async def test_other_routes_and_own_endpoints_are_spared() -> None:
    async with scripted() as script:
        config = document(script, abort={})
        config["services"][0]["routes"].append({"name": "well", "match": {"path": "/well"}})
        async with gateway(config) as rig:
            assert (await rig.ask(get("/well"))).status == 200
            assert (await rig.ask(get("/ready"))).status == 200
            assert (await rig.ask(get("/ill"))).status == 503


@on_loop
async def test_a_fixed_answer_can_be_ill_too() -> None:
    config = to("http://127.0.0.1:1", route={"respond": {"body": "hello"}, "fault": {"abort": {"status": 500}}})
    async with gateway(config) as rig:
        assert (await rig.ask(get())).status == 500
