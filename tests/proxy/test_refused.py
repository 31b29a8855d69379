"""What the log says of requests that are refused before they are routed: who asked for what, bounded and escaped."""

from __future__ import annotations

import pytest

from tests.proxy.raw import attack, connected
from tests.proxy.recorder import Recorder
from tests.proxy.stage import Rig

REFUSED = {
    "no host": (b"PUT /a/b?token=secret HTTP/1.1\r\n\r\n", "PUT", "/a/b"),
    "host twice": (b"GET /a HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "GET", "/a"),
    "malformed field": (b"POST /a HTTP/1.1\r\nHost : a\r\n\r\n", "POST", "/a"),
    "malformed path": (b"GET /a/../../b HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/a/../../b"),
    "a terminal's words": (b'GET /"\\<>` HTTP/1.1\r\nHost: a b\r\n\r\n', "GET", "/%22%5C%3C%3E%60"),
    "escaped already": (b"GET /%00%zz HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/%00%zz"),
    "authority": (b"CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\n\r\n", "CONNECT", "a:443"),
    "version": (b"GET /a HTTP/2.0\r\nHost: a\r\n\r\n", "GET", "/a"),
    "no preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\r", "PRI", "*"),
    "unknown method": (b"BREW /a HTTP/1.1\r\nHost: a\r\n\r\n", "-", "-"),
    "no method": (b"\r\n\0\0", "-", "-"),
    "long": (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/" + "a" * 255),
    "long and escaped": (b"GET /" + b'"' * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/" + "%22" * 255),
    "method not ascii": (b"\xc3\xa4ET / HTTP/1.1\r\nHost: a\r\n\r\n", "-", "-"),
}


@pytest.mark.parametrize(("payload", "method", "path"), REFUSED.values(), ids=REFUSED.keys())
@pytest.mark.parametrize("dripped", [False, True], ids=["whole", "dripped"])
def test_the_log_names_method_and_target(payload: bytes, method: str, path: str, dripped: bool) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            if dripped and len(payload) < 1000:
                await client.drip(payload)
            else:
                await client.send(payload)
            [answer] = await client.responses()
        [line] = await rig.logged()
        assert (answer.status, line["method"], line["path"]) == (line["status_code"], method, path)

    attack(scenario)


def test_a_body_that_breaks_is_logged_with_its_request() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await client.send(b"POST /a?b HTTP/1.1\r\nHost: example.test\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n")
            [answer] = await client.responses()
        [line] = await rig.logged()
        assert (answer.status, line["method"], line["path"], line["host"]) == (400, "POST", "/a", "example.test")

    attack(scenario)


def test_nothing_of_an_earlier_request_is_logged() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            assert (await client.ask(b"POST /first HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab")).status == 200
            await client.send(b"\0")
            [answer] = await client.responses()
        _, line = await rig.logged(2)
        assert (answer.status, line["method"], line["path"]) == (400, "-", "-")

    attack(scenario)


def test_a_refused_head_has_an_answer_without_body() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            answer = await client.ask(b"HEAD /a HTTP/1.1\r\n\r\n", method="HEAD")
            assert (answer.status, await client.rest()) == (400, b"")
            assert answer.get("content-length") != "0"

    attack(scenario)
