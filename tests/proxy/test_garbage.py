"""A request leaves nothing behind that only the garbage collector would find: that costs CPU, and memory until then."""

from __future__ import annotations

import asyncio
import gc
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager

from h2.errors import ErrorCodes

from tests.proxy.http2_client import http2
from tests.proxy.peers import Upstream, Wire, answering, eventually, get, ok
from tests.proxy.stage import Rig, gateway, on_loop, to

_REQUESTS = 20


@contextmanager
def nothing_in_circles() -> Iterator[None]:
    """See that nothing of ours, and nothing of h2's, waits for the collector."""
    gc.collect()
    gc.disable()
    gc.set_debug(gc.DEBUG_SAVEALL)
    try:
        yield
        gc.collect()
        kinds = Counter(f"{type(each).__module__}.{type(each).__name__}" for each in gc.garbage)
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.enable()
    left = {kind: count for kind, count in kinds.items() if kind.startswith(("headgate.", "h2."))}
    assert not left, left


def run(requests: Callable[[Rig], Awaitable[None]], play: Callable[[Wire], Awaitable[None]]) -> None:
    @on_loop
    async def scenario() -> None:
        async with Upstream(play) as upstream, gateway(to(upstream)) as rig:
            # What the first one makes stays for the others.
            await requests(rig)
            with nothing_in_circles():
                await requests(rig)
                await eventually(lambda: rig.gateway.in_flight == 0)

    scenario()


def test_answers_over_http1() -> None:
    async def requests(rig: Rig) -> None:
        client = await rig.client()
        for _ in range(_REQUESTS):
            await client.send(get("/x"))
            assert (await client.answer()).status == 200

    run(requests, answering(lambda _: ok(b"hello")))


def test_answers_over_http2() -> None:
    async def requests(rig: Rig) -> None:
        client = await http2(rig)
        await asyncio.gather(*(client.ask(f"/{each}") for each in range(_REQUESTS)))

    run(requests, answering(lambda _: ok(b"hello")))


def test_requests_that_are_given_up_over_http2() -> None:
    async def silent(link: Wire) -> None:
        await link.message()
        await link.rest()

    async def requests(rig: Rig) -> None:
        client = await http2(rig)
        streams = [client.request(f"/{each}") for each in range(_REQUESTS)]
        await eventually(lambda: rig.gateway.in_flight == _REQUESTS)
        for stream in streams:
            stream.reset(ErrorCodes.CANCEL)
        await eventually(lambda: rig.gateway.in_flight == 0)

    run(requests, silent)
