"""Copies of requests for another service: sent beside the real one, their answers read and thrown away.

Laws: a copy never delays or changes the real request; copies in flight are bounded, more are not sent; only requests
whose body was here when the real one was sent are copied, so that nothing has to be held back for a slow copy.
"""

from __future__ import annotations

from collections.abc import Sequence

from headgate.core.clock import monotonic
from headgate.core.failure import Failure
from headgate.core.message import Field
from headgate.core.steps import Steps
from headgate.proxy.cluster import Cluster
from headgate.wire.call import Call
from headgate.wire.outgoing import Outgoing
from headgate.wire.settings import Timeouts

_MOST_IN_FLIGHT = 256


class _Nowhere:
    """Takes the answer of a copy."""

    __slots__ = ()

    def write(self, data: bytes) -> None:
        """Forget it."""

    def finish(self, trailers: Sequence[Field] = ()) -> None:
        """Forget it."""

    def source_failed(self, failure: Failure) -> None:
        """Forget it."""


_NOWHERE = _Nowhere()


class Mirrors:
    """All copies of this worker."""

    __slots__ = ("_in_flight",)

    def __init__(self) -> None:
        self._in_flight: set[Steps] = set()

    def send(self, cluster: Cluster, request: Outgoing, body: bytes, timeouts: Timeouts, key: int = 0) -> None:
        """Send a copy, if there is room for one; `key` is for the cluster's balancer."""
        if len(self._in_flight) < _MOST_IN_FLIGHT:
            copy = Outgoing(request.method, request.target, list(request.fields), request.length)
            copy.authority = request.authority
            copy.block = request.block
            copy.trace = request.trace
            copy.grpc = request.grpc
            steps: list[Steps] = []
            steps.append(Steps(self._deliver(cluster, copy, body, timeouts, key, steps)))
            self._in_flight.add(steps[0])
            steps[0].go_on()

    async def _deliver(
        self, cluster: Cluster, request: Outgoing, body: bytes, timeouts: Timeouts, key: int, own: list[Steps]
    ) -> None:
        upstream: Call | None = None
        started = monotonic()
        target = cluster.pick(started, (), key)
        seconds, ok = None, True
        try:
            if target is None:
                raise Failure("no_endpoint", cluster.name)
            upstream = target.pool.take(False) or await target.pool.connecting(timeouts.connect)
            response = await upstream.send(request, body, True, timeouts)
            seconds = monotonic() - started
            cluster.series.answered(response.status, seconds, request.method)
            await upstream.relay(_NOWHERE)
            upstream.release()
            upstream = None
        except Failure as failure:
            cluster.series.failed(failure.reason, request.method)
            ok = failure.side != "upstream"
            if not ok:
                seconds = monotonic() - started
        finally:
            if upstream is not None:
                upstream.close()
            if target is not None and cluster.counted:
                cluster.end(target, monotonic(), seconds, ok)
            self._in_flight.difference_update(own)

    def close(self) -> None:
        """Give up what is in flight."""
        for steps in list(self._in_flight):
            steps.interrupt(Failure("draining"))
