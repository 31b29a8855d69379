"""A service at run time: its endpoints, the balancer that chooses among them, and a pool for each.

Law: the balancer decides from plain endpoints; connections belong to pools, and pools outlive a reload whose settings
for them are equal.
"""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable, Iterable

from headgate.catalog import BALANCERS
from headgate.config.resolve import ResolvedService
from headgate.core.endpoint import Endpoint
from headgate.telemetry.access_log import json_fragment
from headgate.telemetry.metrics import Metrics
from headgate.wire.pool import Pool
from headgate.wire.settings import PoolLimits, UpstreamTls

# What makes two pools the same: where, how bounded, how secured. The context is another one when files changed: who was
# verified by authorities that are no longer trusted, or shown a certificate that was replaced, shall not serve on.
PoolKey = tuple[str, str, int, str, str, PoolLimits, UpstreamTls, ssl.SSLContext | None]


class Target:
    """One endpoint as the exchange uses it."""

    __slots__ = ("label", "pool")

    def __init__(self, endpoint: Endpoint, pool: Pool) -> None:
        self.label = json_fragment(endpoint.name)
        self.pool = pool


class Cluster:
    """One service."""

    __slots__ = ("_balancer", "_candidates", "_targets", "label", "name", "series")

    def __init__(
        self, service: ResolvedService, metrics: Metrics, pool_for: Callable[[ResolvedService, Endpoint], Pool]
    ) -> None:
        self.name = service.name
        self.label = json_fragment(service.name)
        self.series = metrics.upstream(service.name)
        self._candidates = service.endpoints
        self._targets = {endpoint: Target(endpoint, pool_for(service, endpoint)) for endpoint in service.endpoints}
        # Workers start at different turns, so that they do not march in step.
        build = BALANCERS[service.balancer.type].build
        self._balancer = build(service.balancer, random.randrange(1 << 16))

    def pick(self, now: float, tried: Iterable[Target] = ()) -> Target | None:
        """Choose an endpoint, one that was not tried yet if there is any."""
        endpoint = self._balancer.pick(self._candidates, now)
        if endpoint is None:
            return None
        target = self._targets[endpoint]
        if tried and target in tried:
            for _ in range(len(self._candidates)):
                other = self._balancer.pick(self._candidates, now)
                if other is not None and self._targets[other] not in tried:
                    return self._targets[other]
            # Its weight may be so small that its turn is far away.
            for candidate in self._candidates:
                if candidate.weight and self._targets[candidate] not in tried:
                    return self._targets[candidate]
        return target

    def observe(self, cells: memoryview) -> None:
        """Write how many connections there are into the service's gauges."""
        pools = [target.pool for target in self._targets.values()]
        idle = sum(pool.idle for pool in pools)
        cells[self.series.idle] = idle
        cells[self.series.busy] = sum(pool.open for pool in pools) - idle

    def __repr__(self) -> str:
        return f"<Cluster {self.name} endpoints={len(self._candidates)}>"


def pool_key(service: ResolvedService, endpoint: Endpoint, context: ssl.SSLContext | None) -> PoolKey:
    """Name the pool that serves `endpoint` of `service`, secured by `context`."""
    where = endpoint.scheme, endpoint.host, endpoint.port, endpoint.unix, endpoint.prefix
    return *where, service.pool, service.tls, context
