"""Targets, hosts and fields about the way: one reading of each, and nothing of a stranger's word believed."""

from __future__ import annotations

from typing import Any

import pytest

from tests.proxy.raw import attack, connected
from tests.proxy.recorder import Recorder
from tests.proxy.stage import Rig


def get(target: bytes, *lines: bytes, method: bytes = b"GET", version: bytes = b"1.1") -> bytes:
    return b"\r\n".join((method + b" " + target + b" HTTP/" + version, *lines, b"", b""))


REFUSED = {
    # -- Host: RFC 9112 section 3.2, RFC 3986 section 3.2.2
    "no host": (get(b"/"), 400),
    "host twice": (get(b"/", b"Host: a", b"Host: b"), 400),
    "host twice alike": (get(b"/", b"Host: a", b"host: a"), 400),
    "host empty": (get(b"/", b"Host:"), 400),
    "host list": (get(b"/", b"Host: a, b"), 400),
    "host with path": (get(b"/", b"Host: a/b"), 400),
    "host with user": (get(b"/", b"Host: u@a"), 400),
    "host with query": (get(b"/", b"Host: a?b"), 400),
    "host with fragment": (get(b"/", b"Host: a#b"), 400),
    "host with blank": (get(b"/", b"Host: a b"), 400),
    "host escaped": (get(b"/", b"Host: %61"), 400),
    "host not ascii": (get(b"/", b"Host: \xe4"), 400),
    "host with scheme": (get(b"/", b"Host: http://a"), 400),
    "port word": (get(b"/", b"Host: a:http"), 400),
    "port too large": (get(b"/", b"Host: a:65536"), 400),
    "port negative": (get(b"/", b"Host: a:-1"), 400),
    "two ports": (get(b"/", b"Host: a:1:2"), 400),
    "port without host": (get(b"/", b"Host: :80"), 400),
    "open bracket": (get(b"/", b"Host: [::1"), 400),
    "zone": (get(b"/", b"Host: [fe80::1%25eth0]"), 400),
    "address as a number": (get(b"/", b"Host: 2130706433"), 400),
    "address short": (get(b"/", b"Host: 127.1"), 400),
    "address octal": (get(b"/", b"Host: 0177.0.0.1"), 400),
    "address hexadecimal": (get(b"/", b"Host: 0x7f.0.0.1"), 400),
    "host 1.0 malformed": (get(b"/", b"Host: a/b", version=b"1.0"), 400),
    # -- forms of the target: RFC 9112 section 3.2
    "absolute, other host": (get(b"http://b/", b"Host: a"), 400),
    "absolute, other port": (get(b"http://a:81/", b"Host: a"), 400),
    "absolute, no host": (get(b"http://a/"), 400),
    "absolute, user": (get(b"http://u:p@a/", b"Host: a"), 400),
    "absolute, empty": (get(b"http:///x", b"Host: a"), 400),
    "absolute, other scheme": (get(b"ftp://a/", b"Host: a"), 400),
    "absolute, file": (get(b"file:///etc/passwd", b"Host: a"), 400),
    "asterisk": (get(b"*", b"Host: a"), 400),
    "asterisk post": (get(b"*", b"Host: a", method=b"POST"), 400),
    "relative": (get(b"a/b", b"Host: a"), 400),
    "authority": (get(b"a:80", b"Host: a"), 400),
    "connect": (get(b"a:443", b"Host: a:443", method=b"CONNECT"), 405),
    "connect 1.0": (get(b"a:443", method=b"CONNECT", version=b"1.0"), 405),
    "connect length": (get(b"a:443", b"Host: a:443", b"Content-Length: 35", method=b"CONNECT"), 405),
    "connect path": (get(b"/a", b"Host: a", method=b"CONNECT"), 405),
    "connect absolute": (get(b"http://a/", b"Host: a", method=b"CONNECT"), 405),
    "connect asterisk": (get(b"*", b"Host: a", method=b"CONNECT"), 405),
    # -- paths: RFC 3986 sections 5.2.4 and 6.2.2
    "climbs": (get(b"/../x", b"Host: a"), 400),
    "climbs later": (get(b"/a/../../x", b"Host: a"), 400),
    "climbs escaped": (get(b"/%2e%2e/x", b"Host: a"), 400),
    "climbs half escaped": (get(b"/a/.%2E/%2e./x", b"Host: a"), 400),
    "slash escaped": (get(b"/a%2fb", b"Host: a"), 400),
    "backslash": (get(b"/a\\b", b"Host: a"), 400),
    "backslash escaped": (get(b"/a%5cb", b"Host: a"), 400),
    "nul escaped": (get(b"/a%00b", b"Host: a"), 400),
    "line end escaped": (get(b"/a%0d%0aX:y", b"Host: a"), 400),
    "parameter on dots": (get(b"/a/..;/b", b"Host: a"), 400),
    "parameter on nothing": (get(b"/a/;/b", b"Host: a"), 400),
    "bad escape": (get(b"/a%zz", b"Host: a"), 400),
    "short escape": (get(b"/a%2", b"Host: a"), 400),
    "overlong": (get(b"/%c0%af", b"Host: a"), 400),
    "fragment": (get(b"/a#b", b"Host: a"), 400),
    "fragment in query": (get(b"/a?b#c", b"Host: a"), 400),
    "not ascii": (get(b"/\xc3\xa4", b"Host: a"), 400),
    "not ascii in query": (get(b"/?\xc3\xa4", b"Host: a"), 400),
    "tab in query": (get(b"/?a\tb", b"Host: a"), 400),
    "delete in query": (get(b"/?a\x7fb", b"Host: a"), 400),
    "form feed in path": (get(b"/a\x0cb", b"Host: a"), 400),
    "nul in path": (get(b"/a\0b", b"Host: a"), 400),
    "nul in query": (get(b"/?a\0b", b"Host: a"), 400),
}


