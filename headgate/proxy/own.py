"""The gateway's own endpoints that workers answer by themselves, control alive or not.

/health: this worker runs and has a Plan. /ready: it takes traffic (has a Plan and is not draining); for load balancers.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from headgate.core.clock import monotonic
from headgate.core.failure import Failure

if TYPE_CHECKING:
    from headgate.proxy.exchange import Exchange
    from headgate.proxy.gateway import Gateway

Own = Callable[["Gateway", "Exchange"], None]
_JSON = b"application/json"
_READERS = ("GET", "HEAD")


def health(gateway: Gateway, exchange: Exchange) -> None:
    """Answer /health."""
    _only_read(exchange)
    status = "draining" if gateway.draining else "healthy"
    uptime = round(monotonic() - gateway.started, 3)
    exchange.respond(200, _JSON, json.dumps({"status": status, "uptime_seconds": uptime}).encode())


def ready(gateway: Gateway, exchange: Exchange) -> None:
    """Answer /ready."""
    _only_read(exchange)
    if gateway.ready:
        exchange.respond(200, _JSON, b'{"status": "ready"}')
    else:
        reason = "draining" if gateway.draining else "starting"
        exchange.respond(503, _JSON, json.dumps({"status": "not_ready", "reason": reason}).encode())


def _only_read(exchange: Exchange) -> None:
    if exchange.method not in _READERS:
        raise Failure("method_not_allowed", ", ".join(_READERS))


OWN: Mapping[str, Own] = {"/health": health, "/ready": ready}
