"""The view `proxy` on real sockets: services reached by their names, in an envelope and by a path."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.proxy.callers import keys, static, with_key
from tests.proxy.peers import Message, Upstream, answering, get, ok
from tests.proxy.stage import Rig, gateway, on_loop

ENVELOPE = {"path": "/api/v1/proxy", "view": "proxy"}
BY_PATH = {"path": "/api/v1/proxy/{service_name}/{path}", "view": "proxy"}
KEYS = keys(static("boss", roles=["boss"]), static("clerk", roles=["clerk"]))


def served(seen: list[Message]) -> Upstream:
    def answer(request: Message) -> bytes:
        seen.append(request)
        return ok(b"" if request.method == "HEAD" else b"served", "Content-Type: image/png")

    return Upstream(answering(answer))


def two(
    a: Upstream,
    b: Upstream,
    *,
    surface: list[dict[str, Any]] | None = None,
    service: dict[str, Any] | None = None,
    **more: Any,
) -> dict[str, Any]:
    """Write a configuration of the services svc-a, with a route /api that anybody may take, and svc-b."""
    services = [
        {"name": "svc-a", "url": a.url, "routes": [{"name": "a", "match": {"path": "/api"}, "auth": "none"}]},
        {"name": "svc-b", "url": b.url, **(service or {})},
    ]
    return {"surface": surface or [ENVELOPE, BY_PATH], "services": services, **more}


def wrapped(service: str = "svc-b", path: str = "/x", method: str = "GET", **more: Any) -> dict[str, Any]:
    return {"service_name": service, "path": path, "method": method, **more}


async def post(rig: Rig, envelope: Any, *lines: str) -> Message:
    body = envelope if isinstance(envelope, bytes) else json.dumps(envelope).encode()
    return await rig.ask(get("/api/v1/proxy", *lines, method="POST", body=body), "POST")


@on_loop
async def test_an_envelope_reaches_the_service_that_it_names() -> None:
    a: list[Message] = []
    b: list[Message] = []
    async with served(a) as one, served(b) as two_, gateway(two(one, two_)) as rig:
        answer = await post(rig, wrapped("svc-b", "/api/x"))
        assert (answer.status, answer.body, answer.get("content-type")) == (200, b"served", "image/png")
        raw = b'{"service_name":"svc-a","path":"api//x/","method":"put","headers":{"X-One":"1"},'
        raw += b'"query_params":{"q":"a&b","\\u00e9":" "},"body": {"n": 1.50, "big": 12345678901234567890, "a":[ ]} }'
        assert (await post(rig, raw, "X-Outer: 2", "Authorization: Basic eDp5")).status == 200
        (asked,) = b
        assert (asked.method, asked.target, asked.body) == ("GET", "/api/x", b"")
        (asked,) = a
        assert (asked.method, asked.target) == ("PUT", "/api/x/?q=a%26b&%C3%A9=%20")
        assert asked.body == b'{"n": 1.50, "big": 12345678901234567890, "a":[ ]}'
        assert asked.get("content-type") == "application/json"
        assert asked.get("content-length") == str(len(asked.body))
        assert asked.get("x-one") == "1"
        assert asked.get("x-outer") is None
        assert asked.get("authorization") is None
        assert [(line["service"], line["route"]) for line in rig.log] == [("svc-b", "proxy svc-b"), ("svc-a", "a")]


@on_loop
async def test_a_path_reaches_the_service_that_it_names_with_all_that_came() -> None:
    a: list[Message] = []
    b: list[Message] = []
    async with served(a) as one, served(b) as two_, gateway(two(one, two_)) as rig:
        target = "/api/v1/proxy/svc-b/api/x%20y?q=1&q=2"
        answer = await rig.ask(get(target, "X-One: 1", method="PATCH", body=b"raw \x00 body"), "PATCH")
        assert answer.status == 200
        (asked,) = b
        assert (asked.method, asked.target, asked.body) == ("PATCH", "/api/x%20y?q=1&q=2", b"raw \x00 body")
        assert asked.get("x-one") == "1"
        for path in ("", "/"):
            await rig.ask(get(f"/api/v1/proxy/svc-a{path}", method="HEAD"), "HEAD")
        assert [(each.method, each.target) for each in a] == [("HEAD", "/"), ("HEAD", "/")]


@pytest.mark.parametrize("service", ["unknown", "", "headgate:own", "127.0.0.1", "http://127.0.0.1", "../svc-a"])
@on_loop
async def test_only_services_of_the_configuration_are_reached(service: str) -> None:
    seen: list[Message] = []
    async with served(seen) as one, served(seen) as two_, gateway(two(one, two_)) as rig:
        answer = await post(rig, wrapped(service))
        assert (answer.status, answer.json()["reason"]) == (404, "service_not_found")
        if service and "/" not in service:
            assert (await rig.ask(get(f"/api/v1/proxy/{service}/x"))).status == 404
        assert seen == []


@on_loop
async def test_an_item_may_list_its_services() -> None:
    seen: list[Message] = []
    item = {**ENVELOPE, "services": ["svc-a"]}
    async with served(seen) as one, served(seen) as two_, gateway(two(one, two_, surface=[item])) as rig:
        assert (await post(rig, wrapped("svc-b"))).status == 404
        assert (await post(rig, wrapped("svc-a"))).status == 200


MISSING = {"msg": "Field required", "type": "missing"}


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"{}", [{"loc": ["body", name], **MISSING} for name in ("service_name", "path", "method")]),
        (b'{"service_name":"svc-a","path":"/x"}', [{"loc": ["body", "method"], **MISSING}]),
        (b"[]", ["dict_type"]),
        (b"", ["json_invalid"]),
        (b"{", ["json_invalid"]),
        (b'{"path":"/a","path":"/b"}', ["json_invalid"]),
        (b'{"service_name":1,"path":null,"method":[]}', ["string_type"] * 3),
        (json.dumps(wrapped(headers=[])).encode(), ["dict_type"]),
        (json.dumps(wrapped(headers={"A": 1})).encode(), ["string_type"]),
        (json.dumps(wrapped(query_params={"A": None})).encode(), ["string_type"]),
        (json.dumps(wrapped(method="HEAD")).encode(), ["enum"]),
        (json.dumps(wrapped(method="CONNECT")).encode(), ["enum"]),
        (json.dumps(wrapped(method="GET / HTTP/1.1\r\n")).encode(), ["enum"]),
        (json.dumps(wrapped(headers={"A": "b\r\nX: y"})).encode(), ["value_error"]),
        (json.dumps(wrapped(headers={"A b": "c"})).encode(), ["value_error"]),
        (json.dumps(wrapped(headers={"A": " c"})).encode(), ["value_error"]),
        (json.dumps(wrapped(headers={"A": "\x00"})).encode(), ["value_error"]),
    ],
)
@on_loop
async def test_what_is_wrong_with_an_envelope_is_listed(raw: bytes, said: list[Any]) -> None:
    seen: list[Message] = []
    async with served(seen) as one, served(seen) as two_, gateway(two(one, two_)) as rig:
        answer = await rig.ask(
            get("/api/v1/proxy", "Content-Length: 0" if not raw else "", method="POST", body=raw)
            .replace(b"\r\n\r\n\r\n", b"\r\n\r\n")
            .replace(b"test\r\n\r\nContent", b"test\r\nContent"),
            "POST",
        )
        assert answer.status == 422
        assert answer.get("content-type") == "application/json"
        detail = answer.json()["detail"]
        assert detail == said if isinstance(said[0], dict) else [each["type"] for each in detail] == said
        assert seen == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/../etc", 400),
        ("/a/%2e%2e/%2e%2e/b", 400),
        ("/a%00", 400),
        ("/a?b=c#d", 400),
        ("/a#b", 400),
        ("/é/../..", 400),
        ("/a\\b", 400),
    ],
)
@on_loop
async def test_the_path_of_an_envelope_is_judged_as_one_on_the_wire(path: str, status: int) -> None:
    seen: list[Message] = []
    async with served(seen) as one, served(seen) as two_, gateway(two(one, two_)) as rig:
        answer = await post(rig, wrapped(path=path))
        assert (answer.status, answer.json()["reason"]) == (status, "bad_path")
        assert seen == []


@on_loop
async def test_fields_of_an_envelope_are_judged_as_a_clients_own() -> None:
    seen: list[Message] = []
    async with served(seen) as one, served([]) as two_:
        config = two(
            two_, one, identity={"forward": {"X-User-Id": "id"}}, header_filter={"request": {"deny": ["X-Bad"]}}
        )
        async with gateway(config) as rig:
            mine = {
                "Host": "evil", "Connection": "X-Named", "X-Named": "1", "Transfer-Encoding": "chunked", "TE": "x",
                "Content-Length": "99", "X-Forwarded-For": "1.2.3.4", "X-User-Id": "boss", "X_User_Id": "boss",
                "X-Request-ID": "mine", "Upgrade": "websocket", "Expect": "100-continue", "X-Bad": "1", "Cookie": "a=b",
            }  # fmt: skip
            assert (await post(rig, wrapped(method="POST", headers=mine, body={"a": 1}))).status == 200
            (asked,) = seen
            names = [name for name, _ in asked.fields]
            assert len(names) == len(set(names))
            assert asked.get("cookie") == "a=b"
            assert asked.get("content-length") == str(len(asked.body))
            assert asked.get("x-forwarded-for") == "127.0.0.1"
            assert asked.get("x-request-id") != "mine"
            assert asked.get("host") == one.url.removeprefix("http://")
            assert not {"x-named", "transfer-encoding", "te", "upgrade", "expect", "x-bad", "x-user-id"} & set(names)
            assert not any("_" in name for name in names)


@on_loop
async def test_a_body_that_is_text_may_be_sent_as_text() -> None:
    seen: list[Message] = []
    async with served(seen) as one, served([]) as two_, gateway(two(two_, one)) as rig:
        for type_, body in (("text/plain", b"hi"), ("application/json", b'"hi"'), ("application/ld+json", b'"hi"')):
            await post(rig, wrapped(method="POST", headers={"content-type": type_}, body="hi"))
            assert (seen[-1].get("content-type"), seen[-1].body) == (type_, body)


@on_loop
async def test_an_envelope_is_held_to_its_size_and_to_the_routes() -> None:
    seen: list[Message] = []
    item = {**ENVELOPE, "max_body": 200}
    async with (
        served(seen) as one,
        served([]) as two_,
        gateway(two(two_, one, surface=[item, BY_PATH], service={"max_body": 10})) as rig,
    ):
        assert (await post(rig, wrapped(method="POST", body="x" * 200))).status == 413
        assert (await post(rig, wrapped(method="POST", body="x" * 9))).status == 413
        assert (await post(rig, wrapped(method="POST", body="x" * 8))).status == 200
        target = "/api/v1/proxy/svc-b/x"
        assert (await rig.ask(get(target, method="POST", body=b"x" * 11), "POST")).status == 413
        assert (await rig.ask(get(target, method="POST", body=b"x" * 10), "POST")).status == 200


# -- who may -------------------------------------------------------------------------------------------------------


async def statuses(rig: Rig, service: str, path: str, method: str = "GET") -> list[int]:
    """Ask in both ways without a key, as a clerk, and as the boss; both must be answered alike."""
    found = []
    for lines in ((), (with_key("clerk"),), (with_key("boss"),)):
        enveloped = await post(rig, wrapped(service, path, method), *lines)
        by_path = await rig.ask(get(f"/api/v1/proxy/{service}{path}", *lines, method=method), method)
        assert enveloped.status == by_path.status, (path, lines)
        if by_path.status == 401:
            assert enveloped.all("www-authenticate") == by_path.all("www-authenticate") != []
        found.append(by_path.status)
    return found


BOSS = {"roles": ["boss"]}
GUARDED: dict[str, Any] = {
    "auth": "none",
    "routes": [
        {"name": "open", "match": {"path": "/open"}, "auth": "none"},
        {"name": "admin", "match": {"path": "/admin"}, "auth": BOSS},
        {"name": "read", "match": {"path": "/things", "method": "GET"}, "auth": "required"},
        {"name": "stripped", "match": {"path": "/v1"}, "rewrite": {"strip_prefix": "/v1"}, "auth": "required"},
        {"name": "gone", "match": {"path": "/admin/hidden"}, "respond": {"status": 410}},
    ],
}


@on_loop
async def test_nobody_gets_by_name_what_no_route_gives() -> None:
    seen: list[Message] = []
    surface = [{**ENVELOPE, "auth": "none"}, {**BY_PATH, "auth": "none"}]
    async with (
        served(seen) as one,
        served([]) as two_,
        gateway(two(two_, one, surface=surface, service=GUARDED, identity=KEYS)) as rig,
    ):
        assert await statuses(rig, "svc-b", "/open/x") == [200, 200, 200]
        assert await statuses(rig, "svc-b", "/admin/x") == [401, 403, 200]
        assert await statuses(rig, "svc-b", "/things") == [401, 200, 200]
        # No route takes these: all that any of them asks.
        assert await statuses(rig, "svc-b", "/things", "POST") == [401, 403, 200]
        assert await statuses(rig, "svc-b", "/elsewhere") == [401, 403, 200]
        # Whose path is changed on its way shows the service another one.
        assert await statuses(rig, "svc-b", "/v1/admin") == [401, 403, 200]
        assert await statuses(rig, "svc-b", "/admin/hidden") == [410, 410, 410]
        assert await statuses(rig, "svc-b", "/admin;x/y") == [401, 403, 200]


@on_loop
async def test_what_the_item_asks_holds_too() -> None:
    surface = [{**ENVELOPE, "auth": BOSS}, {**BY_PATH, "auth": BOSS}]
    async with (
        served([]) as one,
        served([]) as two_,
        gateway(two(two_, one, surface=surface, service=GUARDED, identity=KEYS)) as rig,
    ):
        for path in ("/open/x", "/admin/x", "/things", "/elsewhere"):
            assert await statuses(rig, "svc-b", path) == [401, 403, 200]
        # Who is not let in does not learn which services there are.
        assert await statuses(rig, "nobody", "/x") == [401, 403, 404]


@on_loop
async def test_credentials_that_are_hidden_from_services_are_asked_for_once() -> None:
    seen: list[Message] = []
    surface = [{**ENVELOPE, "auth": "required"}, {**BY_PATH, "auth": "required"}]
    async with served(seen) as one, served([]) as two_:
        identity = {**KEYS, "hide_credentials": True}
        async with gateway(two(two_, one, surface=surface, service=GUARDED, identity=identity)) as rig:
            assert await statuses(rig, "svc-b", "/admin/x") == [401, 403, 200]
            assert all(each.get("x-api-key") is None for each in seen)


@on_loop
async def test_a_credential_that_nobody_has_looked_at_reaches_no_service() -> None:
    seen: list[Message] = []
    envelope = wrapped(headers={"x-API-key": "a-key-of-nobody", "X-Api-Version": "1", "Authorization": "Basic eDp5"})
    surface = [{**ENVELOPE, "auth": "required"}]
    async with (
        served([]) as one,
        served(seen) as two_,
        gateway(two(one, two_, surface=surface, identity=KEYS)) as rig,
    ):
        assert (await post(rig, envelope, with_key("clerk"))).status == 200
        (asked,) = seen
        assert (asked.get("x-api-key"), asked.get("authorization"), asked.get("x-api-version")) == (None, None, "1")


@on_loop
async def test_a_route_with_plugins_of_its_own_closes_what_no_route_takes() -> None:
    gate = {"name": "size", "module": "examples.plugins.prompt_gate", "class": "PromptGate"}
    service = {"routes": [{"name": "guarded", "match": {"path": "/g"}, "plugins": [gate]}]}
    async with served([]) as one, served([]) as two_, gateway(two(two_, one, service=service)) as rig:
        assert await statuses(rig, "svc-b", "/g") == [200, 200, 200]
        assert await statuses(rig, "svc-b", "/elsewhere") == [404, 404, 404]


@on_loop
async def test_limits_and_breaker_of_the_service_hold() -> None:
    service = {
        "rate_limit": {"enabled": True, "requests": 3, "window": 60},
        "routes": [{"name": "b", "match": {"path": "/b"}}],
    }
    limits = [{"name": "late", "key": ["identity"], "requests": 100, "window": 60}]
    async with (
        served([]) as one,
        served([]) as two_,
        gateway(two(two_, one, service=service, limits=limits)) as rig,
    ):
        assert (await post(rig, wrapped(path="/b"))).status == 200
        assert (await post(rig, wrapped(path="/else"))).status == 200
        last = await rig.ask(get("/b"))
        assert last.status == 200
        assert (await post(rig, wrapped(path="/b"))).status == 429
        assert (await rig.ask(get("/api/v1/proxy/svc-b/else"))).status == 429


@on_loop
async def test_a_breaker_that_is_open_refuses_by_name_too() -> None:
    service = {"circuit_breaker": {"threshold": 1, "timeout": 60}, "retry": {"attempts": 0}}
    async with served([]) as one, served([]) as two_:
        config = two(two_, one, service={**service, "url": "http://127.0.0.1:1"})
        async with gateway(config) as rig:
            assert (await post(rig, wrapped())).status == 502
            assert (await post(rig, wrapped())).json()["reason"] == "breaker_open"
            assert (await post(rig, wrapped("svc-a"))).status == 200
