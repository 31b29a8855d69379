"""Gateways that count in one Redis: exact together, and what their clients see when it is away."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.proxy.peers import Upstream, answering, eventually, get, ok
from tests.proxy.stage import Rig, gateway, on_loop, to
from tests.stores.redis.servers import RedisServer

LONG = 86400


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


def counting(server: RedisServer, requests: int, store: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """Write one limit counted on this server."""
    kind = {"type": "fixed_window", "window": LONG} if "type" not in more else {}
    limits = [{"name": "few", "requests": requests, **kind, **more}]
    # Patient, because a busy machine may hold the server up.
    return {"limits": limits, "store": {"type": "redis", "url": server.url, "timeout": 10, **(store or {})}}


async def statuses(rig: Rig, count: int) -> Counter[int]:
    return Counter([(await rig.ask(get("/x"))).status for _ in range(count)])


@on_loop
async def test_three_gateways_let_exactly_the_limit_pass_together(server: RedisServer) -> None:
    async with Upstream(answering(lambda _: ok())) as upstream, AsyncExitStack() as stack:
        document = to(upstream, **counting(server, 100))
        rigs = [await stack.enter_async_context(gateway(document)) for _ in range(3)]
        counts = await asyncio.gather(*(statuses(rig, 50) for rig in rigs))
        assert sum(counts, Counter()) == {200: 100, 429: 50}


@on_loop
async def test_the_first_request_of_a_gateway_finds_its_store(server: RedisServer) -> None:
    async with Upstream(answering(lambda _: ok())) as upstream:
        document = to(upstream, **counting(server, 1, on_error="closed"))
        async with gateway(document) as rig:
            assert await statuses(rig, 2) == {200: 1, 429: 1}


@pytest.mark.parametrize(
    ("on_error", "expected"),
    [("open", {200: 20}), ("closed", {503: 20}), ("local", {200: 5, 429: 15})],
)
@on_loop
async def test_without_its_server_each_limit_says_what_holds(
    server: RedisServer, on_error: str, expected: dict[int, int]
) -> None:
    async with Upstream(answering(lambda _: ok())) as upstream:
        exempt = ["/free", "/health"]
        document = to(upstream, **counting(server, 10, {"gateways": 2}, on_error=on_error, exempt=exempt))
        async with gateway(document) as rig:
            assert await statuses(rig, 1) == {200: 1}
            for path in exempt:
                assert (await rig.ask(get(path))).get("x-ratelimit-remaining") == "9"
            server.kill()
            assert await statuses(rig, 20) == expected
            # Who only looks is refused nothing, though nobody can count.
            assert [(await rig.ask(get(path))).status for path in exempt] == [200, 200]
            server.start()
            await eventually(lambda: not rig.gateway.limiter._store.fallback.failing)  # type: ignore[union-attr]
            # It has forgotten what it counted.
            assert await statuses(rig, 11) == {200: 10, 429: 1}


@on_loop
async def test_no_request_hangs_while_the_server_stands_still_nor_is_lost_when_it_goes_on(server: RedisServer) -> None:
    async with Upstream(answering(lambda _: ok())) as upstream:
        document = to(upstream, **counting(server, 1_000_000, {"timeout": 1, "connect_timeout": 1}, on_error="open"))
        async with gateway(document) as rig:
            assert await statuses(rig, 1) == {200: 1}
            server.pause()
            try:
                assert await statuses(rig, 20) == {200: 20}
            finally:
                server.resume()
            await eventually(lambda: not rig.gateway.limiter._store.fallback.failing)  # type: ignore[union-attr]
            assert (await rig.ask(get("/x"))).get("x-ratelimit-limit") == "1000000"


@on_loop
async def test_a_client_that_leaves_while_it_is_counted_holds_nothing(server: RedisServer) -> None:
    async with Upstream(answering(lambda _: ok())) as upstream:
        document = to(upstream, **counting(server, 1, type="concurrency"))
        async with gateway(document) as rig:
            assert await statuses(rig, 1) == {200: 1}
            server.pause()
            client = await rig.client()
            await client.send(get("/x"))
            await eventually(lambda: rig.gateway.in_flight == 1)
            client.writer.transport.abort()
            await eventually(lambda: rig.gateway.in_flight == 0)
            server.resume()
            # What it was about to hold is given back when the answer says that it is held.
            await eventually(lambda: ", 0 outstanding" in repr(rig.gateway.limiter._store))
            assert await statuses(rig, 3) == {200: 3}


@on_loop
async def test_a_reload_goes_over_to_redis_and_back_without_refusing(server: RedisServer) -> None:
    async with Upstream(answering(lambda _: ok())) as upstream:
        in_redis = to(upstream, **counting(server, 1000, on_error="closed"))
        in_memory = in_redis | {"store": "memory"}
        async with gateway(in_memory) as rig:
            for document in (in_redis, in_memory) * 3:
                rig.apply(document)
                assert await statuses(rig, 5) == {200: 5}
            await eventually(lambda: server.clients() == 0)
