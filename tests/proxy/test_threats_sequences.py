"""What stands behind a request: upgrades that are not taken, bodies nobody reads, pipelines, Expect.

The law that all of these test: the upstream sees exactly the requests that the gateway logged, and a byte of a body is
never read as a request.
"""

from __future__ import annotations

import pytest

from tests.proxy.peers import eventually
from tests.proxy.raw import attack, connected
from tests.proxy.recorder import OK, Recorder, Seen
from tests.proxy.stage import Rig
from tests.proxy.strict import Message

GET = b"GET /second HTTP/1.1\r\nHost: a\r\n\r\n"
SMUGGLED = b"GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


def request(method: bytes, *lines: bytes, body: bytes = b"", target: bytes = b"/first") -> bytes:
    return b"\r\n".join((method + b" " + target + b" HTTP/1.1", b"Host: a", *lines, b"", body))


def length(data: bytes) -> bytes:
    return b"Content-Length: %d" % len(data)


def seen_of(upstream: Recorder) -> list[tuple[str, str, bytes]]:
    return [(each.method, each.target, each.body) for each in upstream.requests]


@pytest.mark.parametrize("cut", ["whole", "dripped"])
@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"DELETE", b"POST", b"PUT", b"PATCH"])
def test_the_body_of_any_method_is_framed(method: bytes, cut: str) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            data = request(method, length(SMUGGLED), body=SMUGGLED) + GET
            await (client.drip(data) if cut == "dripped" else client.send(data))
            assert (await client.response(method.decode())).status == 200
            assert (await client.response()).status == 200
        assert seen_of(upstream) == [(method.decode(), "/first", SMUGGLED), ("GET", "/second", b"")]
        assert [line["path"] for line in await rig.logged(2)] == ["/first", "/second"]

    def answer(_: Seen, message: Message) -> bytes:
        return OK if message.method != "HEAD" else OK.removesuffix(b"ok")

    attack(scenario, Recorder(answer))


UPGRADES = {
    "h2c": (b"Connection: Upgrade, HTTP2-Settings", b"Upgrade: h2c", b"HTTP2-Settings: AAMAAABkAAQAAP__"),
    "unknown": (b"Connection: upgrade", b"Upgrade: chat/2"),
    "tls": (b"Connection: upgrade", b"Upgrade: TLS/1.0"),
    "several": (b"Connection: upgrade", b"Upgrade: h2c, websocket"),
    "websocket with a body": (b"Connection: upgrade", b"Upgrade: websocket"),
}


@pytest.mark.parametrize("cut", ["whole", "dripped"])
@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
@pytest.mark.parametrize("lines", UPGRADES.values(), ids=UPGRADES.keys())
def test_an_upgrade_that_is_not_taken_does_not_unframe_the_body(
    lines: tuple[bytes, ...], chunked: bool, cut: str
) -> None:
    framing = b"Transfer-Encoding: chunked" if chunked else length(SMUGGLED)
    body = b"%x\r\n%b\r\n0\r\n\r\n" % (len(SMUGGLED), SMUGGLED) if chunked else SMUGGLED
    data = request(b"POST", *lines, framing, body=body) + GET

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await (client.drip(data) if cut == "dripped" else client.send(data))
            assert (await client.response()).status == 200
            assert (await client.response()).status == 200
        assert seen_of(upstream) == [("POST", "/first", SMUGGLED), ("GET", "/second", b"")]
        assert b"pgrade" not in upstream.raw
        await rig.logged(2)

    attack(scenario)


@pytest.mark.parametrize("cut", ["whole", "dripped"])
@pytest.mark.parametrize("name", ["h2c", "unknown", "several"])
def test_an_upgrade_without_a_body_that_no_route_allows_is_no_upgrade(name: str, cut: str) -> None:
    data = request(b"GET", *UPGRADES[name]) + GET

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await (client.drip(data) if cut == "dripped" else client.send(data))
            assert (await client.response()).status == 200
            assert (await client.response()).status == 200
        assert seen_of(upstream) == [("GET", "/first", b""), ("GET", "/second", b"")]
        assert b"pgrade" not in upstream.raw

    attack(scenario)


def test_what_an_upgrade_request_names_and_closes_still_counts() -> None:
    data = request(
        b"POST", b"Connection: upgrade, X-Named, close", b"Upgrade: h2c", b"X-Named: 1", length(b"hi"), body=b"hi"
    )

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await client.send(data + GET)
            [answer] = await client.responses()
            assert (answer.status, answer.get("connection")) == (200, "close")
        [seen] = upstream.requests
        assert (seen.body, seen.get("x-named")) == (b"hi", None)

    attack(scenario)


@pytest.mark.parametrize("status", [200, 404, 426, 500])
def test_requests_behind_a_refused_websocket_wait_and_are_requests(status: int) -> None:
    data = request(b"GET", b"Connection: upgrade", b"Upgrade: websocket", b"Sec-WebSocket-Version: 13") + GET

    def answer(_: Seen, message: Message) -> bytes:
        assert message.target != "/second" or len(seen) == 1
        seen.append(message.target)
        return OK if message.target == "/second" else OK.replace(b"200", b"%d" % status)

    seen: list[str] = []

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await client.send(data)
            assert (await client.response()).status == status
            assert (await client.response()).status == 200
        assert [each.target for each in upstream.requests] == ["/first", "/second"]
        assert upstream.requests[0].get("upgrade") == "websocket"

    attack(scenario, Recorder(answer))


