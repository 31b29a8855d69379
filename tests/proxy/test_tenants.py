"""Tenants on real sockets: kept apart, chosen by header, let in or not, and limits and tiers that go by who asks."""

from __future__ import annotations

from typing import Any

import pytest

from tests.proxy.callers import keys, static, with_key, with_token
from tests.proxy.peers import Message, Upstream, answering, get, ok
from tests.proxy.stage import Rig, gateway, on_loop, to

KEYS = [
    static("acme", tenant="acme"),
    static("acme-2", tenant="acme"),
    static("globex", tenant="globex"),
    static("support", roles=["support"], tenant="home"),
    static("loose"),
]


def answers(seen: list[Message] | None = None) -> Upstream:
    return Upstream(answering(lambda request: ok(b"served"), seen))


async def status(rig: Rig, *lines: str, target: str = "/") -> int:
    return (await rig.ask(get(target, *lines))).status


async def outcome(rig: Rig, *lines: str, target: str = "/") -> tuple[int, str | None, str | None]:
    """Ask, and return the status with what the log says of it."""
    answer = await rig.ask(get(target, *lines))
    line = rig.log[-1]
    assert line["status_code"] == answer.status
    return answer.status, line.get("error"), line.get("detail")


# -- apart ---------------------------------------------------------------------------------------------------------


@on_loop
async def test_callers_see_their_own_tenant_only() -> None:
    route = {
        "match": {"path": {"template": "/orgs/{org}/calls"}},
        "auth": {"isolation": {"tenant": "params.org", "crossing": "support"}},
    }
    seen: list[Message] = []
    async with answers(seen) as upstream, gateway(to(upstream, identity=keys(*KEYS), route=route)) as rig:
        assert await status(rig, with_key("acme"), target="/orgs/acme/calls") == 200
        assert await status(rig, with_key("acme"), target="/orgs/%61cme/x/../calls") == 200
        assert await status(rig, with_key("support"), target="/orgs/acme/calls") == 200
        assert await status(rig, with_token(org_id="acme"), target="/orgs/acme/calls") == 200
        assert len(seen) == 4
        for target in ("/orgs/globex/calls", "/orgs/Acme/calls", "/orgs/acme/../globex/calls", "/orgs/acme%20/calls"):
            said = (403, "tenant_forbidden", "params.org names another tenant than acme")
            assert await outcome(rig, with_key("acme"), target=target) == said
        said = (403, "tenant_forbidden", "the caller has no tenant, and params.org asks for one")
        assert await outcome(rig, with_key("loose"), target="/orgs/acme/calls") == said
        assert await status(rig, target="/orgs/acme/calls") == 401
        assert len(seen) == 4


@on_loop
async def test_the_request_may_name_it_in_a_header_or_the_query() -> None:
    by_query = {"name": "query", "match": {"path": "/query"}, "auth": {"isolation": "query:org"}}
    async with answers() as upstream:
        document = to(upstream, identity=keys(*KEYS), route={"auth": {"isolation": "header:X-Org"}})
        document["services"][0]["routes"].append(by_query)
        async with gateway(document) as rig:
            assert await status(rig, with_key("acme"), "X-Org: acme") == 200
            assert await status(rig, with_key("acme"), "X-Org: globex") == 403
            assert await status(rig, with_key("acme"), "X-Org: acme", "X-Org: globex") == 403
            assert await status(rig, with_key("acme")) == 403
            assert await status(rig, with_key("acme"), target="/query?org=acme&x=1") == 200
            assert await status(rig, with_key("acme"), target="/query?org=acme&org=globex") == 403
            assert await status(rig, with_key("acme"), target="/query?ORG=acme") == 403


# -- by header -----------------------------------------------------------------------------------------------------

CHOSEN = {
    "tenant": {"header": "X-Tenant", "choosers": "support"},
    "tenants": [{"name": "acme", "tier": "gold"}],
    "forward": {"X-For": "tenant", "X-Tier": "tier"},
}


@on_loop
async def test_a_header_names_the_tenant_of_who_may_choose() -> None:
    seen: list[Message] = []
    identity = keys(*KEYS, **CHOSEN)
    async with answers(seen) as upstream, gateway(to(upstream, identity=identity, auth="optional")) as rig:
        for key, lines in (
            ("loose", ["X-Tenant: acme"]),
            ("support", ["X-Tenant: acme"]),
            ("support", []),
            ("acme", []),
        ):
            assert await status(rig, with_key(key), *lines) == 200
        told = [(each.get("x-for"), each.get("x-tier")) for each in seen]
        assert told == [("acme", "gold"), ("acme", "gold"), ("home", "api_key"), ("acme", "gold")]
        said = (403, "tenant_forbidden", "the header names another tenant than globex")
        assert await outcome(rig, with_key("globex"), "X-Tenant: acme") == said
        said = (403, "tenant_forbidden", "who is not known may choose no tenant")
        assert await outcome(rig, "X-Tenant: acme") == said
        assert await status(rig) == 200


