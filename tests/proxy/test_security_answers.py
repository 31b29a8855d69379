"""Security headers on every kind of answer, over TLS and without; whose value stands where several have one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.proxy.peers import Message, Upstream, answering, free_port, get, ok
from tests.proxy.stage import ADDRESS, gateway, on_loop, to
from tests.proxy.test_upgrades import AGREE, ASK
from tests.wire.certificates import Authority

API = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "x-frame-options": "DENY",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}
NAMES = (*API, "permissions-policy", "x-xss-protection", "strict-transport-security")
OF_UPSTREAM = ("X-Frame-Options: ALLOWALL", "x-content-type-options: sniff", "Strict-Transport-Security: max-age=1")


def nowhere() -> str:
    """Return the URL of a service that is not there."""
    return f"http://127.0.0.1:{free_port()}"


def told(answer: Message) -> dict[str, str]:
    """Return the security headers of an answer, none of them twice."""
    return {name: value for name in NAMES if (value := answer.get(name)) is not None}


FULL = {"name": "none", "requests": 1, "window": 3600, "key": ["address"]}
KINDS: list[tuple[int, dict[str, Any], bytes]] = [
    (404, {"route": {"match": {"path": "/a"}}}, get("/")),
    (405, {"route": {"match": {"path": "/", "method": "POST"}}}, get("/")),
    (413, {"max_body": 1}, get("/", method="POST", body=b"long")),
    (400, {}, b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n"),
    (400, {"trusted_hosts": "other.example"}, get("/")),
    (502, {}, get("/")),
    (503, {"service": {"endpoints": []}}, get("/")),
    (200, {"route": {"respond": {"body": "x"}}}, get("/")),
    (308, {"route": {"redirect": "/x"}}, get("/")),
    (200, {}, get("/health")),
    (200, {}, get("/ready")),
    (204, {"cors": {"origins": "*"}}, get("/", "Origin: a", "Access-Control-Request-Method: PUT", method="OPTIONS")),
    (403, {"addresses": {"allow": ["192.0.2.1"]}}, get("/")),
]


@pytest.mark.parametrize(("status", "more", "request_"), KINDS)
@on_loop
async def test_every_kind_of_answer_has_them(status: int, more: dict[str, Any], request_: bytes) -> None:
    async with gateway(to(nowhere(), security_headers="api", **more)) as rig:
        answer = await rig.ask(request_)
        assert answer.status == status
        expected = {**API, "permissions-policy": answer.get("permissions-policy")}
        assert told(answer) == expected
        assert "camera=()" in str(expected["permissions-policy"])


@on_loop
async def test_a_refusal_by_a_limit_has_them() -> None:
    async with gateway(
        to(nowhere(), security_headers={"preset": "none", "frame_options": "DENY"}, limits=[FULL])
    ) as rig:
        assert [(answer.status, told(answer)) for answer in (await rig.ask(get()), await rig.ask(get()))] == [
            (502, {"x-frame-options": "DENY"}),
            (429, {"x-frame-options": "DENY"}),
        ]


SEVEN = {
    "preset": "none",
    "content_type_options": True,
    "frame_options": "DENY",
    "xss_protection": "1; mode=block",
    "hsts": {"max_age": "365d", "over": "always"},
    "content_security_policy": "default-src 'self'",
    "referrer_policy": "strict-origin-when-cross-origin",
    "permissions_policy": "geolocation=(), microphone=(), camera=()",
}


@on_loop
async def test_seven_headers_word_for_word() -> None:
    async with (
        Upstream(answering(lambda _: ok(b"x", *OF_UPSTREAM))) as upstream,
        gateway(to(upstream, security_headers=SEVEN)) as rig,
    ):
        assert told(await rig.ask(get())) == {
            "x-content-type-options": "nosniff",
            "x-frame-options": "DENY",
            "x-xss-protection": "1; mode=block",
            "strict-transport-security": "max-age=31536000; includeSubDomains",
            "content-security-policy": "default-src 'self'",
            "referrer-policy": "strict-origin-when-cross-origin",
            "permissions-policy": "geolocation=(), microphone=(), camera=()",
        }


@pytest.mark.parametrize(
    ("override", "edits", "expected"),
    [
        (True, {}, {"x-frame-options": "DENY", "x-content-type-options": "nosniff"}),
        (False, {}, {"x-frame-options": "ALLOWALL", "x-content-type-options": "sniff"}),
        (True, {"set": {"X-FRAME-OPTIONS": "{path}"}}, {"x-frame-options": "/", "x-content-type-options": "nosniff"}),
        (True, {"remove": ["x-frame-options"]}, {"x-frame-options": None, "x-content-type-options": "nosniff"}),
        (
            False,
            {"remove": ["X-Content-Type-Options"]},
            {"x-frame-options": "ALLOWALL", "x-content-type-options": None},
        ),
    ],
)
@on_loop
async def test_whose_value_stands(override: bool, edits: dict[str, Any], expected: dict[str, str | None]) -> None:
    document: dict[str, Any] = {"security_headers": {"override": override}, "headers": {"response": edits}}
    async with (
        Upstream(answering(lambda _: ok(b"x", *OF_UPSTREAM))) as upstream,
        gateway(to(upstream, **document)) as rig,
    ):
        answer = await rig.ask(get())
        assert {name: answer.get(name) for name in expected} == expected
        assert answer.get("referrer-policy") == "no-referrer"


@on_loop
async def test_a_route_has_its_own_and_the_gateway_s_where_it_has_none() -> None:
    routes = [
        {"name": "web", "match": {"path": "/web"}, "respond": {}, "security_headers": "web"},
        {"name": "off", "match": {"path": "/off"}, "respond": {}, "security_headers": "none"},
        {"name": "all", "match": {"path": "/"}, "respond": {}},
    ]
    document: dict[str, Any] = {
        "services": [{"name": "a", "url": nowhere(), "routes": routes}],
        "security_headers": "api",
    }
    async with gateway(document) as rig:
        for path, expected in (("/web", "SAMEORIGIN"), ("/off", None), ("/", "DENY"), ("/health", "DENY")):
            assert (await rig.ask(get(path))).get("x-frame-options") == expected


@on_loop
async def test_a_switch_of_protocols_has_them_too() -> None:
    async with Upstream() as upstream, gateway(to(upstream, security_headers="api")) as rig:
        client = await rig.client()
        await client.send(get("/", *ASK))
        link = await upstream.accepted()
        await link.head()
        await link.send(AGREE)
        answer = await client.head()
        assert (answer.status, answer.get("x-frame-options")) == (101, "DENY")


# -- HSTS ----------------------------------------------------------------------------------------------------------

HSTS = "max-age=31536000; includeSubDomains"


@on_loop
async def test_transport_security_is_told_over_tls(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    cert, key = authority.issue("gw.test")
    document = to(nowhere(), security_headers="api")
    document["listen"] = [{"address": ADDRESS, "tls": {"cert": cert, "key": key}}, "127.0.0.1:8082"]
    async with gateway(document) as rig:
        for path in ("/", "/health"):
            over_tls = await rig.client(tls=authority.client_context(), name="gw.test")
            plain = await rig.client("127.0.0.1:8082")
            for client, expected in ((over_tls, HSTS), (plain, None)):
                await client.send(get(path))
                assert (await client.answer()).get("strict-transport-security") == expected


@pytest.mark.parametrize(("trust", "expected"), [(["127.0.0.1"], HSTS), ([], None)], ids=["trusted", "anybody"])
@on_loop
async def test_only_a_trusted_proxy_says_that_it_ended_tls(trust: list[str], expected: str | None) -> None:
    async with gateway(to(nowhere(), security_headers="api", forwarding={"trust": trust})) as rig:
        answer = await rig.ask(get("/", "X-Forwarded-Proto: https", "X-Forwarded-For: 192.0.2.1"))
        assert answer.get("strict-transport-security") == expected
