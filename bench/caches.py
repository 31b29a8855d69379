"""The checks of the soak about cached answers: every one is of the name that was asked for, and of this very caller.

Their laws stand in bench/checks.py; what each holds besides is the first line of its docstring.
"""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
from itertools import count
from pathlib import Path
from typing import Any

from bench import client, proc
from bench.client import Ask, Dress, Ending, Outcome
from bench.gate import Gate
from bench.measure import MEGABYTE, accepts
from bench.plane import Kinds
from bench.scene import CLIENTS, NEVER_TOO_MUCH, Scene, Verdict, shown, strictly
from bench.stage import CannotRunError, Running, free_port, say, wait_until
from bench.trend import Point, growth
from bench.upstream import Upstream
from bench.wallet import dressed

_GROWTH_MEGABYTES = 5.0
_STORE_BYTES = 8 << 20
_NAMES = 2_000
_LARGEST = 60_000
# Five deaths within 30 s are a crash loop to the master, which then waits before it starts another worker.
_KILLS = 4
_AWAY_SECONDS = 3.0
_ENTRIES = 100_000
_ENTRY_BYTES = 2_000
_ENTRIES_MEGABYTES = 300.0
_SAMPLE = 2_000


def _gate(scene: Scene, upstream: Upstream, store: dict[str, object], workers: int = 2, **cache: object) -> Gate:
    """Return a gateway that keeps answers with a name, each for its caller."""
    kept = {"ttl": 600, "authorized": True, "key": {"partition": "identity"}, **cache}
    routes = [
        {"name": "named", "match": {"path": "/api/named"}, "cache": kept},
        {"name": "api", "match": {"path": "/api"}},
    ]
    settings = {"cache_store": store, **NEVER_TOO_MUCH}
    return scene.gate(upstream.port, workers=workers, service={"routes": routes}, settings=settings)


def named() -> Ask:
    """Return a request for one of many names: some are asked for often, most hardly ever."""
    number = min(int(random.paretovariate(0.5)), _NAMES)
    return client.named(f"entry-{number}", number * 7919 % _LARGEST)


_KINDS: Kinds = {named: 20, client.small: 1, client.upload: 1}


async def cache_churn(scene: Scene, requests: int = 300_000) -> Verdict:
    """Memory stays flat while a small cache evicts, is purged and reloaded all the time, and no answer is wrong."""
    upstream = Upstream()
    await upstream.start()
    gate = _gate(scene, upstream, {"type": "memory", "size": _STORE_BYTES}, ttl=5, stale_while_revalidate=2)
    await gate.start()
    crowd = gate.crowd_of(scene.wallet.few, {**_KINDS, client.aborted: 1}, strictly)
    crowd.start(CLIENTS)
    processes = await gate.processes()
    points: dict[str, list[Point]] = {kind: [] for kind in processes}
    deadline = scene.deadline()
    loop = asyncio.get_running_loop()
    purged = 0
    for turn in count(1):
        await asyncio.sleep(1)
        upstream.seen.clear()
        for kind, pid in processes.items():
            points[kind].append((crowd.total, proc.own(pid) / MEGABYTE))
        purged += await gate.purge(**_what(turn))
        if turn % 5 == 0:
            gate.write(upstream.port)
            gate.reload()
        if crowd.total >= requests or loop.time() >= deadline or len(crowd.failures) >= 100:
            break
    failures = [] if await gate.processes() == processes else ["a process ended"]
    told = await gate.cache()
    await crowd.stop()
    await upstream.close()
    failures += crowd.failures
    grown = {kind: growth(measured) for kind, measured in points.items()}
    grew = ", ".join(f"{kind} {grown[kind]:+.2f} MB to {points[kind][-1][1]:.1f}" for kind in grown)
    words = f"{crowd.total:,} requests, {_told(told)}, {purged:,} purged; over the last four fifths {grew} "
    words += f"(at most {_GROWTH_MEGABYTES:g}), {len(failures)} failed"
    worked = told["results"]["hit"] > 0 and told["store"]["evicted"] > 0 and purged > 0
    return Verdict(worked and max(grown.values()) <= _GROWTH_MEGABYTES and not failures, words + shown(failures))


def _what(turn: int) -> dict[str, object]:
    """Return what to purge this time."""
    if turn % 20 == 0:
        return {"all": True}
    number = random.randint(1, 9)
    if turn % 2:
        return {"prefix": f"http://soak/api/named/entry-{number}"}
    return {"url": f"http://soak/api/named/entry-{number}?name=entry-{number}&size={number * 7919 % _LARGEST}"}


def _told(told: dict[str, Any]) -> str:
    results = told["results"]
    said = f"{results['hit']:,} hits, {results['miss']:,} misses, {results['collapsed']:,} collapsed"
    evicted = told["store"].get("evicted")
    return said if evicted is None else f"{said}, {evicted:,} evicted"


