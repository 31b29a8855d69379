"""A log of one worker: lines gather in the event loop and are handed to their sink in batches.

Law: nothing here waits; what the sink cannot take is counted as dropped.
"""

from __future__ import annotations

import asyncio

from headgate.proxy.log_sink import FLUSH_SECONDS, LogSink


class BatchedLog:
    """Lines on their way to a file or stream. `what` names the log in errors; `cells[dropped]` counts its losses."""

    def __init__(self, loop: asyncio.AbstractEventLoop, what: str, cells: memoryview[int], dropped: int) -> None:
        self._loop = loop
        self._what = what
        self._cells = cells
        self._dropped = dropped
        self._sink: LogSink | None = None
        self._timer: asyncio.TimerHandle | None = None

    def _opened(self, path: str) -> LogSink:
        try:
            return LogSink(path)
        except OSError as error:
            raise ValueError(f"the {self._what} cannot be opened: {path}: {error.strerror}") from None

    def _change(self, sink: LogSink | None) -> None:
        old, self._sink = self._sink, sink
        if old is not None:
            old.close(0.0)

    def add(self, line: bytes) -> None:
        """Take one line, if the log is written at all."""
        sink = self._sink
        if sink is not None:
            sink.add(line)
            if self._timer is None:
                self._wait()

    def _wait(self) -> None:
        self._timer = self._loop.call_later(FLUSH_SECONDS, self._flush)

    def _flush(self) -> None:
        self._timer = None
        if self._sink is not None:
            lost = self._sink.flush()
            if lost:
                self._cells[self._dropped] += lost

    def reopen(self) -> None:
        """Open the file anew under its name."""
        if self._sink is not None:
            self._sink.reopen()

    def close(self) -> None:
        """Write what is left."""
        sink, self._sink = self._sink, None
        if sink is not None:
            sink.close()
