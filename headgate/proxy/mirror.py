"""Copies of requests for another service: sent beside the real one, their answers read and thrown away.

Laws: a copy never delays or changes the real request; copies in flight are bounded, more are not sent; only requests
whose body was here when the real one was sent are copied, so that nothing has to be held back for a slow copy.
"""

from __future__ import annotations

import asyncio

from headgate.core.clock import monotonic
from headgate.core.failure import Failure
from headgate.proxy.cluster import Cluster
from headgate.wire.settings import Timeouts
from headgate.wire.upstream import Outgoing, UpstreamConnection

_MOST_IN_FLIGHT = 256


class _Nowhere:
    """Takes the answer of a copy."""

    __slots__ = ()

    def write(self, data: bytes) -> None:
        """Forget it."""

    def finish(self) -> None:
        """Forget it."""

    def source_failed(self, failure: Failure) -> None:
        """Forget it."""


_NOWHERE = _Nowhere()


class Mirrors:
    """All copies of this worker."""

    __slots__ = ("_loop", "_tasks")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._tasks: set[asyncio.Task[None]] = set()

    def send(self, cluster: Cluster, request: Outgoing, body: bytes, timeouts: Timeouts) -> None:
        """Send a copy, if there is room for one."""
        if len(self._tasks) < _MOST_IN_FLIGHT:
            copy = Outgoing(request.method, request.target, list(request.fields), request.length)
            copy.authority = request.authority
            copy.block = request.block
            task = self._loop.create_task(self._deliver(cluster, copy, body, timeouts))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _deliver(self, cluster: Cluster, request: Outgoing, body: bytes, timeouts: Timeouts) -> None:
        upstream: UpstreamConnection | None = None
        started = monotonic()
        target = cluster.pick(started)
        try:
            if target is None:
                raise Failure("no_endpoint", cluster.name)
            upstream = target.pool.take(False) or await target.pool.connect(timeouts.connect)
            response = await upstream.send(request, body, True, timeouts)
            cluster.series.answered(response.status, monotonic() - started)
            await upstream.relay(_NOWHERE)
            upstream.release()
            upstream = None
        except Failure as failure:
            cluster.series.failed(failure.reason)
        finally:
            if upstream is not None:
                upstream.close()

    def close(self) -> None:
        """Give up what is in flight."""
        for task in self._tasks:
            task.cancel()
