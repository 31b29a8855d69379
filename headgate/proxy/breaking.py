"""A service's circuit breaker at run time: the one of all workers, with its metrics and log lines.

    breaker = ServiceBreaker(service.name, service.breaker, board, metrics, say)    where `service.breaker` is set
    ticket = breaker.admit(now)                        before the first attempt; raises Failure("breaker_open")
    breaker.answered(ticket, status, now)              or
    breaker.failed(ticket, reason, now)                after the last attempt, once for each ticket

Laws: it settles once for a request, after its retries; an attempt is the business of outlier ejection. The record on
the board is named by service and settings: equal settings go on through a reload with what is known, others begin
afresh. The closed path is one look at a cell before, one after, and the count.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from hashlib import blake2b

from headgate.core.failure import Failure
from headgate.policy.breaker import EXCLUDED, FAILED, NOT_CLEAN, NOT_CLOSED, Breaker, State
from headgate.policy.breaker_outcome import Counting
from headgate.policy.breaker_settings import BreakerSettings
from headgate.stores.board import Board
from headgate.telemetry.metrics import Metrics

_MICROSECONDS = 1_000_000
# No answer below this can count as a failure.
_LEAST_FAILURE = 400

# Level, message, fields: a line for the operator.
Say = Callable[..., None]


def record_name(service: str, settings: BreakerSettings) -> str:
    """Name the record of a service's breaker under these settings."""
    return f"breaker {service} {blake2b(repr(settings).encode(), digest_size=8).hexdigest()}"


def breaker_over(
    service: str, settings: BreakerSettings, board: Board, on_change: Callable[[State], None]
) -> tuple[Breaker, int]:
    """Make a service's breaker over its record on the board; return it and the record's first cell.

    Raises:
        ValueError: with a sentence, when the board is full.
    """
    base = board.claim(record_name(service, settings))
    return Breaker(settings, board.cells, base, board.lock(base), random.random, on_change), base


class ServiceBreaker:
    """The breaker of one service, as requests pass it. `now` is monotonic seconds."""

    __slots__ = (
        "_base",
        "_breaker",
        "_cells",
        "_counting",
        "_failed",
        "_metrics",
        "_refused",
        "_say",
        "_timeout",
        "_well",
        "name",
    )

    def __init__(self, service: str, settings: BreakerSettings, board: Board, metrics: Metrics, say: Say) -> None:
        """Take part in the breaker of `service`; `say` takes a line for each change of state.

        Raises:
            ValueError: with a sentence, when the board is full.
        """
        self.name = service
        self._cells = board.cells
        self._breaker, self._base = breaker_over(service, settings, board, self._changed)
        self._counting = Counting(settings.failures)
        self._metrics = metrics
        self._refused = metrics.counter("headgate_breaker_refused_total", service)
        self._well = metrics.counter("headgate_breaker_calls_total", service, "well")
        self._failed = metrics.counter("headgate_breaker_calls_total", service, "failed")
        self._say = say
        self._timeout = settings.timeout

    def admit(self, now: float) -> int:
        """Return the ticket of a request.

        Raises:
            Failure: breaker_open, with the seconds until asking again makes sense.
        """
        phase: int = self._cells[self._base]
        if not phase & NOT_CLOSED:
            return phase
        ticket = self._breaker.admit(int(now * _MICROSECONDS))
        if ticket < 0:
            self._metrics.cells[self._refused] += 1
            raise Failure("breaker_open", f"breaker {self.name}", retry_after=-ticket / _MICROSECONDS)
        return ticket

    def answered(self, ticket: int, status: int, now: float) -> None:
        """Take back the ticket of a request that ended with the upstream's answer of this status."""
        if status < _LEAST_FAILURE and not ticket & NOT_CLEAN and self._cells[self._base] == ticket:
            self._metrics.cells[self._well] += 1
            return
        self._settle(ticket, self._counting.of_status(status), now)

    def failed(self, ticket: int, reason: str, now: float) -> None:
        """Take back the ticket of a request that failed or was left by its client; `reason` is a key of REASONS."""
        self._settle(ticket, self._counting.of_reason(reason), now)

    def _settle(self, ticket: int, outcome: int, now: float) -> None:
        if outcome != EXCLUDED:
            self._metrics.cells[self._failed if outcome == FAILED else self._well] += 1
        self._breaker.settle(ticket, outcome, int(now * _MICROSECONDS))

    def _changed(self, state: State) -> None:
        cell = self._metrics.counter("headgate_breaker_transitions_total", self.name, state)
        self._metrics.cells[cell] += 1
        match state:
            case "open":
                self._say("warning", f"breaker {self.name} is open for about {self._timeout:g} s", breaker=self.name)
            case "half_open":
                self._say("info", f"breaker {self.name} is half-open: trials go through", breaker=self.name)
            case "closed":
                self._say("info", f"breaker {self.name} is closed again", breaker=self.name)

    def __repr__(self) -> str:
        return f"<ServiceBreaker {self.name} {self._breaker!r}>"
