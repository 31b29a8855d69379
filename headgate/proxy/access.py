"""The access log of a worker: one line an exchange."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from headgate.proxy.batched_log import BatchedLog
from headgate.telemetry.access_log import ConsoleLines, JsonLines
from headgate.telemetry.log_fields import OwnLines
from headgate.telemetry.metrics import Metrics
from headgate.telemetry.settings import AccessLog, Telemetry

# From which status on a line has at least the level.
_FROM = {"info": 0, "warning": 400, "error": 500}

if TYPE_CHECKING:
    from headgate.proxy.exchange import Exchange
    from headgate.proxy.log_sink import LogSink


class AccessLogWriter(BatchedLog):
    """Write lines of finished exchanges, as configured now."""

    def __init__(self, loop: asyncio.AbstractEventLoop, metrics: Metrics) -> None:
        super().__init__(loop, "access log", metrics.cells, metrics.access_log_dropped)
        self._settings: AccessLog | None = None
        self._lines: JsonLines | ConsoleLines | OwnLines = JsonLines()
        self._redacts_path = False
        self._from = 0
        self._sample = 1.0
        self._empty: tuple[bytes, ...] = ()

    def prepare(self, telemetry: Telemetry) -> Callable[[], None]:
        """Open what the settings name; the function returned swaps it in and cannot fail.

        Raises:
            ValueError: when the file cannot be opened.
        """
        settings = telemetry.access_log
        empty = tuple(f',"{name}":""'.encode() for name, how in telemetry.redact.items() if how == "omit")
        redacts_path = "path" in telemetry.redact
        if (settings, empty, redacts_path) == (self._settings, self._empty, self._redacts_path):
            return lambda: None
        sink = self._opened(settings.path) if settings.enabled else None
        return lambda: self._swap(settings, empty, redacts_path, sink)

    def _swap(self, settings: AccessLog, empty: tuple[bytes, ...], redacts_path: bool, sink: LogSink | None) -> None:
        self._change(sink)
        self._settings = settings
        self._from = _FROM[settings.level]
        self._sample = settings.sample
        self._empty = empty
        self._redacts_path = redacts_path
        terminal = sink is not None and sink.is_terminal
        if settings.format == "console" or (settings.format == "auto" and terminal):
            self._lines = ConsoleLines(terminal, time.localtime().tm_gmtoff)
        elif settings.fields:
            # Of a path that nobody may know nobody shall know the rest.
            self._lines = OwnLines(settings.fields, ("query", "referer") if redacts_path else ())
        else:
            self._lines = JsonLines()

    def write(self, exchange: Exchange) -> None:
        """Take one finished exchange."""
        sink = self._sink
        if sink is None or exchange.outcome < self._from:
            return
        if self._sample < 1.0 and exchange.outcome < _FROM["warning"] and random.random() >= self._sample:
            return
        line = self._lines.line(exchange)
        for each in self._empty:
            # No text of a client looks like this: its quotes are escaped.
            line = line.replace(each, b"", 1)
        sink.add(line)
        if self._timer is None:
            self._wait()
