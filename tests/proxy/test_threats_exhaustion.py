"""Clients that cost more than they should: slow, endless, many. Each is bounded in time, bytes and number.

Limits are shortened by configuration; every wait is for the gateway to act and has a generous ceiling.
"""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from pathlib import Path

import pytest

from headgate.telemetry.cells import read
from headgate.wire import pace
from tests.proxy.peers import eventually
from tests.proxy.raw import Client, attack, connected
from tests.proxy.recorder import OK, Recorder, Seen
from tests.proxy.stage import Rig
from tests.proxy.strict import Message

PACKAGE = Path(pace.__file__).parent.parent
GET = b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n"
HEAD = b"GET /x HTTP/1.1\r\nHost: a\r\n"
POST = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n"
CHUNKED = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


async def drip(client: Client, piece: bytes = b"", pause: float = 0.01) -> None:
    """Send a piece again and again until the gateway has had enough."""
    while not client.reset and not client.reader.at_eof():
        await client.send(piece)
        await asyncio.sleep(pause)


async def dripping(client: Client, piece: bytes, pause: float = 0.01) -> list[Message]:
    """Read what the gateway answers while the dripping goes on."""
    task = asyncio.ensure_future(drip(client, piece, pause))
    try:
        return await client.responses()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


# -- slowness ------------------------------------------------------------------------------------------------------

SLOW_HEADS = {
    "nothing more": (b"GET", b""),
    "half a line": (b"GET /x HT", b""),
    "fields": (HEAD, b"X: y\r\n"),
    "one value": (HEAD + b"X: ", b"y"),
    "target": (b"GET /", b"x"),
    "behind a request": (GET + HEAD, b"X: y\r\n"),
    "behind two": (GET + GET + HEAD, b"X: y\r\n"),
    "behind a body": (POST.replace(b"1000", b"2") + b"hi" + HEAD, b"X: y\r\n"),
}


@pytest.mark.parametrize(("start", "piece"), SLOW_HEADS.values(), ids=SLOW_HEADS.keys())
def test_a_head_has_its_time_in_all(start: bytes, piece: bytes) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await client.send(start)
            answers = await dripping(client, piece)
        assert [each.status for each in answers] == [200] * start.count(b"\r\n\r\n") + [408]
        assert answers[-1].get("connection") == "close"
        await eventually(lambda: len(rig.log) == len(answers))

    attack(scenario, http={"header_timeout": 0.2})


def test_a_head_behind_a_request_in_progress_has_its_time_too() -> None:
    held: list[Seen] = []

    def script(seen: Seen, _: Message) -> None:
        held.append(seen)

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await client.send(GET + HEAD)
            await upstream.until(lambda: bool(held))
            task = asyncio.ensure_future(dripping(client, b"X: y\r\n"))
            await asyncio.sleep(0)
            held[0].send(OK)
            assert [each.status for each in await task] == [200, 408]

    attack(scenario, Recorder(script), http={"header_timeout": 0.2})


@pytest.mark.parametrize("start", [b"", b"\r\n\r\n", GET], ids=["new", "empty lines", "after a request"])
def test_an_idle_connection_is_closed_without_a_word(start: bytes) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await client.send(start)
            answers = await dripping(client, b"\r\n" if start == b"\r\n\r\n" else b"")
        assert [each.status for each in answers] == ([200] if start == GET else [])

    attack(scenario, http={"keepalive_timeout": 0.1})


@pytest.mark.parametrize("start", [POST, POST + b"x", CHUNKED, CHUNKED + b"5\r\nhe"], ids=["cl", "cl+1", "te", "te+2"])
@pytest.mark.parametrize("before", [b"", GET], ids=["first", "second"])
def test_a_body_that_stops_is_408(start: bytes, before: bytes) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await client.send(before + start)
            answers = await client.responses()
        assert [each.status for each in answers] == [200] * bool(before) + [408]
        await eventually(lambda: len(rig.log) == len(answers))
        # What had been passed on of it can be no whole request to the upstream.
        assert len(upstream.requests) == bool(before)
        await upstream.connections[-1].closed

    attack(scenario, http={"body_timeout": 0.15})


@pytest.mark.parametrize("start", [POST, CHUNKED + b"3e8\r\n"], ids=["length", "chunked"])
def test_a_body_below_the_rate_is_408(start: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pace, "_INSPECTION", 0.2)

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await client.send(start)
            [answer] = await dripping(client, b"x", 0.05)
        assert answer.status == 408
        assert upstream.requests == []

    attack(scenario, http={"min_body_rate": 1000})


