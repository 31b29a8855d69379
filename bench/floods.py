"""The checks of the soak in which more comes than can be served: all the time, or at once when an outage is over.

Their laws stand in bench/checks.py; what each holds besides is the first line of its docstring.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from statistics import quantiles

from bench import client
from bench.client import Outcome
from bench.gate import Gate
from bench.scene import Scene, Verdict, shown
from bench.stage import say
from bench.upstream import Upstream

_PLACES = 10
_WORK_SECONDS = 0.05
_FLOOD_SECONDS = 10.0
_TOLD_SECONDS = 0.01
_RECOVERY_SECONDS = 5.0
_OPEN_SECONDS = 2.0
_TRIAL_SECONDS = 0.5
_AGAIN_SECONDS = 0.25


@dataclass(slots=True)
class Flood:
    """What became of requests that were sent at a fixed rate, whatever became of those before them."""

    served: list[float] = field(default_factory=list)
    refused: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    async def run(self, gate: Gate, rate: float, seconds: float, target: str) -> None:
        """Send `rate` requests a second for so long, and wait for all answers."""
        loop = asyncio.get_running_loop()
        idle: list[client.Connection] = []
        began = loop.time()
        tasks = []
        for number in range(round(rate * seconds)):
            await asyncio.sleep(began + number / rate - loop.time())
            tasks.append(loop.create_task(self._one(gate, idle, target)))
        await asyncio.gather(*tasks)
        for connection in idle:
            connection.close()

    async def _one(self, gate: Gate, idle: list[client.Connection], target: str) -> None:
        connection = idle.pop() if idle else await gate.connect()
        # The loop's own clock stands still within a turn and knows no less than a millisecond.
        began = time.monotonic()
        outcome, words, _ = await connection.ask(client.small(target))
        took = time.monotonic() - began
        if outcome is Outcome.GOOD:
            self.served.append(took)
        elif outcome is Outcome.ERROR and words.startswith("503"):
            self.refused.append(took)
        else:
            self.failures.append(f"{outcome}: {words}")
        if connection.usable:
            idle.append(connection)


async def overload(scene: Scene) -> Verdict:
    """At two and five times of what a service can do it does four fifths of it at least, and the rest is told at once.

    The rate is kept whatever happens. Those who are served wait at most three times as long as at the peak, the
    median of the refusals takes 10 ms at most, and when it is over nobody is refused after 5 s.
    """
    upstream = Upstream(places=_PLACES)
    await upstream.start()
    service = {"adaptive_concurrency": {"enabled": True}, "retry": {"attempts": 0}}
    gate = scene.gate(upstream.port, service=service)
    await gate.start()
    target = f"/api/work?work={_WORK_SECONDS}"
    peak = _PLACES / _WORK_SECONDS
    seconds = min(_FLOOD_SECONDS, scene.seconds / 4)
    usual = Flood()
    await usual.run(gate, peak * 0.9, seconds, target)
    parts, failures = [], list(usual.failures)
    if len(usual.refused) > len(usual.served) * 0.05:
        failures.append(f"{len(usual.refused)} refused below the peak")
    slowest = 3 * max(_percentile(usual.served, 99), _WORK_SECONDS)
    for times in (2, 5):
        flood = Flood()
        await flood.run(gate, peak * times, seconds, target)
        share = len(flood.served) / (peak * seconds)
        late, told = _percentile(flood.served, 99), _percentile(flood.refused, 50)
        failures += flood.failures
        parts.append(f"{times}x: {share:.0%} served (p99 {late * 1000:.0f} ms), refusals {told * 1000:.1f} ms")
        say(f"  {parts[-1]}")
        if share < 0.8 or late > slowest or told > _TOLD_SECONDS:
            failures.append(parts[-1])
    await asyncio.sleep(_RECOVERY_SECONDS)
    after = Flood()
    await after.run(gate, peak * 0.5, seconds, target)
    failures += [*after.failures, *(["refused after it was over"] if after.refused else [])]
    await upstream.close()
    return Verdict(not failures, "; ".join(parts) + shown(failures))


async def herd(scene: Scene, clients: int = 2_000, trials: int = 2) -> Verdict:
    """After an outage two thousand clients come at once: no more than the trials get through, and then all of them.

    The breaker is one for both workers. From the first good answer on nobody is refused: it does not open again.
    """
    upstream = Upstream()
    await upstream.start()
    breaker = {"threshold": 5, "timeout": _OPEN_SECONDS, "jitter": 0, "trials": trials}
    gate = scene.gate(upstream.port, workers=2, service={"circuit_breaker": breaker})
    await gate.start()
    connections = [await gate.connect() for _ in range(clients)]
    await upstream.close()
    while (await connections[0].ask(client.small()))[1] != "503 breaker_open":
        pass
    upstream.seen.clear()
    upstream.first = 0
    await upstream.start()
    failures: list[str] = []
    first_good = 0.0

    async def insist(connection: client.Connection) -> None:
        nonlocal first_good
        while True:
            began = time.monotonic()
            outcome, words, _ = await connection.ask(client.small(f"/api/slow?delay={_TRIAL_SECONDS}"))
            if outcome is Outcome.GOOD:
                first_good = first_good or time.monotonic()
                return
            if words not in ("503 breaker_open", "503 shed"):
                failures.append(f"{outcome}: {words}")
                return
            # A worker to which so many come at once may have too much to do; the service has not.
            if words != "503 shed" and first_good and began > first_good + _AGAIN_SECONDS:
                failures.append("refused again after a good answer")
            await asyncio.sleep(_AGAIN_SECONDS)

    began = time.monotonic()
    async with asyncio.timeout(scene.seconds):
        await asyncio.gather(*map(insist, connections))
    took = time.monotonic() - began
    for connection in connections:
        connection.close()
    await upstream.close()
    words = f"{clients:,} clients, {upstream.first} let through before the first good answer (at most {trials}), "
    words += f"all served after {took:.1f} s, {len(failures)} failed"
    return Verdict(0 < upstream.first <= trials and not failures, words + shown(failures))


def _percentile(values: list[float], percent: int) -> float:
    return quantiles(values, n=100)[percent - 1] if len(values) > 1 else 0.0
