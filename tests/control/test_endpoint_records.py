"""Records of endpoints that come and go: made in time, given back in time, never another's while somebody has them."""

from __future__ import annotations

import os

import pytest

from headgate.control import endpoint_records
from headgate.control.endpoint_records import GRACE, MOST_KEPT, EndpointRecords
from headgate.policy.endpoint_record import DISABLED, WELL_SINCE, record_name
from headgate.stores.board import Board


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(endpoint_records, "monotonic", clock)
    return clock


def names(*numbers: int) -> list[str]:
    return [record_name("api", f"10.0.{number >> 8}.{number & 255}:80") for number in numbers]


def test_one_that_was_left_has_its_record_for_a_while(clock: Clock) -> None:
    board = Board.create()
    records = EndpointRecords(board)
    records.claim(names(1, 2))
    board.cells[board.claim(names(1)[0])] = 0
    records.leave(names(1))
    clock.now += GRACE - 1
    records.give_back()
    assert board.find(names(1)[0]) is not None
    clock.now += 2
    records.give_back()
    assert board.find(names(1)[0]) is None
    assert board.find(names(2)[0]) is not None
    assert not records.waiting


def test_one_that_comes_back_in_time_is_who_it_was(clock: Clock) -> None:
    board = Board.create()
    records = EndpointRecords(board)
    records.claim(names(1))
    base = board.claim(names(1)[0])
    board.cells[base + 3] = 7
    records.leave(names(1))
    records.claim(names(1))
    clock.now += 2 * GRACE
    records.give_back()
    assert board.find(names(1)[0]) == base
    assert board.cells[base + 3] == 7


def test_one_that_joins_others_begins_slowly_and_one_known_before_does_not(clock: Clock) -> None:
    board = Board.create()
    records = EndpointRecords(board)
    records.claim(names(1))
    records.claim(names(1, 2), slowly=True)
    cells = board.cells
    assert [cells[board.claim(name) + WELL_SINCE] for name in names(1, 2)] == [0, 1_000_000_000]


def test_what_a_worker_has_in_hand_waits(clock: Clock) -> None:
    board = Board.create()
    records = EndpointRecords(board)
    held = board.hold(names(1), 0)
    records.claim(names(1))
    records.leave(names(1))
    clock.now += 10 * GRACE
    records.give_back()
    assert board.find(names(1)[0]) == held[0].base
    assert records.waiting
    del held
    records.give_back()
    assert board.find(names(1)[0]) is None


def test_one_that_a_hand_took_out_stays_out_while_it_is_away_but_not_any_number_of_them(clock: Clock) -> None:
    board = Board.create()
    records = EndpointRecords(board)
    many = names(*range(MOST_KEPT + 5))
    records.claim(many)
    for name in many:
        board.cells[board.claim(name) + DISABLED] = 1
    records.leave(many)
    clock.now += 10 * GRACE
    records.give_back()
    assert len(board.entries()) == MOST_KEPT
    # Those that left first are forgotten first.
    assert board.find(many[0]) is None
    records.claim(many[-1:])
    assert board.cells[board.claim(many[-1]) + DISABLED] == 1


def test_what_stands_on_the_board_and_nobody_wants_is_left(clock: Clock) -> None:
    board = Board.create()
    records = EndpointRecords(board)
    board.claim("breaker api")
    records.claim(names(1, 2))
    records.leave(names(1))
    records.leave_all_but(names(1))
    clock.now += 2 * GRACE
    records.give_back()
    assert [entry.name for entry in board.entries()] == ["breaker api", *names(1)]


def test_a_full_board_gives_nobody_grace(clock: Clock) -> None:
    board = Board.create(records=4)
    records = EndpointRecords(board)
    records.claim(names(1, 2, 3, 4))
    records.leave(names(1, 2))
    records.claim(names(5, 6))
    assert {entry.name for entry in board.entries()} == set(names(3, 4, 5, 6))
    with pytest.raises(ValueError, match="no room"):
        records.claim(names(7))


def test_a_hundred_thousand_addresses_one_after_another_fill_nothing(clock: Clock) -> None:
    board = Board.create(slots=2, records=1024)
    records = EndpointRecords(board)
    worker = Board(os.dup(board._file))
    places: set[int] = set()
    for first in range(0, 100_000, 250):
        fresh = [record_name("api", f"pod-{number}:80") for number in range(first, first + 250)]
        records.claim(fresh)
        held = worker.hold(fresh, 1)
        places.update(each.base for each in held)
        clock.now += GRACE / 2
        records.give_back()
        del held
        records.leave(fresh)
    assert len(places) <= 1024
