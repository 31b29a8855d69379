"""THE table of the soak: what is done to the gateway for a long time, and what must hold.

The laws, for every check:

- A complete answer is the one that was asked for: status, both ids, and every byte that went up is vouched for.
- An answer that began ends well.
- A request that the upstream saw is answered. So a request may end unanswered only if the upstream never saw it
  (a client may then send it elsewhere), and only in a check that ends processes.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from bench import client
from bench.client import Crowd, Ending, Outcome
from bench.gate import Gate
from bench.stage import Cores, Stage, say
from bench.trend import Point, growth
from bench.upstream import Upstream

MIXED = {client.small: 70, client.missing: 10, client.upload: 12, client.streamed: 3, client.aborted: 5}
STEADY = {client.small: 70, client.missing: 10, client.upload: 10, client.streamed: 5, client.slow: 5}
_CLIENTS = 32
_GROWTH_MEGABYTES = 5.0
_RELOAD_SECONDS = 5.0
_DRAIN_SECONDS = 35.0
_ACCEPTED_SECONDS = 1.0
# Five deaths within 30 s are a crash loop to the master, which then waits before it starts another worker.
_KILLS = 4
_IDLE_MEGABYTES = 250.0


@dataclass(frozen=True, slots=True)
class Scene:
    """What a check runs on: a stage of its own, the cores, and the seconds after which it ends early."""

    stage: Stage
    cores: Cores
    seconds: float

    def deadline(self) -> float:
        """Return the loop time at which the check ends, counted from now."""
        return asyncio.get_running_loop().time() + self.seconds


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the check held, and the figures in words."""

    held: bool
    words: str


def strictly(ending: Ending) -> str:
    """Judge a request of a time when nothing may fail."""
    return "" if ending.outcome is Outcome.GOOD else ending.words or ending.outcome


def _first(failures: list[str]) -> str:
    shown = "; ".join(failures[:3])
    return f"; FAILED: {shown}" if failures else ""


async def memory(scene: Scene, requests: int = 1_000_000) -> Verdict:
    """Memory stays flat over a million mixed requests, client aborts and chunked uploads among them."""
    upstream = Upstream()
    await upstream.start()
    gate = Gate(scene.stage, scene.cores, upstream.port)
    await gate.start()
    crowd = Crowd(gate.port, MIXED, strictly)
    crowd.start(_CLIENTS)
    points: list[Point] = []
    deadline = scene.deadline()
    loop = asyncio.get_running_loop()
    told = 0
    while crowd.total < requests and loop.time() < deadline and len(crowd.failures) < 100:
        await asyncio.sleep(1)
        upstream.seen.clear()
        points.append((crowd.total, gate.memory()))
        if crowd.total >= told + requests // 20:
            told = crowd.total
            say(f"  {crowd.total:,} requests, {points[-1][1]:.1f} MB, {len(crowd.failures)} failed")
    await crowd.stop()
    await upstream.close()
    grown = growth(points)
    words = f"{crowd.total:,} requests, {points[-1][1]:.1f} MB at the end, {grown:+.2f} MB over the last four fifths"
    held = grown <= _GROWTH_MEGABYTES and not crowd.failures
    return Verdict(
        held, f"{words} (at most {_GROWTH_MEGABYTES:g}), {len(crowd.failures)} failed{_first(crowd.failures)}"
    )


