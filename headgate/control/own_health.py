"""How the gateway itself is: memory, processors, disk, network, and what it depends on.

Each is looked at on a schedule of its own, and what is shown is the last look: whoever asks for /health makes nobody
look. Laws: every look has a bound in time; no public site is asked; what is shown of a dependency is its name and how
it is, never its URL or what it said.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from os import environ
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from headgate.config.admin_settings import Dependency, Threshold
from headgate.config.admin_settings import OwnHealth as Settings
from headgate.config.resolve import ResolvedConfig
from headgate.control.dependencies import look
from headgate.control.log import Log
from headgate.control.spawn import Spawn
from headgate.control.state import state_path
from headgate.core.clock import monotonic, wall

Status = Literal["healthy", "degraded", "unhealthy", "unknown"]

INTERVAL: Final = 5.0
# Beyond it the network of this machine is degraded, in seconds.
SLOW_NETWORK: Final = 2.0
_TRIPS: Final = 3
_RANK: Final[Mapping[str, int]] = {"unknown": 0, "healthy": 0, "degraded": 1, "unhealthy": 2}


class Look(NamedTuple):
    """What one look at a dependency found: `error` is empty when all is well, `at` in wall clock seconds."""

    error: str
    seconds: float
    at: float


class OwnHealth:
    """All looks; make it inside the running loop."""

    def __init__(self, log: Log, spawn: Spawn) -> None:
        self._log = log
        self._spawn = spawn
        self._settings = Settings()
        self._folder = Path("/")
        self._machine: asyncio.Task[None] | None = None
        self._watched: dict[str, tuple[Dependency, asyncio.Task[None]]] = {}
        self._looks: dict[str, Look] = {}
        self._uses: dict[str, float] = {}
        self._round_trip: float | None = None

    @property
    def settings(self) -> Settings:
        """Return what the configuration in force says."""
        return self._settings

    def follow(self, config: ResolvedConfig) -> None:
        """Look at what this configuration says, from now on."""
        self._settings = config.health
        try:
            self._folder = state_path(config.state_dir, environ)
        except ValueError:
            self._folder = Path("/")
        if self._machine is None:
            self._machine = self._spawn(self._watch_machine())
        wanted = {each.name: each for each in config.health.dependencies}
        for name, (dependency, task) in list(self._watched.items()):
            if wanted.get(name) != dependency:
                task.cancel()
                del self._watched[name]
                self._looks.pop(name, None)
        for name, dependency in wanted.items():
            if name not in self._watched:
                self._watched[name] = dependency, self._spawn(self._watch(dependency))

    @property
    def has_looked(self) -> bool:
        """Whether everything has been looked at once."""
        return self._round_trip is not None and self._watched.keys() <= self._looks.keys()

    def checks(self) -> dict[str, dict[str, Any]]:
        """Return what is known of the machine, by what was looked at."""
        settings = self._settings
        found: dict[str, dict[str, Any]] = {}
        for name, threshold in (("memory", settings.memory), ("cpu", settings.cpu), ("disk", settings.disk)):
            use = self._uses.get(name)
            found[name] = {"status": judged(use, threshold), "usage_percent": use}
        trip = self._round_trip
        status = "unknown" if trip is None else "healthy" if trip < SLOW_NETWORK else "degraded"
        milliseconds = None if trip is None else round(trip * 1000, 3)
        found["network"] = {"status": status, "response_time_ms": milliseconds}
        return found

    def dependencies(self) -> dict[str, dict[str, Any]]:
        """Return what is known of what the gateway depends on, by name."""
        found: dict[str, dict[str, Any]] = {}
        for name, (dependency, _) in self._watched.items():
            look = self._looks.get(name)
            status: Status = "unknown"
            if look is not None:
                bad: Status = "unhealthy" if dependency.critical else "degraded"
                status = bad if look.error else "healthy"
            found[name] = {
                "status": status,
                "ok": "unknown" if look is None else "error" if look.error else "ok",
                "error": look.error or None if look is not None else None,
                "response_time_ms": round(look.seconds * 1000, 3) if look is not None else None,
                "checked_at": round(look.at, 3) if look is not None else None,
                "critical": dependency.critical,
            }
        return found

    def not_ready(self) -> str:
        """Return the name of a dependency without which the gateway is not ready, and which is away or not known."""
        for name, (dependency, _) in self._watched.items():
            look = self._looks.get(name)
            if dependency.ready and (look is None or look.error):
                return name
        return ""

    async def _watch_machine(self) -> None:
        # psutil takes a few hundredths of a second to import, and this loop has workers to speak to.
        machine = (await asyncio.to_thread(_import_machine)).Machine()
        while True:
            self._uses["memory"], self._uses["cpu"] = machine.memory(), machine.cpu()
            try:
                self._uses["disk"] = await asyncio.to_thread(machine.disk, self._folder)
            except OSError:
                self._uses.pop("disk", None)
            self._round_trip = await shortest_trip()
            await asyncio.sleep(INTERVAL)

    async def _watch(self, dependency: Dependency) -> None:
        name, before = dependency.name, ""
        while True:
            began = monotonic()
            error = await look(dependency)
            self._looks[name] = Look(error, monotonic() - began, wall())
            if bool(error) != bool(before):
                text = f"dependency {name} is away: {error}" if error else f"dependency {name} is back"
                self._log("warning" if error else "info", text, dependency=name)
            before = error
            await asyncio.sleep(dependency.interval)


def judged(use: float | None, threshold: Threshold) -> Status:
    """Say how well a use in percent is."""
    if use is None:
        return "unknown"
    return "unhealthy" if use > threshold.unhealthy else "degraded" if use > threshold.degraded else "healthy"


def worst(*statuses: str) -> Status:
    """Return the worst of them; what is not known yet is well."""
    rank = max((_RANK[status] for status in statuses), default=0)
    return "unhealthy" if rank == 2 else "degraded" if rank else "healthy"


async def shortest_trip(trip: Callable[[], Awaitable[float]] | None = None) -> float:
    """Return the seconds of the shortest of some round trips, SLOW_NETWORK * 2 at most.

    One alone that is slow says as much of this process, which may have stood still meanwhile.
    """
    shortest = SLOW_NETWORK * 2
    for _ in range(_TRIPS):
        with contextlib.suppress(OSError):
            async with asyncio.timeout(SLOW_NETWORK * 2):
                shortest = min(shortest, await (trip or round_trip)())
        if shortest < SLOW_NETWORK:
            break
    return shortest


async def round_trip() -> float:
    """Return the seconds that a connection to this machine itself, by its loopback address, takes.

    Raises:
        OSError: when none can be made.
    """
    accepted: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def on_connection(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        if not accepted.done():
            accepted.set_result(None)

    server = await asyncio.start_server(on_connection, "127.0.0.1", 0)
    try:
        began = monotonic()
        _, writer = await asyncio.open_connection("127.0.0.1", server.sockets[0].getsockname()[1])
        await accepted
        writer.close()
        return monotonic() - began
    finally:
        server.close()


def _import_machine() -> Any:
    from headgate.control import machine

    return machine
