"""Headgate under the soak: one gateway process with its configuration file, and what may be done to it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

from bench import client, proc
from bench.calls import Calls
from bench.client import Ask, Crowd, Dress, Ending, Outcome
from bench.http2 import Lanes
from bench.measure import MEGABYTE
from bench.stage import CannotRunError, Cores, Running, Stage, free_port
from bench.wallet import Wallet

ADMIN_TOKEN = "the-admin-token-of-the-soak"
_START_SECONDS = 30.0


class Gate:
    """A gateway in front of one or two upstreams; everything under /api is proxied, anything else is 404.

    Callers are those of the `wallet`, by whose settings it runs. `service` are further keys of the service's
    configuration, `settings` further ones of its top level; `beside` are further services, `environ` further variables.
    """

    def __init__(
        self,
        stage: Stage,
        cores: Cores,
        upstream: int,
        wallet: Wallet,
        workers: int = 1,
        service: Mapping[str, object] = MappingProxyType({}),
        settings: Mapping[str, object] = MappingProxyType({}),
        beside: Sequence[Mapping[str, object]] = (),
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._stage = stage
        self._cores = cores
        self._wallet = wallet
        self._workers = workers
        self._service = service
        self._settings = settings
        self._beside = beside
        self._environ = environ
        self.port = free_port()
        self.admin_port = free_port()
        self.file = stage.folder / f"soak-{self.port}.yaml"
        self._running: Running | None = None
        self.write(upstream)

    def write(self, upstream: int, **changed: object) -> None:
        """Write the configuration so that /api goes to port `upstream`, in one step (a rename).

        `changed` are keys of the top level that are other than at first.
        """
        service = {
            "name": "api",
            "url": f"http://127.0.0.1:{upstream}",
            "routes": [
                {"name": "hurried", "match": {"path": "/api/hurried"}, "timeout": {"response": 0.5}},
                {"name": "api", "match": {"path": "/api"}},
            ],
            **self._service,
        }
        text = json.dumps(
            {
                "listen": [{"address": f"127.0.0.1:{self.port}"}],
                "admin": {"address": f"127.0.0.1:{self.admin_port}", "token": ADMIN_TOKEN},
                "workers": self._workers,
                "services": [service, *self._beside],
                **self._wallet.settings(),
                **self._settings,
                **changed,
            },
            indent=1,
        )
        fresh = self.file.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self.file)

    @property
    def load_core(self) -> int:
        """Return the core of whoever asks."""
        return self._cores.load

    @property
    def running(self) -> Running:
        """Return the process; raises CannotRunError before `start`."""
        if self._running is None:
            raise CannotRunError("the gateway was not started")
        return self._running

    async def start(self) -> None:
        """Start the gateway and wait until it answers well, with its keys; raises CannotRunError when it does not."""
        variables = [f"{name}={value}" for name, value in self._environ.items()]
        command = ["env", *variables, sys.executable, "-m", "headgate", "run", str(self.file)]
        self._running = self._stage.start("headgate", command, self._cores.gateway)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _START_SECONDS
        while not await self._answers():
            if self.running.popen.poll() is not None:
                raise CannotRunError(f"headgate ended before it answered:\n{self.running.last_words()}")
            if loop.time() > deadline:
                raise CannotRunError(f"headgate gave no good answer in time:\n{self.running.last_words()}")
            await asyncio.sleep(0.01)

    async def _answers(self) -> bool:
        try:
            connection = await client.connect(self.port, self._wallet.keyed)
        except OSError:
            return False
        outcome, _, _ = await connection.ask(client.small())
        connection.close()
        return outcome is Outcome.GOOD

    async def connect(self) -> client.Connection:
        """Open a connection of somebody whose credentials are right; raises OSError."""
        return await client.connect(self.port, self._wallet.good)

    def crowd(self, kinds: dict[Callable[[], Ask], int], judge: Callable[[Ending], str]) -> Crowd:
        """Return clients who show credentials of all kinds, some of them wrong; every other one speaks HTTP/2."""
        return self.crowd_of(self._wallet.mixed, kinds, judge)

    def crowd_of(self, dress: Dress, kinds: dict[Callable[[], Ask], int], judge: Callable[[Ending], str]) -> Crowd:
        """Return clients like these whose requests are dressed otherwise."""
        return Crowd(self.port, kinds, judge, dress, (client.connect, Lanes().connect))

    def calls(self, judge: Callable[[str, str, str], str]) -> Calls:
        """Return callers of gRPC; the service is to be there (`EchoServer.config`)."""
        return Calls(self.port, self._wallet.token("caller"), judge)

    def reload(self) -> None:
        """Ask the master to load the file again."""
        os.kill(self.running.pid, signal.SIGHUP)

    def terminate(self) -> None:
        """Ask the master to drain and end."""
        os.kill(self.running.pid, signal.SIGTERM)

    async def ended(self, seconds: float) -> int | None:
        """Wait for the end of the master; its exit code, or None when it still runs after so many seconds."""
        try:
            return await asyncio.to_thread(self.running.popen.wait, seconds)
        except subprocess.TimeoutExpired:
            return None

    def stop(self) -> None:
        """End it and forget it; `start` makes a new one."""
        self._stage.stop(self.running)
        self._running = None

    def holders(self) -> dict[int, set[int]]:
        """Return worker pid -> local ports of the clients whose connections it holds."""
        return proc.connections((process.pid for process in proc.tree(self.running.pid)), self.port)

    def memory(self) -> float:
        """Return the megabytes of all its processes together."""
        return sum(proc.resident(process.pid) for process in proc.tree(self.running.pid)) / MEGABYTE

    async def workers(self) -> list[int]:
        """Return the pids of the workers, as the admin address has them; none while nobody answers there."""
        try:
            shown = await asyncio.to_thread(self._health)
        except OSError:
            return []
        return [worker["pid"] for worker in shown["workers"] if worker["pid"]]

    async def metrics(self) -> list[dict[str, Any]]:
        """Return the metrics as they are now, each point a record (name, value, labels)."""
        return await asyncio.to_thread(self._metrics)

    def _metrics(self) -> Any:
        return self._told("/metrics")

    def _told(self, path: str, body: bytes | None = None) -> Any:
        fields = {"Accept": "application/json", "Authorization": f"Bearer {ADMIN_TOKEN}"}
        if body is not None:
            fields["Content-Type"] = "application/json"
        wanted = urllib.request.Request(f"http://127.0.0.1:{self.admin_port}{path}", body, fields)
        with urllib.request.urlopen(wanted, timeout=30) as answer:
            return json.load(answer)

    async def cache(self) -> dict[str, Any]:
        """Return what the admin address says of the cache."""
        shown: dict[str, Any] = await asyncio.to_thread(self._told, "/api/v1/cache")
        return shown

    async def purge(self, **what: object) -> int:
        """Purge from the cache; return how many entries went."""
        done = await asyncio.to_thread(self._told, "/api/v1/cache/purge", json.dumps(what).encode())
        return int(done["purged"])

    def _health(self) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.admin_port}/health", timeout=5) as answer:
            return json.load(answer)

    async def control(self) -> int:
        """Return the pid of the child of the master that is no worker; 0 when it is not there."""
        workers = await self.workers()
        master = self.running.pid
        children = [each.pid for each in proc.tree(master) if each.parent == master and each.pid not in workers]
        return children[0] if workers and len(children) == 1 else 0

    async def processes(self) -> dict[str, int]:
        """Return the pids of all its processes, by what they are."""
        workers = await self.workers()
        named = {f"worker {number}": pid for number, pid in enumerate(workers, 1)}
        return {"master": self.running.pid, "control": await self.control(), **named}

    async def kill_control(self) -> bool:
        """Kill control; tell whether it was there."""
        control = await self.control()
        if control:
            os.kill(control, signal.SIGKILL)
        return bool(control)

    @property
    def folder(self) -> Path:
        """Return the folder of its files."""
        return self._stage.folder
