"""What limits hold of a request is given back, whenever their store answers and whatever a reload makes of it."""

from __future__ import annotations

import asyncio
from typing import Any

from tests.proxy.late_store import LateStore, store_of
from tests.proxy.peers import Upstream, answering, eventually, get, ok
from tests.proxy.script import scripted, silence
from tests.proxy.stage import gateway, on_loop, to

LONG = 86400


def at_once(requests: int = 1, **more: Any) -> dict[str, Any]:
    return {"name": "at-once", "type": "concurrency", "requests": requests, **more}


@on_loop
async def test_what_a_client_left_before_its_answer_came_is_let_go() -> None:
    document: dict[str, Any] = {"limits": [at_once()]}
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, **document)) as rig:
        store = store_of(rig, LateStore())
        client = await rig.client()
        await client.send(get("/left"))
        await eventually(lambda: len(store.outstanding) == 1)
        client.cut()
        await eventually(lambda: len(rig.log) == 1)
        assert store.counted.keys == 1
        store.answer()
        assert store.counted.keys == 0
        assert rig.log[0]["error"] == "client_closed"


@on_loop
async def test_what_a_shadow_counted_beside_a_refusal_is_let_go() -> None:
    document: dict[str, Any] = {"limits": [at_once(2, shadow=True), {"name": "few", "requests": 1, "window": LONG}]}
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, **document)) as rig:
        assert [(await rig.ask(get())).status for _ in range(3)] == [200, 429, 429]
        assert not rig.gateway.limiter._holding
        assert rig.counted("limit_shadow_total") == 0


@on_loop
async def test_what_is_held_in_a_store_that_a_reload_replaced_is_not_given_back_in_the_next() -> None:
    document: dict[str, Any] = {"limits": [at_once(2)]}
    async with scripted(silence) as script, gateway(to(*script.upstreams, **document)) as rig:
        old = store_of(rig, LateStore())
        early, late = await rig.client(), await rig.client()
        await early.send(get("/early"))
        await eventually(lambda: len(old.outstanding) == 1)
        rig.apply(to(*script.upstreams, store={"type": "memory", "max_keys": 5000}, **document))
        new = store_of(rig, LateStore(lambda: 0.0))
        await late.send(get("/late"))
        await eventually(lambda: len(script.seen) == 1)
        early.cut()
        await eventually(lambda: rig.gateway.in_flight == 1)
        old.answer()
        # One of the two places is still taken: what the one that left held was held elsewhere.
        assert new.counted.keys == 1
        late.cut()
        await eventually(lambda: rig.gateway.in_flight == 0)
        assert new.counted.keys == 0


@on_loop
async def test_a_reload_that_takes_all_limits_away_leaves_requests_that_wait_for_them_alone() -> None:
    by_service = {"name": "more", "requests": 9, "window": LONG, "key": ["service"]}
    async with (
        Upstream(answering(lambda _: ok())) as upstream,
        gateway(to(upstream, limits=[at_once(), by_service])) as rig,
    ):
        store = store_of(rig, LateStore())
        asking = asyncio.ensure_future(rig.ask(get()))
        await eventually(lambda: len(store.outstanding) == 1)
        rig.apply(to(upstream))
        store.answer()
        assert (await asking).status == 200
        assert store.closed


@on_loop
async def test_long_keys_are_told_apart_and_not_remembered() -> None:
    document: dict[str, Any] = {"limits": [{"name": "few", "requests": 1, "window": LONG, "key": "header:X-Long"}]}
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, **document)) as rig:
        long = "x" * 5000
        keys = [f"{long}a", f"{long}b", f"{long}a", "short", "short"]
        assert [(await rig.ask(get("/", f"X-Long: {key}"))).status for key in keys] == [200, 200, 429, 200, 429]
        assert rig.gateway.plan is not None
        assert rig.gateway.plan.limits is not None
        known = rig.gateway.plan.limits.parts[0]._variants[""]
        assert known is not None
        assert list(known._known) == [b"=short"]
