"""The audit log of a worker: a line for each request that a gate refused (telemetry.audit.REFUSALS)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from headgate.core.clock import wall
from headgate.proxy.batched_log import BatchedLog
from headgate.telemetry.audit import REFUSALS, Act, Actor, audit_line
from headgate.telemetry.metrics import Metrics
from headgate.telemetry.settings import AuditLog

if TYPE_CHECKING:
    from headgate.proxy.exchange import Exchange
    from headgate.proxy.log_sink import LogSink


class AuditWriter(BatchedLog):
    """Write refused requests, as configured now."""

    def __init__(self, loop: asyncio.AbstractEventLoop, metrics: Metrics) -> None:
        super().__init__(loop, "audit log", metrics.cells, metrics.audit_dropped)
        self._settings: AuditLog | None = None

    def prepare(self, settings: AuditLog) -> Callable[[], None]:
        """Open what the settings name; the function returned swaps it in and cannot fail.

        Raises:
            ValueError: when the file cannot be opened.
        """
        if settings == self._settings:
            return lambda: None
        sink = self._opened(settings.path) if settings.enabled and settings.refusals else None
        return lambda: self._swap(settings, sink)

    def _swap(self, settings: AuditLog, sink: LogSink | None) -> None:
        self._change(sink)
        self._settings = settings

    def refused(self, exchange: Exchange) -> None:
        """Take an exchange that failed: its error, detail and status are there."""
        if self._sink is None or exchange.error not in REFUSALS:
            return
        identity, way, cluster = exchange.identity, exchange.way, exchange.cluster
        actor = Actor(identity.kind, identity.id, identity.tenant, identity.method, exchange.client)
        target = {"route": way.name if way is not None else "", "service": cluster.name if cluster is not None else ""}
        act = Act(
            wall(),
            "request.refused",
            actor,
            f"{exchange.method} {exchange.path}",
            "refused",
            target,
            exchange.error,
            exchange.detail,
            exchange.status,
            exchange.request_id,
        )
        self.add(audit_line(act))
