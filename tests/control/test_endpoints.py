"""Endpoints as an operator sees them, and takes them out by hand."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from headgate.control.endpoints import STATES, Endpoints
from headgate.control.log import Log
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
from tests.proxy.stage import resolved, to

NOW = 1000.0


class Hand:
    """An operator before a board with one record."""

    def __init__(self) -> None:
        self.board = Board.create(1)
        reading, writing = os.pipe()
        self.endpoints = Endpoints(self.board, Log("control", writing))
        self._lines = os.fdopen(reading)
        self._writing = writing
        self.endpoints.follow(resolved(to("http://a", "http://b")))
        self.base = self.board.claim(record_name("api", "a:80"))

    def write(self, cells: dict[int, int]) -> None:
        for cell, value in cells.items():
            self.board.cells[self.base + cell] = value

    def log(self) -> list[str]:
        """Return what was logged, and log no more."""
        if self._lines.closed:
            return []
        os.close(self._writing)
        with self._lines:
            return [json.loads(line)["message"] for line in self._lines]

    def cell(self, cell: int) -> int:
        return self.board.cells[self.base + cell]


@pytest.fixture
def hand(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hand]:
    monkeypatch.setattr("headgate.control.endpoints.monotonic", lambda: NOW)
    made = Hand()
    yield made
    made.log()


WELL = {"enabled": True, "healthy": True, "ejected": None, "checked": None, "failures": 0, "in_flight": None}
CHECKED = {
    CHECKED_AT: 997_500_000,
    CHECK_STATUS: 503,
    CHECK_TOOK: 12_500,
    CHECKS_IN_ROW: -3,
    CHECKS_WELL: 4,
    CHECKS_FAILED: 9,
}
LAST = {"age": 2.5, "status": 503, "seconds": 0.0125, "well": 4, "failed": 9}


@pytest.mark.parametrize(
    ("cells", "state", "shown"),
    [
        ({}, "healthy", {}),
        ({DISABLED: 1}, "disabled", {"enabled": False}),
        ({UNHEALTHY: 1, **CHECKED}, "unhealthy", {"healthy": False, "checked": LAST, "failures": 3}),
        ({CHECKS_IN_ROW: 7, FAILURES_IN_ROW: 2}, "healthy", {"failures": 2}),
        ({EJECTED_UNTIL: 1_004_000_000}, "ejected", {"ejected": 4.0}),
        ({EJECTED_UNTIL: 999_000_000}, "healthy", {}),
        (
            {DISABLED: 1, UNHEALTHY: 1, EJECTED_UNTIL: 1_004_000_000},
            "disabled",
            {"enabled": False, "healthy": False, "ejected": 4.0},
        ),
    ],
)
def test_what_is_shown(hand: Hand, cells: dict[int, int], state: str, shown: dict[str, object]) -> None:
    hand.write(cells)
    a, b = hand.endpoints.describe()
    assert a == {"service": "api", "endpoint": "a:80", "state": state, **WELL, **shown}
    assert b == {"service": "api", "endpoint": "b:80", "state": "healthy", **WELL}


def test_a_hand_takes_out_and_lets_in_and_each_is_told_once(hand: Hand) -> None:
    for _ in range(2):
        shown = hand.endpoints.set_state("api", "a:80", "disabled")
        assert (shown["state"], hand.cell(DISABLED), hand.board.version) == ("disabled", 1, 1)
    for _ in range(2):
        shown = hand.endpoints.set_state("api", "a:80", "enabled")
        assert (shown["state"], hand.cell(DISABLED), hand.board.version) == ("healthy", 0, 2)
    assert hand.cell(WELL_SINCE) == 1_000_000_000
    assert hand.log() == [f"endpoint a:80 of api is {done} by hand" for done in ("disabled", "enabled")]


def test_enabled_is_not_healthy(hand: Hand) -> None:
    hand.write({UNHEALTHY: 1, DISABLED: 1})
    shown = hand.endpoints.set_state("api", "a:80", "enabled")
    assert shown["state"] == "unhealthy"


def test_an_endpoint_nobody_has_written_of_can_be_taken_out(hand: Hand) -> None:
    shown = hand.endpoints.set_state("api", "b:80", "disabled")
    assert shown["state"] == "disabled"


def test_what_is_in_flight_is_shown_where_the_balancer_has_it_counted(hand: Hand) -> None:
    assert [each["in_flight"] for each in hand.endpoints.describe()] == [None, None]
    counting = {"balancer": {"type": "least_connections"}}
    hand.endpoints.follow(resolved(to("http://a", "http://b", service=counting)))
    board = Board(os.dup(hand.board._file))
    board.cells[hand.base + OWN_CELLS] += 3
    assert [each["in_flight"] for each in hand.endpoints.describe()] == [3, 0]


def test_so_many_are_in_each_state(hand: Hand) -> None:
    hand.write({UNHEALTHY: 1})
    expected = dict.fromkeys(STATES, 0) | {"healthy": 1, "unhealthy": 1}
    assert counted(hand) == {("api", state): number for state, number in expected.items()} | {("api",): 1}


def test_a_service_without_a_healthy_endpoint_is_down(hand: Hand) -> None:
    hand.endpoints.follow(resolved(to("http://a")))
    hand.write({UNHEALTHY: 1})
    assert counted(hand)["api",] == 0


def counted(hand: Hand) -> dict[tuple[str, ...], int]:
    return {each.name.labels: each.values[0] for each in hand.endpoints.samples()}


def test_what_is_not_configured_is_nobody(hand: Hand) -> None:
    assert hand.endpoints.has("api", "a:80")
    assert not hand.endpoints.has("api", "c:80")
    assert not hand.endpoints.has("other", "a:80")
    hand.endpoints.follow(resolved(to("http://b")))
    assert not hand.endpoints.has("api", "a:80")
    assert [each["endpoint"] for each in hand.endpoints.describe()] == ["b:80"]
