"""What follows a try that failed: another one, or the end.

Law: made at the first failure, so a request that goes well pays nothing for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.core.failure import Failure
from headgate.proxy.cluster import Cluster, Target
from headgate.proxy.plan import RouteRuntime

if TYPE_CHECKING:
    from headgate.proxy.exchange import Exchange


class Tries:
    """The failed tries of one request."""

    __slots__ = ("_cluster", "_exchange", "_way", "tried")

    def __init__(self, exchange: Exchange, way: RouteRuntime, cluster: Cluster) -> None:
        self._exchange = exchange
        self._way = way
        self._cluster = cluster
        self.tried: tuple[Target, ...] = ()

    def after(self, failure: Failure, target: Target, body: bytes) -> None:
        """Take a try that failed at `target`, with the `body` sent so far: let there be another one.

        Raises:
            Failure: this one, when there may not be another.
        """
        exchange, cluster = self._exchange, self._cluster
        stream = exchange.stream
        cluster.series.failed(failure.reason)
        replayable = not failure.sent or (stream.ended and stream.bytes_in == len(body))
        if not self._way.retry.allows(failure, exchange.method, exchange.attempts, replayable=replayable):
            raise failure
        cluster.series.retried(failure.reason)
        self.tried = (*self.tried, target)
