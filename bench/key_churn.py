"""The checks of the soak about keys that come and go while the gateway runs, and its processes die.

Their laws stand in bench/checks.py; what each holds besides is the first line of its docstring.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import lmdb

from bench import client
from bench.client import Connection, Ending, Outcome
from bench.gate import Gate
from bench.scene import NEVER_TOO_MUCH, STEADY, Scene, Verdict, shown
from bench.upstream import Upstream
from bench.wallet import PREFIX, ROLE, Shown, Wallet, dressed
from headgate.control.keys.key_store import NewKey

_WORKERS = 4
_SECONDS = 90.0
_KNOWN_SECONDS = 5.0
# Control that was killed has to come back first.
_KNOWN_ANEW_SECONDS = 10.0
_ROUND_SECONDS = 0.2
_CONNECTIONS, _MOST_CONNECTIONS = 16, 64
_KILL_SECONDS, _CONTROL_SECONDS = 4.0, 11.0
_PAUSE_SECONDS = 0.2
_TAKEN, _REFUSED = "good", "401 invalid_api_key"

_DEATHS, _MANY_WORKERS = 300, 16
# Five deaths of a worker within 30 s are a crash loop; the next one then waits.
_DEATH_SECONDS = 8.0 / _MANY_WORKERS


class Entry(NamedTuple):
    """What must come of the key of this id, since a moment of the loop."""

    id: str
    wanted: str
    since: float


class Ledger:
    """Every key there was, and what all workers must say of it: `coming` to that, or `settled`."""

    def __init__(self, patience: float) -> None:
        self.patience = patience
        self.coming: dict[str, Entry] = {}
        self.settled: dict[str, Entry] = {}
        self.took: dict[str, float] = {_TAKEN: 0.0, _REFUSED: 0.0}
        self.failures: list[str] = []

    def unsettle(self, key: str) -> None:
        """Expect nothing of a key: it is about to change."""
        self.coming.pop(key, None)
        self.settled.pop(key, None)

    def expect(self, key: str, id_: str, wanted: str) -> None:
        """Expect this of a key from now on, soon."""
        self.unsettle(key)
        self.coming[key] = Entry(id_, wanted, asyncio.get_running_loop().time())

    def hear(self, key: str, entry: Entry, said: set[str], everybody: bool) -> None:
        """Take what the workers said of a key that was asked about as `entry`; `everybody`: each of them did."""
        now = asyncio.get_running_loop().time()
        if self.settled.get(key) is entry:
            if said - {entry.wanted}:
                self.failures.append(f"{said} for a key that was {entry.wanted!r} for {now - entry.since:.1f} s")
            return
        if self.coming.get(key) is not entry:
            return
        late = now > entry.since + self.patience
        if said == {entry.wanted}:
            # Of workers that are only just coming nobody knows for long.
            if everybody or late:
                self.settled[key] = self.coming.pop(key)
        elif said:
            self.took[entry.wanted] = max(self.took[entry.wanted], now - entry.since)
        if said - {entry.wanted} and late:
            del self.coming[key]
            self.failures.append(f"a key gets {said} and not {entry.wanted!r} after {self.patience:g} s")


class Probe:
    """Connections to all workers, over which every key is asked about again and again."""

    def __init__(self, gate: Gate, ledger: Ledger) -> None:
        self._gate = gate
        self._ledger = ledger
        self._connections: list[Connection] = []
        # Local port -> when the worker behind it was killed.
        self.doomed: dict[int, float] = {}
        self.asked = 0

    async def run(self, until: Callable[[], bool]) -> None:
        """Go round until it is over, and ask about all keys in the end."""
        while not until():
            await self._round(20)
            await asyncio.sleep(_ROUND_SECONDS)
        while self._ledger.coming:
            await self._round(0)
            await asyncio.sleep(_ROUND_SECONDS)
        await self._round(len(self._ledger.settled))
        for connection in self._connections:
            connection.close()

    async def _round(self, sample: int) -> None:
        everybody = await self._reach()
        ledger = self._ledger
        settled = list(ledger.settled.items())
        asks = [*ledger.coming.items(), *random.sample(settled, min(sample, len(settled)))]
        said: list[set[str]] = [set() for _ in asks]
        await asyncio.gather(*(self._ask(each, asks, said) for each in list(self._connections)))
        everybody = everybody and all(connection.usable for connection in self._connections)
        for (key, entry), words in zip(asks, said, strict=True):
            ledger.hear(key, entry, words, everybody)

    async def _ask(self, connection: Connection, asks: list[tuple[str, Entry]], said: list[set[str]]) -> None:
        for (key, entry), words in zip(asks, said, strict=True):
            outcome, why, _ = await connection.ask(dressed(client.small(), Shown(f"X-API-Key: {key}", entry.id)))
            if outcome in (Outcome.GOOD, Outcome.ERROR):
                self.asked += 1
                words.add(why or _TAKEN)
                continue
            connection.close()
            if outcome is Outcome.WRONG or connection.local_port not in self.doomed:
                self._ledger.failures.append(f"{outcome}: {why}, on a connection of nobody who was killed")
            return

    async def _reach(self) -> bool:
        """Open connections until each worker has one; tell whether that is so."""
        self._connections = [each for each in self._connections if each.usable]
        while len(self._connections) < _MOST_CONNECTIONS:
            ports = {each.local_port for each in self._connections}
            reached = sum(not ports.isdisjoint(held) for held in self._gate.holders().values())
            if reached >= _WORKERS and len(ports) >= _CONNECTIONS:
                return True
            missing = max(4, _CONNECTIONS - len(ports))
            self._connections += [await client.connect(self._gate.port) for _ in range(missing)]
        # One worker is only just coming: fewer connections let more of those that follow fall to it.
        for connection in self._connections[_CONNECTIONS:]:
            connection.close()
        del self._connections[_CONNECTIONS:]
        return False


# -- who makes and ends keys ---------------------------------------------------------------------------------------


class Writer:
    """Makes, rotates and revokes keys, one after the other."""

    def __init__(self, act: Callable[..., Awaitable[dict[str, Any]]], ledger: Ledger, pause: float) -> None:
        """`act` does it: create, rotate ID SECONDS, revoke ID; it returns `id` and `key` of a new one."""
        self._act = act
        self._ledger = ledger
        self._pause = pause
        self._own: dict[str, str] = {}
        self.done: Counter[str] = Counter()

    async def run(self, until: Callable[[], bool]) -> None:
        """Go on until it is over."""
        while not until():
            ready = [id_ for id_, key in self._own.items() if key in self._ledger.settled]
            await self._one(random.choice(ready) if ready and random.random() < 0.6 else "")
            await asyncio.sleep(self._pause * random.uniform(0.5, 1.5))

    async def _one(self, id_: str) -> None:
        ledger = self._ledger
        if not id_:
            self._take(await self._act("create"))
            self.done["made"] += 1
            return
        key, turn = self._own.pop(id_), random.random()
        ledger.unsettle(key)
        if turn < 0.5:
            await self._act("revoke", id_)
            self.done["revoked"] += 1
            ledger.expect(key, id_, _REFUSED)
            return
        grace = random.choice((0, 3600))
        self._take(await self._act("rotate", id_, grace))
        self.done["rotated"] += 1
        ledger.expect(key, id_, _TAKEN if grace else _REFUSED)

    def _take(self, made: dict[str, Any]) -> None:
        self._own[made["id"]] = made["key"]
        self._ledger.expect(made["key"], made["id"], _TAKEN)


def by_command(gate: Gate) -> Callable[..., Awaitable[dict[str, Any]]]:
    """Return what changes keys by `headgate keys`."""

    async def act(action: str, *words: object) -> dict[str, Any]:
        given = [str(words[0])] if words else ["--role", ROLE, "--tenant", "acme"]
        given += ["--grace", f"{words[1]}s"] if len(words) > 1 else []
        command = [sys.executable, "-m", "headgate", "keys", action, *given, "-c", str(gate.file), "--json"]
        running = await asyncio.create_subprocess_exec(*command, stdout=-1, stderr=-1)
        out, err = await running.communicate()
        if running.returncode:
            raise RuntimeError(f"headgate keys {action}: {err.decode()}")
        said = json.loads(out)
        return said if isinstance(said, dict) else {}

    return act


def by_database(wallet: Wallet) -> Callable[..., Awaitable[dict[str, Any]]]:
    """Return what changes keys in the database itself."""
    store = wallet.store()

    def act_now(action: str, *words: Any) -> dict[str, Any]:
        if action == "revoke":
            store.revoke([words[0]])
            return {}
        new = NewKey(tenant="acme", roles=(ROLE,))
        made = store.rotate(words[0], words[1], PREFIX) if words else store.create(new, PREFIX)
        return {"id": made.stored.id, "key": made.key}

    async def act(action: str, *words: object) -> dict[str, Any]:
        return await asyncio.to_thread(act_now, action, *words)

    return act


# -- the checks ----------------------------------------------------------------------------------------------------


async def churn(scene: Scene) -> Verdict:
    """Keys come and go by four hands: within 5 s all workers take a new one and refuse an ended one, and go on so."""
    return await _churn(scene, _KNOWN_SECONDS, kills=False)


async def killed_churn(scene: Scene) -> Verdict:
    """The same within 10 s while workers and control are killed: only the connections of killed workers are lost."""
    return await _churn(scene, _KNOWN_ANEW_SECONDS, kills=True)


async def _churn(scene: Scene, patience: float, *, kills: bool) -> Verdict:
    upstream = Upstream()
    await upstream.start()
    gate = scene.gate(upstream.port, workers=_WORKERS, settings=NEVER_TOO_MUCH)
    await gate.start()
    ledger = Ledger(patience)
    probe = Probe(gate, ledger)
    hands = [by_command(gate), by_command(gate), by_database(scene.wallet), by_database(scene.wallet)]
    writers = [Writer(act, ledger, _PAUSE_SECONDS) for act in hands]

    def judge(ending: Ending) -> str:
        if ending.outcome is Outcome.GOOD:
            return ""
        killed_at = probe.doomed.get(ending.local_port)
        lost = ending.outcome is not Outcome.WRONG and killed_at is not None and ending.opened < killed_at
        return "" if lost else ending.words or ending.outcome

    crowd = gate.crowd(STEADY, judge)
    crowd.start(8)
    loop = asyncio.get_running_loop()
    ends = loop.time() + min(_SECONDS, scene.seconds)

    def over() -> bool:
        return loop.time() > ends or len(ledger.failures) + len(crowd.failures) > 100

    killing = Killing(gate, probe.doomed)
    courses = [writer.run(over) for writer in writers]
    await asyncio.gather(probe.run(over), *courses, *([killing.run(over)] if kills else []))
    await crowd.stop()
    await upstream.close()
    failures = ledger.failures + crowd.failures
    done = sum((writer.done for writer in writers), Counter[str]())
    words = ", ".join(f"{count} {what}" for what, count in sorted(done.items()))
    words += f"; {probe.asked:,} questions about them; not taken for {ledger.took[_TAKEN]:.1f} s, not refused for "
    words += f"{ledger.took[_REFUSED]:.1f} s at most (bound {patience:g}); {crowd.total:,} requests beside them; "
    words += f"{killing.workers} workers and {killing.controls} times control killed; " if kills else ""
    return Verdict(bool(done) and not failures, f"{words}{len(failures)} wrong{shown(failures)}")


class Killing:
    """Kills workers, one after the other, and control now and then."""

    def __init__(self, gate: Gate, doomed: dict[int, float]) -> None:
        self._gate = gate
        self._doomed = doomed
        self.workers = self.controls = 0

    async def run(self, until: Callable[[], bool]) -> None:
        """Go on until it is over."""
        loop = asyncio.get_running_loop()
        control_at = loop.time() + _CONTROL_SECONDS / 2
        while not until():
            await asyncio.sleep(_KILL_SECONDS)
            if loop.time() > control_at:
                control_at = loop.time() + _CONTROL_SECONDS
                self.controls += await self._gate.kill_control()
            holders = self._gate.holders()
            if holders:
                victim = sorted(holders)[self.workers % len(holders)]
                # It takes no further connection while those that it has are looked up.
                os.kill(victim, signal.SIGSTOP)
                held = self._gate.holders().get(victim, ())
                self._doomed.update(dict.fromkeys(held, loop.time()))
                os.kill(victim, signal.SIGKILL)
                self.workers += 1


async def slots(scene: Scene, deaths: int = _DEATHS) -> Verdict:
    """Three hundred workers that read keys are killed: keys go on, and no place in their file stays taken for long."""
    upstream = Upstream()
    await upstream.start()
    gate = scene.gate(upstream.port, workers=_MANY_WORKERS, settings=NEVER_TOO_MUCH)
    await gate.start()
    (folder,) = (scene.wallet.folder / "state").glob("keys-*/")
    file = lmdb.open(str(folder), readonly=True, create=False)
    loop = asyncio.get_running_loop()
    deadline = scene.deadline()
    ended: Counter[Outcome] = Counter()
    failures: list[str] = []
    asking = [loop.create_task(_ask_anew(gate, scene.wallet, ended, failures)) for _ in range(8)]
    dead = most = 0
    order: list[int] = []
    while dead < deaths and loop.time() < deadline and len(failures) < 100:
        await asyncio.sleep(_DEATH_SECONDS)
        readers = _readers(file)
        most = max(most, len(readers))
        alive = [pid for pid in await gate.workers() if pid in readers]
        # Whoever has lived longest: no one is killed so often that it is taken for a crash loop.
        order = [pid for pid in order if pid in alive] + [pid for pid in alive if pid not in order]
        if order:
            os.kill(order.pop(0), signal.SIGKILL)
            dead += 1
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    store = scene.wallet.store()
    store.create(NewKey(), PREFIX)
    store.close()
    await asyncio.sleep(3.0)
    left = len(_readers(file))
    file.close()
    await upstream.close()
    words = f"{dead} killed, {ended[Outcome.GOOD]:,} requests with keys; {most} places taken at most, {left} in the end"
    words += f" (at most {_MANY_WORKERS + 2}); {len(failures)} failed"
    return Verdict(dead > 0 and left <= _MANY_WORKERS + 2 and not failures, words + shown(failures))


async def _ask_anew(gate: Gate, wallet: Wallet, ended: Counter[Outcome], failures: list[str]) -> None:
    """Ask with keys, each time on a connection of its own; what ends without an answer fell to one who was killed."""
    while True:
        connection = await client.connect(gate.port)
        outcome, words, _ = await connection.ask(wallet.keyed(client.small()))
        connection.close()
        ended[outcome] += 1
        if outcome not in (Outcome.GOOD, Outcome.UNANSWERED, Outcome.CUT):
            failures.append(f"{outcome}: {words}")
        await asyncio.sleep(0.01)


def _readers(file: lmdb.Environment) -> list[int]:
    """Return the processes that have a place in the file, one or another of them dead."""
    _, *lines = file.readers().splitlines() or [""]
    return [int(line.split()[0]) for line in lines if line.split()]
