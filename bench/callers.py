"""The checks of the soak about who asks: credentials without end, identities that change, passwords that are guessed.

Their laws stand in bench/checks.py; what each holds besides is the first line of its docstring.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from statistics import quantiles
from typing import Any

from bench import client, proc
from bench.client import Ask, Crowd, Ending, Outcome
from bench.gate import Gate
from bench.measure import MEGABYTE
from bench.scene import CLIENTS, NEVER_TOO_MUCH, STEADY, Scene, Verdict, shown, strictly
from bench.stage import say
from bench.trend import Point, growth
from bench.upstream import Upstream
from bench.wallet import PREFIX, ROLE, Shown, Wallet, basic, cheap_hash, dressed, refused
from headgate.auth.basic import hash_password

_GROWTH_MEGABYTES = 5.0
_CONNECTIONS = 16
# As many as the gateway reads ahead; one of six is right.
_AT_ONCE = 8
_LONG = 7800
_SIMPLE: dict[Callable[[], Ask], int] = {client.small: 1}

_RELOADS_A_SECOND = 20
_RELOAD_SECONDS = 60.0

_GUESSERS = 64
_GUESS_SECONDS = 0.1
_FLOOD_SECONDS = 20.0
_SERVED_SECONDS = 1.0


# -- credentials that never end ------------------------------------------------------------------------------------


async def strangers(scene: Scene, wrong: int = 1_000_000, right: int = 200_000) -> Verdict:
    """Memory of each worker stays flat over a million wrong credentials and 200,000 right ones, no two alike."""
    upstream = Upstream()
    await upstream.start()
    # What is remembered is full soon, so that all of the rest is measured.
    identity = {**scene.wallet.identity(), "cache": 2000}
    gate = scene.gate(upstream.port, workers=2, settings={"identity": identity, **NEVER_TOO_MUCH})
    await gate.start()
    crowd = Strangers(gate, scene.wallet, right / (wrong + right))
    points: dict[int, list[Point]] = {}
    deadline = scene.deadline()
    loop = asyncio.get_running_loop()
    crowd.start()
    while crowd.total < wrong + right and loop.time() < deadline and len(crowd.failures) < 100:
        await asyncio.sleep(1)
        upstream.seen.clear()
        for pid in gate.holders():
            points.setdefault(pid, []).append((crowd.total, proc.own(pid) / MEGABYTE))
        if len(points) and len(next(iter(points.values()))) % 15 == 0:
            say(f"  {crowd.total:,} credentials, {len(crowd.failures)} failed")
    await crowd.stop()
    await upstream.close()
    grown = {pid: growth(series) for pid, series in points.items()}
    sizes = ", ".join(f"{points[pid][-1][1]:.1f} MB ({by:+.2f} MB)" for pid, by in grown.items())
    words = f"{crowd.wrong:,} wrong and {crowd.total - crowd.wrong:,} right credentials; each worker, and what it grew"
    words += f" over the last four fifths: {sizes} (at most {_GROWTH_MEGABYTES:g}); {len(crowd.failures)} failed"
    held = max(grown.values()) <= _GROWTH_MEGABYTES and not crowd.failures
    return Verdict(held, words + shown(crowd.failures))


class Strangers:
    """Clients that show a credential once and never again, many in one packet."""

    def __init__(self, gate: Gate, wallet: Wallet, right: float) -> None:
        self._gate = gate
        self._wallet = wallet
        self._right = right
        self._serial = itertools.count()
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self.total = self.wrong = 0
        self.failures: list[str] = []

    def start(self) -> None:
        """Let all begin."""
        self._tasks = [asyncio.get_running_loop().create_task(self._client()) for _ in range(_CONNECTIONS)]

    async def stop(self) -> None:
        """Let each end what it has begun."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def _client(self) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._gate.port, limit=1 << 20)
        while not self._stopping:
            asks = [self._ask() for _ in range(_AT_ONCE)]
            writer.write(b"".join(ask.data for ask in asks))
            try:
                async with asyncio.timeout(30):
                    for ask in asks:
                        await self._read(reader, ask)
            except (OSError, EOFError, TimeoutError) as error:
                self.failures.append(f"no answer: {error!r}")
                break
        writer.close()

    def _ask(self) -> Ask:
        number = next(self._serial)
        if random.random() < self._right:
            return dressed(client.small(), self._good(number))
        self.wrong += 1
        return dressed(client.small(), self._bad(number))

    def _good(self, number: int) -> Shown:
        padding = "x" * random.choice((0, 0, 900, _LONG // 2))
        return self._wallet.token(f"stranger-{number}", padding=padding)

    def _bad(self, number: int) -> Shown:
        mark = f"{number}-{random.getrandbits(64):x}"
        match number % 6:
            case 0:
                return refused(f"Authorization: Bearer {mark}.{mark}.{mark}", "invalid_token")
            case 1:
                return refused(f"{self._wallet.token(mark).field[:-2]}", "invalid_token")
            case 2:
                return refused(self._wallet.token(mark, exp=number).field, "expired_token")
            case 3:
                return refused(f"X-API-Key: {PREFIX}{mark}", "invalid_api_key")
            case 4:
                return refused(f"Authorization: Basic {mark}", "invalid_credentials")
            case _:
                long = mark + "x" * (_LONG if number % 60 == 5 else 300)
                return refused(f"Authorization: Bearer {long}", "invalid_token")

    async def _read(self, reader: asyncio.StreamReader, ask: Ask) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: (\d+)\r\n", head, re.IGNORECASE)
        body = await reader.readexactly(int(length[1]) if length else 0)
        self.total += 1
        status, wanted = head[9:12].decode(), str(ask.status)
        if status != wanted or ask.id.encode() not in head or (ask.reason or ask.caller).encode() not in body:
            self.failures.append(f"{ask.data[:200]!r}: {head[:15]!r} {body[:200]!r} instead of {wanted} {ask.reason}")


# -- identities that change ----------------------------------------------------------------------------------------


async def identities(scene: Scene, seconds: float = _RELOAD_SECONDS) -> Verdict:
    """Twenty reloads a second that change who is known: each credential is judged as ever, and nothing is left behind.

    What is right in every configuration is never refused, what is wrong in every one never passes.
    """
    upstream = Upstream()
    await upstream.start()
    gate = scene.gate(upstream.port, workers=2, settings=NEVER_TOO_MUCH)
    await gate.start()
    await _crowd_for(gate, 3.0)
    before = await _resting(gate)
    crowd = gate.crowd(STEADY, strictly)
    crowd.start(CLIENTS)
    loop = asyncio.get_running_loop()
    began, asked = loop.time(), 0
    seconds = min(seconds, scene.seconds)
    while (now := loop.time()) < began + seconds:
        gate.write(upstream.port, identity=another_identity(scene.wallet.identity(), asked))
        gate.reload()
        asked += 1
        await asyncio.sleep(max(0.0, began + asked / _RELOADS_A_SECOND - now))
    plans = len(re.findall("plan [0-9]+ is in force", gate.running.log.read_text(errors="replace")))
    failures = crowd.failures
    await crowd.stop()
    gate.write(upstream.port)
    gate.reload()
    await _crowd_for(gate, 3.0)
    after = await _resting(gate)
    failures += _left_behind(before, after)
    await upstream.close()
    words = f"{asked} reloads asked for in {seconds:g} s, {plans} plans in force, {crowd.total:,} requests, "
    words += f"{len(failures)} wrong; files, sockets and threads of each process: {_listed(before)} before, "
    words += f"{_listed(after)} after"
    return Verdict(plans > seconds / 10 and not failures, words + shown(failures))


def another_identity(identity: dict[str, Any], number: int) -> dict[str, Any]:
    """Return an identity that judges the wallet's credentials as before, and differs in what else there is."""
    random_text = f"{number}-{os.urandom(20).hex()}"
    changes: list[dict[str, Any]] = [
        {"cache": 1000 + number},
        {"realm": f"soak {number}"},
        {"jwt": [{"name": f"new-{number}", "issuer": f"https://{number}", "secret": random_text}, *identity["jwt"]]},
        {"basic": {"users": [*identity["basic"]["users"], {"name": random_text, "hash": cheap_hash(random_text)}]}},
        {"tenants": [*identity["tenants"], {"name": f"tenant-{number}", "deny": ["10.0.0.0/8"]}]},
        {"forward": {**identity["forward"], f"X-Number-{number % 10}": "tenant"}},
        {"permissions": {**identity["permissions"], "writer": [f"things:write-{number}"]}},
        {"order": random.sample(["jwt", "api_key", "basic", "certificate"], 4)},
        {"api_keys": {**identity["api_keys"], "headers": ["X-API-Key", f"X-Key-{number}"]}},
        {"hide_credentials": number % 2 == 0},
    ]
    for change in random.sample(changes, 3):
        identity = {**identity, **change}
    return identity


async def _crowd_for(gate: Gate, seconds: float) -> None:
    crowd = gate.crowd(STEADY, strictly)
    crowd.start(CLIENTS)
    await asyncio.sleep(seconds)
    await crowd.stop()


async def _resting(gate: Gate) -> list[proc.Held]:
    """Return what each process holds, once clients have left."""
    await asyncio.sleep(1.0)
    return [proc.held(process.pid) for process in proc.tree(gate.running.pid)]


def _listed(processes: list[proc.Held]) -> str:
    return " ".join("/".join(map(str, each)) for each in processes)


def _left_behind(before: list[proc.Held], after: list[proc.Held]) -> list[str]:
    """Say what is held that was not; idle connections to the upstream and a thread for passwords may come later."""
    if len(before) != len(after):
        return [f"{len(after)} processes instead of {len(before)}"]
    return [
        f"{now} instead of {then}"
        for then, now in zip(before, after, strict=True)
        if now.files > then.files or now.sockets > then.sockets + CLIENTS or now.threads > then.threads + 2
    ]


# -- passwords that are guessed ------------------------------------------------------------------------------------


async def passwords(scene: Scene) -> Verdict:
    """While many guess passwords at their full price, all others are served as ever, within a bounded time.

    Who guesses gets 401, or 503 where too many passwords are being checked.
    """
    upstream = Upstream()
    await upstream.start()
    identity = scene.wallet.identity()
    users = [
        *identity["basic"]["users"],
        {"name": "dear", "hash": hash_password("right", os.urandom(16)), "roles": [ROLE]},
    ]
    settings = {"identity": {**identity, "basic": {"users": users}}, **NEVER_TOO_MUCH}
    gate = scene.gate(upstream.port, settings=settings)
    await gate.start()
    await _crowd_for(gate, 3.0)
    failures = await _not_known(gate, basic("dear", "right", caller="dear"))
    usual, flooded = Times(gate, scene.wallet), Times(gate, scene.wallet)
    seconds = min(_FLOOD_SECONDS, scene.seconds / 3)
    await usual.run(seconds / 2)
    guessers = Guessers(gate)
    guessers.start()
    await flooded.run(seconds)
    failures += await _not_known(gate, basic("dear", "right", caller="dear"))
    await guessers.stop()
    await upstream.close()
    failures += [*usual.failures, *flooded.failures, *guessers.failures]
    late = flooded.percentile(99)
    words = f"{guessers.ends['401']} guesses refused by 401 and {guessers.ends['503']} by 503; {len(flooded.took):,} "
    words += (
        f"other requests beside them, p50 {flooded.percentile(50) * 1000:.1f} ms, p99 {late * 1000:.0f} ms (at most"
    )
    words += f" {_SERVED_SECONDS * 1000:g}; without them {usual.percentile(99) * 1000:.0f}), {len(failures)} failed"
    held = late <= _SERVED_SECONDS and guessers.ends["401"] > 0 and not failures
    return Verdict(held, words + shown(failures))


async def _not_known(gate: Gate, credential: Shown) -> list[str]:
    """Show a credential; say why it was not right."""
    connection = await client.connect(gate.port)
    outcome, words, _ = await connection.ask(dressed(client.small(), credential))
    connection.close()
    return [] if outcome is Outcome.GOOD else [f"a password that is right: {outcome}: {words}"]


class Times:
    """How long the requests of clients take whose credentials are of all kinds, but no passwords that are guessed."""

    def __init__(self, gate: Gate, wallet: Wallet) -> None:
        self._gate = gate
        self._wallet = wallet
        self.took: list[float] = []
        self.failures: list[str] = []

    async def run(self, seconds: float) -> None:
        """Let them ask for so long."""
        crowd = Crowd(self._gate.port, _SIMPLE, self._judge, self._dress)
        crowd.start(4)
        await asyncio.sleep(seconds)
        await crowd.stop()
        self.failures += crowd.failures

    def _dress(self, ask: Ask) -> Ask:
        while True:
            made = self._wallet.mixed(ask)
            # Those would wait behind the others.
            if made.status == 200 or b"\r\nAuthorization: Basic " not in made.data:
                return made

    def _judge(self, ending: Ending) -> str:
        self.took.append(ending.ended - ending.began)
        return strictly(ending)

    def percentile(self, percent: int) -> float:
        """Return a percentile in seconds."""
        return quantiles(self.took, n=100)[percent - 1] if len(self.took) > 1 else 0.0


class Guessers:
    """Clients that try one password after another."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._tasks: list[asyncio.Task[None]] = []
        self._stopping = False
        self.ends: Counter[str] = Counter()
        self.failures: list[str] = []

    def start(self) -> None:
        """Let all begin."""
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._client(number)) for number in range(_GUESSERS)]

    async def stop(self) -> None:
        """Let each end its guess."""
        self._stopping = True
        await asyncio.gather(*self._tasks)

    async def _client(self, number: int) -> None:
        connection = await client.connect(self._gate.port)
        for guess in itertools.count():
            if self._stopping:
                break
            user = "dear" if guess % 2 else f"nobody-{number}"
            began = time.monotonic()
            outcome, words, _ = await connection.ask(dressed(client.small(), basic(user, f"{number}-{guess}")))
            if outcome is Outcome.GOOD:
                self.ends["401"] += 1
            elif words == "503 identity_unavailable":
                self.ends["503"] += 1
            else:
                self.failures.append(f"a guess: {outcome}: {words}")
            if not connection.usable:
                connection = await client.connect(self._gate.port)
            await asyncio.sleep(max(0.0, began + _GUESS_SECONDS - time.monotonic()))
        connection.close()
