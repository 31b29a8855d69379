"""Upstreams that are broken or hostile: their answer is refused or visibly cut, and their connection is used no more.

Laws: before the head went out, 502 or 504 with a reason; after it, an end that no client takes for the answer's; bytes
that were not asked for never become somebody's answer.
"""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from tests.proxy.raw import Client, attack, connected
from tests.proxy.recorder import OK, Recorder, Seen
from tests.proxy.stage import Rig
from tests.proxy.strict import Incomplete, Malformed, Message, read_response

GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
POISON = b"HTTP/1.1 200 OK\r\nX-Poison: 1\r\nContent-Length: 6\r\n\r\npoison"


def answer(*lines: bytes, body: bytes = b"", status: bytes = b"200 OK", version: bytes = b"1.1") -> bytes:
    return b"\r\n".join((b"HTTP/" + version + b" " + status, *lines, b"", body))


def once(data: bytes, *, close: bool = False, cut: bool = False) -> Recorder:
    """Make an upstream whose first answer is `data` and all others are in order; `cut`: sent byte by byte."""
    told: list[str] = []

    def script(seen: Seen, request: Message) -> bytes | None:
        told.append(request.target)
        if len(told) > 1:
            return OK
        seen.send(data)
        if close:
            seen.close()
        return None

    return Recorder(script)


