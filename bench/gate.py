"""Headgate under the soak: one gateway process with its configuration file, and what may be done to it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

from bench import client, proc
from bench.client import Outcome
from bench.measure import MEGABYTE
from bench.stage import CannotRunError, Cores, Running, Stage, free_port

_START_SECONDS = 30.0


class Gate:
    """A gateway in front of one or two upstreams; everything under /api is proxied, anything else is 404.

    `service` are further keys of the service's configuration.
    """

    def __init__(
        self,
        stage: Stage,
        cores: Cores,
        upstream: int,
        workers: int = 1,
        service: Mapping[str, object] = MappingProxyType({}),
    ) -> None:
        self._stage = stage
        self._cores = cores
        self._workers = workers
        self._service = service
        self.port = free_port()
        self._admin_port = free_port()
        self._file = stage.folder / f"soak-{self.port}.yaml"
        self._running: Running | None = None
        self.write(upstream)

    def write(self, upstream: int) -> None:
        """Write the configuration so that /api goes to port `upstream`, in one step (a rename)."""
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
                "admin": {"address": f"127.0.0.1:{self._admin_port}"},
                "workers": self._workers,
                "telemetry": {"access_log": {"path": os.devnull}},
                "services": [service],
            },
            indent=1,
        )
        fresh = self._file.with_suffix(".new")
        fresh.write_text(text)
        fresh.rename(self._file)

    @property
    def running(self) -> Running:
        """Return the process; raises CannotRunError before `start`."""
        if self._running is None:
            raise CannotRunError("the gateway was not started")
        return self._running

    async def start(self) -> None:
        """Start the gateway and wait for its first good answer; raises CannotRunError when there is none."""
        command = [sys.executable, "-m", "headgate", "run", str(self._file)]
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
            connection = await client.connect(self.port)
        except OSError:
            return False
        outcome, _, _ = await connection.ask(client.small())
        connection.close()
        return outcome is Outcome.GOOD

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

    @property
    def folder(self) -> Path:
        """Return the folder of its files."""
        return self._stage.folder
