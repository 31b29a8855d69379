"""The board: what one process writes, all others find; nobody's death leaves it locked or half written."""

from __future__ import annotations

import fcntl
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.stores.board import NAME_BYTES, OWN_CELLS, Board, Hold
from tests.stores.processes import holding, together

names = st.text(max_size=NAME_BYTES * 2)


def attached(board: Board) -> Board:
    """Attach to the same memory again, as a process that inherited the file does."""
    return Board(os.dup(board._file))


# -- in one process -------------------------------------------------------------------------------------------------


def test_a_record_of_zeros_is_made_once_and_found_by_its_name() -> None:
    board = Board.create(slots=3)
    assert board.find("breaker api") is None
    base = board.claim("breaker api")
    assert list(board.cells[base : base + board.width]) == [0] * (OWN_CELLS + 3)
    assert board.claim("breaker api") == board.find("breaker api") == base
    assert board.claim("breaker shop") not in range(base, base + board.width)
    assert [entry.name for entry in board.entries()] == ["breaker api", "breaker shop"]


def test_another_process_finds_what_was_claimed_after_it_had_looked() -> None:
    board = Board.create()
    other = attached(board)
    assert other.find("a") is None
    base = board.claim("a")
    board.cells[base] = -7
    assert other.find("a") == base
    assert other.cells[base] == -7
    assert [entry.name for entry in other.entries()] == ["a"]


@given(st.lists(names, unique=True, max_size=20))
def test_every_name_has_a_record_of_its_own(wanted: list[str]) -> None:
    board = Board.create(records=20)
    bases = {name: board.claim(name) for name in wanted}
    assert len(set(bases.values())) == len(wanted)
    other = attached(board)
    assert {name: other.find(name) for name in wanted} == bases
    for entry, name in zip(other.entries(), wanted, strict=True):
        assert entry.base == bases[name]
        assert name.startswith(entry.name)
        assert entry.name == name or len(name.encode()) > NAME_BYTES


def test_long_names_that_begin_alike_are_told_apart() -> None:
    board = Board.create()
    long = "é" * NAME_BYTES
    cut, whole = board.claim(long), board.claim(long[: NAME_BYTES // 2])
    assert len({cut, whole, board.claim(long + "x")}) == 3
    assert board.find(long) == cut


def test_a_full_board_says_so_and_keeps_what_it_has() -> None:
    board = Board.create(records=2)
    bases = [board.claim("a"), board.claim("b")]
    with pytest.raises(ValueError, match=r"^no room for the breaker c: 2 breakers and endpoints are the most there"):
        board.claim("breaker c")
    assert [board.claim("a"), board.claim("b")] == bases
    assert board.find("breaker c") is None


def test_the_version_changes_with_every_touch() -> None:
    board = Board.create()
    seen = [board.version]
    for _ in range(3):
        board.touch()
        seen.append(board.version)
    assert len(set(seen)) == 4


def test_a_worker_that_starts_clears_its_own_column_alone() -> None:
    board = Board.create(slots=2)
    bases = [board.claim("a"), board.claim("b")]
    for base in bases:
        for slot in range(2):
            board.cells[base + OWN_CELLS + slot] = 5
        board.cells[base + OWN_CELLS - 1] = 9
    board.clear_slot(1)
    for base in bases:
        assert list(board.cells[base + OWN_CELLS - 1 : base + board.width]) == [9, 5, 0]


def test_a_record_given_back_is_nobodys_and_its_place_the_next_ones() -> None:
    board = Board.create(slots=2, records=3)
    other = attached(board)
    bases = {name: board.claim(name) for name in "abc"}
    for base in bases.values():
        board.cells[base : base + board.width] = memoryview(b"\x07" * 8 * board.width).cast("q")
    assert other.find("b") == bases["b"]
    assert board.free(["b", "unknown"]) == 1
    assert board.find("b") is None
    assert other.find("b") is None
    assert [entry.name for entry in other.entries()] == ["a", "c"]
    again = other.claim("d")
    assert again == bases["b"]
    assert not any(other.cells[again : again + board.width])
    assert board.find("d") == again
    assert board.cells[bases["a"]] == 7 * 0x0101010101010101
    with pytest.raises(ValueError, match="no room"):
        board.claim("e")


def test_what_a_worker_holds_is_not_given_back() -> None:
    board = Board.create(slots=2)
    worker = attached(board)
    held = worker.hold(["a", "b"], 1)
    again = worker.hold(["a"], 1)
    assert [each.base for each in held] == [board.find("a"), board.find("b")]
    assert board.free(["a", "b"]) == 0
    del held
    assert board.free(["a", "b"]) == 1
    assert board.find("a") == again[0].base
    del again
    assert board.free(["a"]) == 1


def test_the_dead_hold_nothing_once_their_slot_is_taken_over() -> None:
    board = Board.create(slots=3)
    mine = board.hold(["a"], 0)
    # Of a worker that was killed nobody is left who could let go.
    held: list[Hold] = []

    def die(_: int) -> int:
        held.extend(board.hold(["a", "b"], 2))
        return 0

    together(1, die)
    assert board.free(["a", "b"]) == 0
    board.clear_slot(2)
    assert board.free(["a", "b"]) == 1
    assert board.find("a") == mine[0].base


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2)), max_size=60))
def test_names_that_come_and_go_never_share_a_record(steps: list[tuple[int, int]]) -> None:
    board = Board.create(slots=1, records=10)
    sides = [board, attached(board)]
    held: dict[str, Hold] = {}
    for place, (number, what) in enumerate(steps):
        name, side = f"endpoint {number}", sides[place % 2]
        if what == 0:
            held[name] = side.hold([name], 0)[0]
        elif what == 1:
            held.pop(name, None)
        else:
            side.free([name])
        assert len({each.base for each in held.values()}) == len(held)
        for name, each in held.items():
            assert {side.find(name) for side in sides} == {each.base}
        assert sides[0].entries() == sides[1].entries()


