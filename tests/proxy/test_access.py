"""What callers may do, on real sockets: roles, scopes, permissions, addresses; what upstreams are told of callers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.proxy.callers import keys, static, with_key, with_token
from tests.proxy.peers import Message, Upstream, answering, get, ok
from tests.proxy.stage import Rig, gateway, on_loop, to

KEYS = keys(
    static("boss", roles=["boss"]),
    static("clerk", roles=["clerk"], scopes=["read"]),
    static("bound", roles=["boss"], scopes=["service:other", "route:none"]),
    static("here", roles=["boss"], addresses=["127.0.0.0/8"]),
    static("away", roles=["boss"], addresses=["192.0.2.0/24", "2001:db8::/32"]),
    permissions={"boss": ["*"], "clerk": ["leads:*"]},
)


def answers(seen: list[Message] | None = None) -> Upstream:
    return Upstream(answering(lambda request: ok(b"" if request.method == "HEAD" else b"served"), seen))


async def asked(rig: Rig, *lines: str, target: str = "/", method: str = "GET") -> Message:
    return await rig.ask(get(target, *lines, method=method), method)


async def refused(rig: Rig, status: int, reason: str, detail: str, *lines: str, **request: Any) -> Message:
    """See a refusal, which the log explains and the client is not told."""
    before = len(rig.log)
    answer = await asked(rig, *lines, **request)
    assert answer.status == status
    line = (await rig.logged(before + 1))[before]
    assert (line["error"], line["detail"]) == (reason, detail)
    if request.get("method") != "HEAD" and detail:
        assert detail.encode() not in answer.body
    assert b"boss" not in answer.body
    return answer


# -- roles and the rest --------------------------------------------------------------------------------------------


@on_loop
async def test_roles_are_asked_by_route_and_method() -> None:
    auth = {"roles": ["boss", "clerk"], "rules": [{"method": ["POST", "GET"], "roles": "boss"}]}
    seen: list[Message] = []
    async with answers(seen) as upstream, gateway(to(upstream, identity=KEYS, auth=auth)) as rig:
        assert (await asked(rig, with_key("boss"))).body == b"served"
        assert (await asked(rig, with_key("boss"), method="POST")).status == 200
        assert (await asked(rig, with_key("clerk"), method="PUT")).status == 200
        assert (await asked(rig, with_token(roles=["boss"]))).status == 200
        for method in ("GET", "POST", "HEAD"):
            answer = await refused(rig, 403, "forbidden", "needs the role boss", with_key("clerk"), method=method)
            assert answer.get("www-authenticate") is None
        missing = "needs one of the roles boss, clerk"
        await refused(rig, 403, "forbidden", missing, with_token(roles=["Boss", "boss "]), method="PUT")
        assert rig.counted("auth_failures_total", reason="forbidden", auth_type="api_key") == 3
        assert rig.counted("auth_failures_total", reason="forbidden", auth_type="jwt") == 1
        assert [request.method for request in seen] == ["GET", "POST", "PUT", "GET"]


@on_loop
async def test_who_shows_nothing_is_asked_to() -> None:
    auth = {"mode": "optional", "rules": [{"method": "DELETE", "roles": "boss"}]}
    async with answers() as upstream, gateway(to(upstream, identity=KEYS, auth=auth)) as rig:
        assert (await asked(rig)).status == 200
        answer = await refused(rig, 401, "missing_credentials", "needs the role boss", method="DELETE")
        assert answer.all("www-authenticate")


@on_loop
async def test_scopes_permissions_and_kinds_are_asked() -> None:
    auth = {"permissions": "leads:write", "rules": [{"method": "PUT", "scopes": "read", "kinds": "api_key"}]}
    async with answers() as upstream, gateway(to(upstream, identity=KEYS, auth=auth)) as rig:
        assert (await asked(rig, with_key("clerk"), method="PUT")).status == 200
        assert (await asked(rig, with_token(roles="clerk"), method="GET")).status == 200
        await refused(rig, 403, "forbidden", "needs the scope read", with_key("boss"), method="PUT")
        scoped = with_token(roles="clerk", scope="read write")
        await refused(rig, 403, "forbidden", "needs the kind api_key", scoped, method="PUT")
        missing = "needs the permission leads:write, which one of the roles boss, clerk gives"
        await refused(rig, 403, "forbidden", missing, with_token(roles="guest"))


@on_loop
async def test_a_key_may_be_bound_to_routes_and_services() -> None:
    other = {"name": "other", "match": {"path": "/other"}}
    async with answers() as upstream:
        document = to(upstream, identity=KEYS)
        document["services"].append({"name": "other", "url": upstream.url, "routes": [other]})
        async with gateway(document) as rig:
            assert (await asked(rig, with_key("bound"), target="/other")).status == 200
            assert (await asked(rig, with_key("boss"), target="/other")).status == 200
            detail = "the credential is bound to route:none, service:other"
            await refused(rig, 403, "forbidden", detail, with_key("bound"))


@on_loop
async def test_an_open_route_asks_nothing() -> None:
    async with answers() as upstream, gateway(to(upstream, identity=KEYS, route={"auth": "none"})) as rig:
        assert (await asked(rig)).status == 200
        assert (await asked(rig, with_key("nobody"))).status == 200


# -- addresses -----------------------------------------------------------------------------------------------------


@on_loop
async def test_addresses_are_judged_before_credentials() -> None:
    async with answers() as upstream:
        route = {"addresses": {"allow": ["127.0.0.0/8"], "deny": "127.0.0.1"}}
        async with gateway(to(upstream, identity=KEYS, route=route)) as rig:
            detail = "127.0.0.1 is not let in here"
            await refused(rig, 403, "address_forbidden", detail, with_key("boss"))
            await refused(rig, 403, "address_forbidden", detail)
        async with gateway(to(upstream, addresses=["::ffff:127.0.0.0/104"])) as rig:
            assert (await asked(rig)).status == 200


@on_loop
@pytest.mark.parametrize(
    ("forwarded", "status"),
    [
        ("192.0.2.7", 200),
        ("::ffff:192.0.2.7", 200),
        ("2001:db8::1", 200),
        ("192.0.2.9", 403),
        ("198.51.100.1", 403),
        ("192.0.2.7, 198.51.100.1", 403),
    ],
)
async def test_the_address_is_that_of_the_client_behind_trusted_proxies(forwarded: str, status: int) -> None:
    addresses = {"allow": ["192.0.2.0/24", "2001:db8::/32"], "deny": ["192.0.2.9"]}
    document = {"addresses": addresses, "forwarding": {"trust": ["127.0.0.1"]}}
    async with answers() as upstream, gateway(to(upstream, **document)) as rig:
        assert (await asked(rig, f"X-Forwarded-For: {forwarded}")).status == status


@on_loop
async def test_nobody_writes_an_address_of_their_own() -> None:
    async with answers() as upstream, gateway(to(upstream, addresses=["192.0.2.0/24"])) as rig:
        assert (await asked(rig, "X-Forwarded-For: 192.0.2.7", "X-Real-IP: 192.0.2.7")).status == 403


@on_loop
async def test_a_key_may_be_bound_to_addresses() -> None:
    async with answers() as upstream, gateway(to(upstream, identity=KEYS)) as rig:
        assert (await asked(rig, with_key("here"))).status == 200
        await refused(rig, 403, "address_forbidden", "the key is bound to other addresses", with_key("away"))


# -- what upstreams are told ---------------------------------------------------------------------------------------

FORWARD = {
    "X-User": "id",
    "X-Kind": "kind",
    "X-Tenant": "tenant",
    "X-Roles": "roles",
    "X-Plan": "claims.plan",
    "X-Deep": "claims.a.b",
}
SPOOFED = [
    "X-User: root",
    "x-roles: boss",
    "X-Plan: gold",
    "X-Deep: 1",
    "X_Roles: boss",
    "X-Kind: service",
    "Connection: x-user, x-roles, x-kind, x-tenant",
]


def told(request: Message) -> dict[str, list[str]]:
    found = {name.lower(): request.all(name.lower()) for name in [*FORWARD, "x_roles"]}
    return {name: values for name, values in found.items() if values}


@on_loop
async def test_upstreams_are_told_who_asks_and_never_by_the_client() -> None:
    seen: list[Message] = []
    identity = {**KEYS, "forward": FORWARD}
    open_route = {"name": "open", "match": {"path": "/open"}, "auth": "none"}
    async with answers(seen) as upstream:
        document = to(upstream, identity=identity, auth="optional")
        document["services"][0]["routes"].append(open_route)
        async with gateway(document) as rig:
            for _ in range(2):
                token = with_token(roles=["b", "a"], tenant="acme", plan="pro", a={"b": [1, "x"]})
                await asked(rig, *SPOOFED, token)
            await asked(rig, *SPOOFED, with_key("clerk"))
            await asked(rig, *SPOOFED, with_token(a={"b": "x\r\nX-Roles: boss"}, plan=None))
            await asked(rig, *SPOOFED)
            await asked(rig, *SPOOFED, target="/open")
    known = {
        "x-user": ["ada"],
        "x-kind": ["user"],
        "x-tenant": ["acme"],
        "x-roles": ["a,b"],
        "x-plan": ["pro"],
        "x-deep": ["1,x"],
    }
    key = {"x-user": ["clerk"], "x-kind": ["api_key"], "x-roles": ["clerk"]}
    little = {"x-user": ["ada"], "x-kind": ["user"]}
    assert [told(each) for each in seen] == [known, known, key, little, {"x-kind": ["anonymous"]}, {}]


@on_loop
async def test_edits_of_a_route_see_what_is_told() -> None:
    seen: list[Message] = []
    route = {"headers": {"request": {"remove": ["X-User"], "set": {"X-From": "gateway"}}}}
    identity = {**KEYS, "forward": FORWARD}
    async with answers(seen) as upstream, gateway(to(upstream, identity=identity, route=route)) as rig:
        await asked(rig, with_key("clerk"), "X-From: elsewhere")
    assert told(seen[0]) == {"x-kind": ["api_key"], "x-roles": ["clerk"]}
    assert seen[0].get("x-from") == "gateway"
