"""Several workers with one store: what one fetches the others wait for, but not for ever."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from headgate.stores.cache.store import Purge
from tests.proxy.caches import caching, counting, stored
from tests.proxy.peers import Message, Upstream, answering, eventually, get, ok
from tests.proxy.stage import Rig, gateway, on_loop, to

FRESH = "Cache-Control: max-age=60"


@asynccontextmanager
async def two(upstream: Upstream, cache: Any = True) -> AsyncIterator[tuple[Rig, Rig]]:
    """Run two gateways with one store."""
    async with stored() as store:
        document = to(upstream, cache=cache, cache_store=store)
        async with gateway(document) as one, gateway(document) as other:
            yield one, other


@on_loop
async def test_what_one_has_fetched_all_have() -> None:
    seen: list[Message] = []
    async with Upstream(answering(counting(), seen)) as upstream, two(upstream) as (one, other):
        assert (await one.ask(get("/a"))).body == b"1"
        assert (await other.ask(get("/a"))).body == b"1"
        assert (await other.ask(get("/a", method="POST", body=b"x"))).body == b"2"
        assert (await one.ask(get("/a"))).body == b"3"
        assert len(seen) == 3


@on_loop
async def test_one_fetches_for_the_others() -> None:
    async with Upstream() as upstream, two(upstream) as (one, other):
        first = await one.client()
        await first.send(get("/a"))
        link = await upstream.accepted()
        await link.message()
        waiting = [await other.client() for _ in range(3)]
        for client in waiting:
            await client.send(get("/a"))
        await eventually(lambda: other.gateway.in_flight == 3)
        await link.send(ok(b"answer", FRESH))
        assert (await first.answer()).body == b"answer"
        assert [(await client.answer()).body for client in waiting] == [b"answer"] * 3
        assert len(upstream.links) == 1
        assert [line["cache"] for line in await other.logged(3)] == ["collapsed"] * 3


@pytest.mark.parametrize("end", ["late", "not kept", "cut"])
@on_loop
async def test_nobody_waits_in_vain_for_another_worker(end: str) -> None:
    async with Upstream() as upstream, two(upstream, {"wait": 0.05 if end == "late" else 20}) as (one, other):
        first = await one.client()
        await first.send(get("/a"))
        slow = await upstream.accepted()
        await slow.message()
        waiting = await other.client()
        await waiting.send(get("/a"))
        await eventually(lambda: other.gateway.in_flight == 1)
        if end == "not kept":
            await slow.send(ok(b"mine", "Cache-Control: no-store"))
            assert (await first.answer()).body == b"mine"
        elif end == "cut":
            first.cut()
        link = await upstream.accepted()
        await link.message()
        await link.send(ok(b"answer", FRESH))
        assert (await waiting.answer()).body == b"answer"
        if end == "late":
            await slow.send(ok(b"late", FRESH))
            assert (await first.answer()).body == b"late"


@on_loop
async def test_what_was_purged_is_shared_with_nobody_who_comes_later() -> None:
    async with Upstream() as upstream, caching(upstream) as rig:
        first = await rig.client()
        await first.send(get("/a"))
        slow = await upstream.accepted()
        await slow.message()
        store = rig.gateway.caching.store
        assert store is not None
        store.purge(Purge("url", "http://example.test/other"))
        second = await rig.client()
        await second.send(get("/a"))
        await eventually(lambda: rig.gateway.in_flight == 2)
        store.purge(Purge("url", "http://example.test/a"))
        third = await rig.client()
        await third.send(get("/a"))
        link = await upstream.accepted()
        await link.message()
        await link.send(ok(b"new", FRESH))
        await slow.send(ok(b"old", FRESH))
        assert [(await client.answer()).body for client in (first, second, third)] == [b"old", b"old", b"new"]
        assert (await rig.ask(get("/a"))).body == b"new"


@on_loop
async def test_a_reload_keeps_what_is_kept_and_what_is_being_fetched() -> None:
    async with Upstream() as upstream, stored() as store:
        document = to(upstream, cache=True, cache_store=store)
        async with gateway(document) as rig:
            first = await rig.client()
            await first.send(get("/a"))
            link = await upstream.accepted()
            await link.message()
            rig.apply(document | {"max_body": 1000})
            second = await rig.client()
            await second.send(get("/a"))
            await eventually(lambda: rig.gateway.in_flight == 2)
            await link.send(ok(b"answer", FRESH))
            assert [(await client.answer()).body for client in (first, second)] == [b"answer"] * 2
            rig.apply(document)
            assert (await rig.ask(get("/a"))).body == b"answer"
            rig.apply(to(upstream))
            assert rig.gateway.caching.store is None


@on_loop
async def test_without_a_store_requests_go_through_and_still_ask_once() -> None:
    async with Upstream() as upstream, caching(upstream) as rig:
        rig.gateway.cached.close()
        clients = [await rig.client() for _ in range(3)]
        for client in clients:
            await client.send(get("/a"))
        await eventually(lambda: rig.gateway.in_flight == 3)
        link = await upstream.accepted()
        await link.message()
        await link.send(ok(b"answer", FRESH))
        assert [(await client.answer()).body for client in clients] == [b"answer"] * 3
        assert len(upstream.links) == 1
