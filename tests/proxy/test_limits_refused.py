"""Limits that count what is refused on its way to them, and what is told where nothing is consumed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.proxy.callers import keys, static, with_key
from tests.proxy.peers import Upstream, answering, get, ok
from tests.proxy.stage import Rig, gateway, on_loop, to
from tests.stores.redis.servers import RedisServer

DAY = 86400
IDENTITY = keys(static("ann"), static("clerk", roles=["clerk"]))
CALLER = {"name": "caller", "key": "identity", "requests": 3, "window": DAY, "refused": True, "tiers": {"api_key": 5}}
DOCUMENT: dict[str, Any] = {
    "identity": IDENTITY,
    "limits": [CALLER],
    "route": {"match": {"path": "/api", "method": "GET"}, "auth": {"roles": ["clerk"]}},
}


async def asked(rig: Rig, *requests: bytes) -> list[tuple[int, str | None]]:
    answers = [await rig.ask(request) for request in requests]
    return [(answer.status, answer.get("x-ratelimit-remaining")) for answer in answers]


@on_loop
async def test_who_is_not_known_is_counted_by_address_whatever_refuses_it() -> None:
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, **DOCUMENT)) as rig:
        wrong = get("/api", "X-API-Key: hg_wrong")
        requests = [get("/api"), get("/nowhere"), wrong, wrong, get("/nowhere"), get("/health")]
        expected = [(401, "2"), (404, "1"), (401, "0"), (429, "0"), (429, "0"), (200, None)]
        assert await asked(rig, *requests) == expected
        log = (await rig.logged(6))[3]
        assert (log["status_code"], log["error"]) == (429, "rate_limited")


@on_loop
async def test_who_is_known_is_counted_as_himself_though_he_may_not() -> None:
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, **DOCUMENT)) as rig:
        refused = [(403, str(left)) for left in range(4, -1, -1)]
        assert await asked(rig, *[get("/api", with_key("ann"))] * 6) == [*refused, (429, "0")]
        assert await asked(rig, get("/api", with_key("clerk")), get("/nowhere")) == [(200, "4"), (404, "2")]


@on_loop
async def test_what_is_too_large_or_for_another_host_is_counted_once() -> None:
    limit = {**CALLER, "requests": 9, "tiers": {}}
    document: dict[str, Any] = {"limits": [limit], "trusted_hosts": ["test", "example.test"], "max_body": 4}
    large = b"POST /api HTTP/1.1\r\nHost: test\r\nContent-Length: 5\r\n\r\n"
    growing = b"POST /api HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\nabc\r\n0\r\n\r\n"
    other = b"GET /api HTTP/1.1\r\nHost: other\r\n\r\n"
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, **document)) as rig:
        refused = [(413, "8"), (413, "7"), (400, "6"), (200, "5")]
        assert await asked(rig, large, growing, other, get("/api")) == refused


@on_loop
async def test_what_cannot_be_read_is_counted_as_of_its_address() -> None:
    document: dict[str, Any] = {"limits": [{**CALLER, "tiers": {}}], "cors": {"origins": ["https://a.example"]}}
    foreign = get("/x", "Origin: https://b.example", "Access-Control-Request-Method: PUT").replace(b"GET", b"OPTIONS")
    unmet = get("/api", "Expect: a-miracle")
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, **document)) as rig:
        requests = [get("/%zz"), foreign, unmet, get("/").replace(b"test", b"a b"), get("/health")]
        assert await asked(rig, *requests) == [(400, "2"), (403, "1"), (417, "0"), (429, "0"), (200, None)]
        assert {each["client"] for each in await rig.logged(5)} == {"127.0.0.1"}


@on_loop
async def test_whom_nobody_could_judge_is_counted_as_of_its_address() -> None:
    away = {"name": "away", "url": "http://127.0.0.1:1", "form": "json", "sources": ["header:X-Key"], "kind": "api_key"}
    document: dict[str, Any] = {"identity": {"introspection": [away]}, "auth": "required", "limits": [CALLER]}
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, **document)) as rig:
        assert await asked(rig, *[get("/x", "X-Key: k")] * 4) == [(503, "2"), (503, "1"), (503, "0"), (429, "0")]


@on_loop
async def test_who_names_a_foreign_tenant_is_counted_in_his_own_tier() -> None:
    identity = keys(static("ann", tenant="acme"), tenant={"header": "X-Tenant"})
    document: dict[str, Any] = {"identity": identity, "limits": [CALLER]}
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, **document)) as rig:
        mine, foreign = get("/x", with_key("ann")), get("/x", with_key("ann"), "X-Tenant: globex")
        assert await asked(rig, mine, foreign, mine) == [(200, "4"), (403, "3"), (200, "2")]


@on_loop
async def test_refusals_count_nothing_where_nobody_says_so() -> None:
    document = {**DOCUMENT, "limits": [{**CALLER, "refused": False}]}
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, **document)) as rig:
        assert await asked(rig, get("/api"), get("/nowhere")) == [(401, None), (404, None)]


@pytest.mark.parametrize("tiers", [{}, {"vip": 9}])
@on_loop
async def test_own_endpoints_that_are_exempt_are_shown_what_holds(tiers: dict[str, int]) -> None:
    limit = {"name": "few", "requests": 1, "window": DAY, "tiers": tiers, "exempt": ["/health"]}
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, limits=[limit])) as rig:
        requests = [get("/health"), get("/x"), get("/x"), get("/health"), get("/ready")]
        assert await asked(rig, *requests) == [(200, "1"), (200, "0"), (429, "0"), (200, "0"), (200, None)]


@pytest.mark.parametrize("type_", ["sliding_window", "token_bucket"])
@on_loop
async def test_a_charge_beyond_the_limit_refuses_nobody_who_only_looks(type_: str) -> None:
    cost = {"request": 1, "header": "X-Cost"}
    limit = {"name": "few", "type": type_, "requests": 2, "window": DAY, "cost": cost, "exempt": ["/health", "/free"]}
    dear = answering(lambda _: ok(b"", "X-Cost: 9"))
    async with Upstream(dear) as upstream, gateway(to(upstream, limits=[limit])) as rig:
        requests = [get("/x"), get("/x"), get("/free"), get("/health")]
        assert await asked(rig, *requests) == [(200, "1"), (429, "0"), (200, "0"), (200, "0")]


@on_loop
async def test_refusals_are_counted_in_redis(tmp_path_factory: pytest.TempPathFactory) -> None:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        document = {**DOCUMENT, "store": {"type": "redis", "url": server.url, "timeout": 10}}
        async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, **document)) as rig:
            assert await asked(rig, *[get("/nowhere")] * 4) == [(404, "2"), (404, "1"), (404, "0"), (429, "0")]
