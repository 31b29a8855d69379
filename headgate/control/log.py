"""What master, control and the workers' own machinery have to say: one line each, to standard error.

Law: standard library only, one write per line, and never a failure: a closed or full standard error costs the
line, not the gateway. On a terminal a list stands below its line, an item a line. The access log of requests is
another thing and is written elsewhere.

Lines below the process's level are dropped. Of lines with the same traceback so many are written in a while; the next
one after it says how many were not: a fault in each request must not cost more than the fault.
"""

from __future__ import annotations

import json
import os
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import ClassVar, Literal, NamedTuple, get_args

Level = Literal["debug", "info", "warning", "error"]
LEVELS: tuple[Level, ...] = get_args(Level)

STDERR = 2

MOST_ALIKE = 10
ALIKE_SECONDS = 10.0
_MOST_KINDS = 200


class Line(NamedTuple):
    """One line that was written: `at` on the wall clock, and what stands behind the message."""

    at: float
    level: Level
    process: str
    message: str
    fields: dict[str, object]

    def as_message(self) -> dict[str, object]:
        """Return it as a worker tells it to control."""
        fields = {name: _plain(each) for name, each in self.fields.items()}
        return {"type": "log", "at": self.at, "level": self.level, "message": self.message, "fields": fields}


class _Alike:
    """Lines with one traceback: since when they are counted (monotonic), and how many there were."""

    __slots__ = ("count", "since")

    def __init__(self, since: float) -> None:
        self.since = since
        self.count = 0


class Log:
    """The voice of one process: readable lines on a terminal, JSON lines elsewhere."""

    __slots__ = ("_console", "_fd", "process")

    # Of the whole process, whoever speaks.
    level: ClassVar[Level] = "info"
    listeners: ClassVar[list[Callable[[Line], None]]] = []
    _alike: ClassVar[OrderedDict[tuple[str, str], _Alike]] = OrderedDict()

    def __init__(self, process: str, fd: int = STDERR) -> None:
        self.process = process
        self._fd = fd
        try:
            self._console = os.isatty(fd)
        except OSError:
            self._console = False

    def __call__(self, level: Level, message: str, **fields: object) -> None:
        """Write one line: timestamp, level, message, process, named as in the access log, and `fields` behind it."""
        if LEVELS.index(level) < LEVELS.index(Log.level):
            return
        trace = fields.get("traceback")
        if trace is not None:
            left_out = _left_out(Log._alike, message, str(trace))
            if left_out is None:
                return
            if left_out:
                fields["left_out"] = left_out
        said = Line(time.time(), level, self.process, message, fields)
        line = self._console_line if self._console else _json_line
        try:
            os.write(self._fd, line(said).encode(errors="backslashreplace"))
        except OSError:
            pass
        for listener in Log.listeners:
            listener(said)

    @staticmethod
    def _console_line(said: Line) -> str:
        _, level, process, message, fields = said
        clock = time.strftime("%H:%M:%S")
        behind = "".join(f" {key}={value}" for key, value in fields.items() if not isinstance(value, list))
        items = (str(item) for value in fields.values() if isinstance(value, list) for item in value)
        below = "".join(f"    {_printable(item)}\n" for item in items)
        return f"{clock} {level.upper():<7} {process:<8} {_printable(message + behind)}\n{below}"


def _plain(value: object) -> object:
    if isinstance(value, list):
        return [str(item) for item in value]
    return value if isinstance(value, int | float) else str(value)


def _left_out(known: OrderedDict[tuple[str, str], _Alike], message: str, trace: str) -> int | None:
    """Count a line; return how many of its kind were left out before it, None when it is to be left out, too."""
    now, kind = time.monotonic(), (message, trace)
    alike = known.get(kind)
    if alike is None:
        alike = known[kind] = _Alike(now)
        if len(known) > _MOST_KINDS:
            known.popitem(last=False)
    left_out = 0
    if now - alike.since >= ALIKE_SECONDS:
        left_out = max(0, alike.count - MOST_ALIKE)
        alike.since, alike.count = now, 0
    alike.count += 1
    return left_out if alike.count <= MOST_ALIKE else None


def _json_line(said: Line) -> str:
    now, level, process, message, fields = said
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    record = {"timestamp": f"{stamp}.{int(now % 1 * 1000):03d}Z", "level": level.upper(), "message": message}
    return json.dumps({**record, "process": process, **fields}, default=str) + "\n"


def _printable(text: str) -> str:
    # A file name or an exception may carry an escape sequence; a terminal must not obey it.
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
