"""After an outage all who waited come at once, when the breaker lets the first through."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.proxy.peers import Message, Upstream, Wire, eventually, get, ok, within
from tests.proxy.stage import Rig, gateway, on_loop, to

HERD = 200
# How long it stays open, and how long a trial keeps its place: more than a herd takes on any machine.
OPEN = 3600


class Patient:
    """An upstream that is out of order, then answers when told to, then at once."""

    def __init__(self) -> None:
        self.broken = True
        self.seen = 0
        self.well = asyncio.Event()

    async def play(self, link: Wire) -> None:
        while True:
            await link.message()
            self.seen += 1
            if self.broken:
                link.cut()
                return
            await within(self.well.wait())
            await link.send(ok(b"well"))


def herd(rig: Rig) -> list[asyncio.Task[Message]]:
    """Send all that have waited, at once."""
    return [asyncio.ensure_future(rig.ask(get(f"/{number}"))) for number in range(HERD)]


async def half_open(rig: Rig, upstream: Patient) -> asyncio.Task[Message]:
    """Send the first trial, which is left waiting."""
    rig.pass_time(OPEN)
    trial = asyncio.ensure_future(rig.ask(get("/trial")))
    await eventually(lambda: bool(upstream.seen))
    return trial


@pytest.mark.parametrize("trials", [1, 3])
@on_loop
async def test_no_more_than_the_trials_get_through_and_success_lets_all_in(trials: int) -> None:
    patient = Patient()
    breaker: dict[str, Any] = {"threshold": 3, "timeout": OPEN, "jitter": 0, "trials": trials}
    async with (
        Upstream(patient.play) as upstream,
        gateway(to(upstream, service={"circuit_breaker": breaker}, retry={"attempts": 0})) as rig,
    ):
        assert [(await rig.ask(get())).status for _ in range(4)] == [502, 502, 502, 503]
        patient.broken, patient.seen = False, 0
        first = await half_open(rig, patient)
        waiting = herd(rig)
        # All but the trials are refused while these still wait.
        await eventually(lambda: sum(task.done() for task in waiting) == HERD - (trials - 1))
        assert patient.seen == trials
        patient.well.set()
        assert (await first).status == 200
        answers = await asyncio.gather(*waiting)
        assert sorted(answer.status for answer in answers) == [200] * (trials - 1) + [503] * (HERD - trials + 1)
        refused = [answer for answer in answers if answer.status == 503]
        assert {answer.json()["reason"] for answer in refused} == {"breaker_open"}
        assert all(int(answer.get("retry-after") or 0) >= 1 for answer in refused)
        # It is closed, and stays so.
        assert {answer.status for answer in await asyncio.gather(*herd(rig), *herd(rig))} == {200}


@on_loop
async def test_a_trial_that_fails_keeps_the_others_out() -> None:
    patient = Patient()
    breaker = {"threshold": 3, "timeout": OPEN, "jitter": 0}
    async with (
        Upstream(patient.play) as upstream,
        gateway(to(upstream, service={"circuit_breaker": breaker}, retry={"attempts": 0})) as rig,
    ):
        for _ in range(3):
            await rig.ask(get())
        patient.seen = 0
        assert (await rig.ask(get("/early"))).status == 503
        assert patient.seen == 0
        rig.pass_time(OPEN)
        assert sorted({answer.status for answer in await asyncio.gather(*herd(rig))}) == [502, 503]
        # One was the trial, and after it the breaker is open for as long again.
        assert patient.seen == 1
