"""h2load beside the clients of the soak: HTTP/2 as others wrote it, on connections that stay for a while."""

from __future__ import annotations

import asyncio

from bench import load
from bench.client import HOST
from bench.gate import Gate
from bench.load import Load

_SECONDS = 3
_LOAD = Load("/ready", connections=4, streams=8)
_AUTHORITY = (":authority", HOST.split()[1].decode())


class Foreign:
    """h2load again and again, asking what anybody may ask; nothing may fail."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._stopping = False
        self._task: asyncio.Task[None] | None = None
        self.total = 0
        self.failures: list[str] = []

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Let the last one end."""
        self._stopping = True
        if self._task is not None:
            await self._task

    async def _run(self) -> None:
        while not self._stopping:
            done = await asyncio.to_thread(load.run, _LOAD, self._gate.port, self._gate.load_core, _SECONDS, _AUTHORITY)
            self.total += done.requests
            if done.failed:
                self.failures.append(f"{done.failed} of {done.requests} requests of h2load")
