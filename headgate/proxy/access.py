"""The access log of a worker: one line an exchange."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from headgate.proxy.batched_log import BatchedLog
from headgate.telemetry.access_log import ConsoleLines, JsonLines
from headgate.telemetry.metrics import Metrics
from headgate.telemetry.settings import AccessLog

if TYPE_CHECKING:
    from headgate.proxy.exchange import Exchange
    from headgate.proxy.log_sink import LogSink


class AccessLogWriter(BatchedLog):
    """Write lines of finished exchanges, as configured now."""

    def __init__(self, loop: asyncio.AbstractEventLoop, metrics: Metrics) -> None:
        super().__init__(loop, "access log", metrics.cells, metrics.access_log_dropped)
        self._settings: AccessLog | None = None
        self._lines: JsonLines | ConsoleLines = JsonLines()

    def prepare(self, settings: AccessLog) -> Callable[[], None]:
        """Open what the settings name; the function returned swaps it in and cannot fail.

        Raises:
            ValueError: when the file cannot be opened.
        """
        if settings == self._settings:
            return lambda: None
        sink = self._opened(settings.path) if settings.enabled else None
        return lambda: self._swap(settings, sink)

    def _swap(self, settings: AccessLog, sink: LogSink | None) -> None:
        self._change(sink)
        self._settings = settings
        terminal = sink is not None and sink.is_terminal
        if settings.format == "console" or (settings.format == "auto" and terminal):
            self._lines = ConsoleLines(terminal, time.localtime().tm_gmtoff)
        else:
            self._lines = JsonLines()

    def write(self, exchange: Exchange) -> None:
        """Take one finished exchange."""
        if self._sink is not None:
            self.add(self._lines.line(exchange))
