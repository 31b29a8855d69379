"""The circuit breakers of all services as an operator sees and steers them.

Law: what stands on the board is the truth, so a hand's work holds for all workers at once. It outlives reloads that
leave the breaker's settings alone, and control; only another hand's work, or the end of the gateway, undoes it. What
calls have brought about is forgotten where a reload leaves the service none of its endpoints: the new ones are unknown.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from headgate.config.admin_settings import BreakerAction
from headgate.config.resolve import ResolvedConfig
from headgate.control.log import Log
from headgate.core.clock import Moments, monotonic, wall
from headgate.policy.breaker import Breaker, State
from headgate.policy.breaker_settings import BreakerSettings
from headgate.proxy.breaking import breaker_over
from headgate.stores.board import Board
from headgate.telemetry.cells import Sample, SeriesName

_MICROSECONDS = 1_000_000
_GAUGE: dict[State, int] = {"closed": 0, "open": 1, "half_open": 2}


class Calls(NamedTuple):
    """How many calls a breaker has judged since the gateway began, by how they ended for the service."""

    well: int = 0
    failed: int = 0


_NONE = Calls()


class Breakers:
    """The breakers of the configuration in force, over the board."""

    __slots__ = ("_board", "_breakers", "_calls", "_endpoints", "_forgotten", "_log", "_moments", "_succeeded")

    def __init__(self, board: Board, log: Log) -> None:
        self._board = board
        self._log = log
        self._moments = Moments()
        self._breakers: dict[str, tuple[BreakerSettings, Breaker]] = {}
        # By service, of those whose configuration names them.
        self._endpoints: dict[str, frozenset[str]] = {}
        # By service: the calls as they were last counted, and when more of them had gone well.
        self._calls: Mapping[str, Calls] | None = None
        self._succeeded: dict[str, float] = {}
        # What was counted when a hand last reset the breaker.
        self._forgotten: dict[str, Calls] = {}

    def follow(self, config: ResolvedConfig) -> None:
        """Know the breakers of this configuration from now on."""
        self._breakers = {}
        before = self._endpoints
        self._endpoints = {each.name: frozenset(one.name for one in each.endpoints) for each in config.services}
        for service in config.services:
            if service.breaker is None:
                continue
            try:
                # No call passes here, so this one brings about no change that would have to be told.
                breaker, _ = breaker_over(service.name, service.breaker, self._board, lambda _: None)
            except ValueError as error:
                self._log("error", f"breaker {service.name} is not shown: {error}")
                continue
            self._breakers[service.name] = service.breaker, breaker
            old, new = before.get(service.name), self._endpoints[service.name]
            if old and new and not old & new and not breaker.snapshot(_now()).forced:
                breaker.reset()
                self._log(
                    "info", f"breaker {service.name} begins afresh: its endpoints are others", breaker=service.name
                )

    def describe(self) -> dict[str, dict[str, Any]]:
        """Describe all breakers, by service."""
        return {service: self._shown(service) for service in self._breakers}

    def note_calls(self, counted: Mapping[str, Calls]) -> None:
        """Learn how the calls of each service went until now: workers write down no moment of them."""
        if self._calls is not None:
            known, now = self._calls, round(wall(), 3)
            more = (name for name, calls in counted.items() if calls.well > known.get(name, _NONE).well)
            self._succeeded |= dict.fromkeys(more, now)
        self._calls = counted

    def calls(self, service: str) -> dict[str, Any]:
        """Return how calls of a service went since its breaker was last reset by hand, as they were last noted."""
        before = self._forgotten.get(service, _NONE)
        noted = self._noted(service)
        well, failed = noted.well - before.well, noted.failed - before.failed
        total = well + failed
        return {
            "success_count": well,
            "total_requests": total,
            "total_calls": total,
            "failure_rate": round(100 * failed / total, 2) if total else 0.0,
        }

    def steer(self, service: str, action: BreakerAction) -> dict[str, Any] | None:
        """Reset a breaker, or force it open or closed until a reset, and describe it; None when there is none.

        A reset forgets the calls that were noted, too.
        """
        if service not in self._breakers:
            return None
        _, breaker = self._breakers[service]
        match action:
            case "reset":
                breaker.reset()
                self._forgotten[service] = self._noted(service)
                self._log("info", f"breaker {service} is reset by hand", breaker=service)
            case "open":
                breaker.force_open(_now())
                self._log("warning", f"breaker {service} is forced open by hand until a reset", breaker=service)
            case "close":
                breaker.force_closed()
                self._log("warning", f"breaker {service} is forced closed by hand until a reset", breaker=service)
        return self._shown(service)

    def samples(self) -> list[Sample]:
        """Return the state of each breaker as a gauge."""
        now = _now()
        return [
            Sample(SeriesName("headgate_breaker_state", "gauge", (service,)), [_GAUGE[breaker.state(now)]])
            for service, (_, breaker) in self._breakers.items()
        ]

    def _noted(self, service: str) -> Calls:
        return (self._calls or {}).get(service, _NONE)

    def _shown(self, service: str) -> dict[str, Any]:
        return {**_describe(*self._breakers[service], self._moments), "last_success_time": self._succeeded.get(service)}


def _describe(settings: BreakerSettings, breaker: Breaker, moments: Moments) -> dict[str, Any]:
    """Describe a breaker: seconds for durations, seconds since 1970 for moments, None for what is not."""
    seen = breaker.snapshot(_now())
    counted: dict[str, Any] = {"threshold": settings.threshold}
    if settings.error_rate is not None:
        counted = {"threshold": None, "error_rate": settings.error_rate}
        counted |= {"window": settings.window, "minimum_requests": settings.minimum_requests}
    elif settings.window_size is not None:
        counted["window_size"] = settings.window_size
    return {
        "state": seen.state,
        "forced": seen.forced or None,
        "failure_count": seen.failures,
        **counted,
        "success_count": seen.successes,
        "success_threshold": settings.success_threshold,
        "timeout": settings.timeout,
        "last_failure_time": _moment(seen.last_failure, moments),
        "opened_at": _moment(seen.opened_at, moments),
        "open_until": _moment(seen.until, moments),
        "trials_in_flight": seen.trials,
        "trials": settings.trials,
    }


def _moment(micros: int, moments: Moments) -> float | None:
    """Return a monotonic moment in seconds since 1970, None for never."""
    return round(moments.of(micros / _MICROSECONDS), 3) if micros else None


def _now() -> int:
    return int(monotonic() * _MICROSECONDS)