async def reload(scene: Scene, times: int = 100) -> Verdict:
    """No request fails over a hundred reloads under load, and each reload takes effect.

    Every reload moves the service to the other of two upstreams; it counts when that one answers.
    """
    upstreams = [Upstream("one"), Upstream("two")]
    for upstream in upstreams:
        await upstream.start()
    gate = Gate(scene.stage, scene.cores, upstreams[0].port)
    await gate.start()
    crowd = Crowd(gate.port, STEADY, strictly)
    crowd.start(_CLIENTS)
    took: list[float] = []
    deadline = scene.deadline()
    loop = asyncio.get_running_loop()
    while len(took) < times and loop.time() < deadline:
        wanted = upstreams[(len(took) + 1) % 2]
        gate.write(wanted.port)
        began = loop.time()
        gate.reload()
        if not await _answered_by(gate, wanted.name, began + _RELOAD_SECONDS):
            crowd.failures.append(f"reload {len(took) + 1} had no effect in {_RELOAD_SECONDS:g} s")
            break
        took.append(loop.time() - began)
        if len(took) % 10 == 0:
            say(f"  {len(took)} reloads, {crowd.total:,} requests, {len(crowd.failures)} failed")
        await asyncio.sleep(random.uniform(0.05, 0.3))
    await crowd.stop()
    for upstream in upstreams:
        await upstream.close()
    slowest = max(took, default=0.0)
    words = f"{len(took)} reloads (slowest {slowest:.2f} s), {crowd.total:,} requests, {len(crowd.failures)} failed"
    return Verdict(bool(took) and not crowd.failures, words + _first(crowd.failures))


async def _answered_by(gate: Gate, server: str, deadline: float) -> bool:
    loop = asyncio.get_running_loop()
    while loop.time() < deadline:
        connection = await client.connect(gate.port)
        _, _, answer = await connection.ask(client.small())
        connection.close()
        if answer is not None and f'"server":"{server}"'.encode() in answer.body:
            return True
        await asyncio.sleep(0.01)
    return False


async def terminate(scene: Scene, times: int = 50) -> Verdict:
    """A SIGTERM under load breaks no accepted request, fifty times at random moments; the exit code is 0.

    Accepted is what the upstream saw, and what an answer has begun for.
    """
    upstream = Upstream()
    await upstream.start()
    failures: list[str] = []
    total = in_flight = done = 0
    slowest = 0.0
    deadline = scene.deadline()
    loop = asyncio.get_running_loop()

    def judge(ending: Ending) -> str:
        if ending.outcome not in (Outcome.GOOD, Outcome.REFUSED, Outcome.UNANSWERED):
            return ending.words
        if ending.outcome is Outcome.UNANSWERED and ending.ask.id in upstream.seen:
            return "the upstream saw it, and the client got nothing"
        return ""

    gate = Gate(scene.stage, scene.cores, upstream.port)
    while done < times and loop.time() < deadline:
        await gate.start()
        crowd = Crowd(gate.port, STEADY, judge)
        crowd.start(_CLIENTS)
        await asyncio.sleep(random.uniform(0.1, 0.8))
        in_flight += crowd.in_flight
        began = loop.time()
        gate.terminate()
        code = await gate.ended(_DRAIN_SECONDS)
        slowest = max(slowest, loop.time() - began)
        await crowd.stop()
        gate.stop()
        done += 1
        total += crowd.total
        failures += crowd.failures
        if code != 0:
            failures.append(f"SIGTERM {done}: exit code {code} after {loop.time() - began:.1f} s")
        if done % 10 == 0:
            say(f"  {done} times, {total:,} requests, {len(failures)} broken")
    await upstream.close()
    words = f"{done} times (slowest end {slowest:.2f} s), {in_flight:,} requests in flight at the signals, "
    return Verdict(bool(in_flight) and not failures, f"{words}{len(failures)} broken{_first(failures)}")


async def kill(scene: Scene, times: int = _KILLS) -> Verdict:
    """A worker killed under load takes only its own connections with it, and within a second all is served again.

    Of its connections everything may be lost but an answer that is wrong; on all others, and on every connection
    opened after the kill, nothing may fail or wait for longer than a second.
    """
    upstream = Upstream()
    await upstream.start()
    gate = Gate(scene.stage, scene.cores, upstream.port, workers=2)
    await gate.start()
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

    crowd = Crowd(gate.port, STEADY, judge)
    crowd.start(_CLIENTS)
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
    await upstream.close()
    words = f"{times} kills, {lost} requests lost with them of {crowd.total:,}, {len(crowd.failures)} others failed, "
    words += f"slowest on a new connection {slowest:.2f} s (at most {_ACCEPTED_SECONDS:g})"
    held = slowest <= _ACCEPTED_SECONDS and not crowd.failures and lost > 0
    return Verdict(held, words + _first(crowd.failures))


