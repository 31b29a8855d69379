"""What holds for every algorithm of the catalog, over whatever sequences of requests, charges and clocks."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.policy.limit.algorithm import NEVER, Algorithm
from headgate.policy.limit.settings import MOST_COST
from tests.policy.limit.cases import OWNER, START, YEAR, ask, every_algorithm

few = settings(max_examples=25, deadline=None)


class Step(NamedTuple):
    """Some time later (or a little earlier), a request or a charge, from one of three workers."""

    later: float
    settles: bool
    amount: int
    owner: int


def steps(algorithm: Algorithm) -> st.SearchStrategy[list[Step]]:
    """Sequences at the scale of the algorithm: moves of up to two lifetimes, costs around its limit."""
    most = min(2 * algorithm.read(True, (0, 0, 0)).limit, MOST_COST)
    step = st.builds(
        Step,
        st.one_of(st.just(0.0), st.floats(0, 0.2), st.floats(0, 2.1), st.floats(-0.01, 0)),
        st.booleans(),
        st.one_of(st.integers(0, 3), st.integers(0, most), st.just(-1), st.integers(-most, 0), st.just(MOST_COST)),
        st.integers(1, 3),
    )
    return st.lists(step, max_size=12)


def walk(algorithm: Algorithm, sequence: list[Step]) -> tuple[bytes, int]:
    """Apply the sequence; return the state it leaves, and the latest time it saw."""
    state, now, latest = b"", START, START
    for step in sequence:
        now += round(step.later * algorithm.lifetime)
        latest = max(latest, now)
        if step.settles:
            state = algorithm.settle(state, now, step.amount, step.owner)
        else:
            state = algorithm.admit(state, now, abs(step.amount), step.owner)[1]
    return state, latest


@every_algorithm
@few
@given(data=st.data())
def test_a_refusal_and_a_cost_of_nothing_change_nothing(name: str, algorithm: Algorithm, data: st.DataObject) -> None:
    state, now = walk(algorithm, data.draw(steps(algorithm)))
    assert algorithm.admit(state, now, 0, OWNER)[1] is state
    limit = algorithm.read(True, (0, 0, 0)).limit
    for cost in (1, limit // 2, limit, min(limit + 1, MOST_COST)):
        allowed, after, _ = algorithm.admit(state, now, cost, OWNER)
        assert allowed or after is state


@every_algorithm
@few
@given(data=st.data())
def test_what_is_told_is_true(name: str, algorithm: Algorithm, data: st.DataObject) -> None:
    state, now = walk(algorithm, data.draw(steps(algorithm)))
    _, told, _ = ask(algorithm, state, now, 0)
    assert 0 <= told.remaining <= told.limit
    assert told.delay == 0
    for _ in range(min(told.remaining, 60)):
        state, reading, allowed = ask(algorithm, state, now)
        assert allowed
        assert reading.wait == 0
        assert reading.remaining < told.limit
    if told.remaining <= 60:
        _, reading, allowed = ask(algorithm, state, now)
        assert not allowed
        assert reading.remaining == 0
        assert reading.wait > 0


@every_algorithm
@few
@given(data=st.data())
def test_after_the_wait_it_is_admitted_and_not_before(name: str, algorithm: Algorithm, data: st.DataObject) -> None:
    state, now = walk(algorithm, data.draw(steps(algorithm)))
    limit = algorithm.read(True, (0, 0, 0)).limit
    for cost in (0, 1, limit // 2, limit):
        _, told, allowed = ask(algorithm, state, now, min(cost, MOST_COST))
        if allowed:
            assert told.wait == 0
            continue
        assert 0 < told.wait < NEVER
        if name != "concurrency":
            assert not ask(algorithm, state, now + told.wait - 1, min(cost, MOST_COST))[2]
            assert ask(algorithm, state, now + told.wait, min(cost, MOST_COST))[2]


@every_algorithm
@few
@given(data=st.data())
def test_after_the_reset_everything_is_there_again(name: str, algorithm: Algorithm, data: st.DataObject) -> None:
    state, now = walk(algorithm, data.draw(steps(algorithm)))
    _, told, _ = ask(algorithm, state, now, 0)
    if name == "concurrency":
        assert (told.reset == 0) == (told.remaining == told.limit)
        return
    later = ask(algorithm, state, now + told.reset, 0)[1]
    assert later == ask(algorithm, b"", now, 0)[1]


@every_algorithm
def test_what_costs_more_than_there_ever_is_is_never_admitted(name: str, algorithm: Algorithm) -> None:
    limit = algorithm.read(True, (0, 0, 0)).limit
    if limit < MOST_COST:
        state, told, allowed = ask(algorithm, b"", START, limit + 1)
        assert not allowed
        assert (state, told.wait) == (b"", NEVER)
        assert told.remaining == ask(algorithm, b"", START, 0)[1].remaining


@every_algorithm
@few
@given(data=st.data())
def test_once_expired_a_state_means_nothing(name: str, algorithm: Algorithm, data: st.DataObject) -> None:
    state, now = walk(algorithm, data.draw(steps(algorithm)))
    end = algorithm.expires(state, now)
    if not state:
        assert end == now
    for cost in (0, 1, 2):
        at = max(now, end)
        allowed, after, raw = algorithm.admit(state, at, cost, OWNER)
        if cost and allowed:
            assert (allowed, after, raw) == algorithm.admit(b"", at, cost, OWNER)
        else:
            assert (allowed, raw) == algorithm.admit(b"", at, cost, OWNER)[::2]
    assert algorithm.settle(state, at, 3, OWNER) == algorithm.settle(b"", at, 3, OWNER)
    assert algorithm.settle(state, at, -3, OWNER) == b""


@every_algorithm
@few
@given(data=st.data())
def test_without_debts_a_state_expires_within_its_lifetime(
    name: str, algorithm: Algorithm, data: st.DataObject
) -> None:
    sequence = [step._replace(settles=False, later=abs(step.later)) for step in data.draw(steps(algorithm))]
    state, now = walk(algorithm, sequence)
    assert algorithm.expires(state, now) <= now + algorithm.lifetime


@every_algorithm
@few
@given(data=st.data())
def test_a_charge_is_taken_off_and_a_refund_comes_back(name: str, algorithm: Algorithm, data: st.DataObject) -> None:
    state, now = walk(algorithm, [step._replace(settles=False) for step in data.draw(steps(algorithm))])
    free = ask(algorithm, state, now, 0)[1].remaining
    amount = data.draw(st.integers(0, min(free, MOST_COST)))
    charged = algorithm.settle(state, now, amount, OWNER)
    left = ask(algorithm, charged, now, 0)[1].remaining
    # A leaky bucket that shapes tells how many turns are soon enough, of which a charge may take fewer.
    assert left == free - amount or (name == "leaky_bucket" and left >= free - amount)
    returned = algorithm.settle(charged, now, -amount, OWNER)
    assert ask(algorithm, returned, now, 0)[1].remaining == free
    emptied = state
    for owner in (1, 2, 3, OWNER):
        emptied = algorithm.settle(emptied, now, -MOST_COST, owner)
        emptied = algorithm.settle(emptied, now, -MOST_COST, owner)
    if free < 10_000:
        assert ask(algorithm, emptied, now, 0)[1] == ask(algorithm, b"", now, 0)[1]


@every_algorithm
def test_a_debt_refuses_everything_for_a_while(name: str, algorithm: Algorithm) -> None:
    limit = algorithm.read(True, (0, 0, 0)).limit
    if limit > MOST_COST:
        return
    state = algorithm.settle(b"", START, limit, OWNER)
    assert ask(algorithm, state, START, 0)[2] or name == "leaky_bucket", "a limit used up is no debt"
    state = algorithm.settle(state, START, 1, OWNER)
    _, told, allowed = ask(algorithm, state, START, 0)
    assert (allowed, told.remaining) == (False, 0)
    assert told.wait > 0
    assert ask(algorithm, state, algorithm.expires(state, START), 0)[2]


@every_algorithm
@few
@given(garbage=st.binary(max_size=100), now=st.integers(0, START))
def test_garbage_counts_as_nothing_or_harms_nobody(name: str, algorithm: Algorithm, garbage: bytes, now: int) -> None:
    """A state of another length than it writes is an empty one; one of that length is read, whatever it says."""
    algorithm.expires(garbage, now)
    algorithm.settle(garbage, now, 3, OWNER)
    algorithm.settle(garbage, now, -3, OWNER)
    for cost in (0, 1):
        allowed, after, raw = algorithm.admit(garbage, now, cost, OWNER)
        algorithm.read(allowed, raw)
        if len(garbage) % 4:
            assert (allowed, raw) == algorithm.admit(b"", now, cost, OWNER)[::2]
            assert algorithm.expires(garbage, now) == now
            if cost:
                assert after == algorithm.admit(b"", now, cost, OWNER)[1] or not allowed


@every_algorithm
@few
@given(data=st.data())
def test_states_are_bounded_and_numbers_exact_in_doubles(name: str, algorithm: Algorithm, data: st.DataObject) -> None:
    state, now = walk(algorithm, data.draw(steps(algorithm)))
    assert len(state) <= 60
    assert all(0 <= number < 2**53 for number in (*algorithm.numbers, algorithm.lifetime))
    assert all(-1 <= number < 2**53 for number in algorithm.admit(state, now, 1, OWNER)[2])
    for _ in range(5):
        state = algorithm.settle(state, now, MOST_COST, OWNER)
    assert all(-1 <= number < 2**53 for number in algorithm.admit(state, now, MOST_COST, OWNER)[2])
    assert now < algorithm.expires(state, now) < 2**53
    assert YEAR < 2**53 - START
