"""A gateway of the soak with all that control does: sources whose sets change, instances that register, own endpoints,
records, traces to a collector, metrics in all forms, scrapes, dashboards and operators.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Callable, Collection, Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench import client
from bench.calls import EchoServer
from bench.client import Ask, Outcome
from bench.gate import Gate
from bench.scene import NEVER_TOO_MUCH, STEADY, Scene
from bench.sources import TOLD, Sources
from bench.stage import CannotRunError
from bench.upstream import Upstream
from bench.watchers import Watchers

_KNOWN_SECONDS = 60.0
_ADDRESSES = 8

Kinds = dict[Callable[[], Ask], int]

# 503 while the gateway drains, as it should be.
READY = partial(client.own, "/ready", public=True)
# Services whose endpoints are found out, and health as anybody may ask for it: control is not needed for these.
FOUND: Kinds = {
    **{partial(client.small, f"/api/{name}"): 8 for name in (*TOLD, "registered")},
    partial(client.small, "/own/proxy/api/api/things"): 4,
    partial(client.own, "/health", public=True): 3,
    READY: 3,
}
# What control answers itself, on its socket.
ANSWERED: Kinds = {partial(client.own, f"/own/{view}"): 1 for view in ("status", "spans", "services_health")}

_SURFACE = [
    *({"path": f"/own/{view}", "view": view} for view in ("status", "spans", "services_health")),
    {"path": "/own/proxy/{service_name}/{path}", "view": "proxy"},
]


class Plane:
    """All of it. `failures` are those of watchers; what clients see is judged by the check."""

    def __init__(
        self,
        scene: Scene,
        workers: int = 1,
        settings: Mapping[str, object] = MappingProxyType({}),
        allowed: Collection[int] = (),
        environ: Mapping[str, str] = MappingProxyType({}),
        folder: Path | None = None,
    ) -> None:
        """`folder` is where configuration and state lie, when that is not the stage's."""
        self._scene = scene
        self._workers = workers
        self._settings = settings
        self._allowed = allowed
        self._environ = environ
        self._folder = folder
        self.upstreams = [Upstream("one", addresses=_ADDRESSES), Upstream("two", addresses=_ADDRESSES)]
        self.echo = EchoServer()
        self.sources = Sources(scene.stage, scene.cores)
        self._gate: Gate | None = None
        self._watchers: Watchers | None = None
        self._changing: asyncio.Task[None] | None = None

    @property
    def gate(self) -> Gate:
        """Return the gateway; raises CannotRunError before `start`."""
        if self._gate is None:
            raise CannotRunError("the plane was not started")
        return self._gate

    @property
    def watchers(self) -> Watchers:
        """Return who uses control; raises CannotRunError before `start`."""
        if self._watchers is None:
            raise CannotRunError("the plane was not started")
        return self._watchers

    @property
    def seen(self) -> set[str]:
        """Return the ids of all requests that came to an upstream."""
        return {name for upstream in self.upstreams for name in upstream.seen}

    async def start(self) -> None:
        """Start all, and wait until each service is served."""
        for upstream in self.upstreams:
            await upstream.start()
        await self.echo.start()
        await self.sources.start(self.endpoints())
        self._gate = self._scene.gate(
            self.upstreams[0].port,
            self._workers,
            settings={**self._control(), **self._settings},
            beside=[*self.sources.services(), self.echo.config()],
            environ=self._environ,
        )
        if self._folder is not None:
            self._gate.file = self._folder / "gateway.yaml"
            self._gate.write(self.upstreams[0].port)
        await self.begin()

    async def begin(self) -> None:
        """Start the gateway, and who uses it; after `end` once more."""
        await self.gate.start()
        self._watchers = Watchers(self.gate, self.endpoints(), self._allowed)
        await self._watchers.start()
        await self.served()

    async def end(self) -> None:
        """Let those go who use control."""
        if self._changing is not None:
            self._changing.cancel()
            self._changing = None
        await self.watchers.stop()

    async def stop(self) -> None:
        """Stop all but the gateway, which leaves with its stage."""
        await self.end()
        await self.sources.close()
        await self.echo.close()
        for upstream in self.upstreams:
            await upstream.close()

    def endpoints(self) -> list[str]:
        """Return all endpoints there are."""
        return [name for upstream in self.upstreams for name in upstream.endpoints()]

    def forget(self) -> None:
        """Let the upstreams forget which requests came."""
        for upstream in self.upstreams:
            upstream.seen.clear()

    def change(self) -> None:
        """Let the sources tell other sets, again and again."""
        self._changing = asyncio.get_running_loop().create_task(self._change())

    async def _change(self) -> None:
        while True:
            await self.sources.say(random.sample(self.endpoints(), random.randint(1, _ADDRESSES)))
            await asyncio.sleep(random.uniform(0.2, 2))

    async def served(self, server: str = "", seconds: float = _KNOWN_SECONDS) -> float:
        """Wait until each service is served, the told ones by this server; return the seconds it took.

        Raises:
            CannotRunError: it takes too long.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        waiting = {*TOLD, *([] if server else ["registered"])}
        while waiting:
            name = next(iter(waiting))
            connection = await self.gate.connect()
            ends = [await connection.ask(client.small(f"/api/{name}")) for _ in range(3)]
            connection.close()
            answers = [answer for outcome, _, answer in ends if outcome is Outcome.GOOD and answer is not None]
            if len(answers) == 3 and all(f'"server":"{server}'.encode() in answer.body for answer in answers):
                waiting.discard(name)
            elif loop.time() > began + seconds:
                raise CannotRunError(f"{name} is not served as it should after {seconds:g} s: {ends[-1][:2]}")
            else:
                await asyncio.sleep(0.1)
        return loop.time() - began

    def _control(self) -> dict[str, Any]:
        collector = f"http://127.0.0.1:{self.upstreams[0].port}"
        tcp = f"tcp://127.0.0.1:{self.upstreams[0].port}"
        return {
            **NEVER_TOO_MUCH,
            "surface": _SURFACE,
            "health": {"dependencies": [{"name": "upstream", "url": tcp, "interval": 1}]},
            "telemetry": {
                "access_log": {"path": os.devnull},
                "audit": {"enabled": True, "path": os.devnull},
                "metrics": {"native": True},
                "sampling": {"ratio": 0.05, "per_second": 20, "slow": 0.09},
                "tracing": {"enabled": True, "send": ["w3c", "b3"], "export": collector},
                # Full soon, so that what is measured is what stays.
                "kept": {"requests": 500, "logs": 500, "history": 60},
            },
        }


EVERYTHING: Kinds = {**STEADY, **FOUND, **ANSWERED}
