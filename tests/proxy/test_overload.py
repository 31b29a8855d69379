"""Too much to do: a service that grows slow, and a worker whose loop is late."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from headgate.core.clock import monotonic
from headgate.policy.concurrency import AdaptiveLimit
from tests.proxy.peers import CEILING, Wire, eventually, free_port, get
from tests.proxy.script import Script, answer, part, reset, scripted, silence
from tests.proxy.stage import Rig, gateway, on_loop, to


def document(script: Script, limit: int = 2, **more: Any) -> dict[str, Any]:
    adaptive = {"initial": limit, "min": 1, "max": 100, "window": 0.01}
    return to(*script.upstreams, service={"adaptive_concurrency": adaptive}, **more)


def limit_of(rig: Rig) -> AdaptiveLimit:
    assert rig.gateway.plan is not None
    found = rig.gateway.plan.clusters["api"].adaptive
    assert found is not None
    return found


async def pressed(rig: Rig) -> None:
    """Let the loop seem late for long."""
    now = monotonic()
    for step in range(200):
        rig.gateway.shedder.observe(500.0, now + step * 0.1)
    assert rig.gateway.shedder.pressure > 0


# -- a service -----------------------------------------------------------------------------------------------------


@on_loop
async def test_more_at_once_than_a_service_takes_are_refused_at_once() -> None:
    async with scripted(*[silence] * 2) as script, gateway(document(script)) as rig:
        held = [await rig.client() for _ in range(2)]
        for client in held:
            await client.send(get())
        await eventually(lambda: len(script.seen) == 2)
        answered = await rig.ask(get())
        assert (answered.status, answered.json()["reason"], answered.get("retry-after")) == (503, "shed", "1")
        assert len(script.seen) == 2
        assert rig.counted("shed_total", by="service", priority="normal") == 1
        for client in held:
            client.close()
        await eventually(lambda: limit_of(rig).in_flight == 0)
        assert (await rig.ask(get())).status == 200


@pytest.mark.parametrize(
    ("act", "status", "patience"),
    [
        (answer(), 200, 10),
        (answer(status=500), 500, 10),
        (answer(status=503), 503, 10),
        (reset, 502, 10),
        (silence, 504, 0.1),
        (part(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nab"), 200, 1),
    ],
    ids=["well", "error", "unavailable", "reset", "silence", "cut"],
)
@on_loop
async def test_every_end_gives_its_place_back(act: Any, status: int, patience: float) -> None:
    config: dict[str, Any] = {"timeout": {"response": patience, "idle": patience}, "retry": {"attempts": 0}}
    async with scripted(*[act] * 3) as script, gateway(document(script, limit=1, **config)) as rig:
        for _ in range(3):
            client = await rig.client()
            await client.send(get("/", "Connection: close"))
            assert (await client.head()).status == status
            await client.rest()
            await eventually(lambda: limit_of(rig).in_flight == 0)
        assert len(script.seen) == 3


@on_loop
async def test_who_was_never_reached_gives_its_place_back() -> None:
    config = to(f"http://127.0.0.1:{free_port()}", service={"adaptive_concurrency": {"initial": 1, "min": 1}})
    async with gateway(config) as rig:
        for _ in range(3):
            assert (await rig.ask(get())).status == 502
        assert limit_of(rig).in_flight == 0


@on_loop
async def test_timeouts_shrink_the_limit_and_a_gauge_shows_it() -> None:
    config = {"timeout": {"response": 0.05}, "retry": {"attempts": 0}}
    async with scripted(*[silence] * 20) as script, gateway(document(script, limit=50, **config)) as rig:
        answers = await asyncio.gather(*(rig.ask(get()) for _ in range(20)))
        assert {each.status for each in answers} == {504}
        assert limit_of(rig).limit < 50
        await eventually(lambda: rig.counted("concurrency_limit", service="api") == limit_of(rig).limit)


@on_loop
async def test_deadlines_that_nobody_could_keep_do_not_shrink_the_limit() -> None:
    config = {"timeout": {"deadline_header": "X-Timeout-Ms"}, "retry": {"attempts": 0}}
    async with scripted(*[silence] * 20) as script, gateway(document(script, limit=50, **config)) as rig:
        for milliseconds in (0, 2, 30):
            asked = (rig.ask(get("/", f"X-Timeout-Ms: {milliseconds}")) for _ in range(5))
            assert {each.status for each in await asyncio.gather(*asked)} == {504}
        assert (limit_of(rig).limit, limit_of(rig).in_flight) == (50, 0)


@on_loop
async def test_a_tunnel_holds_no_place() -> None:
    switched = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    async with scripted(part(switched)) as script, gateway(document(script, limit=1)) as rig:
        client = await rig.client()
        await client.send(get("/", "Connection: Upgrade", "Upgrade: websocket"))
        assert (await client.answer()).status == 101
        assert limit_of(rig).in_flight == 0
        assert (await rig.ask(get())).status == 200
        client.close()
        await eventually(lambda: rig.gateway.in_flight == 0)
        assert limit_of(rig).in_flight == 0


@on_loop
async def test_what_was_learned_outlives_a_reload_with_equal_settings() -> None:
    async with scripted(silence) as script, gateway(document(script)) as rig:
        client = await rig.client()
        await client.send(get())
        await eventually(lambda: limit_of(rig).in_flight == 1)
        before = limit_of(rig)
        rig.apply(document(script, max_body=100))
        assert limit_of(rig) is before
        rig.apply(document(script, limit=7))
        assert (limit_of(rig).limit, limit_of(rig).in_flight) == (7, 0)
        client.close()
        await eventually(lambda: before.in_flight == 0)
        assert limit_of(rig).in_flight == 0


@on_loop
async def test_low_priority_leaves_room_for_others() -> None:
    async with scripted(*[silence] * 20) as script:
        config = document(script, limit=10)
        config["services"][0]["routes"].append({"name": "low", "match": {"path": "/low"}, "priority": "low"})
        async with gateway(config) as rig:
            held: list[Wire] = []
            for number in range(7):
                held.append(await rig.client())
                await held[-1].send(get("/low"))
                await eventually(lambda number=number: len(script.seen) == number + 1)  # type: ignore[misc]
            assert (await rig.ask(get("/low"))).json()["reason"] == "shed"
            script.acts.clear()
            assert (await rig.ask(get("/"))).status == 200
            assert rig.counted("shed_total", priority="low") == 1


# -- a worker ------------------------------------------------------------------------------------------------------


@on_loop
async def test_a_loop_that_is_late_refuses_and_says_so() -> None:
    async with scripted(*[silence] * 4) as script, gateway(to(*script.upstreams, route={"priority": "low"})) as rig:
        await pressed(rig)
        # A few are taken however late it is.
        clients = [await rig.client() for _ in range(4)]
        for client in clients:
            await client.send(get())
        await eventually(lambda: len(script.seen) == 4)
        answered = await rig.ask(get())
        assert (answered.status, answered.json()["reason"], answered.get("retry-after")) == (503, "shed", "1")
        assert len(script.seen) == 4
        assert rig.counted("shed_total", by="gateway", priority="low") == 1
        await eventually(lambda: rig.counted("overload_pressure") > 0)
        # Own endpoints answer whatever happens.
        assert (await rig.ask(get("/health"))).status == 200


@on_loop
async def test_a_loop_that_is_in_time_again_takes_everything() -> None:
    async with scripted() as script, gateway(to(*script.upstreams, route={"priority": "low"})) as rig:
        await pressed(rig)
        # The loop of this test is idle, so the gateway's own looks find it in time. Those above were in the future.
        now = monotonic() + 60
        while rig.gateway.shedder.pressure:
            now += 0.1
            rig.gateway.shedder.observe(0.0, now)
        assert (await rig.ask(get())).status == 200


@on_loop
async def test_a_loop_that_is_held_up_is_noticed() -> None:
    async with gateway(to("http://127.0.0.1:1", overload={"lag": 0.02})) as rig:
        end = monotonic() + CEILING
        while not rig.gateway.shedder.pressure:
            assert monotonic() < end
            # Nothing else runs for longer than there is between two looks.
            held = monotonic() + 0.15
            while monotonic() < held:
                pass
            await asyncio.sleep(0)
            await asyncio.sleep(0)


@on_loop
async def test_switched_off_nothing_is_refused() -> None:
    config: dict[str, Any] = {"overload": {"enabled": False}, "route": {"priority": "low"}}
    async with scripted() as script, gateway(to(*script.upstreams, **config)) as rig:
        rig.gateway.shedder.observe(500.0, 1.0)
        rig.gateway.shedder.observe(500.0, 100.0)
        assert (await rig.ask(get())).status == 200


@on_loop
async def test_a_reload_takes_the_new_bound() -> None:
    async with scripted(silence, silence) as script, gateway(to(*script.upstreams)) as rig:
        clients = [await rig.client() for _ in range(2)]
        for client in clients:
            await client.send(get())
        await eventually(lambda: len(script.seen) == 2)
        rig.apply(to(*script.upstreams, overload={"max_in_flight": 2}))
        assert (await rig.ask(get())).json()["reason"] == "shed"
        rig.apply(to(*script.upstreams))
        assert (await rig.ask(get())).status == 200
