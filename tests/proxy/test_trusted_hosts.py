"""Hosts that may be asked for: refused are all others, before anything is counted, looked up or sent."""

from __future__ import annotations

from typing import Any

import pytest

from tests.proxy.peers import Message, Upstream, answering, get, ok
from tests.proxy.stage import gateway, on_loop, to

HOSTS = ["api.example.com", "*.example.org", "[::1]", "127.0.0.1"]
LIMIT = {"name": "early", "requests": 3, "window": 3600, "key": ["address"]}


def asking(host: str, path: str = "/") -> bytes:
    return get(path).replace(b"example.test", host.encode())


TRUSTED = [
    "api.example.com",
    "API.Example.Com:8443",
    "api.example.com.",
    "a.b.example.org",
    "[0:0:0::1]:80",
    "127.0.0.1",
]
OTHERS = [
    "example.com",
    "evilexample.org",
    "example.org",
    "api.example.com.evil.net",
    "127.0.0.2",
    "[::2]",
    "localhost",
]


@pytest.mark.parametrize("host", TRUSTED)
@on_loop
async def test_a_trusted_host_is_served(host: str) -> None:
    async with Upstream(answering(lambda _: ok(b"x"))) as upstream, gateway(to(upstream, trusted_hosts=HOSTS)) as rig:
        assert (await rig.ask(asking(host))).status == 200


@pytest.mark.parametrize("host", OTHERS)
@on_loop
async def test_any_other_host_is_refused(host: str) -> None:
    seen: list[Message] = []
    async with (
        Upstream(answering(lambda _: ok(b"x"), seen)) as upstream,
        gateway(to(upstream, trusted_hosts=HOSTS, limits=[LIMIT])) as rig,
    ):
        for path in ("/", "/health/x", "/none"):
            answer = await rig.ask(asking(host, path))
            assert (answer.status, answer.json()["reason"]) == (400, "untrusted_host")
            assert host.encode() not in answer.body
            # Refused before it is counted.
            assert answer.get("x-ratelimit-limit") is None
        # Load balancers ask an address for its health.
        for path in ("/health", "/ready"):
            assert (await rig.ask(asking(host, path))).status == 200
        assert not seen
        lines = await rig.logged(5)
        assert (lines[0]["error"], lines[0]["detail"]) == ("untrusted_host", host.partition(":8")[0])


@on_loop
async def test_the_target_s_host_is_judged_and_none_is_none() -> None:
    async with (
        Upstream(answering(lambda _: ok(b"x"))) as upstream,
        gateway(to(upstream, trusted_hosts="a.test")) as rig,
    ):
        cases: list[tuple[bytes, int]] = [
            (b"GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", 200),
            (b"GET http://b.test/ HTTP/1.1\r\nHost: b.test\r\n\r\n", 400),
            (b"GET http://b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
            (b"GET / HTTP/1.0\r\n\r\n", 400),
            (b"GET / HTTP/1.0\r\nHost: a.test\r\n\r\n", 200),
            # What a client says of the host it was asked for is no host.
            (b"GET / HTTP/1.1\r\nHost: b.test\r\nX-Forwarded-Host: a.test\r\n\r\n", 400),
        ]
        for request, status in cases:
            assert (await rig.ask(request)).status == status


@pytest.mark.parametrize("more", [{}, {"trusted_hosts": "*"}], ids=["none named", "all named"])
@on_loop
async def test_where_no_host_is_kept_out_all_are_served(more: dict[str, Any]) -> None:
    async with Upstream(answering(lambda _: ok(b"x"))) as upstream, gateway(to(upstream, **more)) as rig:
        assert (await rig.ask(asking("anything.at.all"))).status == 200
