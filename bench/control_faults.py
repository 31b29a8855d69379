"""The checks of the soak that do harm to control, and to whom it asks: no request may be the worse for it.

Their laws stand in bench/checks.py; what each holds besides is the first line of its docstring.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from contextlib import suppress

from bench import client
from bench.client import Ending, Outcome
from bench.moody import MODES
from bench.plane import FOUND, Plane
from bench.scene import CLIENTS, STEADY, Scene, Verdict, shown, strictly
from bench.stage import CannotRunError, say

# Slowly enough that control is up in between: what is in force is all that counts, and that it comes back each time.
_BACK_SECONDS = 20.0
_STOPPED_SECONDS = 10.0
_SLOWEST_SECONDS = 2.0
_MODE_SECONDS = 6.0
_ROUNDS = 2
# The longest pause of a source that failed, and some.
_WELL_SECONDS = 45.0


class Trial:
    """What becomes of requests while harm is done; `slowest` is the longest answer in seconds."""

    def __init__(self) -> None:
        self.slowest = 0.0

    def judge(self, ending: Ending) -> str:
        """Judge a request of any moment: each must end as if nothing were wrong."""
        self.slowest = max(self.slowest, ending.ended - ending.began)
        return strictly(ending)


async def control(scene: Scene, times: int = 20) -> Verdict:
    """Control is killed twenty times and stands still for ten seconds: no request fails, health and ready among them.

    Each time it comes back, knows the instances and the sets that it knew, and takes new ones; what requests did after
    that is recorded.
    """
    plane = Plane(scene, workers=2)
    await plane.start()
    plane.change()
    trial = Trial()
    crowd = plane.gate.crowd({**STEADY, **FOUND}, trial.judge)
    crowd.start(CLIENTS)
    killed = 0
    failures: list[str] = []
    slowest_back = 0.0
    deadline = scene.deadline()
    loop = asyncio.get_running_loop()
    while killed < times and loop.time() < deadline and not failures:
        await asyncio.sleep(random.uniform(0.2, 2))
        failures += await kill(plane)
        killed += 1
        began = loop.time()
        failures += await back(plane)
        slowest_back = max(slowest_back, loop.time() - began)
        if killed % 5 == 0:
            say(f"  {killed} kills, {crowd.total:,} requests, {len(crowd.failures)} failed")
    trial.slowest = 0.0
    if not (pid := await plane.gate.control()):
        raise CannotRunError("control is not there to be stopped")
    os.kill(pid, signal.SIGSTOP)
    stood = plane.watchers.done.total()
    await asyncio.sleep(min(_STOPPED_SECONDS, scene.seconds))
    stood = plane.watchers.done.total() - stood
    with_stop = trial.slowest
    # The master may have replaced it by then.
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGCONT)
    failures += await back(plane)
    await crowd.stop()
    await plane.stop()
    failures += crowd.failures + plane.watchers.failures
    words = f"{killed} kills (back and at work after {slowest_back:.1f} s at most), then stopped for"
    words += f" {_STOPPED_SECONDS:g} s (slowest request {with_stop:.2f} s, at most {_SLOWEST_SECONDS:g}, and {stood} of"
    words += f" control answered); {crowd.total:,} requests, {plane.watchers.done.total():,} of who uses control,"
    words += f" {plane.watchers.missed} of them missed, {len(failures)} failed"
    return Verdict(killed > 0 and with_stop <= _SLOWEST_SECONDS and not failures, words + shown(failures))


async def kill(plane: Plane) -> list[str]:
    """Kill control as soon as it is there; say when it is not."""
    loop = asyncio.get_running_loop()
    until = loop.time() + _BACK_SECONDS
    while not await plane.gate.kill_control():
        if loop.time() > until:
            return ["control is not there to be killed"]
        await asyncio.sleep(0.1)
    return []


async def back(plane: Plane) -> list[str]:
    """Wait until control does again all that it does; say what it does not."""
    watchers = plane.watchers
    loop = asyncio.get_running_loop()
    until = loop.time() + _BACK_SECONDS
    before = watchers.done.copy()
    wanted = {"scrapes", "looks", "heartbeats", "registrations", "events"}
    known = recorded = False
    while loop.time() < until:
        await asyncio.sleep(0.2)
        missing = {kind for kind in wanted if watchers.done[kind] <= before[kind]}
        if not known:
            there = await watchers.ask("looks", "GET", "/services")
            listed = {each["id"] for each in there.json()} if there is not None else set()
            known = {*watchers.instances[1:-1]} <= listed
        if not recorded:
            recorded = await _recorded(plane)
        if not missing and known and recorded:
            return []
    words = f"control is back without {', '.join(sorted(missing))}" if missing else "control is back"
    words += "" if known else ", without its instances"
    return [words + ("" if recorded else ", without records")]


async def _recorded(plane: Plane) -> bool:
    """Tell whether a request that is refused now can be asked for afterwards."""
    ask = client.failing("/api/x?close=before", 502)
    connection = await plane.gate.connect()
    outcome, _, _ = await connection.ask(ask)
    connection.close()
    if outcome is not Outcome.GOOD:
        return False
    await asyncio.sleep(0.5)
    found = await plane.watchers.ask("looks", "GET", "/api/v1/telemetry/requests?status=5xx&limit=100")
    return found is not None and any(each["request_id"] == ask.id for each in found.json()["items"])


async def registries(scene: Scene, rounds: int = _ROUNDS) -> Verdict:
    """A registry, Consul, DNS and etcd die, hang, drip, lie, are cut and flap under load: no request fails.

    The last set that was told stays; after each fault the next set is in force within the time that a source may wait.
    """
    plane = Plane(scene, workers=2)
    await plane.start()
    trial = Trial()
    crowd = plane.gate.crowd({**STEADY, **FOUND}, trial.judge)
    crowd.start(CLIENTS)
    failures: list[str] = []
    slowest = 0.0
    turns = 0
    deadline = scene.deadline()
    loop = asyncio.get_running_loop()
    for mode in MODES * rounds:
        if loop.time() > deadline:
            break
        await plane.sources.turn(mode)
        await asyncio.sleep(_MODE_SECONDS)
        await plane.sources.turn("")
        chosen = plane.upstreams[turns % 2]
        await plane.sources.say(random.sample(chosen.endpoints(), random.randint(1, 8)))
        turns += 1
        try:
            slowest = max(slowest, await plane.served(chosen.name, _WELL_SECONDS))
        except CannotRunError as error:
            failures.append(f"after {mode!r}: {error}")
            break
        say(f"  {mode}: {crowd.total:,} requests, {len(crowd.failures)} failed, known after {slowest:.1f} s at most")
    flaps = 0
    while flaps < 20 and loop.time() < deadline and not failures:
        await plane.sources.turn(random.choice(MODES))
        await asyncio.sleep(random.uniform(0.1, 1))
        await plane.sources.turn("")
        await asyncio.sleep(random.uniform(0.1, 1))
        flaps += 1
    await plane.sources.say(plane.endpoints())
    try:
        await plane.served()
    except CannotRunError as error:
        failures.append(str(error))
    await crowd.stop()
    await plane.stop()
    failures += crowd.failures + plane.watchers.failures
    words = f"{turns} faults of all four and {flaps} flaps; {crowd.total:,} requests, the slowest took"
    words += f" {trial.slowest:.2f} s; a new set in force {slowest:.1f} s after a fault at most (bound"
    words += f" {_WELL_SECONDS:g}); {len(failures)} failed"
    return Verdict(turns > 0 and not failures, words + shown(failures))