@pytest.mark.parametrize(("payload", "status"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("dripped", [False, True], ids=["whole", "dripped"])
def test_refused(payload: bytes, status: int, dripped: bool) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            if dripped:
                await client.drip(payload)
            await client.send(get(b"/smuggled", b"Host: a") if dripped else payload + get(b"/smuggled", b"Host: a"))
            [answer] = await client.responses()
        assert (answer.status, answer.get("connection"), upstream.raw) == (status, "close", b"")
        if status == 405:
            assert answer.get("allow") == "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
        await rig.logged()

    attack(scenario)


@pytest.mark.parametrize(
    ("target", "host", "sent"),
    [
        (b"/%7euser/%41", b"a", "/~user/A"),
        (b"/a/./b/../c", b"a", "/a/c"),
        (b"//a///b", b"a", "/a/b"),
        (b"/a%c3%a4", b"a", "/a%C3%A4"),
        (b"/a?b=%zz&c=../..//%2f", b"a", "/a?b=%zz&c=../..//%2f"),
        (b"/a|b", b"a", "/a%7Cb"),
        (b"http://A.example:80/x?y", b"a.EXAMPLE.", "/x?y"),
        (b"http://a", b"a", "/"),
        (b"http://a?b", b"a", "/?b"),
    ],
)
def test_the_upstream_sees_the_path_that_was_routed_and_logged(target: bytes, host: bytes, sent: str) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            assert (await client.ask(get(target, b"Host: " + host))).status == 200
        [request] = upstream.requests
        [line] = await rig.logged()
        assert (request.target, line["path"]) == (sent, sent.partition("?")[0])
        assert request.get("host") == upstream.url.removeprefix("http://")
        assert request.get("x-forwarded-host") == ("a.example" if b"xample" in target else "a")

    attack(scenario)


def test_options_asterisk_is_answered_and_keeps_the_connection() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            answer = await client.ask(get(b"*", b"Host: a", method=b"OPTIONS"))
            assert answer.status in (200, 204, 404)
            assert (await client.ask(get(b"/x", b"Host: a"))).status == 200

    attack(scenario)


def test_1_0_without_host_is_served() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await client.send(get(b"/x", version=b"1.0"))
            [answer] = await client.responses()
        assert answer.status == 200
        [request] = upstream.requests
        assert request.get("x-forwarded-port") == "80"
        assert request.get("x-forwarded-host") in (None, "")

    attack(scenario)


SPOOFED = {
    "X-Forwarded-For": "6.6.6.6",
    "X-Forwarded-Host": "evil",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Port": "666",
    "X-Forwarded-Prefix": "/evil",
    "X-Forwarded-Server": "evil",
    "X-Forwarded-Ssl": "on",
    "X-Forwarded-Scheme": "https",
    "X-Real-IP": "6.6.6.6",
    "Forwarded": "for=6.6.6.6;host=evil;proto=https",
    "X_Forwarded_For": "6.6.6.6",
    "X-Forwarded_For": "6.6.6.6",
    "X_Real_IP": "6.6.6.6",
}


@pytest.mark.parametrize("underscores", ["drop", "allow"])
@pytest.mark.parametrize("name", SPOOFED)
def test_nobody_is_believed_about_the_way(name: str, underscores: str) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            for spelling in (name, name.upper(), name.lower()):
                line = f"{spelling}: {SPOOFED[name]}".encode()
                assert (await client.ask(get(b"/x", b"Host: a", line, b"X-Own: 1"))).status == 200
        told = {
            "x-forwarded-for": "127.0.0.1",
            "x-forwarded-host": "a",
            "x-forwarded-proto": "http",
            "x-forwarded-port": "80",
            "x-real-ip": "127.0.0.1",
        }
        assert len(upstream.requests) == 3
        for request in upstream.requests:
            assert {key: request.get(key) for key in told} == told
            assert not {key for key, _ in request.fields} & ({name.lower()} - told.keys())
        assert [line["client"] for line in await rig.logged(3)] == ["127.0.0.1"] * 3

    attack(scenario, http={"underscores": underscores})


OURS = ["x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip", "x-request-id", "via", "host"]


@pytest.mark.parametrize("name", [*OURS, "content-length", "transfer-encoding"])
def test_what_we_send_cannot_be_named_away(name: str) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            for connection in (name, name.upper(), f"close-not, {name},,", f"keep-alive , {name}"):
                request = get(
                    b"/x", b"Host: a", f"Connection: {connection}".encode(), b"Content-Length: 2", method=b"POST"
                )
                assert (await client.ask(request + b"hi")).status == 200
        for seen in upstream.requests:
            assert seen.body == b"hi"
            assert seen.get("content-length") == "2"
            for ours in OURS:
                assert seen.get(ours)
            assert seen.get("connection") is None

    attack(scenario)


@pytest.mark.parametrize("route", [{}, {"headers": {"request": {"set": {"X-A": "{client}"}}}}], ids=["plain", "edited"])
def test_our_name_stands_last_in_via_both_ways(route: dict[str, Any]) -> None:
    answer = b"HTTP/1.1 200 OK\r\nVia: 1.1 origin\r\nContent-Length: 0\r\n\r\n"

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            returned = await client.ask(get(b"/x", b"Host: a", b"Via: 1.0 fred", b"X-B: c", b"via: 1.1 bob"))
        [request] = upstream.requests
        assert [value for name, value in request.fields if name == "via"] == ["1.0 fred", "1.1 bob", "1.1 headgate"]
        assert [value for name, value in returned.fields if name == "via"] == ["1.1 origin", "1.1 headgate"]

    attack(scenario, Recorder(answer), route=route)


def test_via_tells_the_version_that_each_side_spoke() -> None:
    answer = b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n"

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            returned = await client.ask(get(b"/x", b"Host: a", version=b"1.0"))
        [request] = upstream.requests
        assert request.get("via") == "1.0 headgate"
        assert returned.get("via") == "1.0 headgate"

    attack(scenario, Recorder(answer))


def test_hop_by_hop_fields_end_here() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        lines = (
            b"Connection: X-Named, keep-alive",
            b"connection: x-other",
            b"X-Named: 1",
            b"X-OTHER: 2",
            b"Keep-Alive: timeout=5",
            b"Proxy-Connection: keep-alive",
            b"Proxy-Authorization: Basic eA==",
            b"TE: trailers",
            b"Trailer: X",
            b"Upgrade: h2c",
            b"HTTP2-Settings: AAAA",
            b"X-Kept: 3",
        )
        async with connected(rig) as client:
            assert (await client.ask(get(b"/x", b"Host: a", *lines))).status == 200
        [request] = upstream.requests
        assert request.get("x-kept") == "3"
        gone = "connection x-named x-other keep-alive proxy-connection proxy-authorization te trailer upgrade"
        assert not {key for key, _ in request.fields} & {*gone.split(), "http2-settings"}

    attack(scenario)


def test_hop_by_hop_fields_of_answers_end_here() -> None:
    answer = (
        b"HTTP/1.1 200 OK\r\nConnection: X-Named, keep-alive\r\nX-Named: 1\r\nKeep-Alive: timeout=5\r\n"
        b"Trailer: X\r\nUpgrade: h2c\r\nProxy-Connection: x\r\nX-Kept: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2;a=b\r\nhi\r\n0\r\nX: y\r\n\r\n"
    )

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            got = await client.ask(get(b"/x", b"Host: a"))
        assert (got.status, got.body, got.trailers, got.get("x-kept")) == (200, b"hi", [], "1")
        assert not {key for key, _ in got.fields} & {"connection", "x-named", "keep-alive", "trailer", "upgrade"}

    attack(scenario, Recorder(answer))
