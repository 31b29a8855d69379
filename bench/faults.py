"""The checks of the soak that do harm: to workers, upstreams and connections.

Their laws stand in bench/checks.py; what each holds besides is the first line of its docstring.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from dataclasses import dataclass, field

from bench import client
from bench.client import Ending, Outcome
from bench.gate import Gate
from bench.plane import FOUND, Plane
from bench.scene import CLIENTS, STEADY, Scene, Verdict, ask_all, shown, strictly
from bench.stage import say
from bench.upstream import Upstream

_ACCEPTED_SECONDS = 1.0
# Five deaths within 30 s are a crash loop to the master, which then waits before it starts another worker.
_KILLS = 4
# A worker without a heartbeat for 10 s is taken for stuck; then a new one starts.
_REPLACED_SECONDS = 13.0
_KEEP_ALIVE = 0.1


async def kill(scene: Scene, times: int = _KILLS) -> Verdict:
    """A worker killed under load takes only its own connections with it, and within a second all is served again.

    Of its connections everything may be lost but an answer that is wrong; on all others, and on every connection
    opened after the kill, nothing may fail or wait for longer than a second. Who uses control does not notice.
    """
    plane = Plane(scene, workers=2)
    await plane.start()
    plane.change()
    gate = plane.gate
    lost_with: set[int] = set()
    killed_at = 0.0
    lost = 0
    slowest = 0.0

    def judge(ending: Ending) -> str:
        nonlocal lost, slowest
        if ending.outcome is Outcome.WRONG:
            return ending.words
        if ending.outcome is not Outcome.GOOD and ending.local_port in lost_with and ending.opened < killed_at:
            lost += 1
            return ""
        if ending.outcome is not Outcome.GOOD:
            return f"{ending.words}, on a connection of nobody who was killed"
        if killed_at and ending.opened >= killed_at:
            slowest = max(slowest, ending.ended - ending.began)
        return ""

    crowd = gate.crowd({**STEADY, **FOUND}, judge)
    crowd.start(CLIENTS)
    loop = asyncio.get_running_loop()
    for number in range(times):
        await asyncio.sleep(3)
        holders = gate.holders()
        victim = max(holders, key=lambda pid: len(holders[pid]))
        lost_with, killed_at = holders[victim], loop.time()
        os.kill(victim, signal.SIGKILL)
        worst, failures = await _fresh_connections(gate, killed_at + 2)
        slowest = max(slowest, worst)
        crowd.failures += failures
        say(f"  kill {number + 1}: {len(lost_with)} connections, {lost} requests lost so far, slowest {slowest:.2f} s")
    await crowd.stop()
    await plane.stop()
    crowd.failures += plane.watchers.failures
    words = f"{times} kills, {lost} requests lost with them of {crowd.total:,}, {len(crowd.failures)} others failed, "
    words += f"slowest on a new connection {slowest:.2f} s (at most {_ACCEPTED_SECONDS:g})"
    held = slowest <= _ACCEPTED_SECONDS and not crowd.failures and lost > 0
    return Verdict(held, words + shown(crowd.failures))


async def stop(scene: Scene, times: int = 2) -> Verdict:
    """A worker that stands still takes only its own connections with it, and is replaced; no connection is refused.

    On connections of other workers nothing fails or waits for longer than a second. New connections may fall to the
    one that stands still: they are served by its successor.
    """
    upstream = Upstream()
    await upstream.start()
    gate = scene.gate(upstream.port, workers=2)
    await gate.start()
    lost_with: set[int] = set()
    stopped_at = 0.0
    lost = 0
    slowest = {"old": 0.0, "new": 0.0}

    def judge(ending: Ending) -> str:
        nonlocal lost
        if ending.local_port in lost_with and ending.opened < stopped_at:
            lost += ending.outcome is not Outcome.GOOD
            return ending.words if ending.outcome is Outcome.WRONG else ""
        if stopped_at:
            kind = "old" if ending.opened < stopped_at else "new"
            slowest[kind] = max(slowest[kind], ending.ended - ending.began)
        return strictly(ending)

    crowd = gate.crowd(STEADY, judge)
    crowd.start(CLIENTS)
    loop = asyncio.get_running_loop()
    for number in range(times):
        await asyncio.sleep(3)
        holders = gate.holders()
        victim = max(holders, key=lambda pid: len(holders[pid]))
        lost_with, stopped_at = holders[victim], loop.time()
        os.kill(victim, signal.SIGSTOP)
        took, failures = await _fresh_connections(gate, stopped_at + _REPLACED_SECONDS, every=0.2)
        slowest["new"] = max(slowest["new"], took)
        crowd.failures += failures
        if victim in gate.holders():
            crowd.failures.append(f"the worker that stood still is still there after {_REPLACED_SECONDS:g} s")
        say(f"  stop {number + 1}: {len(lost_with)} connections, {lost} requests lost so far")
    await crowd.stop()
    await upstream.close()
    words = f"{times} stops, {lost} requests lost with them of {crowd.total:,}, {len(crowd.failures)} others failed, "
    words += f"slowest beside them {slowest['old']:.2f} s (at most {_ACCEPTED_SECONDS:g}), "
    words += f"on a new connection {slowest['new']:.2f} s (at most {_REPLACED_SECONDS:g})"
    held = slowest["old"] <= _ACCEPTED_SECONDS and slowest["new"] <= _REPLACED_SECONDS and lost > 0
    return Verdict(held and not crowd.failures, words + shown(crowd.failures))


async def _fresh_connections(gate: Gate, until: float, every: float = 0.02) -> tuple[float, list[str]]:
    """Open a connection every so many seconds until then; return the slowest answer on one, and the failures."""

    async def one() -> tuple[float, str]:
        began = loop.time()
        try:
            connection = await gate.connect()
        except OSError as error:
            return 0.0, f"a new connection after the kill: {error}"
        outcome, words, _ = await connection.ask(client.small())
        connection.close()
        return loop.time() - began, "" if outcome is Outcome.GOOD else f"a new connection after the kill: {words}"

    loop = asyncio.get_running_loop()
    tasks = []
    while loop.time() < until:
        tasks.append(loop.create_task(one()))
        await asyncio.sleep(every)
    ends = await asyncio.gather(*tasks)
    return max(took for took, _ in ends), [words for _, words in ends if words]


async def faults(scene: Scene, times: int = 200) -> Verdict:
    """An upstream that fails gets its client the right answer each time, and fails nobody beside it."""
    upstream = Upstream()
    await upstream.start()
    gate = scene.gate(upstream.port)
    await gate.start()
    crowd = gate.crowd(STEADY, strictly)
    crowd.start(8)
    failures: list[str] = []
    deadline = scene.deadline()
    loop = asyncio.get_running_loop()
    done = 0
    while done < times and loop.time() < deadline:
        for ask, wanted in _faulty():
            connection = await gate.connect()
            outcome, words, _ = await connection.ask(ask)
            connection.close()
            if outcome is not wanted:
                failures.append(f"{ask.data.split(None, 2)[1].decode()}: {outcome} instead of {wanted}: {words}")
        done += 1
    await crowd.stop()
    await upstream.close()
    failures += await _refused(gate)
    await upstream.start()
    failures += await ask_all([await gate.connect()])
    await upstream.close()
    failures += crowd.failures
    words = f"{done} rounds of faults, {crowd.total:,} requests beside them, {len(failures)} failed{shown(failures)}"
    return Verdict(not failures and done > 0, words)


def _faulty() -> list[tuple[client.Ask, Outcome]]:
    """Return the requests that go wrong upstream, and how each must end."""
    return [
        (client.failing("/api/x?close=before", 502), Outcome.GOOD),
        (client.failing("/api/x?close=middle&size=4000", 200), Outcome.CUT),
        (client.failing("/api/hurried?delay=1.5", 504), Outcome.GOOD),
    ]


async def _refused(gate: Gate) -> list[str]:
    """With the upstream gone every request is answered 502, at once."""
    failures = []
    for _ in range(20):
        connection = await gate.connect()
        outcome, words, _ = await connection.ask(client.failing("/api/things", 502))
        connection.close()
        if outcome is not Outcome.GOOD:
            failures.append(f"with the upstream gone: {words}")
    return failures


async def stale(scene: Scene, tries: int = 10_000) -> Verdict:
    """Idle connections are closed as requests are sent on them: no harmless one fails, and no other is doubled.

    Clients ask again within 5 ms before and after the time at which connections end. First the pool gives them up
    before the upstream does, as it should: then nothing fails at all. Then it keeps them for longer: what is in flight
    when the upstream closes may not be sent again if it is not idempotent, and its client is told so.
    """
    kept = Staleness()
    await kept.run(scene, tries // 2, pool=_KEEP_ALIVE * 0.8, upstream=_KEEP_ALIVE)
    forgotten = Staleness()
    await forgotten.run(scene, tries // 2, pool=3600, upstream=_KEEP_ALIVE)
    failures = kept.failures + forgotten.failures
    if kept.told:
        failures.append(f"{kept.told} POSTs failed although the pool gives up first")
    words = f"{kept.total:,} tries with a pool that gives up first; {forgotten.total:,} with one that does not: "
    words += f"{forgotten.expired:,} connections were closed idle, {forgotten.told} POSTs failed with a reason; "
    words += f"{len(failures)} failed otherwise or were doubled"
    return Verdict(not failures and forgotten.expired > 0, words + shown(failures))


@dataclass(slots=True)
class Staleness:
    """What became of requests at the moment when idle connections end; `told` counts POSTs with an error as answer."""

    total: int = 0
    told: int = 0
    expired: int = 0
    failures: list[str] = field(default_factory=list)

    async def run(self, scene: Scene, tries: int, pool: float, upstream: float) -> None:
        """Ask so often, with connections that the pool keeps for `pool` seconds and the upstream for `upstream`."""
        server = Upstream(keep_alive=upstream)
        await server.start()
        gate = scene.gate(server.port, service={"pool": {"idle_timeout": pool}})
        await gate.start()
        deadline = scene.deadline() - scene.seconds / 2
        connections = [await gate.connect() for _ in range(CLIENTS)]
        while self.total < tries and asyncio.get_running_loop().time() < deadline:
            # All at once: a connection that another client used meanwhile would not be idle for long enough.
            await asyncio.gather(*(self._one(connection, server) for connection in connections))
            await asyncio.sleep(min(pool, upstream) + random.uniform(-0.005, 0.005))
        for connection in connections:
            connection.close()
        self.expired = server.expired
        await server.close()
        gate.stop()

    async def _one(self, connection: client.Connection, server: Upstream) -> None:
        method = random.choice(("GET", "POST"))
        ask = client.small(method=method)
        outcome, words, _ = await connection.ask(ask)
        self.total += 1
        if method == "POST" and (outcome, words) == (Outcome.ERROR, "502 upstream_reset"):
            self.told += 1
        elif outcome is not Outcome.GOOD:
            self.failures.append(f"{method}: {outcome}: {words}")
        if method == "POST" and server.seen[ask.id] > 1:
            self.failures.append(f"the upstream got a POST {server.seen[ask.id]} times")
