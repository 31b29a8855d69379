"""How control's telemetry hangs together: what workers tell goes to whoever keeps it, and every second is closed.

records of workers ─┬─ requests (spans, log of requests) ─┐
                    ├─ errors                             ├─ query API (control.admin.telemetry)
                    ├─ exemplars ── /metrics              │
                    ├─ export (OTLP)                      │
lines of the log ───┴─ log_lines, errors ─────────────────┤
cells of workers ───── history ───────────────────────────┘
all of it ──────────── stream
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from heapq import merge
from itertools import count
from typing import Any, Literal, NamedTuple, TypedDict

from headgate import __version__
from headgate.config.resolve import ResolvedConfig
from headgate.control.log import Level, Line, Log
from headgate.control.spawn import Spawn
from headgate.control.telemetry.errors import Errors
from headgate.control.telemetry.exemplars import Exemplars
from headgate.control.telemetry.history import History
from headgate.control.telemetry.otlp import Export
from headgate.control.telemetry.requests import LogItem, Requests, log_item
from headgate.control.telemetry.ring import Numbered, Ring
from headgate.control.telemetry.stream import Stream
from headgate.control.telemetry.told import MOST_RECORDS, as_count, as_line, as_record
from headgate.core.clock import monotonic, wall
from headgate.policy.limit.settings import Limit
from headgate.telemetry.cells import Sample, SeriesName, SlotRegion
from headgate.telemetry.record import Record
from headgate.telemetry.settings import Otlp
from headgate.telemetry.settings import Telemetry as Settings

SECOND = 1.0
Source = Literal["requests", "gateway"]


class LimitState(TypedDict):
    """The limit of a service as its last recorded request found it, in seconds and requests."""

    requests: int
    window: float
    remaining: int
    reset: float


class States(NamedTuple):
    """What can change without a new plan: breakers by service, endpoints by service and name."""

    breakers: Mapping[str, str]
    endpoints: Mapping[tuple[str, str], str]


class Telemetry:
    """All of it, for one control process. `states` and `plan` tell how breakers and endpoints are, and the plan."""

    def __init__(
        self,
        regions: Sequence[SlotRegion],
        log: Log,
        spawn: Spawn,
        states: Callable[[], States],
        plan: Callable[[], int],
    ) -> None:
        self._regions = regions
        self._log = log
        self._spawn = spawn
        self._states = states
        self._plan = plan
        self._settings = Settings()
        kept = self._settings.kept
        self._numbers = count(1)
        self.requests = Requests(kept.requests)
        self.lines: Ring[Line] = Ring(kept.logs)
        self.errors = Errors(kept.errors)
        self.exemplars = Exemplars()
        self.history = History(regions, kept.history)
        self.stream = Stream()
        self._export: Export | None = None
        self._counts = {"sent": 0, "failed": 0, "dropped": 0}
        self._records = self._records_dropped = 0
        self._doubted: set[int] = set()
        self._known: States | None = None
        # Limits of services, and what their last recorded requests found: how many were left, until when, and when.
        self._limits: dict[str, Limit] = {}
        self._left: dict[str, tuple[int, float, float]] = {}
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.get_ident()
        self._loop: asyncio.AbstractEventLoop | None = None
        Log.listeners.append(self._on_line)

    @property
    def settings(self) -> Settings:
        """Return what the configuration in force says."""
        return self._settings

    def follow(self, config: ResolvedConfig) -> None:
        """Keep and send what this configuration says, from now on."""
        before, now = self._settings, config.telemetry
        self._settings = now
        self._limits = {each.name: each.rate_limit for each in config.services if each.rate_limit is not None}
        self._left = {service: left for service, left in self._left.items() if service in self._limits}
        Log.level = now.level
        self.requests.keep(now.kept.requests)
        self.lines.keep(now.kept.logs)
        self.errors.keep(now.kept.errors)
        if now.kept.history != before.kept.history:
            self.history.keep(now.kept.history)
        self._send_to(now.tracing.export if now.tracing.enabled else None)
        self._loop = asyncio.get_running_loop()
        if self._task is None:
            self._task = self._spawn(self._tick())
        self.stream.publish("change", {"at": round(wall(), 3), "kind": "plan", "plan": self._plan()})

    def on_said(self, worker: int, message: dict[str, Any]) -> None:
        """Take what a worker, or the master (0), tells: its records, or a line of its log."""
        match message:
            case {"type": "records", "records": list(records), "dropped": dropped}:
                self._records_dropped += as_count(dropped) or 0
                for told in records[:MOST_RECORDS]:
                    record = as_record(told, worker)
                    if record is not None:
                        self.take(record)
                    else:
                        self._records_dropped += 1
                        self._doubt(worker)
            case {"type": "log"}:
                line = as_line(message, f"worker-{worker}" if worker else "master")
                if line is not None:
                    self.take_line(line)
                else:
                    self._doubt(worker)

    def _doubt(self, worker: int) -> None:
        """Say once of each worker that what it tells is not what a worker tells."""
        if worker not in self._doubted:
            self._doubted.add(worker)
            self._log("error", f"worker-{worker} tells what is no record and no line of a log, which is dropped")

    def take(self, record: Record) -> None:
        """Keep one request, show it to those who watch, and send its spans."""
        self._records += 1
        self.requests.add(next(self._numbers), record)
        self.errors.take_request(record)
        self.exemplars.take(record)
        self._note_limit(record)
        self.stream.publish("request", record)
        if self._export is not None and record["traced"]:
            self._export.take(record)

    def log_items(self, source: Source | None = None, before: int | None = None) -> Iterator[Numbered[LogItem]]:
        """Go through the lines of the gateway's own log and of recorded requests, newest first."""
        ways: list[Iterator[Numbered[LogItem]]] = []
        if source != "requests":
            ways.append(Numbered(each.number, line_item(each.item)) for each in self.lines.newest(before))
        if source != "gateway":
            ways.append(Numbered(each.number, log_item(each.item)) for each in self.requests.ring.newest(before))
        return merge(*ways, key=lambda each: -each.number)

    def limits_of_services(self) -> dict[str, LimitState]:
        """Tell how the limits of services stand, as far as recorded requests tell; by service."""
        now, told = wall(), {}
        for service, limit in self._limits.items():
            remaining, until, _ = self._left.get(service, (limit.requests, 0.0, 0.0))
            reset = max(0.0, round(until - now, 3))
            left = remaining if reset else limit.requests
            told[service] = LimitState(requests=limit.requests, window=limit.window, remaining=left, reset=reset)
        return told

    def samples(self) -> list[Sample]:
        """Return what is counted here, since this control process began."""
        counted = {**self._counts}
        if self._export is not None:
            for outcome in counted:
                counted[outcome] += getattr(self._export, outcome)
        numbers = {
            "headgate_records_total": self._records,
            "headgate_records_dropped_total": self._records_dropped,
            "headgate_stream_lost_total": self.stream.lost,
        }
        return [
            *(Sample(SeriesName(name, "counter", ()), [number]) for name, number in numbers.items()),
            *(
                Sample(SeriesName("headgate_trace_exports_total", "counter", (outcome,)), [number])
                for outcome, number in counted.items()
            ),
            Sample(SeriesName("headgate_stream_watchers", "gauge", ()), [self.stream.watchers]),
        ]

    def close(self) -> None:
        """Send what waits."""
        if self._on_line in Log.listeners:
            Log.listeners.remove(self._on_line)
        if self._export is not None:
            self._export.close()

    def _note_limit(self, record: Record) -> None:
        service = record.get("service", "")
        limit = self._limits.get(service)
        # Workers tell in turns, and an older request may be told later.
        if limit is not None and record["started"] >= self._left.get(service, (0, 0.0, 0.0))[2]:
            for each in record["limits"]:
                if each["name"] == limit.name:
                    started = record["started"]
                    self._left[service] = each["remaining"], started + each["reset"], started

    def _on_line(self, line: Line) -> None:
        """Take a line of this process, which a thread may have written."""
        if threading.get_ident() == self._thread:
            self.take_line(line)
        elif self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self.take_line, line)

    def take_line(self, line: Line) -> None:
        """Keep a line of the gateway's own log, and show it to those who watch."""
        self.lines.add(next(self._numbers), line)
        self.errors.take_line(line)
        if self.stream.watchers:
            self.stream.publish("log", line_item(line))

    def _send_to(self, wanted: Otlp | None) -> None:
        """Send spans there from now on; the way before sends what it has, and nobody waits for it."""
        current = self._export
        if (current.settings if current is not None else None) == wanted:
            return
        if current is not None:
            self._spawn(self._end(current))
        self._export = Export(wanted, __version__, self._say_from_thread()) if wanted is not None else None

    async def _end(self, export: Export) -> None:
        await asyncio.to_thread(export.close)
        for outcome in self._counts:
            self._counts[outcome] += getattr(export, outcome)

    def _say_from_thread(self) -> Callable[..., None]:
        loop = asyncio.get_running_loop()

        def say(level: Level, message: str, **fields: object) -> None:
            def write() -> None:
                self._log(level, message, **fields)

            if not loop.is_closed():
                loop.call_soon_threadsafe(write)

        return say

    async def _tick(self) -> None:
        """Close every second. Slots are read in turns, so that nobody waits for all of them."""
        for slot, region in enumerate(self._regions):
            if region.committed:
                # Learning what ten thousand routes have left there takes the better part of a second.
                await asyncio.to_thread(self.history.gather, slot)
            else:
                self.history.gather(slot)
        closed = monotonic()
        while True:
            await asyncio.sleep(SECOND - wall() % SECOND)
            for slot, region in enumerate(self._regions):
                if region.committed:
                    self.history.gather(slot)
                    await asyncio.sleep(0)
            now = monotonic()
            step = self.history.close_second(wall(), now - closed)
            closed = now
            if self.stream.watchers:
                self._show(self.history.described(step))
            else:
                self._known = None

    def _show(self, described: dict[str, object]) -> None:
        """Tell those who watch of the second, and of what has changed in it."""
        states, before = self._states(), self._known
        self._known = states
        counts: dict[str, int] = {}
        for state in states.endpoints.values():
            counts[state] = counts.get(state, 0) + 1
        self.stream.publish("tick", {**described, "endpoints": counts, "breakers": states.breakers})
        if before is None:
            return
        at = described["at"]
        for service, state in states.breakers.items():
            if before.breakers.get(service, state) != state:
                self.stream.publish("change", {"at": at, "kind": "breaker", "service": service, "state": state})
        for (service, endpoint), state in states.endpoints.items():
            if before.endpoints.get((service, endpoint)) != state:
                change = {"at": at, "kind": "endpoint", "service": service, "endpoint": endpoint, "state": state}
                self.stream.publish("change", change)
        for service, endpoint in before.endpoints.keys() - states.endpoints.keys():
            gone = {"at": at, "kind": "endpoint", "service": service, "endpoint": endpoint, "state": "gone"}
            self.stream.publish("change", gone)


def line_item(line: Line) -> LogItem:
    """Return a line of the gateway's own log as the query API has it."""
    fields = {key: value for key, value in line.fields.items() if key not in ("trace_id", "span_id")}
    return {
        "timestamp": round(line.at, 3),
        "level": line.level.upper(),
        "message": line.message,
        "service_name": f"headgate/{line.process}",
        "trace_id": _text(line.fields.get("trace_id")),
        "span_id": _text(line.fields.get("span_id")),
        "metadata": {
            key: value if isinstance(value, int | float | list) else str(value) for key, value in fields.items()
        },
    }


def _text(value: object) -> str | None:
    return str(value) if value else None
