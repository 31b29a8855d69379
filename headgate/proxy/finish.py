"""The end of a request: its books closed, its log line written, whoever waits for idleness told.

Law: every exit of an exchange comes here, exactly once, and nothing is asked of the request afterwards.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.core.clock import monotonic, wall
from headgate.core.failure import Failure
from headgate.proxy import grpc, guards

if TYPE_CHECKING:
    from headgate.proxy.exchange import Exchange


def finish(exchange: Exchange) -> None:
    """Close the books of a request that was answered, or that cannot be."""
    stream, gateway, cluster = exchange.stream, exchange.gateway, exchange.cluster
    stream.on_failed = None
    if stream.failure is not None:
        # It holds the frames that it was thrown into, and these hold the exchange and the stream: a circle.
        stream.failure.__traceback__ = None
    if not stream.done and not stream.gone:
        # Telling of a failure failed: nobody shall wait for an answer that does not come.
        stream.source_failed(Failure("internal"))
    now = monotonic()
    exchange.duration = duration = now - stream.started
    exchange.bytes_in = stream.bytes_in
    exchange.bytes_out = stream.bytes_out
    exchange.outcome = outcome = grpc.settled(exchange) if stream.head.grpc else exchange.status
    if cluster is not None:
        guards.leave(exchange, cluster, now)
    if exchange.held is not None:
        gateway.limiter.release(exchange)
    route = exchange.way
    if route is None:
        series = exchange.plan.own_series.get(exchange.path, exchange.plan.unrouted)
    elif cluster is not None and cluster is route.only:
        series = route.only_series
    else:
        series = route.series[cluster.name if cluster is not None else ""]
    method, status, version = exchange.method, exchange.status, exchange.version
    series.finish(method, status, duration, stream.bytes_in, stream.bytes_out, exchange.error, version)
    if exchange.grpc_status >= 0:
        series.called(exchange.grpc_status)
    if exchange.cache:
        series.cached(exchange.cache, stream.bytes_out)
    exchange.wall = wall()
    if exchange.notes is not None or exchange.error or outcome >= 500 or duration >= exchange.plan.looks_from:
        gateway.recorder.finish(exchange, now)
    gateway.log(exchange)
    gateway.finished()
