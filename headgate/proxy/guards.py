"""What guards a service: its breaker, and how many requests it takes at once; entered before the first try, left once.

Law: whoever entered leaves, at the end of the request and with what became of it: of its last try for the endpoint, of
the whole request for the breaker.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.core.clock import monotonic
from headgate.core.failure import REASONS
from headgate.proxy.cluster import Cluster
from headgate.proxy.overload import Place
from headgate.proxy.plan import RouteRuntime

if TYPE_CHECKING:
    from headgate.proxy.exchange import Exchange
    from headgate.proxy.gateway import Gateway

_SERVER_ERROR = 500


def enter(gateway: Gateway, exchange: Exchange, way: RouteRuntime, cluster: Cluster) -> None:
    """Let a request go to a service.

    Raises:
        Failure: breaker_open or shed.
    """
    if cluster.breaker is not None:
        exchange.ticket = cluster.breaker.admit(monotonic())
    if cluster.adaptive is not None:
        exchange.place = Place(gateway, cluster, way)


def switched(exchange: Exchange) -> None:
    """Give a place back early: a tunnel may last for hours, and tells nothing of how busy the service is."""
    if exchange.place is not None:
        exchange.place.leave(exchange)
        exchange.place = None


def leave(exchange: Exchange, cluster: Cluster, now: float) -> None:
    """Take the last try of a request out of the books, and tell how the request ended."""
    target, error = exchange.target, exchange.error
    if target is not None and (cluster.counted or target.judged is not None):
        failed = bool(error) and REASONS[error].side == "upstream"
        if target.judged is not None:
            # Not before the end of its answer: one that is cut has failed, however well it began.
            if failed:
                target.judged.failed(now)
            elif not error:
                target.judged.answered(exchange.outcome, now)
        seconds = exchange.upstream or (now - exchange.tried_at if failed else None)
        exchange.end_try(cluster, now, seconds, not failed and exchange.outcome < _SERVER_ERROR)
    if cluster.breaker is not None and exchange.ticket >= 0:
        if error:
            cluster.breaker.failed(exchange.ticket, error, now)
        else:
            cluster.breaker.answered(exchange.ticket, exchange.outcome, now)
    if exchange.place is not None:
        exchange.place.leave(exchange)


def settled(exchange: Exchange, cluster: Cluster, now: float) -> None:
    """Close the books of the service before those of the request: it has done its part, and the client goes on alone.

    What became of it stands in `status` and `error`.
    """
    exchange.outcome = exchange.status
    leave(exchange, cluster, now)
    exchange.target = exchange.place = None
    exchange.ticket = -1


def failed(exchange: Exchange, cluster: Cluster, reason: str, now: float) -> None:
    """Tell that a service has failed for this reason, though its request may yet be answered."""
    upstream, exchange.connection = exchange.connection, None
    if upstream is not None:
        upstream.close()
    exchange.error, error = reason, exchange.error
    settled(exchange, cluster, now)
    exchange.error = error
