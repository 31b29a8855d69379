"""From the request that came to the request that the upstream sees: fields, path, query, authority."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.core.failure import Failure
from headgate.core.uri import BadTarget
from headgate.proxy.plan import RouteRuntime
from headgate.wire.challenge import challenge
from headgate.wire.outgoing import Outgoing

if TYPE_CHECKING:
    from headgate.proxy.exchange import Exchange


def upstream_request(exchange: Exchange, way: RouteRuntime) -> Outgoing:
    """Make the request that goes upstream, and send a copy of it where the route has a mirror.

    Raises:
        Failure: bad_path, when the rewritten path is none.
    """
    head, client = exchange.stream.head, exchange.peer
    assert client is not None
    fields = head.fields
    fields += exchange.ids
    if exchange.forwarded:
        fields += exchange.forwarded
    if way.edit_request is not None:
        fields = way.edit_request.apply([*fields, *client.pairs] if way.edits_origin else fields, exchange.value)
    path, query = head.path, head.query
    if way.rewrite is not None:
        try:
            path = way.rewrite(path, exchange.params)
        except BadTarget as error:
            raise Failure("bad_path", f"rewritten: {error.reason}") from None
    if way.edit_query is not None:
        query = way.edit_query.apply(query)
    target = path.encode() if query is None else b"%b?%b" % (path.encode(), query)
    request = Outgoing(head.method, target, fields, head.length)
    request.grpc = head.grpc
    if not way.edits_origin:
        request.block = client.lines
    if way.host is not None:
        request.authority = head.authority if way.host == "preserve" else way.host.encode()
    if head.upgrade in way.upgrades:
        request.upgrade = head.upgrade
        if head.version == "2" and head.upgrade == b"websocket":
            request.challenge = challenge()
    if exchange.trace is not None and (tracer := exchange.plan.tracer) is not None:
        request.trace = tracer.lines(exchange.trace, exchange.trace.span_id, exchange.trace.parent.span_id)
    if way.mirror is not None:
        _maybe_mirror(exchange, way, request)
    return request


def _maybe_mirror(exchange: Exchange, way: RouteRuntime, request: Outgoing) -> None:
    """Send a copy elsewhere, if the route has a mirror and chance will."""
    mirror, cluster, stream = way.mirror, way.mirror_cluster, exchange.stream
    if mirror is not None and cluster is not None and stream.ended and not request.upgrade and mirror.chosen():
        exchange.gateway.mirrors.send(cluster, request, stream.peek(), way.timeouts, exchange.key(cluster))
