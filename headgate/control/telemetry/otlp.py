"""Spans on their way to a collector: OTLP over HTTP or gRPC, by the OpenTelemetry SDK (extra `otlp`).

A thread of its own waits for records, makes spans of them and sends them in batches, so that neither a collector that
is slow nor one that is away holds control up. What is too much meanwhile is dropped and counted.

Laws: the SDK is imported in that thread, when spans are to be sent and not before; that a collector cannot be reached
is said once, and once when it can again; no header sent to it is ever shown.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol

from headgate.control.log import Level
from headgate.core.trace import kind_of
from headgate.telemetry.collector import Collector, collector_of
from headgate.telemetry.record import Record
from headgate.telemetry.settings import Otlp

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

MOST_WAITING = 4096
BATCH = 256
# Seconds that a record waits for others, and that the end waits for what is on its way.
PAUSE = 1.0
PATIENCE = 2.0

MISSING = (
    "spans are not sent: the gateway was installed without the extra otlp; pip install '.[otlp]' in a checkout adds it"
)


class Say(Protocol):
    """How a line of the log is written; called from any thread."""

    def __call__(self, level: Level, message: str, **fields: object) -> None:
        """Write it."""


class Export:
    """One collector, from the first record to `close`. Counts are of records: a request with its attempts."""

    def __init__(self, settings: Otlp, version: str, say: Say, make: Callable[..., SpanExporter] | None = None) -> None:
        """`version` is that of the gateway; `make` makes the exporter in place of the SDK's."""
        self.settings = settings
        self._collector = collector_of(settings.endpoint, settings.protocol)
        self._version = version
        self._say = say
        self._make = make or exporter_of
        self._waiting: deque[Record] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._failing = False
        self._exporter: SpanExporter | None = None
        self.sent = self.failed = self.dropped = 0
        self._thread = threading.Thread(target=self._run, name="otlp", daemon=True)
        if self._collector.jaeger:
            text = f"the address of an old Jaeger stands for {self._collector.url}: spans are sent there by OTLP"
            say("info", text, endpoint=settings.endpoint)
        self._thread.start()

    def take(self, record: Record) -> None:
        """Send the spans of a record some time; at once counted as dropped when too many wait."""
        with self._changed:
            if self._closed or len(self._waiting) >= MOST_WAITING:
                self.dropped += 1
                return
            self._waiting.append(record)
            if len(self._waiting) == 1 or len(self._waiting) >= BATCH:
                self._changed.notify()

    def close(self, patience: float = PATIENCE) -> None:
        """Send what waits, for at most `patience` seconds; what is left then is dropped."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        self._thread.join(patience)
        if self._thread.is_alive() and self._exporter is not None:
            # It ends the pauses between tries.
            self._exporter.shutdown()

    def _run(self) -> None:
        if not self._begin():
            return
        while batch := self._next():
            self._send(batch)
        if self._exporter is not None:
            self._exporter.shutdown()

    def _begin(self) -> bool:
        """Import the SDK and make the exporter; tell whether that was possible."""
        why = ""
        if find_spec("opentelemetry") is None or find_spec("opentelemetry.sdk") is None:
            why = MISSING
        else:
            try:
                from headgate.control.telemetry.otlp_spans import SpanMaker

                self._spans = SpanMaker(self.settings, self._version)
                self._exporter = self._make(self._collector, self.settings)
            except ModuleNotFoundError:
                why = MISSING
            except Exception as error:
                why = f"spans are not sent: {kind_of(error)}"
        if not why:
            return True
        self._say("error", why)
        with self._changed:
            self._closed = True
            self.dropped += len(self._waiting)
            self._waiting.clear()
        return False

    def _next(self) -> list[Record]:
        """Wait for a batch; an empty one is the end."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            if len(self._waiting) < BATCH and not self._closed:
                # The first one is here; others may come.
                self._changed.wait_for(lambda: len(self._waiting) >= BATCH or self._closed, PAUSE)
            return [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]

    def _send(self, batch: Sequence[Record]) -> None:
        assert self._exporter is not None
        try:
            spans = [span for record in batch for span in self._spans.spans(record)]
            done = self._exporter.export(spans).value == 0
            why = self._last_words()
        except Exception as error:
            done, why = False, kind_of(error)
        if done:
            self.sent += len(batch)
            self._say("debug", "spans are sent", requests=len(batch))
            if self._failing:
                self._say("info", "spans reach the collector again", endpoint=self._collector.url)
        else:
            self.failed += len(batch)
            if not self._failing:
                text = f"spans do not reach the collector{f': {why}' if why else ''}"
                self._say("error", text, endpoint=self._collector.url)
        self._failing = not done

    def _last_words(self) -> str:
        from headgate.control.telemetry.otlp_spans import last_words

        return last_words()


def exporter_of(collector: Collector, settings: Otlp) -> SpanExporter:
    """Make the SDK's exporter. Slow: it imports gRPC, or an HTTP client."""
    common: dict[str, Any] = {"endpoint": collector.url, "headers": settings.headers or None}
    if collector.protocol == "http":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as OverHttp

        return OverHttp(**common, certificate_file=settings.ca, timeout=settings.timeout)
    from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as OverGrpc

    # gRPC takes names of metadata in lower case only.
    common["headers"] = {name.lower(): value for name, value in settings.headers.items()} or None
    return OverGrpc(**common, credentials=_credentials(collector, settings), timeout=settings.timeout)


def _credentials(collector: Collector, settings: Otlp) -> Any:
    if settings.ca is None or not collector.url.startswith("https:"):
        return None
    from pathlib import Path

    import grpc

    return grpc.ssl_channel_credentials(Path(settings.ca).read_bytes())
