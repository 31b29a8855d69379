"""The access log of a worker: one line an exchange, gathered and handed on in batches.

Law: nothing here waits; what the sink cannot take is counted as dropped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from headgate.config.schema import AccessLog
from headgate.proxy.log_sink import FLUSH_SECONDS, LogSink
from headgate.telemetry.access_log import ConsoleLines, JsonLines
from headgate.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from headgate.proxy.exchange import Exchange


class AccessLogWriter:
    """Write lines of finished exchanges, as configured now."""

    def __init__(self, loop: asyncio.AbstractEventLoop, metrics: Metrics) -> None:
        self._loop = loop
        self._metrics = metrics
        self._settings: AccessLog | None = None
        self._sink: LogSink | None = None
        self._lines: JsonLines | ConsoleLines = JsonLines()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def prepare(self, settings: AccessLog) -> Callable[[], None]:
        """Open what the settings name; the function returned swaps it in and cannot fail.

        Raises:
            ValueError: when the file cannot be opened.
        """
        if settings == self._settings:
            return lambda: None
        sink = None
        if settings.enabled:
            try:
                sink = LogSink(settings.path)
            except OSError as error:
                raise ValueError(f"the access log cannot be opened: {settings.path}: {error.strerror}") from None
        return lambda: self._swap(settings, sink)

    def _swap(self, settings: AccessLog, sink: LogSink | None) -> None:
        old, self._sink, self._settings = self._sink, sink, settings
        if old is not None:
            old.close(0.0)
        terminal = sink is not None and sink.is_terminal
        if settings.format == "console" or (settings.format == "auto" and terminal):
            self._lines = ConsoleLines(terminal, time.localtime().tm_gmtoff)
        else:
            self._lines = JsonLines()

    def write(self, exchange: Exchange) -> None:
        """Take one finished exchange."""
        sink = self._sink
        if sink is not None:
            sink.add(self._lines.line(exchange))
            if self._timer is None:
                self._timer = self._loop.call_later(FLUSH_SECONDS, self._flush)

    def _flush(self) -> None:
        self._timer = None
        if self._sink is not None:
            lost = self._sink.flush()
            if lost:
                self._metrics.cells[self._metrics.access_log_dropped] += lost

    def reopen(self) -> None:
        """Open the file anew under its name."""
        if self._sink is not None:
            self._sink.reopen()

    def close(self) -> None:
        """Write what is left."""
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.close()