def test_a_client_that_does_not_read_is_left() -> None:
    def script(seen: Seen, _: Message) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Length: 50000000\r\n\r\n" + b"x" * 1_000_000

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            client.writer.transport.pause_reading()  # type: ignore[attr-defined]
            await client.send(GET)
            await upstream.until(lambda: bool(upstream.connections))
            seen = upstream.connections[0]
            while not seen.transport.is_closing():
                seen.send(b"x" * 65_536) if seen.transport.get_write_buffer_size() < 1_000_000 else None
                await asyncio.sleep(0.005)
        await seen.closed
        [line] = await rig.logged()
        assert line["bytes_out"] < 30_000_000

    attack(scenario, Recorder(script), http={"write_timeout": 0.2})


# -- size ----------------------------------------------------------------------------------------------------------

LIMITS = {"max_request_line": 256, "max_header_line": 512, "max_headers": 20, "max_header_bytes": 2048}
SIZES: dict[str, tuple[bytes, int]] = {
    "target": (b"GET /" + b"x" * 256 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "target without end": (b"GET /" + b"x" * 5000, 414),
    "query": (b"GET /?" + b"x" * 256 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "field value": (HEAD + b"X: " + b"y" * 512 + b"\r\n\r\n", 431),
    "field name": (HEAD + b"x" * 513 + b": y\r\n\r\n", 431),
    "field without end": (HEAD + b"X: " + b"y" * 5000, 431),
    "name without end": (HEAD + b"x" * 5000, 431),
    "fields": (HEAD + b"X: y\r\n" * 20 + b"\r\n", 431),
    "fields without end": (HEAD + b"X: y\r\n" * 1000, 431),
    "empty fields": (HEAD + b"X:\r\n" * 20 + b"\r\n", 431),
    "bytes": (HEAD + b"".join(b"X%d: " % n + b"y" * 400 + b"\r\n" for n in range(6)) + b"\r\n", 431),
    "host": (b"GET / HTTP/1.1\r\nHost: " + b"a" * 600 + b"\r\n\r\n", 431),
    "connection": (HEAD + b"Connection: " + b"a," * 300 + b"\r\n\r\n", 431),
    "folded trailers": (CHUNKED + b"0\r\n" + b"X: y\r\n" * 21 + b"\r\n", 431),
    "trailer bytes": (CHUNKED + b"0\r\n" + b"".join(b"X: " + b"y" * 400 + b"\r\n" for _ in range(6)) + b"\r\n", 431),
}


@pytest.mark.parametrize("dripped", [False, True], ids=["whole", "dripped"])
@pytest.mark.parametrize(("payload", "status"), SIZES.values(), ids=SIZES.keys())
def test_sizes_are_bounded_however_they_arrive(payload: bytes, status: int, dripped: bool) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await (client.drip(payload) if dripped else client.send(payload))
            [answer] = await client.responses()
        assert (answer.status, answer.get("connection"), upstream.requests) == (status, "close", [])
        await rig.logged()

    attack(scenario, http=LIMITS)


@pytest.mark.parametrize("dripped", [False, True], ids=["whole", "dripped"])
def test_what_is_just_within_the_limits_is_served(dripped: bool) -> None:
    data = b"GET /" + b"x" * 255 + b" HTTP/1.1\r\nHost: a\r\nX: " + b"y" * 511 + b"\r\n" + b"Z: y\r\n" * 18 + b"\r\n"

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await (client.drip(data) if dripped else client.send(data))
            assert (await client.response()).status == 200

    attack(scenario, http=LIMITS)


ENDLESS = {
    "extension": (b"5;" + b"x" * 1000, b"x" * 1000),
    "extensions": (b"", b"1;" + b"x" * 100 + b"\r\ny\r\n"),
    "size": (b"", b"0" * 15),
    "trailer": (b"0\r\nX: ", b"x" * 1000),
    "trailers": (b"0\r\n", b"X: y\r\n" * 100),
}


@pytest.mark.parametrize(("start", "piece"), ENDLESS.values(), ids=ENDLESS.keys())
def test_framing_without_end_is_refused(start: bytes, piece: bytes) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await client.send(CHUNKED + b"5\r\nhello\r\n" + start)
            [answer] = await dripping(client, piece, 0)
        assert answer.status in (400, 431)
        assert upstream.requests == []
        await rig.logged()

    attack(scenario)


def test_chunks_of_one_byte_are_served_by_the_hundred_thousand() -> None:
    count = 200_000

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            piece = b"1\r\nx\r\n" * 1000
            client.writer.write(CHUNKED)
            for _ in range(count // 1000):
                await client.send(piece)
            await client.send(b"0\r\n\r\n")
            assert (await client.response()).status == 200
        [line] = await rig.logged()
        assert line["bytes_in"] == count

    attack(scenario, Recorder(OK, ends=b"\r\n0\r\n\r\n"))


def test_a_body_over_the_limit_is_413_whether_it_says_so_or_not() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        for data in (POST + b"x" * 900, CHUNKED + b"80\r\n" + b"x" * 128 + b"\r\n" + b"1\r\nx\r\n" * 1000):
            async with connected(rig) as client:
                await client.send(data)
                [answer] = await client.responses()
                assert (answer.status, answer.get("connection")) == (413, "close")
        assert upstream.requests == []

    attack(scenario, max_body=500)


# -- numbers -------------------------------------------------------------------------------------------------------


def test_a_flood_of_pipelined_requests_waits_in_the_clients_own_buffers() -> None:
    held: list[Seen] = []

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            client.writer.write(GET)
            await upstream.until(lambda: bool(held))
            tracemalloc.start()
            try:
                client.writer.write(GET * 500_000)
                # 17 MB: far more than all the sockets between hold.
                with pytest.raises(TimeoutError):
                    await asyncio.wait_for(client.writer.drain(), 0.3)
                traces = tracemalloc.take_snapshot().filter_traces([tracemalloc.Filter(True, f"{PACKAGE}/*")])
                assert sum(each.size for each in traces.statistics("filename")) < 1_000_000
            finally:
                tracemalloc.stop()
            assert len(upstream.requests) == 1
            held[0].send(OK)
            assert (await client.response()).status == 200
            await upstream.until(lambda: len(held) == 2)
            client.abort()
            held[1].reset()

    attack(scenario, Recorder(lambda seen, request: held.append(seen)), retry={"attempts": 0})


def test_connections_of_one_address_are_capped_and_others_served() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as one, connected(rig) as two:
            assert [(await each.ask(GET)).status for each in (one, two)] == [200, 200]
            async with connected(rig) as three:
                await three.send(GET)
                [answer] = await three.responses()
                assert (answer.status, answer.get("retry-after"), answer.get("connection")) == (503, "1", "close")
            async with connected(rig, "127.0.0.2") as other:
                assert (await other.ask(GET)).status == 200
            assert (await one.ask(GET)).status == 200
        await eventually(lambda: rig.counted("connections_open") == 0)
        async with connected(rig) as again:
            assert (await again.ask(GET)).status == 200

    attack(scenario, http={"max_connections_per_address": 2})


def test_connections_are_capped_in_all() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as one:
            assert (await one.ask(GET)).status == 200
            async with connected(rig) as two:
                assert [each.status for each in await two.responses()] == [503]
        await eventually(lambda: rig.counted("connections_open") == 0)
        async with connected(rig) as again:
            assert (await again.ask(GET)).status == 200

    attack(scenario, http={"max_connections": 1})


def test_labels_do_not_grow_with_what_clients_send() -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            for method in (b"GET", b"POST", b"PROPFIND", b"PURGE", b"M-SEARCH"):
                assert (await client.ask(method + b" /a HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
            before = len(read([rig.region]))
            for n in range(300):
                data = b"GET /%d?%d HTTP/1.1\r\nHost: h%d\r\nX-Request-ID: %d\r\nX-%d: y\r\n\r\n" % ((n,) * 5)
                assert (await client.ask(data)).status == 200
            for method in (b"LINK", b"UNLOCK", b"REPORT"):
                assert (await client.ask(method + b" /a HTTP/1.1\r\nHost: a\r\n\r\n")).status == 200
            assert len(read([rig.region])) == before

    attack(scenario)


# -- the log -------------------------------------------------------------------------------------------------------

NASTY = [
    b"/%1b[2J",
    b"/%7f%0a",
    b'/"},{"level":"ERROR',
    b"/%E2%80%AE",
    b"/%C2%85",
    b"/" + b"x" * 8000,
    b"/$(id)`id`'\"<script>",
]


@pytest.mark.parametrize("form", ["json", "console"])
def test_each_request_is_one_harmless_line(form: str, tmp_path: Path) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        for target in NASTY:
            async with connected(rig) as client:
                identity = b"X-Request-ID: \xff\xe2\x80\xae"
                await client.ask(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n" + identity + b"\r\n\r\n")
        await rig.logged(len(NASTY))

    path = tmp_path / "access.log"
    attack(scenario, telemetry={"access_log": {"path": str(path), "format": form}})
    lines = path.read_bytes().decode().splitlines()
    assert len(lines) == len(NASTY)
    for line in lines:
        assert line.isprintable()
        assert len(line) < 4096
        assert form == "console" or (line.isascii() and json.loads(line)["client"] == "127.0.0.1")
