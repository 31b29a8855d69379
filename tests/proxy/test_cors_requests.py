"""CORS at a real gateway: preflights it answers itself, and what every other answer tells pages."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.auth.basic import hash_password
from tests.proxy.peers import Message, Upstream, answering, free_port, get, ok
from tests.proxy.stage import gateway, on_loop, to

APP = "https://app.example.com"
CORS = {"origins": [APP], "credentials": True, "expose": ["X-Total"], "headers": ["Authorization"], "methods": ["PUT"]}
FROM_APP = f"Origin: {APP}"
FROM_EVIL = "Origin: https://evil.example"
ANNOUNCES = "Access-Control-Request-Method: PUT"
OF_UPSTREAM = (
    "Access-Control-Allow-Origin: *",
    "access-control-allow-credentials: yes",
    "ACCESS-CONTROL-EXPOSE-HEADERS: X-Secret",
    "Access-Control-Max-Age: 5",
    "Vary: Accept",
)
# Passwords are checked nowhere here: no request shows one.
USERS = {"basic": {"users": [{"name": "ann", "hash": hash_password("secret", b"salt" * 4)}]}}


def nowhere() -> str:
    """Return the URL of a service that is not there."""
    return f"http://127.0.0.1:{free_port()}"


def readable(answer: Message) -> bool:
    """Tell whether a page of the app may read an answer, with credentials; no page of another origin ever may."""
    if not answer.all("access-control-allow-origin"):
        assert not [name for name, _ in answer.fields if name.startswith("access-control-")]
        return False
    assert answer.get("access-control-allow-origin") == APP
    assert answer.get("access-control-allow-credentials") == "true"
    return True


# -- preflights ----------------------------------------------------------------------------------------------------


@on_loop
async def test_a_preflight_is_answered_by_the_gateway_before_anybody_asks_who_it_is() -> None:
    document = to(nowhere(), route={"match": {"path": "/", "method": ["PUT", "OPTIONS"]}}, cors=CORS, identity=USERS)
    async with gateway(document) as rig:
        client = await rig.client()
        for path in ("/", "/deep/er?x=1"):
            await client.send(get(path, FROM_APP, ANNOUNCES, method="OPTIONS"))
            answer = await client.answer()
            assert (answer.status, answer.body) == (204, b"")
            assert readable(answer)
            assert answer.get("access-control-allow-methods") == "PUT"
            assert answer.get("access-control-allow-headers") == "Authorization"
            assert answer.get("access-control-max-age") == "600"
            assert answer.all("vary") == ["Origin", "Access-Control-Request-Method, Access-Control-Request-Headers"]
            # RFC 9110 section 8.6: no length on a 204.
            assert answer.get("content-type") is answer.get("content-length") is None
        assert [(line["route"], line["status_code"]) for line in await rig.logged(2)] == [("all", 204)] * 2


@on_loop
async def test_a_foreign_preflight_is_refused_and_told_nothing() -> None:
    async with gateway(to(nowhere(), cors=CORS)) as rig:
        answer = await rig.ask(get("/", FROM_EVIL, ANNOUNCES, method="OPTIONS"), "OPTIONS")
        assert (answer.status, answer.json()["reason"]) == (403, "origin_forbidden")
        assert b"evil" not in answer.body
        assert not readable(answer)
        assert answer.all("vary") == ["Origin"]
        [line] = await rig.logged()
        assert (line["error"], line["detail"]) == ("origin_forbidden", "https://evil.example")


@pytest.mark.parametrize("lines", [(FROM_APP,), (ANNOUNCES,), ()], ids=["origin only", "method only", "plain"])
@on_loop
async def test_options_without_origin_or_method_go_upstream(lines: tuple[str, ...]) -> None:
    seen: list[Message] = []
    async with (
        Upstream(answering(lambda _: ok(b"mine"), seen)) as upstream,
        gateway(to(upstream, cors=CORS)) as rig,
    ):
        answer = await rig.ask(get("/", *lines, method="OPTIONS"), "OPTIONS")
        assert (answer.status, answer.body) == (200, b"mine")
        assert readable(answer) is (FROM_APP in lines)
        assert [request.method for request in seen] == ["OPTIONS"]


def levels(off: bool = False) -> dict[str, Any]:
    """Write a gateway for one origin, with two routes that have others."""
    routes = [
        {"name": "b", "match": {"path": "/b", "method": "PUT"}, "cors": {"origins": ["https://b.example"]}},
        {"name": "c", "match": {"path": "/b", "method": "POST"}, "cors": {"origins": ["https://c.example"]}},
        {"name": "off", "match": {"path": "/off"}, "cors": {"origins": ["*"], "enabled": False}},
    ]
    return {"services": [{"name": "api", "url": nowhere(), "routes": routes}], "cors": CORS}


@pytest.mark.parametrize(
    ("path", "method", "origin"),
    [
        ("/b", "PUT", "https://b.example"),
        ("/b", "POST", "https://c.example"),
        ("/b", "DELETE", APP),
        ("/b", "x" * 40, APP),
        ("/none", "PUT", APP),
        ("/health", "PUT", APP),
    ],
)
@on_loop
async def test_a_preflight_is_for_the_route_that_the_request_behind_it_takes(
    path: str, method: str, origin: str
) -> None:
    async with gateway(levels()) as rig:
        for asking in ("https://b.example", "https://c.example", APP):
            line = f"Access-Control-Request-Method: {method}"
            answer = await rig.ask(get(path, f"Origin: {asking}", line, method="OPTIONS"), "OPTIONS")
            assert answer.status == (204 if asking == origin else 403)
            assert answer.get("access-control-allow-origin") == (asking if asking == origin else None)


@on_loop
async def test_where_cors_is_off_the_upstream_speaks_for_itself() -> None:
    document = levels()
    async with Upstream(answering(lambda _: ok(b"", *OF_UPSTREAM))) as upstream:
        document["services"][0]["url"] = upstream.url
        async with gateway(document) as rig:
            for request in (
                get("/off", FROM_EVIL),
                get("/off", FROM_EVIL, ANNOUNCES, method="OPTIONS"),
            ):
                answer = await rig.ask(request)
                assert answer.status == 200
                assert answer.get("access-control-allow-origin") == "*"
                assert answer.get("access-control-expose-headers") == "X-Secret"
                assert answer.all("vary") == ["Accept"]


# -- all other answers ---------------------------------------------------------------------------------------------


@on_loop
async def test_what_the_upstream_says_of_cors_is_replaced() -> None:
    async with (
        Upstream(answering(lambda _: ok(b"hi", *OF_UPSTREAM))) as upstream,
        gateway(to(upstream, cors=CORS)) as rig,
    ):
        answer = await rig.ask(get("/", FROM_APP))
        assert readable(answer)
        assert answer.get("access-control-expose-headers") == "X-Total"
        assert answer.get("access-control-max-age") is None
        assert answer.all("vary") == ["Accept", "Origin"]
        for lines in ((FROM_EVIL,), ()):
            answer = await rig.ask(get("/", *lines))
            assert (answer.status, answer.body) == (200, b"hi")
            assert not readable(answer)
            assert answer.all("vary") == ["Accept", "Origin"]


@on_loop
async def test_where_all_may_read_every_answer_is_the_same() -> None:
    async with (
        Upstream(answering(lambda _: ok(b"hi"))) as upstream,
        gateway(to(upstream, cors={"origins": "*"})) as rig,
    ):
        for lines in ((FROM_APP,), (FROM_EVIL,), ("Origin: null",), ()):
            answer = await rig.ask(get("/", *lines))
            assert answer.get("access-control-allow-origin") == "*"
            assert not answer.all("vary")


FULL = {"name": "none", "requests": 1, "window": 3600, "key": []}
KINDS: list[tuple[int, str, dict[str, Any], bytes]] = [
    (401, "missing_credentials", {"identity": USERS}, get("/", FROM_APP)),
    (404, "route_not_found", {"route": {"match": {"path": "/a"}}}, get("/", FROM_APP)),
    (405, "method_not_allowed", {"route": {"match": {"path": "/", "method": "POST"}}}, get("/", FROM_APP)),
    (413, "payload_too_large", {"max_body": 1}, get("/", FROM_APP, method="POST", body=b"long")),
    (400, "untrusted_host", {"trusted_hosts": "other.example"}, get("/", FROM_APP)),
    (502, "connect_refused", {}, get("/", FROM_APP)),
    (503, "no_endpoint", {"service": {"endpoints": []}}, get("/", FROM_APP)),
    (200, "", {"route": {"respond": {"body": "x"}}}, get("/", FROM_APP)),
    (308, "", {"route": {"redirect": "/x"}}, get("/", FROM_APP)),
    (200, "", {}, get("/health", FROM_APP)),
    (200, "", {}, get("/ready", FROM_APP)),
    (405, "method_not_allowed", {}, get("/health", FROM_APP, method="DELETE")),
    (403, "address_forbidden", {"addresses": {"allow": ["192.0.2.1"]}}, get("/", FROM_APP)),
]


@pytest.mark.parametrize(("status", "reason", "more", "request_"), KINDS)
@on_loop
async def test_every_kind_of_answer_may_be_read(
    status: int, reason: str, more: dict[str, Any], request_: bytes
) -> None:
    async with gateway(to(nowhere(), cors=CORS, **more)) as rig:
        answer = await rig.ask(request_)
        assert answer.status == status
        if reason:
            assert answer.json()["reason"] == reason
        assert readable(answer)
        assert answer.all("vary") == ["Origin"]
        answer = await rig.ask(request_.replace(APP.encode(), b"https://evil.example"))
        assert answer.status == status
        assert not readable(answer)


@pytest.mark.parametrize("key", [[], ["address"]], ids=["by route", "by address"])
@on_loop
async def test_a_refusal_by_a_limit_may_be_read_with_its_numbers(key: list[str]) -> None:
    limit = {"name": "one", "requests": 1, "window": 3600, "key": key}
    async with (
        Upstream(answering(lambda _: ok())) as upstream,
        gateway(to(upstream, cors={**CORS, "expose": ["Retry-After"]}, limits=[limit])) as rig,
    ):
        assert readable(await rig.ask(get("/", FROM_APP)))
        answer = await rig.ask(get("/", FROM_APP))
        assert (answer.status, answer.get("access-control-expose-headers")) == (429, "Retry-After")
        assert readable(answer)
        # Preflights are not counted: the page would be told of its limit by a failure it can't read.
        assert (await rig.ask(get("/", FROM_APP, ANNOUNCES, method="OPTIONS"), "OPTIONS")).status == 204


ORIGINS = st.sampled_from(
    ["https://app.example.com", "https://a.b.example.org", "https://example.org", "https://xexample.org", "null", "*"]
)


@settings(max_examples=25, deadline=None)
@given(
    origins=st.lists(st.sampled_from(["https://app.example.com", "https://*.example.org", "null"]), max_size=3),
    credentials=st.booleans(),
    origin=ORIGINS,
    request_=st.sampled_from([("GET", "/"), ("OPTIONS", "/"), ("GET", "/health"), ("PUT", "/none")]),
)
def test_nobody_else_is_ever_told_that_he_may_read(
    origins: list[str], credentials: bool, origin: str, request_: tuple[str, str]
) -> None:
    by_name = {"https://a.b.example.org": "https://*.example.org"}.get(origin, origin) in origins
    method, path = request_

    @on_loop
    async def run() -> None:
        cors = {"origins": origins, "credentials": credentials}
        route = {"match": {"path": "/", "method": "GET"}, "respond": {"headers": {"X-A": "1"}}}
        async with gateway(to(nowhere(), cors=cors, route=route)) as rig:
            answer = await rig.ask(get(path, f"Origin: {origin}", ANNOUNCES, method=method), method)
            assert answer.get("access-control-allow-origin") == (origin if by_name else None)
            assert answer.get("access-control-allow-credentials") == ("true" if by_name and credentials else None)
            if method == "OPTIONS":
                assert answer.status == (204 if by_name else 403)

    run()
