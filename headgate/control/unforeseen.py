"""What nobody foresaw in a process of the gateway: an exception in a callback, a thread, a destructor, a library.

Python would print each with its words, and with the values that a callback was called with. Here it becomes a line of
the log that tells where (core.trace), and no more.
"""

from __future__ import annotations

import asyncio
import logging
import re
import sys
import threading
from collections.abc import Callable
from typing import Any

from headgate.control.log import Level, Log
from headgate.core.trace import places_of


def tell_of_the_unforeseen(log: Log) -> None:
    """Put this process's last resorts into `log`."""

    def uncaught(_kind: object, error: BaseException, _at: object) -> None:
        log("error", "an exception that nobody caught", traceback=places_of(error))

    def in_thread(found: threading.ExceptHookArgs) -> None:
        if found.exc_value is not None:
            log("error", "a thread has failed", traceback=places_of(found.exc_value))

    def unraisable(found: Any) -> None:
        if found.exc_value is not None:
            log("error", "an exception where none can be raised", traceback=places_of(found.exc_value))

    sys.excepthook = uncaught
    threading.excepthook = in_thread
    sys.unraisablehook = unraisable
    logging.getLogger().addHandler(_OfLibraries(log))


def in_callbacks(log: Log) -> Callable[[asyncio.AbstractEventLoop, dict[str, Any]], None]:
    """Return what an event loop is to call for an exception that nobody waits for."""

    def told(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        _tell(log, "error", "an event loop", str(context.get("message", "")), context.get("exception"))

    return told


class _OfLibraries(logging.Handler):
    """Takes what libraries log: their own words, without the values they fill in."""

    def __init__(self, log: Log) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[1] if record.exc_info else None
        _tell(self._log, "error" if record.levelno >= logging.ERROR else "warning", record.name, str(record.msg), error)


def _tell(log: Log, level: Level, speaker: str, words: str, error: BaseException | None) -> None:
    # Behind a bracket stand the arguments of a callback or what an object looks like, in the lines below the rest.
    said = re.split(r"[(<{\[\n]", words, maxsplit=1)[0].strip()
    traced = {"traceback": places_of(error)} if error is not None else {}
    log(level, f"{speaker}: {said or 'an exception'}", **traced)
