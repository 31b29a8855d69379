"""From what the operator wrote to what a worker runs: every inheritance decided, every name looked up.

Law: pure and standard library only. The result is plain, immutable and picklable; a worker needs no other
configuration. Nearest level wins whole: route, then service, then gateway.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from headgate.config.schema import (
    Admin,
    Errors,
    Listen,
    Route,
    Shutdown,
    Telemetry,
    UpstreamTls,
)
from headgate.core.endpoint import Endpoint
from headgate.policy.retry import RetrySettings
from headgate.policy.rewrite import HeaderEdits
from headgate.policy.split import Destination
from headgate.wire.settings import Compression, Forwarding, HttpLimits, PoolLimits, RequestId, Timeouts


@dataclass(frozen=True, slots=True)
class ResolvedService:
    """One upstream."""

    name: str
    endpoints: tuple[Endpoint, ...]
    balancer: Any
    pool: PoolLimits
    tls: UpstreamTls


@dataclass(frozen=True, slots=True)
class ResolvedRoute:
    """One route; `order` is its place in the file, `settings` what stands on the route alone."""

    name: str
    service: str
    order: int
    settings: Route
    destinations: tuple[Destination, ...]
    headers: HeaderEdits | None
    timeout: Timeouts
    retry: RetrySettings
    max_body: int
    compression: Compression | None


@dataclass(frozen=True, slots=True)
class ResolvedConfig:
    """All a worker needs."""

    listeners: tuple[Listen, ...]
    admin: Admin
    workers: int | str
    shutdown: Shutdown
    http: HttpLimits
    forwarding: Forwarding
    request_id: RequestId
    errors: Errors
    telemetry: Telemetry
    route_order: str
    services: tuple[ResolvedService, ...]
    routes: tuple[ResolvedRoute, ...]
