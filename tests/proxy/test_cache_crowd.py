"""A crowd that comes and goes at a service that is slow and cuts: whoever gets an answer gets one that was given."""

from __future__ import annotations

import asyncio
import random
from contextlib import suppress

import pytest

from headgate.proxy.filling import ROOM
from tests.proxy.caches import caching
from tests.proxy.peers import Cut, Message, Upstream, Wire, eventually, get
from tests.proxy.stage import on_loop

LINES = (
    "Cache-Control: max-age=60",
    "Cache-Control: no-store",
    'Cache-Control: no-cache\r\nETag: "v"',
    "Age: 100\r\nCache-Control: max-age=60, stale-while-revalidate=60, stale-if-error=60",
    "Cache-Control: max-age=60\r\nVary: X-Kind",
)


class Service:
    """Answers with a text that tells what was asked and how often that was, in pieces, and cuts some."""

    def __init__(self, chance: random.Random) -> None:
        self._chance = chance
        self.given: set[tuple[str, str, bytes]] = set()
        self._count = 0

    async def play(self, link: Wire) -> None:
        """Answer what comes."""
        while True:
            request = await link.message()
            body = self._body(request)
            lines = self._chance.choice(LINES)
            if self._chance.random() < 0.3:
                head = f"HTTP/1.1 200 Fine\r\nTransfer-Encoding: chunked\r\n{lines}\r\n\r\n"
                pieces = [b"%x\r\n%b\r\n" % (len(part), part) for part in (body[:10], body[10:])] + [b"0\r\n\r\n"]
            else:
                head = f"HTTP/1.1 200 Fine\r\nContent-Length: {len(body)}\r\n{lines}\r\n\r\n"
                pieces = [body[:10], body[10:]]
            for piece in (head.encode(), *pieces):
                if self._chance.random() < 0.05:
                    link.cut()
                    return
                await link.send(piece)
                if self._chance.random() < 0.5:
                    await asyncio.sleep(0)

    def _body(self, request: Message) -> bytes:
        self._count += 1
        kind = request.get("x-kind") or ""
        text = f"{request.target} {kind} {self._count} ".encode()
        body = text * self._chance.choice((1, 2, 5000))
        self.given.add((request.target, kind, body))
        return body


@pytest.mark.parametrize("seed", range(4))
@on_loop
async def test_nobody_gets_what_was_never_given(seed: int) -> None:
    chance = random.Random(seed)
    service = Service(chance)
    cache = {"max_entry": 60_000, "wait": 30}
    async with Upstream(service.play) as upstream, caching(upstream, cache, service={"retry": {"attempts": 0}}) as rig:
        done = [0]

        async def visit() -> None:
            client = await rig.client()
            for _ in range(6):
                target, kind = f"/{chance.randrange(3)}", chance.choice(("a", "b"))
                lines = [f"X-Kind: {kind}"]
                if chance.random() < 0.1:
                    lines.append("Cache-Control: no-cache")
                await client.send(get(target, *lines))
                if chance.random() < 0.1:
                    client.cut()
                    return
                answer = await client.answer()
                if answer.status == 200:
                    # Of this path, and whole; of another kind only where the service did not say that it differs.
                    assert any((target, each, answer.body) in service.given for each in ("a", "b"))
                    done[0] += 1

        async def visitor() -> None:
            with suppress(Cut, ConnectionError):
                await visit()

        await asyncio.gather(*(visitor() for _ in range(25)))
        assert done[0] > 10
        await eventually(lambda: rig.gateway.in_flight == 0)
        await eventually(lambda: not rig.gateway.caching.fills)
        assert rig.gateway.caching.room.left == ROOM