async def cache_kill(scene: Scene, times: int = _KILLS) -> Verdict:
    """A worker that is killed as it fills the cache leaves no wrong answer, and nobody waits for what it began.

    Of its connections everything may be lost but an answer that is wrong; on all others nothing may fail.
    """
    upstream = Upstream()
    await upstream.start()
    gate = _gate(scene, upstream, {"type": "memory", "size": _STORE_BYTES}, ttl=1)
    await gate.start()
    lost_with: set[int] = set()
    killed_at = 0.0
    lost = 0

    def judge(ending: Ending) -> str:
        nonlocal lost
        if ending.outcome is Outcome.WRONG:
            return ending.words
        if ending.outcome is not Outcome.GOOD and ending.local_port in lost_with and ending.opened < killed_at:
            lost += 1
            return ""
        return strictly(ending)

    crowd = gate.crowd_of(scene.wallet.few, _KINDS, judge)
    crowd.start(CLIENTS)
    loop = asyncio.get_running_loop()
    for number in range(times):
        await asyncio.sleep(3)
        upstream.seen.clear()
        holders = gate.holders()
        victim = max(holders, key=lambda pid: len(holders[pid]))
        lost_with, killed_at = holders[victim], loop.time()
        os.kill(victim, signal.SIGKILL)
        say(f"  kill {number + 1}: {len(lost_with)} connections, {crowd.total:,} requests, {lost} lost so far")
    await asyncio.sleep(3)
    told = await gate.cache()
    await crowd.stop()
    await upstream.close()
    words = f"{times} kills, {lost} requests lost with them of {crowd.total:,}, {_told(told)}, "
    words += f"{len(crowd.failures)} others failed{shown(crowd.failures)}"
    return Verdict(lost > 0 and told["results"]["hit"] > 0 and not crowd.failures, words)


async def cache_redis(scene: Scene, times: int = 3) -> Verdict:
    """Redis is killed and comes back, again and again: no request fails, and no answer is wrong."""
    upstream = Upstream()
    await upstream.start()
    port = free_port()
    redis = _redis(scene, port)
    gate = _gate(scene, upstream, {"type": "redis", "url": f"redis://127.0.0.1:{port}"})
    await gate.start()
    crowd = gate.crowd_of(scene.wallet.few, _KINDS, strictly)
    crowd.start(CLIENTS)
    hits: list[int] = []
    for number in range(times):
        before = await _hits(gate)
        await asyncio.sleep(_AWAY_SECONDS)
        hits.append(await _hits(gate) - before)
        os.kill(redis.pid, signal.SIGKILL)
        scene.stage.stop(redis)
        await asyncio.sleep(_AWAY_SECONDS)
        redis = _redis(scene, port)
        say(f"  {number + 1} times, {hits[-1]:,} hits before, {crowd.total:,} requests, {len(crowd.failures)} failed")
    await asyncio.sleep(_AWAY_SECONDS)
    before = await _hits(gate)
    await asyncio.sleep(_AWAY_SECONDS)
    hits.append(await _hits(gate) - before)
    await crowd.stop()
    await upstream.close()
    words = f"{times} deaths of Redis, {crowd.total:,} requests, hits in {_AWAY_SECONDS:g} s before each and after the "
    words += f"last {hits}, {len(crowd.failures)} failed{shown(crowd.failures)}"
    return Verdict(all(hits) and not crowd.failures, words)


async def _hits(gate: Gate) -> int:
    return int((await gate.cache())["results"]["hit"])


def _redis(scene: Scene, port: int) -> Running:
    program = shutil.which("redis-server")
    if program is None:
        raise CannotRunError("redis-server is missing: apt-get install redis-server")
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(scene.stage.folder)]
    running = scene.stage.start("redis", command, scene.cores.load)
    wait_until(running, lambda: accepts(port))
    return running


async def cache_size(scene: Scene, entries: int = _ENTRIES) -> Verdict:
    """A hundred thousand entries of 2 KB take less than 300 MB of memory, files included, and all are found.

    What the gateway takes without them is not counted; each entry is a caller's own.
    """
    upstream = Upstream()
    await upstream.start()
    folder = scene.stage.folder / "cache"
    folder.mkdir()
    store = {"type": "memory", "path": str(folder), "size": int(_ENTRIES_MEGABYTES * MEGABYTE)}
    gate = _gate(scene, upstream, store, workers=1)
    await gate.start()
    empty = _taken(gate, folder)
    numbers = count()

    def entry() -> Ask:
        return client.named(f"entry-{next(numbers) % entries}", _ENTRY_BYTES)

    caller = scene.wallet.token("collector")
    failures = await _ask(gate, scene, {entry: 1}, lambda ask: dressed(ask, caller), entries)
    filled = await gate.cache()
    taken = _taken(gate, folder) - empty
    failures += await _ask(gate, scene, {entry: 1}, lambda ask: dressed(ask, caller), _SAMPLE)
    hits = await _hits(gate) - int(filled["results"]["hit"])
    await upstream.close()
    held = filled["store"]
    words = f"{held['entries']:,} entries, {held['bytes'] / MEGABYTE:.0f} MB, take {taken:.0f} MB of memory (at most "
    words += f"{_ENTRIES_MEGABYTES:g}) beside the {empty:.0f} MB of the gateway without; {hits:,} hits among "
    words += f"{_SAMPLE:,} asked for again, {len(failures)} failed"
    good = held["entries"] >= entries and taken < _ENTRIES_MEGABYTES and hits >= _SAMPLE and not failures
    return Verdict(good, words + shown(failures))


async def _ask(gate: Gate, scene: Scene, kinds: Kinds, dress: Dress, requests: int) -> list[str]:
    """Ask so often; return what was wrong."""
    crowd = gate.crowd_of(dress, kinds, strictly)
    crowd.start(CLIENTS)
    deadline = scene.deadline()
    for _ in count():
        await asyncio.sleep(0.05)
        if crowd.total >= requests or asyncio.get_running_loop().time() >= deadline:
            break
    await crowd.stop()
    return crowd.failures


def _taken(gate: Gate, folder: Path) -> float:
    """Return the megabytes of all processes, and of the files in the folder."""
    owned = sum(proc.fair_share(each.pid) for each in proc.tree(gate.running.pid))
    files = sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())
    return (owned + files) / MEGABYTE
