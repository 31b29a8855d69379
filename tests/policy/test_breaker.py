"""The breaker's decisions: tables with a clock, a naive model beside it, and many processes over one record."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.policy.breaker import EXCLUDED, FAILED, OK, Breaker, State
from headgate.policy.breaker_settings import BreakerSettings
from headgate.stores.board import OWN_CELLS, Board
from tests.stores.processes import together

SECOND = 1_000_000
START = 1_000 * SECOND


class CountingLock:
    """Keeps nobody out, and says how often it was taken; `meanwhile` is what others do before it is."""

    def __init__(self) -> None:
        self.taken = 0
        self.meanwhile: Callable[[], None] | None = None

    def __enter__(self) -> None:
        self.taken += 1
        meanwhile, self.meanwhile = self.meanwhile, None
        if meanwhile is not None:
            meanwhile()

    def __exit__(self, *raised: object) -> None:
        pass


class Rig:
    """A breaker on cells of its own, with a clock that the test turns."""

    def __init__(self, random: float = 0.5, **settings: Any) -> None:
        # Other records stand beside it; what they hold must not change.
        self.memory = memoryview(bytearray(b"\x55" * 8 * OWN_CELLS * 3)).cast("q")
        self.cells = self.memory[OWN_CELLS : OWN_CELLS * 2]
        for cell in range(OWN_CELLS):
            self.cells[cell] = 0
        self.now = START
        self.changes: list[State] = []
        self.settings = BreakerSettings(**settings)
        self.lock = CountingLock()
        self.breaker = Breaker(self.settings, self.memory, OWN_CELLS, self.lock, lambda: random, self.changes.append)

    def call(self, outcome: int) -> bool:
        """Make a call that ends at once; tell whether it was let through."""
        ticket = self.breaker.admit(self.now)
        if ticket >= 0:
            self.breaker.settle(ticket, outcome, self.now)
        return ticket >= 0

    def calls(self, text: str) -> str:
        """Make a call for each letter (. well, x failed, - excluded); return what state each left behind."""
        letters = []
        for letter in text:
            self.call({".": OK, "x": FAILED, "-": EXCLUDED}[letter])
            letters.append(self.state()[0])
        return "".join(letters)

    def state(self) -> State:
        return self.breaker.state(self.now)

    def untouched(self) -> bool:
        return bytes(self.memory[:OWN_CELLS]) == bytes(self.memory[OWN_CELLS * 2 :]) == b"\x55" * 8 * OWN_CELLS


# -- opening --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "calls", "states"),
    [
        ({"threshold": 3}, "xx.xxx", "ccccco"),
        ({"threshold": 1}, "x", "o"),
        ({"threshold": 3}, "x-x-x", "cccco"),
        ({"threshold": 2, "window_size": 4}, "x...x", "ccccc"),
        ({"threshold": 2, "window_size": 4}, "x..x", "ccco"),
        ({"threshold": 2, "window_size": 4}, ".....x--.-.x", "ccccccccccco"),
        ({"threshold": 3, "window_size": 3}, "xx.xxx", "ccccco"),
        ({"threshold": 1, "window_size": 1}, ".x", "co"),
        ({"error_rate": 50.0, "minimum_requests": 4}, "xxxx", "ccco"),
        ({"error_rate": 50.0, "minimum_requests": 4}, "x..x", "ccco"),
        ({"error_rate": 50.0, "minimum_requests": 4}, "x...x.x.xx", "ccccccccco"),
        ({"error_rate": 100.0, "minimum_requests": 3}, "x.xxxxx", "ccccccc"),
        # The call that makes the volume decides, whichever way it ended.
        ({"error_rate": 50.0, "minimum_requests": 3}, "xx.", "cco"),
    ],
)
def test_it_opens_at_the_failure_too_many(settings: dict[str, Any], calls: str, states: str) -> None:
    rig = Rig(**settings)
    assert rig.calls(calls) == states
    assert rig.changes == (["open"] if "o" in states else [])
    assert rig.untouched()


def test_a_rate_looks_back_over_its_window() -> None:
    rig = Rig(error_rate=50.0, window=10.0, minimum_requests=4)
    assert rig.calls("xxx") == "ccc"
    rig.now += 11 * SECOND
    assert rig.calls("xxx") == "ccc"
    rig.now += 9 * SECOND
    assert rig.calls("x") == "o"


def test_nothing_is_written_while_all_goes_well() -> None:
    rig = Rig(threshold=2, window_size=10)
    assert rig.calls(".-." * 50) == "c" * 150
    assert not any(rig.cells)
    assert rig.calls("x" + "." * 9) == "c" * 10
    assert rig.breaker.admit(rig.now) % 4 == 1
    assert rig.calls(".") == "c"
    # The failure has left the window: closed, and clean again.
    assert rig.breaker.admit(rig.now) == 0
    before = list(rig.cells)
    rig.calls("." * 20)
    assert list(rig.cells) == before


# -- the naive model ------------------------------------------------------------------------------------------------

pauses = st.one_of(st.integers(0, 700_000), st.integers(0, 40 * SECOND))
steps = st.lists(st.tuples(st.sampled_from(".x-"), pauses), max_size=200)


class Naive:
    """The same three counts over the list of all calls."""

    def __init__(self, settings: BreakerSettings) -> None:
        self.settings = settings
        self.calls: list[tuple[int, bool]] = []
        self.has_failure = False

    def opens(self, failed: bool, now: int) -> bool:
        settings = self.settings
        if failed or self.has_failure:
            self.calls.append((now, failed))
        if settings.error_rate is not None:
            recent = self.recent(now)
            self.has_failure = any(recent)
            enough = len(recent) >= settings.minimum_requests
            return enough and any(recent) and sum(recent) / len(recent) * 100 >= settings.error_rate
        if settings.window_size is not None:
            recent = [fault for _, fault in self.calls[-settings.window_size :]]
            self.has_failure = any(recent)
            return sum(recent) >= settings.threshold
        recent = [fault for _, fault in self.calls[-settings.threshold :]]
        self.has_failure = bool(recent) and recent[-1]
        return len(recent) == settings.threshold and all(recent)

    def recent(self, now: int) -> list[bool]:
        """Return the calls of the window of a rate: of the present twentieth of it, and of the 19 before."""
        width = round(self.settings.window * SECOND) // 20
        return [failed for when, failed in self.calls if when // width > now // width - 20]


MODES: dict[str, st.SearchStrategy[dict[str, Any]]] = {
    "in a row": st.fixed_dictionaries({"threshold": st.integers(1, 6)}),
    "last calls": st.fixed_dictionaries({"threshold": st.integers(1, 6), "window_size": st.integers(1, 200)}),
    "rate": st.fixed_dictionaries(
        {
            "error_rate": st.sampled_from([10.0, 25.0, 50.0, 75.0, 100.0]),
            "minimum_requests": st.integers(1, 12),
            "window": st.sampled_from([1.0, 2.5, 10.0]),
        }
    ),
}


@pytest.mark.parametrize("mode", MODES)
@given(st.data())
def test_it_opens_where_the_list_of_all_calls_says_so(mode: str, data: st.DataObject) -> None:
    calls, settings = data.draw(steps), data.draw(MODES[mode])
    rig = Rig(**settings)
    naive = Naive(rig.settings)
    for letter, later in calls:
        rig.now += later
        if mode == "rate":
            assert rig.breaker.snapshot(rig.now).failures == sum(naive.recent(rig.now))
        rig.calls(letter)
        opens = letter != "-" and naive.opens(letter == "x", rig.now)
        assert (rig.state() == "open") is opens
        if opens:
            break
        if not naive.has_failure and letter != "-":
            assert rig.breaker.admit(rig.now) % 4 == 0
    assert rig.untouched()


# -- open, half-open, closed again ----------------------------------------------------------------------------------


def opened(**settings: Any) -> Rig:
    rig = Rig(**{"threshold": 1, "jitter": 0, "timeout": 30, **settings})
    assert rig.calls("x") == "o"
    return rig


def test_open_it_refuses_and_says_how_long() -> None:
    rig = opened()
    assert rig.breaker.admit(rig.now) == -30 * SECOND
    rig.now += 29 * SECOND
    assert rig.breaker.admit(rig.now) == -SECOND
    assert rig.state() == "open"
    rig.now += SECOND
    assert rig.state() == "half_open"
    assert rig.breaker.admit(rig.now) > 0
    assert rig.changes == ["open", "half_open"]


@pytest.mark.parametrize(("chance", "seconds"), [(0.0, 27), (0.5, 30), (1.0, 33)])
def test_the_time_open_varies_by_the_jitter(chance: float, seconds: int) -> None:
    rig = opened(random=chance, jitter=10)
    assert rig.breaker.admit(rig.now) == -seconds * SECOND


def test_success_of_its_trials_closes_it_afresh() -> None:
    rig = opened(threshold=1, success_threshold=3, window_size=5)
    rig.now += 30 * SECOND
    assert rig.calls(".-.") == "hhh"
    assert rig.calls(".") == "c"
    assert rig.changes == ["open", "half_open", "closed"]
    assert rig.breaker.snapshot(rig.now).failures == 0
    assert rig.breaker.admit(rig.now) % 4 == 0


def test_one_failed_trial_opens_it_again() -> None:
    rig = opened(success_threshold=3)
    rig.now += 30 * SECOND
    assert rig.calls("..x") == "hho"
    assert rig.breaker.admit(rig.now) == -30 * SECOND
    assert rig.changes == ["open", "half_open", "open"]
    rig.now += 30 * SECOND
    # The successes of the time before do not count.
    assert rig.calls("..") == "hh"


@pytest.mark.parametrize("trials", [1, 3])
def test_a_herd_at_the_end_of_the_time_open_sends_its_trials_and_no_more(trials: int) -> None:
    rig = opened(trials=trials, success_threshold=1000)
    rig.now += 30 * SECOND
    tickets = [rig.breaker.admit(rig.now) for _ in range(1000)]
    let_through = [ticket for ticket in tickets if ticket >= 0]
    assert len(let_through) == trials
    assert set(tickets[trials:]) == {-SECOND}
    # Who comes to an end makes room for one, whether it decided something or not.
    for outcome in (OK, EXCLUDED):
        rig.breaker.settle(let_through.pop(), outcome, rig.now)
        let_through += [ticket for ticket in (rig.breaker.admit(rig.now) for _ in range(1000)) if ticket >= 0]
        assert len(let_through) == trials


def test_lost_trials_give_their_places_back() -> None:
    rig = opened(trials=2, success_threshold=2)
    rig.now += 30 * SECOND
    lost = [rig.breaker.admit(rig.now) for _ in range(2)]
    rig.now += 30 * SECOND - 1
    assert rig.breaker.admit(rig.now) == -1
    rig.now += 1
    fresh = [rig.breaker.admit(rig.now) for _ in range(3)]
    assert [ticket >= 0 for ticket in fresh] == [True, True, False]
    # One that was only slow counts, and gives back no place: that of the two others it had long lost.
    rig.breaker.settle(lost[0], OK, rig.now)
    assert rig.breaker.snapshot(rig.now).successes == 1
    assert rig.breaker.admit(rig.now) < 0
    rig.breaker.settle(fresh[0], OK, rig.now)
    assert rig.state() == "closed"


def test_late_tickets_decide_nothing() -> None:
    rig = Rig(threshold=2, jitter=0, success_threshold=2)
    early = [rig.breaker.admit(rig.now) for _ in range(4)]
    assert rig.calls("xx") == "co"
    for outcome in (OK, FAILED, EXCLUDED):
        rig.breaker.settle(early.pop(), outcome, rig.now)
    assert rig.state() == "open"
    rig.now += 30 * SECOND
    trial = rig.breaker.admit(rig.now)
    rig.breaker.settle(early[0], OK, rig.now)
    assert rig.breaker.snapshot(rig.now).trials == 1
    rig.breaker.settle(trial, FAILED, rig.now)
    rig.now += 30 * SECOND
    assert rig.calls(".") == "h"
    rig.breaker.settle(early[0], FAILED, rig.now)
    assert rig.calls(".") == "c"
    rig.breaker.settle(trial, FAILED, rig.now)
    assert rig.breaker.snapshot(rig.now).failures == 0


def test_what_others_do_while_one_waits_for_the_lock_counts() -> None:
    rig = Rig(threshold=2, jitter=0)
    early = [rig.breaker.admit(rig.now) for _ in range(3)]
    rig.calls("x")
    rig.lock.meanwhile = lambda: rig.breaker.settle(early[1], FAILED, rig.now)
    rig.breaker.settle(early[0], FAILED, rig.now + SECOND)
    assert rig.breaker.snapshot(rig.now)[2:5] == (2, START, START)
    assert rig.changes == ["open"]
    rig.now += 30 * SECOND
    rig.lock.meanwhile = lambda: rig.breaker.settle(rig.breaker.admit(rig.now), OK, rig.now)
    assert rig.breaker.admit(rig.now) % 4 == 0
    assert rig.changes == ["open", "half_open", "closed"]
    rig.lock.meanwhile = lambda: rig.breaker.force_closed()
    rig.breaker.settle(rig.breaker.admit(rig.now), FAILED, rig.now)
    assert rig.breaker.snapshot(rig.now).failures == 0


def test_who_changes_nothing_takes_no_lock() -> None:
    rig = Rig(threshold=1, jitter=0, trials=1)
    early = [rig.breaker.admit(rig.now) for _ in range(3)]
    rig.calls("." * 5 + "-" * 5)
    assert rig.lock.taken == 0
    rig.calls("x")
    assert rig.lock.taken == 1
    for ticket, outcome in zip(early, (OK, FAILED, EXCLUDED), strict=True):
        rig.breaker.settle(ticket, outcome, rig.now)
    rig.calls("." * 5)
    assert rig.lock.taken == 1
    rig.now += 30 * SECOND
    assert sum(rig.breaker.admit(rig.now) >= 0 for _ in range(5)) == 1
    assert rig.lock.taken == 2


@given(st.lists(st.tuples(st.sampled_from("aosfe"), st.integers(0, 20)), max_size=150), st.integers(1, 4))
def test_never_are_more_trials_under_way_than_may(moves: list[tuple[str, int]], trials: int) -> None:
    rig = Rig(threshold=2, trials=trials, success_threshold=3, timeout=5, jitter=50)
    under_way: list[int] = []
    for move, later in moves:
        # No trial outlives its lease here, so that what the test holds is what is under way.
        rig.now += later * 10_000
        if move == "a":
            ticket = rig.breaker.admit(rig.now)
            if ticket >= 0:
                under_way.append(ticket)
        elif move == "o" and rig.state() == "open":
            rig.now += 10 * SECOND
        elif move != "o" and under_way:
            rig.breaker.settle(under_way.pop(0), {"s": OK, "f": FAILED, "e": EXCLUDED}[move], rig.now)
        generation = max((ticket >> 2 for ticket in under_way), default=0)
        current = [ticket for ticket in under_way if ticket & 2 and ticket >> 2 == generation]
        assert len(current) <= trials
        assert rig.breaker.snapshot(rig.now).trials <= trials


# -- by hand --------------------------------------------------------------------------------------------------------


def test_a_reset_forgets_everything() -> None:
    rig = opened()
    rig.breaker.reset()
    assert rig.state() == "closed"
    assert rig.breaker.snapshot(rig.now)[:4] == ("closed", "", 0, 0)
    assert rig.call(OK)
    assert rig.changes == ["open"]


def test_forced_open_it_refuses_for_ever() -> None:
    rig = Rig(threshold=2, timeout=30)
    ticket = rig.breaker.admit(rig.now)
    rig.breaker.force_open(rig.now)
    rig.breaker.settle(ticket, OK, rig.now)
    rig.now += 3600 * SECOND
    assert rig.breaker.admit(rig.now) == -30 * SECOND
    assert rig.breaker.snapshot(rig.now) == ("open", "open", 0, 0, START, 0, 0, 0)
    rig.breaker.reset()
    assert rig.calls(".xx") == "cco"


def test_forced_closed_it_lets_through_whatever_becomes_of_it() -> None:
    rig = opened()
    rig.breaker.force_closed()
    assert rig.calls("x" * 50) == "c" * 50
    assert rig.breaker.snapshot(rig.now).forced == "closed"
    rig.breaker.force_open(rig.now)
    assert rig.state() == "open"
    rig.breaker.reset()
    assert rig.calls("x") == "o"


def test_it_can_be_looked_at() -> None:
    rig = Rig(threshold=2, timeout=30, jitter=0, success_threshold=2, trials=3)
    rig.calls("x")
    assert rig.breaker.snapshot(rig.now) == ("closed", "", 1, START, 0, 0, 0, 0)
    rig.now += SECOND
    rig.calls("x")
    at = rig.now
    assert rig.breaker.snapshot(rig.now) == ("open", "", 2, at, at, at + 30 * SECOND, 0, 0)
    rig.now += 30 * SECOND
    rig.calls(".")
    rig.breaker.admit(rig.now)
    assert rig.breaker.snapshot(rig.now) == ("half_open", "", 2, at, at, 0, 1, 1)
    assert repr(rig.breaker) == "<Breaker half_open generation 2>"


# -- over several processes -----------------------------------------------------------------------------------------


def shared(board: Board, changes: list[State] | None = None, **settings: Any) -> Breaker:
    """Make a breaker over the record `b` of the board."""
    base = board.claim("b")
    told: Callable[[State], None] = (changes if changes is not None else []).append
    made = BreakerSettings(**{"jitter": 0, **settings})
    lock: AbstractContextManager[None] = board.lock(base)
    return Breaker(made, board.cells, base, lock, lambda: 0.5, told)


@pytest.mark.parametrize("mode", [{}, {"window_size": 500}, {"error_rate": 90.0, "minimum_requests": 200}])
def test_failures_spread_over_processes_open_it_once_for_all(mode: dict[str, Any]) -> None:
    board = Board.create()
    settings = {"threshold": 200, **mode}

    def fail(_: int) -> tuple[int, list[State], State]:
        changes: list[State] = []
        breaker = shared(board, changes, **settings)
        failed = 0
        # More than its share of each: the breaker ends it.
        for _ in range(200):
            ticket = breaker.admit(START)
            if ticket < 0:
                break
            breaker.settle(ticket, FAILED, START)
            failed += 1
        return failed, changes, breaker.state(START)

    answers = together(4, fail)
    assert [state for _, _, state in answers] == ["open"] * 4
    assert [change for _, changes, _ in answers for change in changes] == ["open"]
    # Each process may have had one call under way when another one's failure was the last.
    assert 200 <= sum(failed for failed, _, _ in answers) <= 203
    assert shared(board, **settings).snapshot(START).failures == 200


def test_all_processes_together_send_the_trials_and_no_more() -> None:
    board = Board.create()
    settings: dict[str, Any] = {"threshold": 1, "trials": 7, "success_threshold": 1000}
    breaker = shared(board, **settings)
    breaker.settle(breaker.admit(START), FAILED, START)
    later = START + 30 * SECOND

    def storm(_: int) -> int:
        mine = shared(board, **settings)
        return sum(mine.admit(later) >= 0 for _ in range(500))

    assert sum(together(4, storm)) == 7
    assert breaker.snapshot(later).trials == 7


def test_trials_come_and_go_in_all_processes_and_none_is_counted_twice() -> None:
    board = Board.create()
    settings: dict[str, Any] = {"threshold": 1, "trials": 3, "success_threshold": 1_000_000}
    breaker = shared(board, **settings)
    breaker.settle(breaker.admit(START), FAILED, START)
    later = START + 30 * SECOND

    def work(_: int) -> int:
        mine = shared(board, **settings)
        let_through = 0
        for _ in range(1000):
            ticket = mine.admit(later)
            if ticket >= 0:
                assert mine.snapshot(later).trials <= 3
                mine.settle(ticket, OK, later)
                let_through += 1
        return let_through

    assert sum(together(4, work)) == breaker.snapshot(later).successes > 0
    assert breaker.snapshot(later).trials == 0


def test_what_one_does_by_hand_all_see() -> None:
    board = Board.create()
    breaker = shared(board, threshold=1)
    breaker.settle(breaker.admit(START), FAILED, START)
    together(1, lambda _: shared(board).reset())
    assert breaker.admit(START) >= 0
    together(1, lambda _: shared(board).force_open(START))
    assert breaker.admit(START) < 0
    together(1, lambda _: shared(board).force_closed())
    assert breaker.admit(START) >= 0
    assert together(2, lambda _: shared(board).state(START)) == ["closed"] * 2
