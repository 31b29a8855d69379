"""Many at once over few connections, with clients and upstreams that break off anywhere: nobody gets another's answer.

Laws: an answer carries the id that was asked for; every request is counted and logged once; nothing stays in flight.
"""

from __future__ import annotations

import asyncio
import random

import pytest

from tests.proxy.peers import eventually
from tests.proxy.raw import Client, attack, connected
from tests.proxy.recorder import Recorder, Seen
from tests.proxy.stage import Rig
from tests.proxy.strict import Incomplete, Malformed, Message, read_response


def echo(request: Message, chunked: bool) -> bytes:
    body = (request.target.encode() + b";" + request.body) * 3
    if not chunked:
        return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nX-Echo: %b\r\n\r\n%b" % (
            len(body),
            request.target.encode(),
            body,
        )
    pieces = [body[at : at + 50] for at in range(0, len(body), 50)]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nX-Echo: %b\r\n\r\n%b0\r\n\r\n" % (
        request.target.encode(),
        framed,
    )


def chaotic(dice: random.Random) -> Recorder:
    """Make an upstream that answers late, in pieces, and sometimes breaks off or says too much."""

    async def play(seen: Seen, request: Message) -> None:
        data = echo(request, dice.random() < 0.5)
        fate = dice.random()
        await asyncio.sleep(dice.random() * 0.01)
        if fate < 0.1:
            seen.send(data[: dice.randrange(len(data))])
            seen.reset() if dice.random() < 0.5 else seen.close()
        elif fate < 0.15:
            seen.send(data + b"HTTP/1.1 200 OK\r\nX-Echo: /wrong\r\nContent-Length: 5\r\n\r\nwrong")
        else:
            at = dice.randrange(len(data))
            seen.send(data[:at])
            await asyncio.sleep(dice.random() * 0.005)
            seen.send(data[at:])

    return Recorder(lambda seen, request: play(seen, request))


@pytest.mark.parametrize("seed", range(3))
def test_nobody_gets_anothers_answer(seed: int) -> None:
    dice = random.Random(seed)
    tally = {"whole": 0, "failed": 0, "cut": 0, "left": 0}

    async def one(rig: Rig, number: int) -> None:
        async with connected(rig) as client:
            for turn in range(5):
                target = b"/%d-%d" % (number, turn)
                body = b"x" * dice.choice((0, 10, 3000))
                data = b"POST %b HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n%b" % (target, len(body), body)
                if dice.random() < 0.15:
                    await client.send(data[: dice.randrange(1, len(data) + 1)])
                    await asyncio.sleep(dice.random() * 0.01)
                    client.abort()
                    tally["left"] += 1
                    return
                await client.send(data)
                if not await judged(client, target, body):
                    return

    async def judged(client: Client, target: bytes, body: bytes) -> bool:
        while True:
            try:
                answer, size = read_response(client.raw)
            except Incomplete:
                if await client.more():
                    continue
                tally["cut"] += 1
                return False
            client.raw = client.raw[size:]
            assert answer.status in (200, 502)
            if answer.status == 200:
                assert answer.get("x-echo") == target.decode()
                assert answer.body == (target + b";" + body) * 3
            tally["whole" if answer.status == 200 else "failed"] += 1
            return answer.get("connection") != "close"

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        await asyncio.gather(*(one(rig, number) for number in range(200)))
        await eventually(lambda: rig.gateway.in_flight == 0)
        assert len({line["request_id"] if "request_id" in line else line["correlation_id"] for line in rig.log}) == len(
            rig.log
        )
        assert all(seen.malformed is None for seen in upstream.connections)
        assert min(tally.values()) > 0
        assert len([line for line in rig.log if line["status_code"] == 200 and "error" not in line]) >= tally["whole"]

    attack(scenario, chaotic(dice), service={"pool": {"max_connections": 8}}, retry={"attempts": 0})


REQUEST = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
ANSWER = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"


@pytest.mark.parametrize("at", [1, 20, 40, len(REQUEST) - 5, len(REQUEST) - 1, len(REQUEST)])
def test_a_client_that_leaves_within_its_request_takes_its_upstream_with_it(at: int) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await client.send(REQUEST[:at])
            if at >= len(REQUEST) - 5:
                await upstream.until(lambda: b"\r\n\r\n" in upstream.raw)
            client.abort()
            if upstream.connections:
                await upstream.connections[0].closed
        await eventually(lambda: rig.counted("connections_open") == 0)
        expected = [499] if at >= len(REQUEST) - 5 else []
        assert [line["status_code"] for line in rig.log] == expected
        assert rig.counted("requests_in_flight") == 0

    attack(scenario, Recorder(lambda seen, request: None))


@pytest.mark.parametrize("at", [1, 30, len(ANSWER) - 12, len(ANSWER) - 5, len(ANSWER) - 1])
def test_a_client_that_leaves_within_its_answer_takes_its_upstream_with_it(at: int) -> None:
    async def scenario(rig: Rig, upstream: Recorder) -> None:
        async with connected(rig) as client:
            await client.send(REQUEST)
            await upstream.until(lambda: bool(upstream.requests))
            if b"hello" in ANSWER[:at]:
                while b"hello" not in client.raw:
                    assert await client.more()
            client.abort()
            await upstream.connections[0].closed
        [line] = await rig.logged()
        assert line["error"] == "client_closed"
        # Another one's request does not get the rest.
        async with connected(rig) as other:
            upstream.script = lambda seen, request: b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nother"
            assert (await other.ask(REQUEST)).body == b"other"
        assert len(upstream.connections) == 2

    attack(scenario, Recorder(ANSWER[:at]))


def test_each_kind_of_end_is_counted_once() -> None:
    fates = {"/ok": 200, "/bad": 502, "/slow": 504, "/cut": 200, "/left": 499}

    def script(seen: Seen, request: Message) -> bytes | None:
        if request.target == "/cut":
            seen.send(ANSWER[:-10])
            seen.close()
        return {"/ok": ANSWER, "/bad": b"rubbish\r\n"}.get(request.target)

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        for target in fates:
            async with connected(rig) as client:
                await client.send(b"GET " + target.encode() + b" HTTP/1.1\r\nHost: a\r\n\r\n")
                if target == "/left":
                    await upstream.until(lambda: any(each.target == "/left" for each in upstream.requests))
                    continue
                while True:
                    try:
                        read_response(client.raw)
                        break
                    except (Incomplete, Malformed):
                        if not await client.more():
                            break
        await eventually(lambda: len(rig.log) == len(fates))
        for bad in (b"\0", b"GET / HTTP/1.1\r\n\r\n", b"GET / HTTP/3.0\r\n\r\n"):
            async with connected(rig) as client:
                await client.send(bad)
                await client.responses()
        assert {line["path"]: line["status_code"] for line in rig.log[: len(fates)]} == fates
        assert rig.counted("requests_total") == len(rig.log) == len(fates) + 3
        assert rig.counted("errors_total", reason="upstream_protocol") == 1

    attack(scenario, Recorder(script), timeout={"response": 1}, retry={"attempts": 0})
