"""An upstream that says nothing more: while connecting, before the head of its answer, or within its body."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from bench import client
from bench.client import Outcome
from tests.faults.proxy import Fault, FaultProxy, Lane
from tests.faults.scene import ask_all, full_listener, upstream
from tests.proxy.peers import eventually
from tests.proxy.stage import gateway, on_loop, to

TIMEOUTS = {"response": 0.2, "idle": 0.2}
LONG = "/api/things?size=2000"
SILENCES = (
    Fault(accept="hang"),
    Fault(up=Lane(after=0, then="stall")),
    Fault(down=Lane(after=0, then="stall")),
    Fault(down=Lane(after=60, then="stall")),
)


def held() -> tuple[int, int]:
    """Return how many files this process has open, and how many tasks there are."""
    return len(list(Path("/proc/self/fd").iterdir())), len(asyncio.all_tasks())


def no_more_than(before: tuple[int, int]) -> bool:
    """Tell whether nothing is held that was not then; what an earlier test left may have gone meanwhile."""
    return all(now <= then for now, then in zip(held(), before, strict=True))


@on_loop
async def test_while_connecting() -> None:
    with full_listener() as port:
        url = f"http://127.0.0.1:{port}"
        async with gateway(to(url, timeout={"connect": 0.2}, retry={"attempts": 0})) as rig:
            before = held()
            tally = await ask_all(rig, (client.small() for _ in range(5)))
            assert tally.words == {"504 connect_timeout": 5}
            await eventually(lambda: no_more_than(before))


@pytest.mark.parametrize("fault", SILENCES)
@on_loop
async def test_before_the_head(fault: Fault) -> None:
    async with (
        upstream() as server,
        FaultProxy(server.port, fault) as proxy,
        gateway(to(proxy.url, timeout=TIMEOUTS)) as rig,
    ):
        before = held()
        tally = await ask_all(rig, (client.small(method=method) for method in ("GET", "PUT", "POST") * 2))
        assert tally.words == {"504 response_timeout": 6}
        assert {line["attempts"] for line in rig.log} == {1}
        await eventually(lambda: proxy.alive == 0 and no_more_than(before))


@pytest.mark.parametrize("after", [200, 300, 2000])
@pytest.mark.parametrize("target", [LONG, f"{LONG}&pieces=4"], ids=["length", "chunked"])
@on_loop
async def test_within_the_body(target: str, after: int) -> None:
    fault = Fault(down=Lane(after=after, then="stall"))
    async with (
        upstream() as server,
        FaultProxy(server.port, fault) as proxy,
        gateway(to(proxy.url, timeout=TIMEOUTS)) as rig,
    ):
        before = held()
        tally = await ask_all(rig, (client.small(target) for _ in range(5)))
        assert tally.outcomes == {Outcome.CUT: 5}
        assert {line["error"] for line in await rig.logged(5)} == {"idle_timeout"}
        await eventually(lambda: proxy.alive == 0 and no_more_than(before))


@on_loop
async def test_while_the_request_goes_up() -> None:
    """An upstream that takes no more of a body, longer than all buffers on the way."""
    fault = Fault(up=Lane(after=1000, then="stall"))
    async with (
        upstream() as server,
        FaultProxy(server.port, fault) as proxy,
        gateway(to(proxy.url, timeout=TIMEOUTS)) as rig,
    ):
        before = held()
        uploads = [each for each in (client.upload() for _ in range(50)) if (each.received or 0) > 5000][:3]
        tally = await ask_all(rig, uploads)
        assert tally.words == {"504 response_timeout": 3}
        await eventually(lambda: proxy.alive == 0 and no_more_than(before))


@on_loop
async def test_slowness_is_no_hang() -> None:
    """A byte at a time, either way, far longer in all than a silence may be."""
    crawl = Lane(piece=1, delay=0.001)
    async with (
        upstream() as server,
        FaultProxy(server.port, Fault(up=crawl, down=crawl)) as proxy,
        gateway(to(proxy.url, timeout={"response": 20, "idle": 0.5})) as rig,
    ):
        tally = await ask_all(rig, (client.small("/api/things?size=300") for _ in range(3)))
        assert tally.outcomes == {Outcome.GOOD: 3}