@on_loop
@pytest.mark.parametrize("auth", ["none", "optional"])
async def test_nobody_may_choose_where_settings_say_so(auth: str) -> None:
    seen: list[Message] = []
    identity = keys(*KEYS, **{**CHOSEN, "tenant": {"header": "X-Tenant", "anonymous": True}})
    async with answers(seen) as upstream, gateway(to(upstream, identity=identity, auth=auth)) as rig:
        assert await status(rig, "X-Tenant: acme", "X-For: globex") == 200
    assert (seen[0].get("x-for"), seen[0].get("x-tier")) == ("acme", "gold")


# -- let in or not -------------------------------------------------------------------------------------------------


@on_loop
async def test_tenants_let_their_callers_in_by_settings() -> None:
    tenants = [
        {"name": "acme", "allow": "127.0.0.0/8"},
        {"name": "globex", "deny": "127.0.0.1"},
        {"name": "home", "enabled": False},
    ]
    identity = keys(*KEYS, tenants=tenants, unknown_tenants="refuse")
    async with answers() as upstream, gateway(to(upstream, identity=identity)) as rig:
        assert await status(rig, with_key("acme")) == 200
        assert await status(rig, with_key("loose")) == 200
        said: tuple[int, str, str] = (
            403,
            "address_forbidden",
            "the tenant globex does not take its callers from there",
        )
        assert await outcome(rig, with_key("globex")) == said
        assert await outcome(rig, with_key("support")) == (403, "forbidden", "the tenant home is disabled")
        assert await outcome(rig, with_token(tenant="initech")) == (
            403,
            "forbidden",
            "the tenant initech is not listed",
        )


# -- limits --------------------------------------------------------------------------------------------------------


def limited(key: str, requests: int, **more: Any) -> dict[str, Any]:
    return {"limits": [{"name": "calls", "key": key, "requests": requests, "window": 3600, **more}]}


@on_loop
async def test_a_tenant_has_its_limit_whoever_asks_for_it() -> None:
    document = {"identity": keys(*KEYS), **limited("tenant", 2)}
    async with answers() as upstream, gateway(to(upstream, **document)) as rig:
        assert await status(rig, with_key("acme")) == 200
        assert await status(rig, with_token(sub="eve", tenant="acme")) == 200
        assert await status(rig, with_key("acme-2")) == 429
        assert await status(rig, with_key("globex")) == 200
        # Who has no tenant counts by address.
        assert await status(rig, with_key("loose")) == 200


@on_loop
async def test_who_is_refused_consumes_nothing_of_a_tenant() -> None:
    document = {"identity": keys(*KEYS), "auth": {"tenants": ["globex"]}, **limited("tenant", 1)}
    async with answers() as upstream, gateway(to(upstream, **document)) as rig:
        for _ in range(3):
            assert await status(rig, with_key("acme")) == 403
        assert await status(rig, with_key("globex")) == 200
        assert await status(rig, with_key("globex")) == 429


@on_loop
async def test_limits_have_the_numbers_of_the_callers_tier() -> None:
    identity = keys(
        *KEYS,
        static("own", tier="bronze"),
        tiers=[{"tier": "gold", "claim": "plan", "values": ["pro"]}, {"tier": "silver", "roles": "support"}],
        tenants=[{"name": "acme", "tier": "silver"}],
    )
    tiers = {"gold": 4, "silver": 3, "bronze": 2, "api_key": 5, "anonymous": 6}
    document = {"identity": identity, "auth": "optional", **limited("identity", 1, tiers=tiers)}
    wanted = [
        (with_token(plan="pro", sub="a"), "4"),
        (with_token(plan="free", sub="b"), "1"),
        (with_key("support"), "3"),
        (with_key("acme"), "3"),
        (with_key("own"), "2"),
        (with_key("globex"), "5"),
        ("X-Nothing: x", "6"),
    ]
    async with answers() as upstream, gateway(to(upstream, **document)) as rig:
        for line, number in wanted:
            assert (await rig.ask(get("/", line))).get("x-ratelimit-limit") == number, line
