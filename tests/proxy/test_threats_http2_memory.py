"""What a client of HTTP/2 can make a worker hold: bounded by configuration, not by what the client knows to ask for.

Bytes are those that Python holds at the most, measured while everything the test itself needs was made before.
"""

from __future__ import annotations

import asyncio
import gc
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from tests.proxy.peers import eventually
from tests.proxy.raw import attack
from tests.proxy.recorder import OK, Recorder, Seen
from tests.proxy.stage import Rig
from tests.proxy.strict import Message
from tests.wire.http2.breaker import GET, PREFACE, Breaker, block, continuation, data, headers, literal, settings

HEAD = block(GET)
MIB = 1 << 20


@contextmanager
def at_most(limit: int) -> Iterator[Callable[[], int]]:
    """See that no more bytes than `limit` are held at any moment."""
    gc.collect()
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[0]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < limit, f"{peak / MIB:.1f} MiB"


def test_bombs_of_references_with_closed_windows() -> None:
    # CVE-2026-49975, CVE-2026-47774: one entry of the table, meant again and again in 100 streams that may not end.
    bomb = HEAD + literal(b"cookie", b"y" * 4000, indexed=True)
    small = headers(1, bomb + b"\xbe" * 99) + b"".join(headers(n, HEAD + b"\xbe" * 100) for n in range(3, 201, 2))
    sent = PREFACE + settings((4, 0)) + small

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        breaker = await Breaker.connect(rig.port(), greet=False)
        with at_most(10 * MIB):
            breaker.send(sent)
            await eventually(lambda: len(rig.log) == 100)
            breaker.send(headers(201, HEAD + b"\xbe" * 4000))
            await eventually(lambda: not rig.connections)
        assert {line["status_code"] for line in rig.log} == {431}
        assert not upstream.requests
        breaker.close()

    attack(scenario)


def test_blocks_that_are_begun_on_many_connections() -> None:
    sent = PREFACE + settings() + headers(1, bytes(16000), whole=False) + continuation(1, bytes(16000)) * 3

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        breakers = [await Breaker.connect(rig.port(), greet=False) for _ in range(50)]
        await eventually(lambda: len(rig.connections) == 50)

        def begun() -> bool:
            guards = [getattr(each, "guard", None) for each in rig.connections]
            return all(guard is not None and guard._block == 64_000 for guard in guards)

        # 64,000 bytes of each: what is a block cannot be judged before its end, and is at most 64 KiB.
        with at_most(50 * 160_000):
            for breaker in breakers:
                breaker.send(sent)
            await eventually(begun)
        for breaker in breakers:
            breaker.close()

    attack(scenario)


def test_bodies_that_nobody_takes() -> None:
    # The service is slow; a client may send as far ahead as the windows of its streams and its connection say.
    upload = block([(":method", "POST"), *GET[1:]])

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        breaker = await Breaker.connect(rig.port())
        sent = b"".join(headers(n, upload, end=False) + data(n, bytes(16_000)) * 4 for n in range(1, 33, 2))
        with at_most(6 * MIB) as held:
            breaker.send(sent)
            await eventually(lambda: rig.gateway.in_flight == 16)
            await upstream.until(lambda: len(upstream.connections) == 16)
            assert held() > 0
        breaker.close()

    def script(_: Seen, request: Message) -> bytes | None:
        return OK if request.target == "/behind" else None

    attack(scenario, Recorder(script))


def test_answers_that_nobody_takes() -> None:
    # 30 answers of 4 MiB, and no window for one byte of them: each waits with the service, not here.
    body = bytes(4 * MIB)

    async def answer(seen: Seen) -> None:
        seen.transport.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
        for at in range(0, len(body), 16_384):
            await asyncio.sleep(0)
            if seen.transport.is_closing():
                return
            if seen.transport.get_write_buffer_size() < 65_536:
                seen.transport.write(body[at : at + 16_384])

    async def scenario(rig: Rig, upstream: Recorder) -> None:
        breaker = await Breaker.connect(rig.port(), greet=False)
        with at_most(30 * 300_000):
            breaker.send(PREFACE, settings((4, 0)), *(headers(n, HEAD) for n in range(1, 61, 2)))
            for n in range(1, 61, 2):
                del n
                await breaker.wait_for(1)
        breaker.close()

    attack(scenario, Recorder(lambda seen, _: answer(seen)))
