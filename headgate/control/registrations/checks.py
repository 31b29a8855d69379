"""Asking instances how they are, at the path that they named: 2xx is well, and a sign of life.

Laws: one question to an instance at a time, AT_ONCE to all of them; who was well is unwell after FAILURES in a row,
who never was at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

from headgate.control.registrations.instance import Instance
from headgate.core.failure import Failure
from headgate.wire.probe import Prober, secured
from headgate.wire.settings import UpstreamTls

AT_ONCE: Final = 32
FAILURES: Final = 2
# Seconds within which the first question is asked.
FIRST_WITHIN: Final = 2.0
_SPREAD: Final = 0.1


class Health:
    """What checks say of one instance; `due` and `checked_at` are monotonic seconds, `well` None before the first."""

    __slots__ = ("checked_at", "due", "failures", "in_flight", "well", "why")

    def __init__(self, due: float) -> None:
        self.due = due
        self.checked_at: float | None = None
        self.well: bool | None = None
        self.why = ""
        self.failures = 0
        self.in_flight = False

    def note(self, why: str, now: float) -> bool:
        """Note how a check went (`why` is empty when it went well); tell whether that changes what is said."""
        before = self.well
        self.checked_at, self.why = now, why
        self.failures = self.failures + 1 if why else 0
        if not why:
            self.well = True
        elif before is None or self.failures >= FAILURES:
            self.well = False
        return self.well is not before


class Checks:
    """Asks."""

    def __init__(self, chance: Callable[[], float], prober: Prober | None = None) -> None:
        self._chance = chance
        self._prober = prober or Prober()
        self._gate = asyncio.Semaphore(AT_ONCE)

    def begin(self, now: float, interval: float) -> Health:
        """Return what is known of an instance at first; `interval` is from check to check, in seconds."""
        return Health(now + self._chance() * min(FIRST_WITHIN, interval))

    def later(self, interval: float) -> float:
        """Return how long to wait until the next check."""
        return interval * (1 - _SPREAD * self._chance())

    async def ask(self, instance: Instance, tls: UpstreamTls, timeout: float, speaks: str = "http1") -> str:
        """Ask one instance in what its service is spoken to; return why it is not well, or nothing."""
        async with self._gate:
            endpoint = instance.endpoint
            try:
                context = secured(tls, endpoint.host, speaks) if endpoint.scheme == "https" else None
                asked = context, instance.health_check, endpoint.authority, speaks
                status = (await self._prober.get(endpoint, *asked, 0, timeout)).status
            except Failure as failure:
                return failure.detail or failure.reason
        return "" if 200 <= status < 300 else f"status {status}"
