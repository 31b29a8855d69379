"""Who uses control while the gateway of the soak is under load: scrapes, dashboards, operators, and instances.

Laws: whatever answers is 2xx, or what a check says may come; who cannot be reached is asked again, and counted in
`missed`, which a check that ends control allows. No two waits are equal, so all come at any moment.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Collection, Coroutine
from contextlib import suppress
from typing import Any

import httpx

from bench.gate import ADMIN_TOKEN, Gate

_SHOWN = (
    "status",
    "endpoints",
    "config",
    "config/changes",
    "circuit-breakers",
    "limits",
    "keys",
    "services",
    "services/health",
    "services/status",
    "discovery",
    "telemetry/spans?limit=100",
    "telemetry/metrics?limit=100",
    "telemetry/logs?limit=100",
    "telemetry/requests?limit=100&status=4xx",
    "telemetry/errors",
    "telemetry/history?seconds=60",
)
_FORMS = ("text/plain;version=0.0.4", "application/openmetrics-text;version=1.0.0", "application/json")
_INSTANCES = 6
_STREAM_SECONDS = 10.0


class Watchers:
    """All of them, on one gateway. `endpoints` are who registers; `done` counts what went well, by kind."""

    def __init__(self, gate: Gate, endpoints: list[str], allowed: Collection[int] = ()) -> None:
        """`allowed` are statuses from 400 on that may come."""
        self._gate = gate
        self._endpoints = endpoints
        self._allowed = allowed
        self._http = httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{gate.admin_port}",
            headers={"Authorization": f"Bearer {ADMIN_TOKEN}"},
            timeout=30,
            trust_env=False,
        )
        self._tasks: list[asyncio.Task[None]] = []
        self._serial = itertools.count()
        self.instances: list[str] = []
        self.done: Counter[str] = Counter()
        self.missed = 0
        self.failures: list[str] = []

    async def start(self) -> None:
        """Let instances register, then all others begin."""
        while len(self.instances) < _INSTANCES:
            await self._register()
        loop = asyncio.get_running_loop()
        works: list[Coroutine[Any, Any, None]] = [self._scrape(), self._look(), self._live(), self._come_and_go()]
        self._tasks = [loop.create_task(work) for work in (*works, *(self._watch(kind) for kind in range(3)))]

    async def stop(self) -> None:
        """Let all go, if they have not gone."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(ended, Exception):
                self.failures.append(f"a watcher: {ended!r}")
        await self._http.aclose()

    async def ask(self, kind: str, method: str, path: str, **more: Any) -> httpx.Response | None:
        """Ask once; None, a moment later, when nobody answers, or not with what should come."""
        answer = await self.send(method, path, **more)
        if answer is not None:
            if answer.is_success:
                self.done[kind] += 1
                return answer
            if answer.status_code not in self._allowed:
                self.failures.append(f"{method} {path}: {answer.status_code} {answer.text[:200]}")
        await asyncio.sleep(0.1)
        return None

    async def send(self, method: str, path: str, **more: Any) -> httpx.Response | None:
        """Return whatever is answered; None when nobody answers."""
        try:
            return await self._http.request(method, path, **more)
        except httpx.TimeoutException as error:
            self.failures.append(f"{method} {path}: {error!r}")
        except httpx.TransportError:
            self.missed += 1
        return None

    async def _scrape(self) -> None:
        for form in itertools.cycle(_FORMS):
            await self.ask("scrapes", "GET", "/metrics", headers={"Accept": form})
            await asyncio.sleep(random.uniform(0.5, 1.5))

    async def _look(self) -> None:
        for path in itertools.cycle(_SHOWN):
            await self.ask("looks", "GET", f"/api/v1/{path}")
            await asyncio.sleep(random.uniform(0.02, 0.2))

    async def _live(self) -> None:
        while True:
            for name in list(self.instances):
                if name not in self.instances:
                    continue
                answer = await self.ask("heartbeats", "PUT", f"/services/{name}/heartbeat", json={"status": "healthy"})
                if answer is not None and answer.json()["id"] != name:
                    self.failures.append(f"the heartbeat of {name} was that of {answer.json()['id']}")
                await asyncio.sleep(random.uniform(0.05, 0.2))

    async def _come_and_go(self) -> None:
        while True:
            await asyncio.sleep(random.uniform(0.5, 1.5))
            await self._register()
            if len(self.instances) > _INSTANCES:
                name = self.instances.pop(0)
                # Its last heartbeat may be under way.
                await asyncio.sleep(0.5)
                left = None
                while left is None:
                    left = await self.ask("leaves", "DELETE", f"/services/{name}")

    async def _register(self) -> None:
        number = next(self._serial)
        host, _, port = self._endpoints[number % len(self._endpoints)].partition(":")
        # A name of its own each time, at an address that others had before.
        name = f"soak-{number}"
        told = {"id": name, "name": "registered", "host": host, "port": int(port), "health_check": "", "ttl": 60}
        if await self.ask("registrations", "POST", "/services", json=told) is not None:
            self.instances.append(name)

    async def _watch(self, kind: int) -> None:
        """Watch the stream: to its end, for a while and anew, or without reading."""
        while True:
            with suppress(httpx.TransportError, TimeoutError):
                async with (
                    asyncio.timeout(_STREAM_SECONDS if kind else None),
                    self._http.stream("GET", "/api/v1/telemetry/stream", timeout=30) as answer,
                ):
                    if answer.status_code != 200:
                        self.failures.append(f"the stream: {answer.status_code}")
                    async for line in answer.aiter_lines():
                        self.done["events"] += line.startswith("event:")
                        if kind == 2:
                            await asyncio.sleep(_STREAM_SECONDS)
            await asyncio.sleep(random.uniform(0.1, 0.5))
