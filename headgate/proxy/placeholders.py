"""What templates may say of a request (policy.template)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate import __version__
from headgate.core.clock import monotonic

if TYPE_CHECKING:
    from headgate.proxy.exchange import Exchange


def value_of(exchange: Exchange, name: str) -> str | None:
    """Return the text of a placeholder; None where the request has nothing to say."""
    head = exchange.stream.head
    match name:
        case "client" | "host" | "method" | "path" | "request_id":
            return str(getattr(exchange, name))
        case "query":
            return (head.query or b"").decode("latin-1")
        case "route":
            return exchange.way.name if exchange.way is not None else None
        case "service":
            return exchange.cluster.name if exchange.cluster is not None else None
        case "trace_id":
            return exchange.trace.trace_id if exchange.trace is not None else None
        case "duration":
            return f"{monotonic() - exchange.stream.started:.6f}"
        case "duration_ms":
            return f"{(monotonic() - exchange.stream.started) * 1000:.2f}"
        case "upstream_ms":
            return f"{exchange.upstream * 1000:.2f}" if exchange.upstream else None
        case "attempts":
            return str(exchange.attempts) if exchange.attempts else None
        case "attempt":
            # Until an endpoint is chosen for it, a try is not counted.
            return str(exchange.attempts or 1)
        case "version":
            return __version__
        case "services":
            return str(len(exchange.plan.config.services))
    return exchange.params.get(name.removeprefix("params."))
