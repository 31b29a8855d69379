"""What master, control and the workers' own machinery have to say: one line each, to standard error.

Law: standard library only, one write per line, and never a failure: a closed or full standard error costs the
line, not the gateway. On a terminal a list stands below its line, an item a line. The access log of requests is
another thing and is written elsewhere.
"""

from __future__ import annotations

import json
import os
import time
from typing import Literal

Level = Literal["debug", "info", "warning", "error"]

STDERR = 2


class Log:
    """The voice of one process: readable lines on a terminal, JSON lines elsewhere."""

    __slots__ = ("_console", "_fd", "process")

    def __init__(self, process: str, fd: int = STDERR) -> None:
        self.process = process
        self._fd = fd
        try:
            self._console = os.isatty(fd)
        except OSError:
            self._console = False

    def __call__(self, level: Level, message: str, **fields: object) -> None:
        """Write one line: timestamp, level, message, process, named as in the access log, and `fields` behind it."""
        line = self._console_line if self._console else _json_line
        try:
            os.write(self._fd, line(level, self.process, message, fields).encode(errors="backslashreplace"))
        except OSError:
            return

    @staticmethod
    def _console_line(level: str, process: str, message: str, fields: dict[str, object]) -> str:
        clock = time.strftime("%H:%M:%S")
        behind = "".join(f" {key}={value}" for key, value in fields.items() if not isinstance(value, list))
        items = (str(item) for value in fields.values() if isinstance(value, list) for item in value)
        below = "".join(f"    {_printable(item)}\n" for item in items)
        return f"{clock} {level.upper():<7} {process:<8} {_printable(message + behind)}\n{below}"


def _json_line(level: str, process: str, message: str, fields: dict[str, object]) -> str:
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now))
    record = {"timestamp": f"{stamp}.{int(now % 1 * 1000):03d}Z", "level": level.upper(), "message": message}
    return json.dumps({**record, "process": process, **fields}, default=str) + "\n"


def _printable(text: str) -> str:
    # A file name or an exception may carry an escape sequence; a terminal must not obey it.
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
