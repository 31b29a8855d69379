"""What a client is told of a failure: the fields beside the body, and the body in the configured shape."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Any

from headgate.core.failure import TRY_LATER, Failure
from headgate.core.message import Fields
from headgate.proxy import grpc
from headgate.proxy.limiting import placeholders

if TYPE_CHECKING:
    from headgate.proxy.errors import ErrorShapes
    from headgate.proxy.exchange import Exchange


def fail(exchange: Exchange, failure: Failure) -> None:
    """Turn a Failure into an answer, or into a visible cut where one is under way."""
    stream = exchange.stream
    upstream, exchange.connection = exchange.connection, None
    if upstream is not None:
        upstream.close()
    left = failure.reason == "client_closed"
    if left and stream.done:
        # It left with the whole answer, before its exchange had its turn.
        return
    exchange.error, exchange.detail = failure.reason, failure.detail
    shapes = _shapes(exchange)
    if stream.responded:
        if left:
            exchange.status = shapes.status(failure.reason)
        if not stream.done:
            if stream.head.grpc:
                grpc.cut(exchange, failure)
            else:
                stream.source_failed(failure)
        return
    exchange.status = failure.status or shapes.status(failure.reason)
    exchange.gateway.audit.refused(exchange)
    if stream.gone:
        return
    way, cluster = exchange.way, exchange.cluster
    route, service = way.name if way is not None else "", cluster.name if cluster is not None else ""
    exchange.gateway.metrics.error(failure.reason, route, service, exchange.method)
    extra, body = refusal(exchange, failure)
    if stream.head.grpc:
        extra += grpc.words(exchange, failure)
    exchange.respond(exchange.status, shapes.content_type, body, extra)


def refusal(exchange: Exchange, failure: Failure) -> tuple[Fields, bytes]:
    """Return the fields and the body that tell a client of a failure; the exchange has its status already."""
    extra: Fields = [*failure.fields] if failure.fields else []
    retry_after = None
    if failure.reason == "method_not_allowed":
        extra.append((b"Allow", failure.detail.encode()))
    elif exchange.status == 401 and not extra:
        gate = exchange.way.gate if exchange.way is not None else exchange.plan.stranger_gate
        extra += gate.challenge(failure.reason) if gate is not None else ()
    elif exchange.status in TRY_LATER:
        retry_after = ceil(failure.retry_after) or _shapes(exchange).retry_after(failure.reason)
        extra.append((b"Retry-After", b"%d" % retry_after))
    return extra, _shapes(exchange).body(failure.reason, lambda: _values(exchange, failure, retry_after))


def _shapes(exchange: Exchange) -> ErrorShapes:
    way = exchange.way
    return exchange.plan.errors if way is None or way.errors is None else way.errors


def _values(exchange: Exchange, failure: Failure, retry_after: int | None) -> dict[str, Any]:
    service = exchange.cluster.name if exchange.cluster is not None else None
    return {
        "status": exchange.status,
        "request_id": exchange.request_id,
        "correlation_id": exchange.correlation_id,
        "trace_id": exchange.trace.trace_id if exchange.trace is not None else None,
        "retry_after": retry_after,
        "path": exchange.path,
        "method": exchange.method,
        "service": service,
        # A breaker is called as its service.
        "breaker": service if failure.reason == "breaker_open" else None,
        "route": exchange.way.name if exchange.way is not None else None,
        **({"message": failure.message} if failure.message else {}),
        **placeholders(exchange),
    }
