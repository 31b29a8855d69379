"""Requests that are refused because there are too many: of all in this worker, or of those at one service.

Law: who is refused is answered at once, before anything is asked of a store or sent anywhere; own endpoints never are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.core.clock import monotonic
from headgate.core.failure import Failure
from headgate.policy.overload_settings import PRIORITIES
from headgate.proxy.cluster import Cluster

if TYPE_CHECKING:
    from headgate.proxy.exchange import Exchange
    from headgate.proxy.gateway import Gateway
    from headgate.proxy.plan import RouteRuntime

_RETRY_AFTER = 1.0
# What is said where the worker itself refuses, and not for a service.
BUSY = "the worker has too much to do"
# What says that a service has too much to do: it did not answer in time, or says so itself.
_TOO_MUCH = frozenset(("connect_timeout", "response_timeout", "idle_timeout", "total_timeout"))
_UNAVAILABLE = 503
_SERVER_ERROR = 500


def shed(gateway: Gateway, way: RouteRuntime) -> None:
    """Refuse a request of this route if the worker has too much to do for its priority.

    Raises:
        Failure: shed.
    """
    if not gateway.shedder.admits(way.rank, gateway.in_flight):
        gateway.metrics.shed("gateway", PRIORITIES[way.rank])
        raise Failure("shed", BUSY, retry_after=_RETRY_AFTER)


class Place:
    """One of the requests at once that a service takes (policy.concurrency); left exactly once."""

    __slots__ = ("_limit",)

    def __init__(self, gateway: Gateway, cluster: Cluster, way: RouteRuntime) -> None:
        """Take it.

        Raises:
            Failure: shed, when there is none for a request of this priority.
        """
        limit = cluster.adaptive
        assert limit is not None
        if not limit.admit(way.rank):
            gateway.metrics.shed("service", PRIORITIES[way.rank])
            raise Failure("shed", f"{cluster.name}: {limit.in_flight} at once", retry_after=_RETRY_AFTER)
        self._limit = limit

    def leave(self, exchange: Exchange) -> None:
        """Give it back, and tell how long the service took: only an answer of its own, neither cut nor an error."""
        now, error = monotonic(), exchange.error
        if error in _TOO_MUCH or (exchange.outcome == _UNAVAILABLE and not error):
            self._limit.dropped(now)
        elif error == "deadline_exceeded":
            self._limit.abandoned(now - exchange.tried_at if exchange.attempts else 0.0, now)
        else:
            well = not error and exchange.outcome < _SERVER_ERROR
            self._limit.settle(exchange.upstream if well else 0.0, now)
