"""THE table of the soak: what is done to the gateway for a long time, and what must hold.

The laws, for every check:

- A complete answer is the one that was asked for: status, both ids, and every byte that went up is vouched for.
- An answer that began ends well.
- A request that the upstream saw is answered. So a request may end unanswered only if the upstream never saw it
  (a client may then send it elsewhere), and only in a check that ends processes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

from bench import (
    caches,
    callers,
    client,
    control_faults,
    faults,
    floods,
    key_churn,
    machine_faults,
    proc,
    streams,
    weapons,
)
from bench.client import Ending, Outcome
from bench.counters import counters
from bench.foreign import Foreign
from bench.gate import Gate
from bench.issuer import issuer
from bench.keys import keys
from bench.measure import MEGABYTE
from bench.plane import ANSWERED, EVERYTHING, FOUND, READY, Plane
from bench.scene import CLIENTS, STEADY, Scene, Verdict, ask_all, shown, strictly, strictly_called
from bench.stage import say
from bench.trend import Point, growth
from bench.upstream import Upstream

MIXED = {client.small: 70, client.missing: 10, client.upload: 12, client.streamed: 3, client.aborted: 5}
_GROWTH_MEGABYTES = 5.0
_RELOAD_SECONDS = 5.0
_DRAIN_SECONDS = 35.0
_IDLE_MEGABYTES = 250.0
_CALLERS = 8


async def memory(scene: Scene, requests: int = 1_000_000) -> Verdict:
    """Memory of each process stays flat over a million mixed requests with everything on, and control at work.

    Among the requests are aborts, chunked uploads and own endpoints; who uses control watches, scrapes, asks and
    registers all the time, and the sources of the services tell one set after another.
    """
    plane = Plane(scene)
    await plane.start()
    plane.change()
    gate = plane.gate
    crowd = gate.crowd({**MIXED, **FOUND, **ANSWERED}, strictly)
    crowd.start(CLIENTS)
    processes = await gate.processes()
    points: dict[str, list[Point]] = {kind: [] for kind in processes}
    deadline = scene.deadline()
    loop = asyncio.get_running_loop()
    told = 0
    while crowd.total < requests and loop.time() < deadline and len(crowd.failures) < 100:
        await asyncio.sleep(1)
        plane.forget()
        for kind, pid in processes.items():
            points[kind].append((crowd.total, proc.resident(pid) / MEGABYTE))
        if crowd.total >= told + requests // 20:
            told = crowd.total
            sizes = ", ".join(f"{kind} {measured[-1][1]:.1f} MB" for kind, measured in points.items())
            say(f"  {crowd.total:,} requests, {sizes}, {len(crowd.failures)} failed")
    failures = [] if await gate.processes() == processes else ["a process ended"]
    await crowd.stop()
    await plane.stop()
    failures += crowd.failures + plane.watchers.failures
    grown = {kind: growth(measured) for kind, measured in points.items()}
    grew = ", ".join(f"{kind} {grown[kind]:+.2f} MB to {points[kind][-1][1]:.1f}" for kind in grown)
    done = ", ".join(f"{count:,} {kind}" for kind, count in plane.watchers.done.most_common())
    words = f"{crowd.total:,} requests, {done}; over the last four fifths {grew} (at most {_GROWTH_MEGABYTES:g}), "
    held = max(grown.values()) <= _GROWTH_MEGABYTES and not failures
    return Verdict(held, f"{words}{len(failures)} failed{shown(failures)}")


async def reload(scene: Scene, times: int = 100) -> Verdict:
    """No request fails over a hundred reloads under load, with control at work, and each reload takes effect.

    Every reload moves the service to the other of two upstreams; it counts when that one answers. Calls of gRPC go on
    over several reloads, and h2load, which others wrote, asks all the time on the same connections.
    """
    plane = Plane(scene)
    await plane.start()
    plane.change()
    upstreams, gate = plane.upstreams, plane.gate
    crowd = gate.crowd(EVERYTHING, strictly)
    crowd.start(CLIENTS)
    calls = gate.calls(strictly_called)
    calls.start(_CALLERS)
    foreign = Foreign(gate)
    foreign.start()
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
    await foreign.stop()
    await calls.stop()
    await crowd.stop()
    await plane.stop()
    failures = crowd.failures + calls.failures + foreign.failures + plane.watchers.failures
    slowest, users = max(took, default=0.0), plane.watchers.done.total()
    words = f"{len(took)} reloads (slowest {slowest:.2f} s), {crowd.total:,} requests, {foreign.total:,} of h2load, "
    words += f"{calls.total:,} calls, {users:,} of who uses control, "
    return Verdict(bool(took) and bool(calls.total) and not failures, f"{words}{len(failures)} failed{shown(failures)}")


async def _answered_by(gate: Gate, server: str, deadline: float) -> bool:
    loop = asyncio.get_running_loop()
    while loop.time() < deadline:
        connection = await gate.connect()
        _, _, answer = await connection.ask(client.small())
        connection.close()
        if answer is not None and f'"server":"{server}"'.encode() in answer.body:
            return True
        await asyncio.sleep(0.01)
    return False


async def terminate(scene: Scene, times: int = 50) -> Verdict:
    """A SIGTERM under load breaks no accepted request, fifty times at random moments; the exit code is 0.

    Accepted is what the upstream saw, and what an answer has begun for. Control is at work, and watched.
    """
    plane = Plane(scene)
    failures: list[str] = []
    total = in_flight = called = done = 0
    slowest = 0.0
    deadline = scene.deadline()
    loop = asyncio.get_running_loop()

    accepted = Accepted(plane)
    kinds = {kind: weight for kind, weight in EVERYTHING.items() if kind is not READY}
    while done < times and loop.time() < deadline:
        await (plane.begin() if done else plane.start())
        plane.change()
        gate = plane.gate
        crowd = gate.crowd(kinds, accepted.judge)
        crowd.start(CLIENTS)
        calls = gate.calls(accepted.judge_call)
        calls.start(_CALLERS)
        await asyncio.sleep(random.uniform(0.1, 0.8))
        in_flight += crowd.in_flight
        called += calls.in_flight
        # From here on who uses control may be cut, or told that it ends.
        failures += plane.watchers.failures
        began = loop.time()
        gate.terminate()
        code = await gate.ended(_DRAIN_SECONDS)
        slowest = max(slowest, loop.time() - began)
        await calls.stop()
        await crowd.stop()
        await plane.end()
        gate.stop()
        plane.forget()
        done += 1
        total += crowd.total
        failures += crowd.failures + calls.failures
        if code != 0:
            failures.append(f"SIGTERM {done}: exit code {code} after {loop.time() - began:.1f} s")
        if done % 10 == 0:
            say(f"  {done} times, {total:,} requests, {len(failures)} broken")
    await plane.stop()
    words = f"{done} times (slowest end {slowest:.2f} s), {in_flight:,} requests and "
    words += f"{called:,} calls in flight at the signals, "
    return Verdict(bool(in_flight) and bool(called) and not failures, f"{words}{len(failures)} broken{shown(failures)}")


class Accepted:
    """The judgement of a time when the gateway ends: what it accepted must be answered, all else may be refused."""

    def __init__(self, plane: Plane) -> None:
        self._plane = plane

    def judge(self, ending: Ending) -> str:
        """Judge a request."""
        if ending.outcome not in (Outcome.GOOD, Outcome.REFUSED, Outcome.UNANSWERED):
            return ending.words
        if ending.outcome is Outcome.UNANSWERED and ending.ask.id in self._plane.seen:
            return "the upstream saw it, and the client got nothing"
        return ""

    def judge_call(self, name: str, code: str, words: str) -> str:
        """Judge a call of gRPC."""
        return words if code != "UNAVAILABLE" or name in self._plane.echo.seen else ""


async def idle(scene: Scene, count: int = 10_000) -> Verdict:
    """Ten thousand idle connections are held, stay served, and disturb nobody."""
    upstream = Upstream()
    await upstream.start()
    gate = scene.gate(upstream.port)
    await gate.start()
    crowd = gate.crowd(STEADY, strictly)
    crowd.start(4)
    held: list[client.Connection] = []
    failures: list[str] = []
    for _ in range(0, count, 100):
        held += await asyncio.gather(*(gate.connect() for _ in range(100)))
        failures += await ask_all(held[-100:])
    during = gate.memory()
    say(f"  {len(held):,} connections, {during:.1f} MB")
    await asyncio.sleep(min(30.0, scene.seconds))
    during = max(during, gate.memory())
    for number in range(0, count, 100):
        failures += await ask_all(held[number : number + 100])
    await crowd.stop()
    for connection in held:
        connection.close()
    await upstream.close()
    failures += crowd.failures
    words = f"{len(held):,} connections, {during:.1f} MB in all processes (at most {_IDLE_MEGABYTES:g}), "
    words += f"{crowd.total:,} requests beside them, {len(failures)} failed{shown(failures)}"
    return Verdict(during <= _IDLE_MEGABYTES and not failures, words)


CHECKS: dict[str, Callable[[Scene], Awaitable[Verdict]]] = {
    "memory": memory,
    "reload": reload,
    "terminate": terminate,
    "kill": faults.kill,
    "stop": faults.stop,
    "control": control_faults.control,
    "registries": control_faults.registries,
    "disk": machine_faults.disk,
    "clock": machine_faults.clock,
    "counters": counters,
    "idle": idle,
    "faults": faults.faults,
    "stale": faults.stale,
    "overload": floods.overload,
    "herd": floods.herd,
    "http2": streams.http2,
    "weapons": weapons.weapons,
    "cache_churn": caches.cache_churn,
    "cache_kill": caches.cache_kill,
    "cache_redis": caches.cache_redis,
    "cache_size": caches.cache_size,
    "strangers": callers.strangers,
    "identities": callers.identities,
    "passwords": callers.passwords,
    "churn": key_churn.churn,
    "killed_churn": key_churn.killed_churn,
    "slots": key_churn.slots,
    "issuer": issuer,
    "keys": keys,
}