def test_pipelined_upgrades_fill_the_queue_and_all_are_served() -> None:
    one = request(b"POST", b"Connection: upgrade", b"Upgrade: h2c", length(b"hi"), body=b"hi")
    data = GET * 8 + one * 40 + GET * 8

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await client.send(data)
            for _ in range(56):
                assert (await client.response()).status == 200
        assert [each.target for each in upstream.requests] == ["/second"] * 8 + ["/first"] * 40 + ["/second"] * 8
        assert all(each.body in (b"", b"hi") for each in upstream.requests)

    attack(scenario)


@pytest.mark.parametrize("size", [1, 7, 100, 1000, 4096, 16_384, 40_000])
def test_pipelined_requests_are_served_in_order_however_they_are_cut(size: int) -> None:
    parts = [
        request(b"POST", length(b"x" * n), body=b"x" * n, target=b"/%d" % n)
        if n % 3
        else request(b"GET", target=b"/%d" % n)
        for n in range(120)
    ]
    data = b"".join(parts)

    def answer(_: Seen, message: Message) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(message.target), message.target.encode())

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await client.send(data, [size] * (len(data) // size))
            for n in range(120):
                assert (await client.response()).body == b"/%d" % n
        assert [each.body for each in upstream.requests] == [b"x" * n if n % 3 else b"" for n in range(120)]
        assert len(await rig.logged(120)) == 120

    attack(scenario, Recorder(answer))


@pytest.mark.parametrize(
    "behind",
    [b"GET /bad HTTP/1.1\r\nX\r\n\r\n", b"GET / FTP/1.1\r\n", b"GET /b HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n"],
)
@pytest.mark.parametrize("cut", ["whole", "dripped"])
def test_nothing_is_served_behind_an_error(behind: bytes, cut: str) -> None:
    data = GET + GET + behind + SMUGGLED

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await (client.drip(data) if cut == "dripped" else client.send(data))
            answers = await client.responses()
        assert [each.status for each in answers] == [200, 200, 400]
        assert [each.target for each in upstream.requests] == ["/second", "/second"]
        assert sorted(line["status_code"] for line in await rig.logged(3)) == [200, 200, 400]

    attack(scenario)


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_nothing_is_served_behind_the_last_request(version: bytes) -> None:
    close = b"" if version == b"1.0" else b"Connection: close\r\n"

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await client.send(b"GET /first HTTP/%b\r\nHost: a\r\n%b\r\n" % (version, close) + SMUGGLED)
            [answer] = await client.responses()
        assert (answer.status, answer.get("connection")) == (200, "close")
        assert [each.target for each in upstream.requests] == ["/first"]

    attack(scenario)


def test_an_early_answer_to_an_unread_body_closes_and_is_not_lost() -> None:
    early = b"HTTP/1.1 413 Too Large\r\nContent-Length: 4\r\n\r\nmuch"

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await client.send(request(b"POST", b"Content-Length: 1000000", body=SMUGGLED))
            answer = await client.response()
            assert (answer.status, answer.body, answer.get("connection")) == (413, b"much", "close")
            await client.send(SMUGGLED * 1000)
            assert await client.rest() == b""
        [link] = upstream.connections
        await link.closed
        assert upstream.requests == []
        await rig.logged()

    attack(scenario, Recorder(early=early))


def test_expect_continue_is_answered_once_and_not_passed_on() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await client.send(request(b"POST", b"Expect: 100-Continue", length(SMUGGLED)))
            assert (await client.response()).status == 100
            await client.send(SMUGGLED + GET)
            assert (await client.response()).status == 200
            assert (await client.response()).status == 200
        assert seen_of(upstream) == [("POST", "/first", SMUGGLED), ("GET", "/second", b"")]
        assert b"xpect" not in upstream.raw

    attack(scenario)


def test_expect_of_http_1_0_is_ignored() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await client.send(b"POST /first HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
            await eventually(lambda: bool(upstream.raw))
            await client.send(b"hi")
            [answer] = await client.responses()
        assert answer.status == 200
        assert upstream.requests[0].body == b"hi"

    attack(scenario)


def test_an_answer_instead_of_continue_closes() -> None:
    """The client may send the body or not (RFC 9110 section 10.1.1): what comes next cannot be told to be a request."""

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await client.send(request(b"POST", b"Expect: 100-continue", length(SMUGGLED), target=b"/health"))
            answer = await client.response()
            assert (answer.status, answer.get("connection")) == (405, "close")
            await client.send(SMUGGLED)
            assert await client.rest() == b""
        assert upstream.raw == b""

    attack(scenario)


@pytest.mark.parametrize("target", [b"/health", b"/nowhere"])
def test_many_pipelined_requests_that_need_no_upstream(target: bytes) -> None:
    count = 3000

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            client.writer.write(request(b"GET", target=target) * count)
            for _ in range(count):
                assert (await client.response()).status == (200 if target == b"/health" else 404)
        assert len(rig.log) == count
        assert upstream.raw == b""

    attack(scenario, route={"match": {"path": "/elsewhere"}})