async def _fresh_connections(gate: Gate, until: float) -> tuple[float, list[str]]:
    """Open a connection every 20 ms until then; return the slowest answer on one, and the failures."""

    async def one() -> tuple[float, str]:
        began = loop.time()
        try:
            connection = await client.connect(gate.port)
        except OSError as error:
            return 0.0, f"a new connection after the kill: {error}"
        outcome, words, _ = await connection.ask(client.small())
        connection.close()
        return loop.time() - began, "" if outcome is Outcome.GOOD else f"a new connection after the kill: {words}"

    loop = asyncio.get_running_loop()
    tasks = []
    while loop.time() < until:
        tasks.append(loop.create_task(one()))
        await asyncio.sleep(0.02)
    ends = await asyncio.gather(*tasks)
    return max(took for took, _ in ends), [words for _, words in ends if words]


async def idle(scene: Scene, count: int = 10_000) -> Verdict:
    """Ten thousand idle connections are held, stay served, and disturb nobody."""
    upstream = Upstream()
    await upstream.start()
    gate = Gate(scene.stage, scene.cores, upstream.port)
    await gate.start()
    crowd = Crowd(gate.port, STEADY, strictly)
    crowd.start(4)
    held: list[client.Connection] = []
    failures: list[str] = []
    for _ in range(0, count, 100):
        held += await asyncio.gather(*(client.connect(gate.port) for _ in range(100)))
        failures += await _ask_all(held[-100:])
    during = gate.memory()
    say(f"  {len(held):,} connections, {during:.1f} MB")
    await asyncio.sleep(min(30.0, scene.seconds))
    during = max(during, gate.memory())
    for first in range(0, count, 100):
        failures += await _ask_all(held[first : first + 100])
    await crowd.stop()
    for connection in held:
        connection.close()
    await upstream.close()
    failures += crowd.failures
    words = f"{len(held):,} connections, {during:.1f} MB in all processes (at most {_IDLE_MEGABYTES:g}), "
    words += f"{crowd.total:,} requests beside them, {len(failures)} failed{_first(failures)}"
    return Verdict(during <= _IDLE_MEGABYTES and not failures, words)


async def _ask_all(connections: list[client.Connection]) -> list[str]:
    ends = await asyncio.gather(*(connection.ask(client.small()) for connection in connections))
    return [f"an idle connection: {words}" for outcome, words, _ in ends if outcome is not Outcome.GOOD]


async def faults(scene: Scene, times: int = 200) -> Verdict:
    """An upstream that fails gets its client the right answer each time, and fails nobody beside it."""
    upstream = Upstream()
    await upstream.start()
    gate = Gate(scene.stage, scene.cores, upstream.port)
    await gate.start()
    crowd = Crowd(gate.port, STEADY, strictly)
    crowd.start(8)
    failures: list[str] = []
    deadline = scene.deadline()
    loop = asyncio.get_running_loop()
    done = 0
    while done < times and loop.time() < deadline:
        for ask, wanted in _faulty():
            connection = await client.connect(gate.port)
            outcome, words, _ = await connection.ask(ask)
            connection.close()
            if outcome is not wanted:
                failures.append(f"{ask.data.split(None, 2)[1].decode()}: {outcome} instead of {wanted}: {words}")
        done += 1
    await crowd.stop()
    await upstream.close()
    failures += await _refused(gate)
    await upstream.start()
    failures += await _ask_all([await client.connect(gate.port)])
    await upstream.close()
    failures += crowd.failures
    words = f"{done} rounds of faults, {crowd.total:,} requests beside them, {len(failures)} failed{_first(failures)}"
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
        connection = await client.connect(gate.port)
        outcome, words, _ = await connection.ask(client.failing("/api/things", 502))
        connection.close()
        if outcome is not Outcome.GOOD:
            failures.append(f"with the upstream gone: {words}")
    return failures


CHECKS: dict[str, Callable[[Scene], Awaitable[Verdict]]] = {
    "memory": memory,
    "reload": reload,
    "terminate": terminate,
    "kill": kill,
    "idle": idle,
    "faults": faults,
}
