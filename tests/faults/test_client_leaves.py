"""A client leaves after any byte: of its request, or of the answer. What was reserved for it is given back, once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.faults.proxy import UNHARMED, Fault, FaultProxy, Lane
from tests.proxy.peers import Message, Upstream, Wire, answering, eventually, get
from tests.proxy.stage import Rig, gateway, on_loop, to

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 26\r\n\r\nabcdefghijklmnopqrstuvwxyz"
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n8\r\nabcdefgh\r\na\r\nijklmnopqr\r\n0\r\n\r\n"
HEAD = b"POST /work HTTP/1.1\r\nHost: example.test\r\n"
LENGTH = HEAD + b"Content-Length: 12\r\n\r\nabcdefghijkl"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n7\r\nfghijkl\r\n0\r\n\r\n"

# One place, which is lost if it is not given back; and one failure, which would be one too many.
TIGHT: dict[str, Any] = {
    "limits": [{"name": "one", "key": [], "type": "concurrency", "requests": 1}],
    "service": {
        "circuit_breaker": {"threshold": 1, "timeout": 3600},
        "outlier": {"consecutive_failures": 1, "ejection_time": 300},
        "adaptive_concurrency": {"initial": 1, "min": 1, "max": 1},
    },
    "retry": {"attempts": 0},
}


class Scene:
    """A gateway that has place for one request, before an upstream of which each connection meets its own fate."""

    def __init__(self, rig: Rig, proxy: FaultProxy, seen: list[Message]) -> None:
        self.rig = rig
        self.proxy = proxy
        self.seen = seen
        self._lines = 0

    @property
    def errors(self) -> list[str]:
        """The errors logged since all was well."""
        return [line["error"] for line in self.rig.log[self._lines :]]

    async def all_is_well(self) -> None:
        """See that a whole request is served, and leave no connection behind."""
        self.proxy.script = lambda _: UNHARMED
        answer = await self.rig.ask(get())
        assert answer.status == 200, answer.body
        self.proxy.close_all()
        await eventually(lambda: self.proxy.alive == 0)
        self.seen.clear()
        self._lines = len(self.rig.log)

    async def left(self, client: Wire, reset: bool) -> None:
        """Let the client leave; its request ends in the gateway and at the upstream, whose connection is not kept."""
        client.cut() if reset else client.close()
        await eventually(lambda: self.rig.gateway.in_flight == 0 and self.proxy.alive == 0)


@asynccontextmanager
async def scene(answer: bytes) -> AsyncIterator[Scene]:
    seen: list[Message] = []
    async with (
        Upstream(answering(lambda _: answer, seen)) as server,
        FaultProxy(server.port) as proxy,
        gateway(to(proxy.url, **TIGHT)) as rig,
    ):
        yield Scene(rig, proxy, seen)


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("request_", [LENGTH, CHUNKED], ids=["length", "chunked"])
@on_loop
async def test_after_any_byte_of_its_request(request_: bytes, reset: bool) -> None:
    head = request_.index(b"\r\n\r\n") + 4
    async with scene(ANSWER) as at:
        for size in (*range(0, head, 5), *range(head - 1, len(request_))):
            client = await at.rig.client()
            await client.send(request_[:size])
            if size >= head:
                # Its head is on its way to the upstream, and what there is of the body.
                await eventually(lambda: at.rig.gateway.in_flight == 1 and bool(at.proxy.passages[-1].passed["up"]))
            await at.left(client, reset)
            if size >= head:
                assert at.errors == ["client_closed"], size
            assert at.seen == []
            await at.all_is_well()


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
@pytest.mark.parametrize("answer", [ANSWER, STREAM], ids=["length", "chunked"])
@on_loop
async def test_after_any_byte_of_its_answer(answer: bytes, reset: bool) -> None:
    async with scene(answer) as at:
        for size in range(len(answer) - 1):
            fault = Fault(down=Lane(after=size, then="stall"))
            at.proxy.script = lambda _, fault=fault: fault  # type: ignore[misc]
            client = await at.rig.client()
            await client.send(get())
            await eventually(lambda: len(at.seen) == 1)
            await eventually(lambda size=size: at.proxy.passages[-1].passed["down"] == size)  # type: ignore[misc]
            await at.left(client, reset)
            assert at.errors == ["client_closed"], size
            await at.all_is_well()
