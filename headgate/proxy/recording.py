"""Records of requests, as a worker makes them: chosen as the route is known or at the end, sent to control in batches.

    begin (chosen? then Notes) ... finish (chosen by now? then a Record) -> a batch every 0.2 s -> control

Laws: a record is made once, at the end, of what the exchange knows and its notes; it is for control, and nobody waits
for it. What is on its way is bounded by the sampler's `most` and the size of a batch.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any

from headgate.core.clock import monotonic, wall
from headgate.core.failure import REASONS
from headgate.proxy.notes import Notes
from headgate.proxy.recorded import record_of, redact
from headgate.telemetry.record import Record
from headgate.telemetry.trace import Ids, Trace

if TYPE_CHECKING:
    from headgate.proxy.exchange import Exchange
    from headgate.proxy.gateway import Gateway
    from headgate.proxy.plan import RouteRuntime

_FLUSH_SECONDS = 0.2
# Records in one message: writing more of them at once would keep requests waiting.
_BATCH = 64


class Recorder:
    """The records of one worker."""

    __slots__ = ("_gateway", "_lost", "_records", "_timer", "_worker", "ids")

    def __init__(self, gateway: Gateway, worker: int) -> None:
        self._gateway = gateway
        self._worker = worker
        self._records: list[Record] = []
        # Those that control was not there to take, and does not know of yet.
        self._lost = 0
        self._timer: asyncio.TimerHandle | None = None
        self.ids = Ids(os.urandom)

    # -- choosing --------------------------------------------------------------------------------------------------

    def begin(self, exchange: Exchange, way: RouteRuntime) -> Notes | None:
        """Choose whether a request whose route is known is recorded; returns what takes the notes, None for not."""
        now, trace, sampler = exchange.stream.started, exchange.trace, exchange.plan.sampler
        why = ""
        asked = trace.parent.sampled if trace is not None and exchange.plan.follows else None
        if asked and sampler.follows(now):
            why = "parent"
        service = exchange.cluster.name if exchange.cluster is not None else ""
        why = why or way.choice.chosen(service, exchange.method, exchange.path, now)
        if why and not sampler.admits(now):
            why = ""
        if trace is not None and asked is None:
            trace.sampled = bool(why)
        return self._notes(exchange, why) if why else None

    def doubt(self, exchange: Exchange) -> Notes | None:
        """Begin the notes of a request whose first try failed: it may end badly. None where that is not recorded."""
        if not exchange.plan.sampler.errors:
            return None
        notes = self._notes(exchange, "")
        target, cluster = exchange.target, exchange.cluster
        if target is not None and cluster is not None:
            notes.tried(cluster, target, exchange.tried_at)
        return notes

    def _notes(self, exchange: Exchange, why: str) -> Notes:
        metrics = self._gateway.metrics
        plan = metrics.cells[metrics.config_version]
        return Notes(why, exchange.stream.started, plan, self.ids)

    # -- the end ---------------------------------------------------------------------------------------------------

    def finish(self, exchange: Exchange, now: float) -> None:
        """Take a request that has ended, and make its record if it is to have one; redact it, as the last thing."""
        record = self._record(exchange, now)
        redaction = exchange.plan.redaction
        if redaction is not None:
            taken = redaction.apply(exchange)
            if record is not None:
                redact(record, exchange, redaction, taken)
        if record is None:
            return
        self._records.append(record)
        if len(self._records) >= _BATCH:
            self.flush()
        elif self._timer is None:
            self._timer = self._gateway.loop.call_later(_FLUSH_SECONDS, self.flush)

    def _record(self, exchange: Exchange, now: float) -> Record | None:
        notes, sampler = exchange.notes, exchange.plan.sampler
        if notes is None or not notes.sampled:
            error = exchange.error
            refused = bool(error) and REASONS[error].side == "client"
            why = sampler.late(exchange.outcome, refused, bool(error) and not refused, exchange.duration, now)
            if not why or not sampler.admits(now):
                return None
            notes = notes or self._notes(exchange, why)
            notes.sampled = why
        trace = exchange.trace or Trace(*self.ids.both())
        started = wall() - (monotonic() - exchange.stream.started)
        return record_of(exchange, notes, trace, self._worker, started, now)

    def flush(self) -> None:
        """Send what is there."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        plan, records = self._gateway.plan, self._records
        dropped = 0
        if plan is not None:
            dropped, plan.sampler.dropped = plan.sampler.dropped, 0
        lost = dropped + self._lost
        if records or lost:
            self._records = []
            message: dict[str, Any] = {"type": "records", "records": records, "dropped": lost}
            self._lost = 0 if self._gateway.tell(message) else lost + len(records)
