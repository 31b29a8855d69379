"""The endpoints of all services as an operator sees them and takes them out by hand.

Law: what stands on the board is the truth, and what a hand did there outlives reloads, checks and control; only its
opposite, or the end of the gateway, undoes it.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any, Literal

from headgate.catalog import BALANCERS
from headgate.config.resolve import ResolvedConfig
from headgate.control.log import Log
from headgate.core.clock import monotonic
from headgate.policy.endpoint_record import (
    CHECK_STATUS,
    CHECK_TOOK,
    CHECKED_AT,
    CHECKS_FAILED,
    CHECKS_IN_ROW,
    CHECKS_WELL,
    DISABLED,
    EJECTED_UNTIL,
    FAILURES_IN_ROW,
    UNHEALTHY,
    WELL_SINCE,
    record_name,
)
from headgate.stores.board import OWN_CELLS, Board
from headgate.telemetry.cells import Sample, SeriesName

STATES = ("healthy", "unhealthy", "ejected", "disabled", "draining")

# What a hand may make of an endpoint, as the cell DISABLED has it.
Hand = Literal["enabled", "disabled", "draining"]
_HANDS: tuple[Hand, ...] = ("enabled", "disabled", "draining")

_MICROSECONDS = 1_000_000


class Endpoints:
    """The endpoints of the configuration in force, over the board."""

    __slots__ = ("_board", "_log", "_places", "_urls")

    def __init__(self, board: Board, log: Log) -> None:
        self._board = board
        self._log = log
        # And whether its balancer has workers count what is in flight there.
        self._places: dict[tuple[str, str], bool] = {}
        self._urls: dict[tuple[str, str], str] = {}

    def follow(self, config: ResolvedConfig) -> None:
        """Know the endpoints of this configuration from now on."""
        self._places, self._urls = {}, {}
        for service in config.services:
            self._urls |= {(service.name, each.name): each.url for each in service.endpoints}
            build = BALANCERS[service.balancer.type].build
            counted = build(service.balancer, random.random).counted
            self._places |= {(service.name, each.name): counted for each in service.endpoints}

    def describe(self) -> list[dict[str, Any]]:
        """Describe all endpoints; ages and times left are in seconds, None where there is none.

        `in_flight` is over all workers, None where the balancer needs no count.
        """
        now = int(monotonic() * _MICROSECONDS)
        return [self._describe(service, name, now) for service, name in self._places]

    def url(self, service: str, endpoint: str) -> str:
        """Return the URL of an endpoint that there is."""
        return self._urls[service, endpoint]

    def has(self, service: str, endpoint: str) -> bool:
        """Tell whether there is such an endpoint."""
        return (service, endpoint) in self._places

    def set_state(self, service: str, endpoint: str, state: Hand) -> dict[str, Any]:
        """Take an endpoint that there is out, or let it in again, and describe it.

        Raises:
            ValueError: with a sentence, when the board is full.
        """
        now = int(monotonic() * _MICROSECONDS)
        board, base = self._board, self._board.claim(record_name(service, endpoint))
        with board.lock(base):
            before = board.cells[base + DISABLED]
            wanted = board.cells[base + DISABLED] = _HANDS.index(state)
            if before and not wanted:
                board.cells[base + WELL_SINCE] = now
        if before != wanted:
            board.touch()
            self._log("warning" if wanted else "info", f"endpoint {endpoint} of {service} is {state} by hand")
        return self._describe(service, endpoint, now)

    def samples(self) -> list[Sample]:
        """Return how many endpoints of each service are in each state, as gauges."""
        # A state that nobody is in is shown, too, so that an alarm on it has something to look at.
        counts = Counter({(service, state): 0 for service, _ in self._places for state in STATES})
        counts.update((each["service"], each["state"]) for each in self.describe())
        up = {service: 0 for service, _ in self._places}
        up.update((service, 1) for (service, state), count in counts.items() if state == "healthy" and count)
        return [
            *(Sample(SeriesName("headgate_endpoints", "gauge", key), [count]) for key, count in counts.items()),
            *(Sample(SeriesName("headgate_service_up", "gauge", (key,)), [value]) for key, value in up.items()),
        ]

    def _describe(self, service: str, name: str, now: int) -> dict[str, Any]:
        base = self._board.find(record_name(service, name))
        known = {"service": service, "endpoint": name}
        counted = self._places[service, name]
        if base is None:
            well = {"state": "healthy", "enabled": True, "healthy": True, "ejected": None, "checked": None}
            return {**known, **well, "failures": 0, "in_flight": 0 if counted else None}
        cells = self._board.cells
        disabled, unhealthy = cells[base + DISABLED], cells[base + UNHEALTHY]
        left, checked_at = cells[base + EJECTED_UNTIL] - now, cells[base + CHECKED_AT]
        return {
            **known,
            "state": _HANDS[disabled]
            if disabled
            else "unhealthy"
            if unhealthy
            else "ejected"
            if left > 0
            else "healthy",
            "enabled": not disabled,
            "healthy": not unhealthy,
            "ejected": round(left / _MICROSECONDS, 3) if left > 0 else None,
            "checked": _check(cells, base, now) if checked_at else None,
            # In a row: of checks, or of what requests told.
            "failures": max(-cells[base + CHECKS_IN_ROW], cells[base + FAILURES_IN_ROW], 0),
            "in_flight": sum(cells[base + OWN_CELLS : base + self._board.width]) if counted else None,
        }


def _check(cells: memoryview, base: int, now: int) -> dict[str, Any]:
    """Describe the last check, and how many there were; `seconds` is how long it took."""
    return {
        "age": round((now - cells[base + CHECKED_AT]) / _MICROSECONDS, 3),
        "status": cells[base + CHECK_STATUS],
        "seconds": cells[base + CHECK_TOOK] / _MICROSECONDS,
        "well": cells[base + CHECKS_WELL],
        "failed": cells[base + CHECKS_FAILED],
    }
