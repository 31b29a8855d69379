"""More comes than can be served: as much as ever is served, and the rest is refused at once.

Measured by counts, in waves: the upstream answers nobody before everybody else of the wave was refused. How it does
over time is the business of `make soak`.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.proxy.peers import Message, Upstream, Wire, eventually, get, ok, within
from tests.proxy.stage import Rig, gateway, on_loop, to

CAPACITY = 8
WAVES = 10
# The loop of a test on a busy machine is late at times, which is overload, too.
UNHURRIED = {"overload": {"lag": 60}}
MEANS: dict[str, tuple[dict[str, Any], int, str]] = {
    "adaptive": (
        {"service": {"adaptive_concurrency": {"initial": CAPACITY, "min": CAPACITY, "max": CAPACITY}}, **UNHURRIED},
        503,
        "shed",
    ),
    "limit": (
        {"limits": [{"name": "slots", "key": [], "type": "concurrency", "requests": CAPACITY}], **UNHURRIED},
        429,
        "rate_limited",
    ),
    "gateway": ({"overload": {"max_in_flight": CAPACITY, "lag": 60}}, 503, "shed"),
}


class Bounded:
    """An upstream that notes how many it has at once, and answers when it is told to."""

    def __init__(self) -> None:
        self.busy = self.most = self.served = 0
        self.turn = asyncio.Event()

    async def play(self, link: Wire) -> None:
        while True:
            await link.message()
            self.busy += 1
            self.most = max(self.most, self.busy)
            await within(self.turn.wait())
            self.busy -= 1
            self.served += 1
            await link.send(ok(b"done"))


async def wave(rig: Rig, bounded: Bounded, count: int) -> list[Message]:
    """Send so many at once; the upstream answers when all others have been refused."""
    bounded.turn.clear()
    tasks = [asyncio.ensure_future(rig.ask(get(f"/{number}"))) for number in range(count)]
    await eventually(lambda: sum(task.done() for task in tasks) >= count - CAPACITY and bounded.busy > 0)
    bounded.turn.set()
    return await asyncio.gather(*tasks)


@pytest.mark.parametrize("times", [2, 5])
@pytest.mark.parametrize("means", MEANS)
@on_loop
async def test_as_many_are_served_as_at_the_peak_and_the_rest_is_refused_before(means: str, times: int) -> None:
    more, status, reason = MEANS[means]
    bounded = Bounded()
    async with Upstream(bounded.play) as upstream, gateway(to(upstream, **more)) as rig:
        for _ in range(WAVES):
            answers = await wave(rig, bounded, times * CAPACITY)
            refused = [answer for answer in answers if answer.status != 200]
            assert len(refused) == (times - 1) * CAPACITY
            assert {(answer.status, answer.json()["reason"]) for answer in refused} == {(status, reason)}
            assert all(answer.get("retry-after") for answer in refused)
        assert (bounded.served, bounded.most) == (WAVES * CAPACITY, CAPACITY)
        # And it is over when it is over.
        assert {answer.status for answer in await wave(rig, bounded, CAPACITY)} == {200}


@on_loop
async def test_the_critical_are_served_when_the_others_are_refused() -> None:
    routes = [
        {"name": "low", "match": {"path": "/low"}, "priority": "low"},
        {"name": "critical", "match": {"path": "/critical"}, "priority": "critical"},
    ]
    document = to("http://127.0.0.1:1", overload={"max_in_flight": CAPACITY, "lag": 60})
    bounded = Bounded()
    async with Upstream(bounded.play) as upstream:
        document["services"][0] |= {"endpoints": [upstream.url], "routes": routes}
        async with gateway(document) as rig:
            low = [asyncio.ensure_future(rig.ask(get("/low"))) for _ in range(2 * CAPACITY)]
            await eventually(lambda: sum(task.done() for task in low) + bounded.busy == 2 * CAPACITY)
            # Full for these, and not for those.
            assert (await rig.ask(get("/low"))).status == 503
            critical = asyncio.ensure_future(rig.ask(get("/critical")))
            await eventually(lambda: bounded.busy + sum(task.done() for task in low) == 2 * CAPACITY + 1)
            bounded.turn.set()
            assert (await critical).status == 200
            statuses = [answer.status for answer in await asyncio.gather(*low)]
            assert 0 < statuses.count(200) < CAPACITY
