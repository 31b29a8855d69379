"""Faults injected on purpose, to see how callers take them."""

from __future__ import annotations

from collections.abc import Callable

from headgate.core.message import Fields, first
from headgate.core.settings import Seconds, setting, settings


@settings
class FaultDelay:
    """Let a part of the requests wait before anything else is done with them."""

    seconds: Seconds = setting(help="How long.", gt=0, le=300)
    percent: float = setting(default=100.0, help="Of the requests.", gt=0, le=100)


@settings
class FaultAbort:
    """Answer a part of the requests with an error."""

    status: int = setting(default=503, help="The status.", ge=400, le=599)
    percent: float = setting(default=100.0, help="Of the requests.", gt=0, le=100)


@settings
class Fault:
    """Faults of a route."""

    delay: FaultDelay | None = setting(default=None, help="Let requests wait.")
    abort: FaultAbort | None = setting(default=None, help="Answer requests with an error.")
    header: str | None = setting(
        default=None, help="Only requests that have this header field, whatever its value; absent: all."
    )


class FaultInjector:
    """Choose the requests of a route that suffer a fault."""

    __slots__ = ("_abort", "_delay", "_header", "_random")

    def __init__(self, settings: Fault, random: Callable[[], float]) -> None:
        """Take a source of numbers of [0, 1)."""
        self._delay = settings.delay
        self._abort = settings.abort
        self._header = settings.header.lower().encode() if settings.header is not None else None
        self._random = random

    def choose(self, fields: Fields) -> tuple[float, int]:
        """Return the seconds to wait and the status to answer with then; 0 where a request is spared.

        The two are drawn one by one: a request may be delayed and aborted.
        """
        if self._header is not None and first(fields, self._header) is None:
            return 0.0, 0
        delay, abort = self._delay, self._abort
        seconds = delay.seconds if delay is not None and self._random() * 100.0 < delay.percent else 0.0
        status = abort.status if abort is not None and self._random() * 100.0 < abort.percent else 0
        return seconds, status
