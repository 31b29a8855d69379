"""One of three endpoints is bad: now and then, all the time, or by turns. Nobody but the endpoint suffers."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable

import pytest

from bench import client
from bench.client import Outcome
from tests.faults.proxy import Fault, FaultProxy, Lane
from tests.faults.scene import Tally, ask, upstream
from tests.proxy.peers import Message, Upstream, Wire, answering, get, ok
from tests.proxy.stage import gateway, on_loop, to

RETRY = {"attempts": 2, "on": ["connect", "reset", "5xx"], "backoff": {"base": 0}}
OUTLIER = {"consecutive_failures": 2, "ejection_time": 300}


def flawed(share: float, seen: list[Message]) -> Callable[[Wire], Awaitable[None]]:
    """Make the play of an endpoint that answers a share of its requests with 503."""
    draw = random.Random(24).random
    return answering(lambda _: ok(b"no", status=503) if draw() < share else ok(b"yes"), seen)


@pytest.mark.parametrize("method", ["GET", "POST"])
@on_loop
async def test_one_of_three_that_fails_now_and_then_is_taken_out(method: str) -> None:
    bad: list[Message] = []
    fine: list[Message] = []
    play = answering(lambda _: ok(b"yes"), fine)
    async with (
        Upstream(flawed(0.3, bad)) as one,
        Upstream(play) as two,
        Upstream(play) as three,
        gateway(to(one, two, three, service={"outlier": OUTLIER, "retry": RETRY})) as rig,
    ):
        statuses = [(await rig.ask(get(method=method), method)).status for _ in range(1000)]
        # A POST is not sent twice: its failures are all that there were before the endpoint was out.
        assert statuses.count(200) >= (1000 if method == "GET" else 990)
        assert len(bad) < 200
        assert statuses[-500:] == [200] * 500
        assert len(bad) + len(fine) == sum(line["attempts"] for line in rig.log)


@on_loop
async def test_when_all_are_bad_they_are_still_tried() -> None:
    seen: list[list[Message]] = [[], [], []]
    async with (
        Upstream(flawed(1, seen[0])) as one,
        Upstream(flawed(1, seen[1])) as two,
        Upstream(flawed(1, seen[2])) as three,
        gateway(to(one, two, three, service={"outlier": OUTLIER, "retry": {"attempts": 0}})) as rig,
    ):
        answers = [await rig.ask(get()) for _ in range(60)]
        # The upstreams' own answer, and never that there is nobody to ask.
        assert {(answer.status, answer.body) for answer in answers} == {(503, b"no")}
        assert sum(map(len, seen)) == 60
        # Half of them may be out: of three, one.
        assert sum(len(each) > 2 for each in seen) >= 2


@on_loop
async def test_one_that_comes_and_goes_costs_nobody_an_answer() -> None:
    outlier = {"consecutive_failures": 3, "ejection_time": 0.05}
    async with (
        upstream() as server,
        FaultProxy(server.port) as flapping,
        FaultProxy(server.port) as two,
        FaultProxy(server.port) as three,
        gateway(to(flapping.url, two.url, three.url, service={"outlier": outlier, "retry": RETRY})) as rig,
    ):
        tally = Tally()
        for number in range(400):
            if number % 40 == 20:
                flapping.refuse()
                flapping.reset_all()
            elif number % 40 == 0 and number:
                await flapping.listen()
            await ask(rig, client.small(), tally)
        assert tally.outcomes == {Outcome.GOOD: 400}


@on_loop
async def test_one_whose_answers_are_cut_is_taken_out_too() -> None:
    async with (
        upstream() as server,
        FaultProxy(server.port, Fault(down=Lane(after=300))) as bad,
        FaultProxy(server.port) as two,
        FaultProxy(server.port) as three,
        gateway(to(bad.url, two.url, three.url, service={"outlier": OUTLIER, "retry": RETRY})) as rig,
    ):
        tally = Tally()
        for _ in range(60):
            await ask(rig, client.small("/api/things?size=1000"), tally)
        assert tally.outcomes == {Outcome.CUT: 2, Outcome.GOOD: 58}
