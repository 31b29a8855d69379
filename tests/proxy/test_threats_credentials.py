"""Credentials that others must not see, and requests that try to be two things at once about who asks."""

from __future__ import annotations

import re

import pytest

from tests.proxy.callers import with_key
from tests.proxy.raw import attack, connected
from tests.proxy.recorder import Recorder
from tests.proxy.stage import Rig
from tests.proxy.test_threats_identity import EVERYWHERE, request


@pytest.mark.parametrize("lines", [(), ("Max-Forwards: 0",), ("Content-Length: 0",)])
def test_no_trace_shows_what_is_put_on_for_the_upstream(lines: tuple[str, ...]) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            answer = await client.ask(request(with_key("ann"), *lines, method="TRACE"))
        assert answer.status == 405
        assert "TRACE" not in (answer.get("allow") or "")
        assert b"0f3c-of-the-gateway" not in answer.body
        assert upstream.raw == b""

    headers = {"request": {"set": {"Authorization": "Bearer 0f3c-of-the-gateway"}}}
    attack(scenario, route={"headers": headers}, **EVERYWHERE)


@pytest.mark.parametrize("pretended", ["X-Plan: gold", "x-pLAN: gold", "X_Plan: gold", "X.Plan: gold", "x.plan: gold"])
def test_what_is_put_on_stands_alone_in_every_spelling(pretended: str) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            assert (await client.ask(request(with_key("ann"), pretended, pretended))).status == 200
        (seen,) = upstream.requests
        told = [value for name, value in seen.fields if re.sub("[_.]", "-", name) == "x-plan"]
        assert told == ["free"]

    headers = {"request": {"set": {"X-Plan": "free"}}}
    attack(scenario, route={"headers": headers}, http={"underscores": "allow"}, **EVERYWHERE)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/private;x", 400),
        ("/private;x=1/y", 400),
        ("/private/y;x", 403),
        ("/private%3Bx", 400),
        ("/private%3bx/y", 400),
        ("/private;", 400),
        ("/a;x/private", 200),
        ("/a;v=1/b;w=2", 200),
        ("/privates;x", 200),
        ("/meant;v=2", 200),
    ],
)
def test_parameters_of_a_path_lead_around_no_gate(target: str, status: int) -> None:
    routes = [
        {"name": "private", "match": {"path": "/private"}, "auth": {"roles": ["admin"]}},
        {"name": "meant", "match": {"path": {"exact": "/meant;v=2"}}},
        {"name": "other", "match": {"path": "/meant"}, "auth": {"roles": ["admin"]}},
        {"name": "open", "match": {"path": "/"}},
    ]

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        for _ in range(2):
            async with connected(rig) as client:
                assert (await client.ask(request(with_key("ann"), target=target))).status == status
        assert len(upstream.requests) == (2 if status == 200 else 0)

    attack(scenario, service={"routes": routes}, **EVERYWHERE)


def test_parameters_of_a_path_lead_around_no_limit() -> None:
    limit = {"name": "logins", "key": ["address"], "match": {"path": "/login"}, "requests": 3, "window": 3600}
    exempting = {"name": "all", "key": ["address"], "exempt": ["/open"], "requests": 4, "window": 3600}

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            statuses = [
                (await client.ask(request(with_key("ann"), target=f"/login{parameters}"))).status
                for parameters in ("", ";a", ";b=1", "%3Bc", ";d/e", "")
            ]
            assert statuses == [200, 200, 200, 429, 429, 429]
            for target, status in (("/open;x", 200), ("/open;x", 429), ("/open", 200)):
                assert (await client.ask(request(with_key("ann"), target=target))).status == status

    attack(scenario, limits=[limit, exempting], **EVERYWHERE)
