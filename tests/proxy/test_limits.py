"""Limits, from the request that comes to the headers that tell of them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.proxy.peers import Message, Upstream, answering, eventually, get, ok
from tests.proxy.stage import Rig, gateway, on_loop, to

LONG = 86400


def limit(name: str = "few", requests: int = 2, **more: Any) -> dict[str, Any]:
    return {"name": name, "requests": requests, "window": LONG, **more}


async def statuses(rig: Rig, *requests: bytes) -> list[int]:
    return [(await rig.ask(request)).status for request in requests]


# -- refusing -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["sliding_window", "token_bucket", "leaky_bucket", "fixed_window"])
@pytest.mark.parametrize("level", ["gateway", "service", "route"])
@on_loop
async def test_exactly_so_many_pass(kind: str, level: str) -> None:
    limits = {"limits": [limit(requests=3, type=kind)]}
    where: dict[str, Any] = limits if level == "gateway" else {level: limits}
    async with Upstream(answering(lambda _: ok(b"fine"))) as upstream, gateway(to(upstream, **where)) as rig:
        assert await statuses(rig, *[get("/x")] * 5) == [200, 200, 200, 429, 429]
        assert rig.counted("limit_refused_total", limit="few") == 2
        assert rig.counted("errors_total", reason="rate_limited") == 2


@on_loop
async def test_a_refusal_says_when_to_come_back_and_whose_limit_it_was() -> None:
    body = {"error": "{title}", "after": "{retry_after}", "limit": "{limit}", "day": "{limit_per_day}"}
    document: dict[str, Any] = {
        "limits": [limit(requests=1)],
        "errors": {"content_type": "application/json", "body": body},
    }
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, **document)) as rig:
        await rig.ask(get("/x"))
        refused = await rig.ask(get("/x"))
        assert refused.status == 429
        after = int(refused.get("retry-after") or 0)
        assert LONG - 60 < after <= LONG
        assert refused.json() == {"error": "Too Many Requests", "after": after, "limit": 1, "day": 1}
        assert refused.get("x-request-id")
        log = (await rig.logged(2))[1]
        assert (log["status_code"], log["error"]) == (429, "rate_limited")


@on_loop
async def test_headers_tell_what_is_left() -> None:
    document: dict[str, Any] = {
        "limits": [limit(requests=5)],
        "limit_headers": {"forms": ["plain", "ietf"], "reset": "seconds"},
    }
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, **document)) as rig:
        answers = [await rig.ask(get("/x")) for _ in range(6)]
        assert [answer.get("x-ratelimit-remaining") for answer in answers] == ["4", "3", "2", "1", "0", "0"]
        assert {answer.get("x-ratelimit-limit") for answer in answers} == {"5"}
        assert all(0 < int(answer.get("x-ratelimit-reset") or 0) <= LONG for answer in answers)
        assert all("few" in (answer.get("ratelimit") or "") for answer in answers)
        assert answers[0].get("retry-after") is None


@on_loop
async def test_what_is_refused_by_one_limit_is_not_consumed_in_another() -> None:
    document: dict[str, Any] = {"limits": [limit("wide", 10), limit("narrow", 1)], "limit_headers": {"forms": ["ietf"]}}
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, **document)) as rig:
        await statuses(rig, *[get("/x")] * 5)
        last = await rig.ask(get("/x"))
        assert '"wide";r=9' in (last.get("ratelimit") or "").replace(" ", "")


@on_loop
async def test_a_limit_by_address_counts_requests_that_match_nothing_and_never_own_endpoints() -> None:
    document: dict[str, Any] = {"limits": [limit(requests=3)]}
    route = {"match": {"path": "/api"}}
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, route=route, **document)) as rig:
        requests = [get("/api"), get("/nowhere"), get("/health"), get("/api"), get("/ready"), get("/nowhere")]
        assert await statuses(rig, *requests) == [200, 404, 200, 200, 200, 429]


@on_loop
async def test_exempt_paths_are_shown_the_headers_and_consume_nothing() -> None:
    document: dict[str, Any] = {"limits": [limit(requests=1, exempt=["/free"])]}
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, **document)) as rig:
        for _ in range(3):
            answer = await rig.ask(get("/free"))
            assert (answer.status, answer.get("x-ratelimit-remaining")) == (200, "1")
        assert await statuses(rig, get("/x"), get("/x"), get("/free")) == [200, 429, 200]


@on_loop
async def test_a_limit_in_shadow_counts_and_never_refuses() -> None:
    document: dict[str, Any] = {"limits": [limit(requests=1, shadow=True)]}
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, **document)) as rig:
        assert await statuses(rig, *[get("/x")] * 3) == [200, 200, 200]
        assert rig.counted("limit_shadow_total", limit="few") == 2
        assert rig.counted("limit_refused_total", limit="few") == 0


# -- whose? -------------------------------------------------------------------------------------------------------


@on_loop
async def test_keys_are_counted_apart() -> None:
    document: dict[str, Any] = {"limits": [limit(requests=1, key=["header:X-Team", "method"])]}
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, **document)) as rig:
        requests = [
            get("/x", "X-Team: a"),
            get("/x", "X-Team: b"),
            get("/x", "X-Team: a", method="POST"),
            get("/y", "x-team: a"),
            get("/x"),
            get("/x"),
        ]
        assert await statuses(rig, *requests) == [200, 200, 200, 429, 200, 429]


@on_loop
async def test_the_address_is_the_one_that_is_trusted_and_an_ipv6_client_is_its_network() -> None:
    document: dict[str, Any] = {"limits": [limit(requests=1)], "forwarding": {"trust": ["127.0.0.1"]}}
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, **document)) as rig:
        said = ["192.0.2.1", "192.0.2.2", "192.0.2.1", "2001:db8::1", "2001:db8::2", "2001:db8:0:1::1"]
        requests = [get("/x", f"X-Forwarded-For: {address}") for address in said]
        assert await statuses(rig, *requests) == [200, 200, 429, 200, 429, 200]


@on_loop
async def test_forged_addresses_from_one_socket_are_one_client() -> None:
    async with (
        Upstream(answering(lambda _: ok())) as upstream,
        gateway(to(upstream, limits=[limit(requests=1)])) as rig,
    ):
        requests = [get("/x", f"X-Forwarded-For: 192.0.2.{number}") for number in range(4)]
        assert await statuses(rig, *requests) == [200, 429, 429, 429]


@on_loop
async def test_a_route_gives_its_callers_a_tier() -> None:
    tiers = {"gold": 3, "free": "unlimited"}
    routes = [
        {"name": "all", "match": {"path": "/"}},
        {"name": "gold", "match": {"path": "/gold"}, "tier": "gold"},
        {"name": "free", "match": {"path": "/free"}, "tier": "free"},
    ]
    document: dict[str, Any] = {"limits": [limit(requests=1, tiers=tiers)], "service": {"routes": routes}}
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, **document)) as rig:
        assert await statuses(rig, *[get("/x")] * 2) == [200, 429]
        assert await statuses(rig, *[get("/gold")] * 4) == [200, 200, 200, 429]
        assert await statuses(rig, *[get("/free")] * 5) == [200] * 5


@on_loop
async def test_the_limit_of_a_service_counts_all_callers_by_whatever_route_they_come() -> None:
    async with Upstream(answering(lambda _: ok())) as upstream:
        document = to(upstream, service={"rate_limit": {"requests": 2, "window": LONG}})
        document["services"].append(
            {
                "name": "other",
                "routes": [{"name": "o", "match": {"path": "/o"}, "destinations": [{"service_name": "api"}]}],
            }
        )
        async with gateway(document) as rig:
            assert await statuses(rig, get("/x"), get("/o"), get("/x"), get("/o")) == [200, 200, 429, 429]


@on_loop
async def test_limits_of_two_places_with_one_name_count_apart() -> None:
    routes = [{"name": name, "match": {"path": f"/{name}"}, "limits": [limit(requests=1)]} for name in ("a", "b")]
    async with (
        Upstream(answering(lambda _: ok())) as upstream,
        gateway(to(upstream, service={"routes": routes})) as rig,
    ):
        assert await statuses(rig, get("/a"), get("/b"), get("/a"), get("/b")) == [200, 200, 429, 429]


@on_loop
async def test_a_limit_counts_only_what_it_matches() -> None:
    document: dict[str, Any] = {"limits": [limit(requests=1, match={"path": "/paid", "method": "POST"})]}
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, **document)) as rig:
        requests = [get("/paid", method="POST"), get("/paid"), get("/x", method="POST"), get("/paid/x", method="POST")]
        assert await statuses(rig, *requests) == [200, 200, 200, 429]


@on_loop
async def test_an_answer_without_an_upstream_is_limited_too() -> None:
    route = {"respond": {"body": "hello"}, "limits": [limit(requests=1)]}
    async with Upstream() as upstream, gateway(to(upstream, route=route)) as rig:
        assert await statuses(rig, get("/x"), get("/x")) == [200, 429]


# -- what it costs ------------------------------------------------------------------------------------------------


@on_loop
async def test_the_real_cost_is_charged_when_the_answer_tells_it() -> None:
    cost = {"request": 10, "header": "X-Tokens-Used"}
    document: dict[str, Any] = {"limits": [limit(requests=100, type="token_bucket", cost=cost)]}
    async with Upstream() as upstream, gateway(to(upstream, **document)) as rig:
        client = await rig.client()
        await client.send(get("/1"))
        link = await upstream.accepted()
        left = []
        for number, used in enumerate(("70", "5", "junk", None)):
            if number:
                await client.send(get("/n"))
            await link.message()
            await link.send(ok(b"", *([f"X-Tokens-Used: {used}"] if used is not None else [])))
            answer = await client.answer()
            left.append((answer.status, answer.get("x-ratelimit-remaining")))
        # Told is what held when the request was admitted: 10 reserved each time, and what was charged before it.
        assert left == [(200, "90"), (200, "20"), (200, "15"), (200, "5")]
        assert (await rig.ask(get("/x"))).status == 429


@on_loop
async def test_a_client_that_leaves_pays_what_was_reserved() -> None:
    document: dict[str, Any] = {"limits": [limit(requests=10, cost={"request": 4, "header": "X-Cost"})]}
    async with Upstream() as upstream, gateway(to(upstream, **document)) as rig:
        for number in range(2):
            client = await rig.client()
            await client.send(get("/x"))
            await (await upstream.accepted()).message()
            client.cut()
            await eventually(lambda number=number: len(rig.log) == number + 1)  # type: ignore[misc]
        assert (await rig.ask(get("/x"))).status == 429


# -- at the same time ---------------------------------------------------------------------------------------------


@on_loop
async def test_so_many_at_the_same_time_and_a_place_is_free_again_however_a_request_ends() -> None:
    document: dict[str, Any] = {"limits": [{"name": "at-once", "type": "concurrency", "requests": 2}]}
    async with Upstream() as upstream, gateway(to(upstream, retry={"attempts": 0}, **document)) as rig:
        for end in ("answer", "leave", "reset"):
            clients = [await rig.client(), await rig.client()]
            links = []
            for client in clients:
                await client.send(get("/x", method="POST"))
                links.append(await upstream.accepted())
                await links[-1].message()
            refused = await rig.ask(get("/x"))
            assert (refused.status, refused.get("retry-after")) == (429, "1"), end
            for client, link in zip(clients, links, strict=True):
                if end == "answer":
                    await link.send(ok(b"", "Connection: close"))
                    assert (await client.answer()).status == 200
                elif end == "leave":
                    client.cut()
                else:
                    link.cut()
                    assert (await client.answer()).status == 502
            await eventually(lambda: rig.gateway.in_flight == 0)


@on_loop
async def test_a_leaky_bucket_lets_wait_who_comes_too_early() -> None:
    document: dict[str, Any] = {
        "limits": [{"name": "even", "type": "leaky_bucket", "requests": 10, "window": 1, "max_delay": 0.3}]
    }
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, **document)) as rig:
        clients = [await rig.client() for _ in range(8)]
        for client in clients:
            await client.send(get("/x"))
        found = [(await client.answer()).status for client in clients]
        assert found.count(200) >= 4
        assert rig.counted("limit_delayed_total", limit="even") >= 1


# -- reload -------------------------------------------------------------------------------------------------------


@on_loop
async def test_counts_live_through_a_reload_with_equal_settings_and_begin_anew_with_others() -> None:
    async with (
        Upstream(answering(lambda _: ok())) as upstream,
        gateway(to(upstream, limits=[limit(requests=2)])) as rig,
    ):
        assert await statuses(rig, get("/x"), get("/x"), get("/x")) == [200, 200, 429]
        rig.apply(to(upstream, limits=[limit(requests=2)]))
        assert await statuses(rig, get("/x")) == [429]
        rig.apply(to(upstream, limits=[limit(requests=3)]))
        assert await statuses(rig, get("/x")) == [200]
        rig.apply(to(upstream))
        assert await statuses(rig, *[get("/x")] * 5) == [200] * 5


@on_loop
async def test_nobody_is_told_of_limits_that_are_not_told() -> None:
    document: dict[str, Any] = {"limits": [limit(requests=1)], "limit_headers": {"forms": []}}
    async with Upstream(answering(lambda _: ok())) as upstream, gateway(to(upstream, **document)) as rig:
        answers: list[Message] = [await rig.ask(get("/x")) for _ in range(2)]
        for answer in answers:
            assert not [name for name, _ in answer.fields if "ratelimit" in name], json.dumps(answer.fields)
        assert answers[1].get("retry-after")


@on_loop
async def test_what_the_upstream_tells_of_its_own_limits_is_replaced() -> None:
    theirs = ok(b"", "X-RateLimit-Limit: 7", "x-ratelimit-remaining-tokens: 3", "X-Other: stays")
    document: dict[str, Any] = {"limits": [limit(requests=5, exempt=["/free"])]}
    async with Upstream(answering(lambda _: theirs)) as upstream, gateway(to(upstream, **document)) as rig:
        answer = await rig.ask(get("/x"))
        assert answer.all("x-ratelimit-limit") == ["5"]
        # A name that nobody here writes is theirs.
        assert answer.all("x-ratelimit-remaining-tokens") == ["3"]
        assert answer.get("x-other") == "stays"
        rig.apply(to(upstream))
        assert (await rig.ask(get("/x"))).get("x-ratelimit-limit") == "7"


@on_loop
async def test_edits_of_an_answer_concern_what_is_told_of_limits() -> None:
    theirs = ok(b"", "X-RateLimit-Reset: 7")
    edits = {"remove": ["X-RateLimit-Remaining"], "add": {"X-RateLimit-Of": "{route}"}}
    document: dict[str, Any] = {"limits": [limit(requests=5)], "service": {"headers": {"response": edits}}}
    async with Upstream(answering(lambda _: theirs)) as upstream, gateway(to(upstream, **document)) as rig:
        answer = await rig.ask(get("/x"))
        assert answer.all("x-ratelimit-limit") == ["5"]
        assert answer.get("x-ratelimit-remaining") is None
        assert answer.all("x-ratelimit-reset") != ["7"]
        assert answer.get("x-ratelimit-of")
