"""An idle connection is closed by the upstream at the moment a request is sent on it."""

from __future__ import annotations

import asyncio

import pytest

from bench import client
from bench.client import Outcome
from tests.faults.proxy import FaultProxy
from tests.faults.scene import Tally, ask, ask_all, upstream
from tests.proxy.peers import eventually
from tests.proxy.stage import Rig, gateway, on_loop, to

# Turns of the loop between the upstream's end and the request, which stands at 0: before it, with it, and after it.
TURNS = (-4, -3, -2, -1, 0, 1, 2, 3, 4)
# An upstream that keeps connections longer than the pool would never meet the race.
POOL = {"pool": {"idle_timeout": 3600}}


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def race(rig: Rig, proxy: FaultProxy, request: client.Ask, turn: int, reset: bool, tally: Tally) -> None:
    """Send the request while the upstream ends all connections, so many turns of the loop after it."""
    connection = await client.connect(rig.port())
    end = proxy.reset_all if reset else proxy.close_all
    if turn < 0:
        end()
        await turns(-turn)
    asking = asyncio.ensure_future(connection.ask(request))
    await turns(1)
    if turn >= 0:
        await turns(turn)
        end()
    outcome, words, _ = await asking
    tally.add(outcome, words)
    connection.close()


@pytest.mark.parametrize("idle", [1, 5])
@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
@on_loop
async def test_a_harmless_request_never_fails_by_it(reset: bool, idle: int) -> None:
    async with upstream() as server, FaultProxy(server.port) as proxy, gateway(to(proxy.url, service=POOL)) as rig:
        tally = Tally()
        for number in range(180):
            await ask_all(rig, (client.small("/api/slow?delay=0.001") for _ in range(idle)))
            await race(rig, proxy, client.small(), TURNS[number % len(TURNS)], reset, tally)
        assert tally.outcomes == {Outcome.GOOD: 180}


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
@on_loop
async def test_one_that_is_not_is_never_doubled_and_fails_with_a_reason(reset: bool) -> None:
    async with upstream() as server, FaultProxy(server.port) as proxy, gateway(to(proxy.url, service=POOL)) as rig:
        tally = Tally()
        for number in range(180):
            await ask(rig, client.small())
            await race(rig, proxy, client.small(method="POST"), TURNS[number % len(TURNS)], reset, tally)
        assert set(server.seen.values()) == {1}
        assert tally.words.keys() <= {"502 upstream_reset"}
        # Only where the end came behind the request.
        assert tally[Outcome.GOOD] >= 180 * 4 // len(TURNS)


@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
@on_loop
async def test_once_the_end_was_seen_nothing_is_sent_there(reset: bool) -> None:
    async with upstream() as server, FaultProxy(server.port) as proxy, gateway(to(proxy.url, service=POOL)) as rig:
        for number in range(50):
            assert (await ask(rig, client.small(method="POST")))[0] is Outcome.GOOD
            proxy.reset_all() if reset else proxy.close_all()
            await eventually(lambda: proxy.alive == 0)
            assert len(server.seen) == number + 1
        assert {line["attempts"] for line in rig.log} == {1}