BAD = {
    "cl and te": answer(b"Content-Length: 2", b"Transfer-Encoding: chunked", body=b"2\r\nok\r\n0\r\n\r\n"),
    "te and cl": answer(b"Transfer-Encoding: chunked", b"Content-Length: 2", body=b"2\r\nok\r\n0\r\n\r\n"),
    "cl twice": answer(b"Content-Length: 2", b"Content-Length: 3", body=b"ok!"),
    "cl twice alike": answer(b"Content-Length: 2", b"Content-Length: 2", body=b"ok"),
    "cl list": answer(b"Content-Length: 2, 2", body=b"ok"),
    "cl plus": answer(b"Content-Length: +2", body=b"ok"),
    "cl negative": answer(b"Content-Length: -2", body=b"ok"),
    "cl word": answer(b"Content-Length: two", body=b"ok"),
    "cl huge": answer(b"Content-Length: 99999999999999999999", body=b"ok"),
    "cl 18 nines": answer(b"Content-Length: 9999999999999999999", body=b"ok"),
    "te twice": answer(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked", body=b"2\r\nok\r\n0\r\n\r\n"),
    "te gzip": answer(b"Transfer-Encoding: gzip", body=b"ok"),
    "te gzip, chunked": answer(b"Transfer-Encoding: gzip, chunked", body=b"2\r\nok\r\n0\r\n\r\n"),
    "te chunked, gzip": answer(b"Transfer-Encoding: chunked, gzip", body=b"2\r\nok\r\n0\r\n\r\n"),
    "te 1.0": answer(b"Transfer-Encoding: chunked", body=b"2\r\nok\r\n0\r\n\r\n", version=b"1.0"),
    "te 1.0 kept": answer(
        b"Connection: keep-alive", b"Transfer-Encoding: chunked", body=b"2\r\nok\r\n0\r\n\r\n", version=b"1.0"
    ),
    "version 2.0": answer(b"Content-Length: 2", body=b"ok", version=b"2.0"),
    "version 0.9": answer(b"Content-Length: 2", body=b"ok", version=b"0.9"),
    "version 1.2": answer(b"Content-Length: 2", body=b"ok", version=b"1.2"),
    "not http": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a request": GET,
    "tls alert": b"\x15\x03\x01\x00\x02\x02\x46",
    "status 099": answer(b"Content-Length: 2", body=b"ok", status=b"099 X"),
    "status 000": answer(b"Content-Length: 2", body=b"ok", status=b"000 X"),
    "status 1000": answer(b"Content-Length: 2", body=b"ok", status=b"1000 X"),
    "status 20": answer(b"Content-Length: 2", body=b"ok", status=b"20 X"),
    "status word": answer(b"Content-Length: 2", body=b"ok", status=b"OK"),
    "nul in a value": answer(b"X: a\0b", b"Content-Length: 2", body=b"ok"),
    "cr in a value": answer(b"X: a\rSet-Cookie: b", b"Content-Length: 2", body=b"ok"),
    "lf in a value": answer(b"X: a\nSet-Cookie: b", b"Content-Length: 2", body=b"ok"),
    "control in a value": answer(b"X: \x1b[2J", b"Content-Length: 2", body=b"ok"),
    "cr in the reason": answer(b"Content-Length: 2", body=b"ok", status=b"200 a\rb"),
    "space before colon": answer(b"X : a", b"Content-Length: 2", body=b"ok"),
    "name not a token": answer(b"X(: a", b"Content-Length: 2", body=b"ok"),
    "no colon": answer(b"X", b"Content-Length: 2", body=b"ok"),
    "bare lf": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok",
    "fields without end": answer(*(b"X-%d: %b" % (n, b"y" * 1000) for n in range(300))),
    "a field without end": answer(b"X: " + b"y" * 300_000),
    "too many fields": answer(*(b"X-%d: y" % n for n in range(1000)), b"Content-Length: 2", body=b"ok"),
    "interim flood": answer(status=b"100 Continue") * 500 + OK,
    "early hints flood": answer(b"Link: </x>", status=b"103 Early Hints") * 500 + OK,
    "101 not asked for": answer(b"Connection: upgrade", b"Upgrade: websocket", status=b"101 Switching"),
    "101 without upgrade": answer(status=b"101 Switching"),
    "101 with a body": answer(b"Content-Length: 2", body=b"ok", status=b"101 Switching"),
    "bad chunk": answer(b"Transfer-Encoding: chunked", body=b"xyz\r\nok\r\n0\r\n\r\n"),
    "chunk size huge": answer(b"Transfer-Encoding: chunked", body=b"fffffffffffffffff\r\nok"),
}


@pytest.mark.parametrize("data", BAD.values(), ids=BAD.keys())
def test_an_answer_that_cannot_be_trusted_is_502(data: bytes) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            got = await client.ask(GET)
            assert (got.status, got.get("x-poison"), got.get("set-cookie")) == (502, None, None)
            assert b"upstream_protocol" in got.body
            # The client is not to blame, and nobody gets what was left over.
            again = await client.ask(GET)
            assert (again.status, again.body) == (200, b"ok")
        await upstream.connections[0].closed
        assert len(upstream.connections) == 2
        lines = await rig.logged(2)
        assert [(line["status_code"], line.get("error")) for line in lines] == [(502, "upstream_protocol"), (200, None)]

    attack(scenario, once(data), retry={"attempts": 0})


# Answers that are in order but for what follows them: the answer may pass, the connection is done.
SURPLUS = {
    "a second answer": (OK, POISON),
    "half a second answer": (OK, POISON[:20]),
    "one byte": (OK, b"H"),
    "rubbish": (OK, b"\0\1\2"),
    "long body": (answer(b"Content-Length: 70000", body=b"x" * 70_000), b"y"),
    "behind the last chunk": (answer(b"Transfer-Encoding: chunked", body=b"2\r\nok\r\n0\r\n\r\n"), POISON),
    "half behind the last chunk": (answer(b"Transfer-Encoding: chunked", body=b"2\r\nok\r\n0\r\n\r\n"), POISON[:20]),
    "behind 204": (answer(status=b"204 No Content"), POISON[:20]),
    "behind 304": (answer(b"Content-Length: 6", status=b"304 Not Modified"), POISON[:20]),
    "behind empty": (answer(b"Content-Length: 0"), POISON[:20]),
    "204 with a body": (answer(b"Content-Length: 6", status=b"204 No Content"), b"hidden"),
    "204 in chunks": (answer(b"Transfer-Encoding: chunked", status=b"204 No Content"), b"2\r\nok\r\n0\r\n\r\n"),
    "304 with a body": (answer(b"Content-Length: 6", status=b"304 Not Modified"), b"hidden"),
}


@pytest.mark.parametrize("at_once", [True, False], ids=["in one read", "later"])
@pytest.mark.parametrize("name", SURPLUS)
def test_surplus_bytes_are_nobodys_answer(name: str, at_once: bool) -> None:
    good, surplus = SURPLUS[name]

    def script(seen: Seen, request: Message) -> bytes:
        if len(upstream.connections) > 1:
            return OK
        return good + surplus if at_once else good

    upstream = Recorder(script)

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            first = await client.ask(GET)
            assert first.get("x-poison") is None
            assert first.status in (200, 204, 304) or (at_once and first.status == 502)
            if not at_once:
                upstream.connections[0].send(surplus)
                await upstream.connections[0].closed
            second = await client.ask(GET)
            assert (second.status, second.body, second.get("x-poison")) == (200, b"ok", None)
        assert len(upstream.connections) == 2

    attack(scenario, upstream, service={"pool": {"idle_timeout": 600}})


@pytest.mark.parametrize("surplus", [b"hello", b"2\r\nok\r\n0\r\n\r\n", POISON, POISON[:20]])
def test_a_body_behind_the_answer_to_head_is_nobodys_answer(surplus: bytes) -> None:
    def script(seen: Seen, request: Message) -> bytes:
        return answer(b"Content-Length: 5") + surplus if request.method == "HEAD" else OK

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            got = await client.ask(GET.replace(b"GET", b"HEAD"), "HEAD")
            assert got.status in (200, 502)
            await upstream.connections[0].closed
            assert (await client.ask(GET)).body == b"ok"

    attack(scenario, Recorder(script))


def test_answers_to_head_and_204_leave_the_connection_in_order() -> None:
    def script(seen: Seen, request: Message) -> bytes:
        if request.method == "HEAD":
            return answer(b"Content-Length: 5") if request.target == "/x" else answer(b"Transfer-Encoding: chunked")
        return OK

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            for target in (b"/x", b"/y") * 3:
                got = await client.ask(b"HEAD " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD")
                assert got.get("content-length") == ("5" if target == b"/x" else None)
                assert (await client.ask(GET)).body == b"ok"
        assert len(upstream.connections) == 1

    attack(scenario, Recorder(script))


CUT = {
    "length": answer(b"Content-Length: 10", body=b"hello"),
    "chunked": answer(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n"),
    "within a chunk": answer(b"Transfer-Encoding: chunked", body=b"a\r\nhello"),
    "within a chunk size": answer(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n1"),
    "before the last line": answer(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n0\r\n"),
    "bad chunk later": answer(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n"),
}


async def cut_visibly(client: Client, method: str = "GET") -> bytes:
    """Read what the gateway sends; fails if a strict reader would take it for a whole answer."""
    data = await client.rest()
    try:
        message, _ = read_response(data, method, closed=True)
    except (Incomplete, Malformed):
        return data
    # An answer that ends with the connection looks whole unless the connection broke.
    assert message.by_close
    assert client.reset
    return data


@pytest.mark.parametrize("version", [b"1.1", b"1.0"])
@pytest.mark.parametrize("reset", [False, True], ids=["fin", "reset"])
@pytest.mark.parametrize("name", CUT)
def test_an_answer_that_breaks_off_never_looks_whole(name: str, reset: bool, version: bytes) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await client.send(GET.replace(b"1.1", version))
            await upstream.until(lambda: bool(upstream.connections and upstream.connections[0].requests))
            seen = upstream.connections[0]
            while b"hello" not in client.raw:
                assert await client.more()
            if name == "bad chunk later":
                seen.send(b"zzz\r\n")
            elif reset:
                seen.reset()
            else:
                seen.close()
            await cut_visibly(client)
        [line] = await rig.logged()
        assert line["status_code"] == 200
        assert line["error"] == ("upstream_protocol" if name == "bad chunk later" else "upstream_reset")
        await seen.closed

    attack(scenario, Recorder(lambda seen, _: CUT[name]))


def test_an_answer_that_ends_with_its_connection_is_whole() -> None:
    def script(seen: Seen, _: Message) -> None:
        seen.send(answer(body=b"hello"))
        seen.close()

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            got = await client.ask(GET)
            assert (got.status, got.body, got.chunked) == (200, b"hello", True)
            await client.send(GET.replace(b"1.1", b"1.0"))
            [got] = await client.responses()
            assert (got.body, got.by_close, client.reset) == (b"hello", True, False)
        assert len(upstream.connections) == 2

    attack(scenario, Recorder(script))


def test_an_answer_that_ends_with_its_connection_and_a_reset_is_cut() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        for version in (b"1.1", b"1.0"):
            async with connected(rig) as client:
                await client.send(GET.replace(b"1.1", version))
                while b"hello" not in client.raw:
                    assert await client.more()
                upstream.connections[-1].reset()
                await cut_visibly(client)

    attack(scenario, Recorder(answer(body=b"hello")))


SILENT = {
    "no head": (b"", 504, "response_timeout"),
    "half a head": (b"HTTP/1.1 200 OK\r\nX: ", 504, "response_timeout"),
    "interim only": (b"HTTP/1.1 100 Continue\r\n\r\n", 504, "response_timeout"),
}


@pytest.mark.parametrize(("data", "status", "reason"), SILENT.values(), ids=SILENT.keys())
def test_a_slow_head_is_504(data: bytes, status: int, reason: str) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            got = await client.ask(GET)
            assert got.status == status
            assert reason.encode() in got.body
        await upstream.connections[0].closed

    attack(scenario, Recorder(data), timeout={"response": 0.1}, retry={"attempts": 0})


def test_a_dripped_head_does_not_extend_its_time() -> None:
    async def drip(seen: Seen) -> None:
        for _ in range(2000):
            seen.send(b"X: y\r\n")
            await asyncio.sleep(0.01)

    def script(seen: Seen, _: Message) -> object:
        seen.send(b"HTTP/1.1 200 OK\r\n")
        return drip(seen)

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            assert (await client.ask(GET)).status in (502, 504)

    attack(scenario, Recorder(script), timeout={"response": 0.2}, retry={"attempts": 0})  # type: ignore[arg-type]


def test_a_body_that_stops_is_cut() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await client.send(GET)
            assert b"hello" in await cut_visibly(client)
        [line] = await rig.logged()
        assert line["error"] == "idle_timeout"

    attack(scenario, Recorder(CUT["chunked"]), timeout={"idle": 0.1})


@pytest.mark.parametrize(
    "endless",
    [b"1;" + b"x" * 4096, b"0\r\nX: " + b"x" * 4096, b"0\r\n" + b"X: y\r\n" * 1000],
    ids=["ext", "value", "fields"],
)
def test_framing_without_end_is_cut(endless: bytes) -> None:
    async def flood(seen: Seen) -> None:
        seen.send(answer(b"Transfer-Encoding: chunked", body=b"5\r\nhello\r\n" + endless))
        filler = b"X: y\r\n" * 1000 if endless.endswith(b"\n") else b"x" * 4096
        while not seen.transport.is_closing():
            seen.send(filler)
            await asyncio.sleep(0)

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await client.send(GET)
            await cut_visibly(client)
        await upstream.connections[0].closed

    attack(scenario, Recorder(lambda seen, _: flood(seen)))


def test_an_idle_connection_that_speaks_is_closed() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            assert (await client.ask(GET)).body == b"ok"
            [seen] = upstream.connections
            seen.send(POISON)
            await seen.closed
            with contextlib.suppress(AssertionError):
                assert (await client.ask(GET)).body == b"ok"
        assert len(upstream.connections) == 2

    attack(scenario)