def test_names_that_come_and_go_for_ever_fill_nothing() -> None:
    board = Board.create(records=20)
    worker = attached(board)
    for number in range(2000):
        held = worker.hold([f"endpoint {each}" for each in range(number, number + 15)], 0)
        board.free([entry.name for entry in board.entries() if entry.name == f"endpoint {number - 1}"])
        assert len(held) == 15
        del held


def test_memory_that_is_no_board_is_refused() -> None:
    file = os.memfd_create("test")
    os.ftruncate(file, 8192)
    with pytest.raises(ValueError, match="not a board"):
        Board(file)


def test_a_board_nobody_uses_any_more_leaves_no_file_open() -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        Board.create().claim("a")
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_records_nobody_claimed_cost_no_memory() -> None:
    board = Board.create(slots=64)
    board.claim("a")
    board.clear_slot(3)
    # Blocks of 512 bytes: a page each for header, names and cells.
    assert os.fstat(board._file).st_blocks * 512 <= 4 * os.sysconf("SC_PAGE_SIZE")


# -- in several processes -------------------------------------------------------------------------------------------


def test_processes_that_claim_at_once_agree_on_every_record() -> None:
    board = Board.create(records=300)

    def claim(number: int) -> dict[str, int]:
        mine = [f"endpoint {each}" for each in range(300)]
        # Each begins elsewhere, so that they meet on names that are new to both.
        return {name: board.claim(name) for name in mine[number * 75 :] + mine[: number * 75]}

    answers = together(4, claim)
    assert answers[1:] == answers[:1] * 3
    assert len(set(answers[0].values())) == 300
    assert {entry.name: entry.base for entry in board.entries()} == answers[0]


def test_a_locked_record_is_changed_by_one_process_at_a_time() -> None:
    board = Board.create()
    base = board.claim("a")

    def count(_: int) -> int:
        for _ in range(2000):
            with board.lock(base):
                board.cells[base] += 1
            board.touch()
        return 0

    together(4, count)
    assert board.cells[base] == 8000
    assert board.version == 8000


def test_records_are_locked_one_by_one() -> None:
    board = Board.create()
    first, second = board.claim("a"), board.claim("b")

    def hold(_: int) -> list[int]:
        with board.lock(second):
            board.touch()
            return [board.claim("c")]

    with board.lock(first):
        assert together(1, hold) == [[board.find("c")]]


def test_the_death_of_its_holder_frees_a_lock() -> None:
    board = Board.create()
    base = board.claim("a")

    def taken() -> int:
        with pytest.raises(BlockingIOError):
            fcntl.lockf(board._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 1)
        return 1

    with holding(lambda: board.lock(base)):
        assert together(1, lambda _: taken()) == [1]
    with board.lock(base):
        board.cells[base] = 1
    assert together(1, lambda _: board.cells[base]) == [1]


def test_processes_that_claim_and_give_back_at_once_agree_on_every_record() -> None:
    board = Board.create(slots=4, records=200)

    def churn(number: int) -> int:
        for turn in range(100):
            held = board.hold([f"endpoint {number} {turn} {each}" for each in range(20)], number)
            mark = number * 1000 + turn
            for each in held:
                board.cells[each.base] = mark
            if not number:
                board.free([entry.name for entry in board.entries()])
            # Nobody else was given the place of one that is held.
            assert {board.cells[each.base] for each in held} == {mark}
            names = [f"endpoint {number} {turn} {each}" for each in range(20)]
            del held, each
            board.free(names)
        return 0

    together(4, churn)
    board.free([entry.name for entry in board.entries()])
    assert board.entries() == []
    assert len({board.claim(str(number)) for number in range(200)}) == 200


def test_a_maker_that_dies_half_way_has_made_nothing() -> None:
    board = Board.create()
    # As far as `claim` gets before the count of used records is written.
    board._names[:256] = bytes((1, 5)).ljust(8, b"\0") + b"other".ljust(248, b"\0")
    assert board.entries() == []
    assert board.find("other") is None
    base = board.claim("a")
    assert Counter(entry.name for entry in attached(board).entries()) == {"a": 1}
    assert board.find("a") == base


def test_a_private_board_keeps_no_file_and_serves_alike() -> None:
    files = len(list(Path("/proc/self/fd").iterdir()))
    board = Board.private(slots=2)
    assert len(list(Path("/proc/self/fd").iterdir())) == files
    base = board.claim("breaker chat")
    with board.lock(base), board.lock(base):
        board.cells[base] = 7
    board.touch()
    assert (board.find("breaker chat"), board.cells[base], board.version, board.slots) == (base, 7, 1, 2)
