"""The check of the soak on what the gateway counts: its totals are those of clients who count themselves.

Its laws stand in bench/checks.py; what it holds besides is the first line of its docstring.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from bench.client import Ending, Outcome
from bench.scene import CLIENTS, STEADY, Scene, Verdict, shown
from bench.stage import say
from bench.upstream import Upstream

COUNTED = "headgate_requests_total"


class Tally:
    """What clients saw of a gateway that loses workers: answers by status, and requests that got none."""

    def __init__(self) -> None:
        self.answered: Counter[str] = Counter()
        self.lost = 0

    def judge(self, ending: Ending) -> str:
        """Count an ending; return what is wrong with it."""
        if ending.outcome is Outcome.WRONG:
            return ending.words
        if ending.outcome is Outcome.GOOD:
            self.answered[str(ending.ask.status)] += 1
        elif ending.outcome is Outcome.ERROR:
            self.answered[ending.words.partition(" ")[0]] += 1
        else:
            self.lost += 1
        return ""

    def differences(self, counted: Mapping[str, float]) -> dict[str, float]:
        """Return by how much the gateway counted more than was answered, by status."""
        return {status: counted.get(status, 0) - self.answered[status] for status in {*counted, *self.answered}}


def by_status(points: Iterable[Mapping[str, Any]]) -> Counter[str]:
    """Add up the requests in the JSON form of /metrics, by status."""
    found: Counter[str] = Counter()
    for point in points:
        if point["name"] == COUNTED:
            found[point["labels"]["status"]] += point["value"]
    return found


async def counters(scene: Scene, requests: int = 100_000, kills: int = 2) -> Verdict:
    """Four workers count a hundred thousand requests as the clients do, though two of them are killed meanwhile.

    By status and in all, the difference is at most what was in flight in the workers killed; and no count that was
    once shown is ever shown smaller.
    """
    upstream = Upstream()
    await upstream.start()
    gate = scene.gate(upstream.port, workers=4)
    await gate.start()
    # Of finding out that it is up.
    before = by_status(await gate.metrics())
    tally = Tally()
    crowd = gate.crowd(STEADY, tally.judge)
    crowd.start(CLIENTS)
    deadline = scene.deadline()
    loop = asyncio.get_running_loop()
    in_flight = killed = 0
    highest: Counter[str] = Counter()
    while crowd.total < requests and loop.time() < deadline:
        await asyncio.sleep(0.5)
        upstream.seen.clear()
        seen = by_status(await gate.metrics())
        crowd.failures += [f"{status} went from {highest[status]} back to {seen[status]}" for status in highest - seen]
        highest |= seen
        if killed < kills and crowd.total >= requests * (killed + 1) // (kills + 1):
            holders = gate.holders()
            victim = max(holders, key=lambda pid: len(holders[pid]))
            in_flight += len(holders[victim])
            os.kill(victim, signal.SIGKILL)
            killed += 1
            say(f"  kill {killed}: {crowd.total:,} requests, {in_flight} connections of those killed")
    await crowd.stop()
    await upstream.close()
    found = by_status(await gate.metrics())
    found.subtract(before)
    differences = tally.differences(found)
    wide = {status: number for status, number in differences.items() if abs(number) > in_flight}
    words = (
        f"{crowd.total:,} requests, {tally.answered.total():,} answered, {found.total():,} counted, {tally.lost} lost "
        f"with {killed} workers that had {in_flight} connections, {len(crowd.failures)} failed"
    )
    held = not wide and abs(sum(differences.values())) <= in_flight and killed == kills and not crowd.failures
    return Verdict(held, words + shown([*crowd.failures, *(f"{key}: {value:+}" for key, value in wide.items())]))
