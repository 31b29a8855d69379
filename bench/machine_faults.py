"""The checks of the soak in which the machine fails the gateway: its disk is full or read-only, its clock jumps.

Their laws stand in bench/checks.py; what each holds besides is the first line of its docstring.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from bench import client
from bench.client import Crowd, Outcome
from bench.control_faults import back, kill
from bench.plane import FOUND, Plane
from bench.scene import CLIENTS, STEADY, Scene, Verdict, shown, strictly
from bench.stage import CannotRunError, say
from bench.wallet import dressed

_FAULT_SECONDS = 5.0
_HOUR = 3600
_JUMPS = (_HOUR, 0, -_HOUR, 24 * _HOUR, -24 * _HOUR, 1, 0)
# Tokens of the wallet are good for three hours.
_GOOD_SECONDS = 3 * _HOUR


async def disk(scene: Scene) -> Verdict:
    """The disk of state and configuration is full, then read-only: no request fails, and control says what it cannot.

    Whoever changes something is told that it is not done, by a status of the document; control that is killed meanwhile
    comes back; and what is not done can be done when there is room again.
    """
    failures: list[str] = []
    words: list[str] = []
    with _small_disk(scene.stage.folder / "small") as folder:
        state = folder / "state"
        shutil.copytree(scene.wallet.folder / "state", state)
        settings: dict[str, Any] = {
            "state_dir": str(state),
            "database": {"url": f"sqlite:///{state / 'keys.db'}", "poll": 0.5},
            "store": {"type": "shared", "size": 8 << 20},
        }
        allowed: set[int] = set()
        plane = Plane(scene, workers=2, settings=settings, allowed=allowed, folder=folder)
        await plane.start()
        crowd = plane.gate.crowd({**STEADY, **FOUND}, strictly)
        crowd.start(CLIENTS)
        faults: dict[str, Callable[[Path], AbstractContextManager[None]]] = {"full": _full, "read-only": _read_only}
        for name, fault in faults.items():
            with fault(folder):
                allowed.add(503)
                refused = await _changes(plane)
                say(f"  {name}: {refused}")
                failures += [f"{name}: {each} {status}" for each, status in refused.items() if status in (0, 500)]
                words.append(f"{name}: {refused}")
                failures += await kill(plane)
                await asyncio.sleep(_FAULT_SECONDS)
            failures += await back(plane)
            allowed.clear()
            healed = await _changes(plane)
            failures += [f"no more {name}: {each} {status}" for each, status in healed.items() if status >= 300]
        await crowd.stop()
        await plane.stop()
        plane.gate.stop()
    failures += crowd.failures + plane.watchers.failures
    told = f"{'; '.join(words)}; {crowd.total:,} requests, {plane.watchers.done.total():,} of who uses control, "
    return Verdict(not failures, f"{told}{len(failures)} failed{shown(failures)}")


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    folder.mkdir()
    _mount("-t", "tmpfs", "-o", "size=96m,mode=700", "soak", str(folder))
    try:
        yield folder
    finally:
        # Lazily: a file that is still open there is nobody's any more.
        subprocess.run(["umount", "-l", str(folder)], check=False)


@contextmanager
def _full(folder: Path) -> Iterator[None]:
    filler = folder / "filler"
    with suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    try:
        yield
    finally:
        filler.unlink()


@contextmanager
def _read_only(folder: Path) -> Iterator[None]:
    # A second sight of the disk, through which it can only be read, and then over the first: files that are open stay
    # so, what is opened from now on is opened there.
    spare = folder.with_name("spare")
    spare.mkdir(exist_ok=True)
    _mount("--bind", str(folder), str(spare))
    try:
        _mount("-o", "remount,bind,ro", str(spare))
        _mount("--bind", str(spare), str(folder))
        try:
            yield
        finally:
            subprocess.run(["umount", "-l", str(folder)], check=True)
    finally:
        subprocess.run(["umount", "-l", str(spare)], check=True)


def _mount(*arguments: str) -> None:
    done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise CannotRunError(f"this needs the right to mount a small disk: {done.stderr.strip()}")


async def _changes(plane: Plane) -> dict[str, int]:
    """Change all that can be changed; return the statuses, 0 where no answer came."""
    gate, ask = plane.gate, plane.watchers.send
    text = gate.file.read_text()
    shown_now = await ask("GET", "/api/v1/config")
    tag = shown_now.headers.get("ETag", "") if shown_now is not None else ""
    own = plane.upstreams[0].endpoints()[0]
    told = {"name": "registered", "host": "127.0.0.1", "port": plane.upstreams[0].port, "health_check": "", "ttl": 5}
    answers = {
        "registration": await ask("POST", "/services", json=told),
        "key": await ask("POST", "/api/v1/keys", json={"tenant": "acme", "roles": ["reader"]}),
        "configuration": await ask(
            "PUT",
            "/api/v1/config",
            content=text + "\n",
            headers={"If-Match": tag, "Content-Type": "application/yaml"},
        ),
        "reload": await ask("POST", "/api/v1/reload"),
        "endpoint": await ask(
            "POST", "/api/v1/endpoints", json={"service": "api", "endpoint": own, "state": "enabled"}
        ),
    }
    return {name: answer.status_code if answer is not None else 0 for name, answer in answers.items()}


async def clock(scene: Scene) -> Verdict:
    """The wall clock jumps by an hour and by a day, to and fro: nothing that lasts a while ends sooner or later for it.

    No request fails; instances stay, are heard of and come; requests are recorded; and a token that ends at a moment
    is refused after it, and taken before it.
    """
    library, file = _shim(scene.stage.folder), scene.stage.folder / "clock"
    file.write_bytes(bytes(8))
    environ = {"LD_PRELOAD": str(library), "SOAK_CLOCK": str(file)}
    plane = Plane(scene, workers=2, environ=environ)
    await plane.start()
    plane.change()
    # By keys: tokens end at moments.
    crowd = Crowd(plane.gate.port, {**STEADY, **FOUND}, strictly, scene.wallet.keyed)
    crowd.start(CLIENTS)
    failures: list[str] = []
    for jump in _JUMPS:
        with file.open("r+b", buffering=0) as opened:
            opened.write(jump.to_bytes(8, sys.byteorder, signed=True))
        say(f"  {jump:+d} s: {crowd.total:,} requests, {len(crowd.failures)} failed")
        await asyncio.sleep(_FAULT_SECONDS / 2)
        failures += [f"{jump:+d} s: {each}" for each in await back(plane)]
        failures += await _token(scene, plane, jump)
    await crowd.stop()
    await plane.stop()
    failures += crowd.failures + plane.watchers.failures
    words = f"{len(_JUMPS)} jumps, {crowd.total:,} requests, {plane.watchers.done.total():,} of who uses control, "
    return Verdict(not failures, f"{words}{len(failures)} failed{shown(failures)}")


async def _token(scene: Scene, plane: Plane, jump: int) -> list[str]:
    """Show a token that is good from now on for three hours."""
    connection = await client.connect(plane.gate.port)
    outcome, words, _ = await connection.ask(dressed(client.small(), scene.wallet.token("ann")))
    connection.close()
    if jump < _GOOD_SECONDS:
        return [] if outcome is Outcome.GOOD else [f"{jump:+d} s: a token that is good: {outcome} {words}"]
    return [] if words == "401 expired_token" else [f"{jump:+d} s: a token that is over: {outcome} {words}"]


def _shim(folder: Path) -> Path:
    """Compile what shifts the clock."""
    compiler, made = shutil.which("gcc"), folder / "clock.so"
    if compiler is None:
        raise CannotRunError("gcc is missing: apt-get install gcc")
    source = Path(__file__).with_name("clock.c")
    subprocess.run([compiler, "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", made, source], check=True)
    return made
