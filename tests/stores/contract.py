"""What every store of limits has to do. A store's test module makes a class of this one and says how it is opened:

    class TestMemory(StoreContract):
        @pytest.fixture
        def open_store(self) -> Iterator[Open]:
            yield lambda owner: MemoryStore(1000, owner)

`open_store(owner)` opens the same counts for another worker each time; a store that cannot is left out of the tests
that need it by `shared = False`. Whoever answers later wraps his store so that `admit` waits for the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import Literal, Protocol

import pytest

from headgate.catalog import LIMITS
from headgate.policy.limit.algorithm import Algorithm, Reading
from headgate.policy.limit.group import PEEK, Group
from headgate.policy.limit.quota import Quota
from headgate.stores.store import KEY_BYTES, Ask, Told

SECOND = 1_000_000
MINUTE = 60 * SECOND
START = 5_000_000 * SECOND


class Answering(Protocol):
    """A store whose `admit` waits for the answer."""

    def admit(self, asks: Sequence[Ask], now: int) -> list[Told]: ...

    def settle(self, asks: Sequence[Ask], now: int, *, local: bool = False) -> None: ...

    def forget(self, keys: Sequence[bytes]) -> int: ...

    def sweep(self, now: int) -> None: ...


Open = Callable[[int], Answering]


def limit(kind: str, requests: int, window: int = MINUTE, *, exact: bool = False) -> Algorithm:
    """Make one limit of the catalog."""
    return LIMITS[kind](Quota(requests, window, requests, 0, exact))


def group(
    *algorithms: Algorithm, shadow: bool = False, on_error: Literal["local", "open", "closed"] = "local"
) -> Group:
    """Make the group of these limits."""
    names = [f"limit {place}" for place in range(len(algorithms))]
    return Group(names, algorithms, b"contract", shadow=shadow, on_error=on_error)


def key(name: str) -> bytes:
    """Return the digest of a name."""
    return blake2b(name.encode(), digest_size=KEY_BYTES).digest()


def ask(of: Group, name: str = "one", cost: int = 1) -> Ask:
    """Ask a group, at the same cost for each of its limits."""
    return Ask(of, key(name), (cost,) * len(of.algorithms))


def passed(store: Answering, of: Group, tries: int, now: int = START, name: str = "one") -> int:
    """Count how many of so many tries are admitted."""
    return sum(store.admit([ask(of, name)], now)[0].allowed for _ in range(tries))


def readings(of: Group, told: Told) -> list[Reading]:
    """Return what each limit has to tell."""
    return [algorithm.read(told.allowed, raw) for algorithm, raw in zip(of.algorithms, told.raws, strict=True)]


def left(store: Answering, of: Group, now: int = START, name: str = "one") -> list[int]:
    """Return what remains of each limit; asking consumes nothing."""
    return [reading.remaining for reading in readings(of, store.admit([ask(of, name, PEEK)], now)[0])]


KINDS = [
    pytest.param(kind, exact, id=f"{kind}{', exact' if exact else ''}")
    for kind in LIMITS
    for exact in ((False, True) if kind == "sliding_window" else (False,))
]
every_kind = pytest.mark.parametrize(("kind", "exact"), KINDS)


class StoreContract:
    """The tests."""

    shared = True

    def needs_several_workers(self) -> None:
        if not self.shared:
            pytest.skip("each worker counts by itself in this store")

    @every_kind
    def test_exactly_the_limit_passes(self, open_store: Open, kind: str, exact: bool) -> None:
        store = open_store(1)
        counted = group(limit(kind, 7, exact=exact))
        assert passed(store, counted, 20) == 7
        told = store.admit([ask(counted)], START)[0]
        assert (told.allowed, told.source, len(told.raws)) == (False, "store", 1)
        assert readings(counted, told)[0].remaining == 0

    @every_kind
    def test_a_limit_is_whole_again_when_its_window_is_over(self, open_store: Open, kind: str, exact: bool) -> None:
        store = open_store(1)
        counted = group(limit(kind, 5, exact=exact))
        assert passed(store, counted, 9) == 5
        later = START + 2 * MINUTE
        store.sweep(later)
        assert passed(store, counted, 9, later) == 5

    def test_workers_count_together(self, open_store: Open) -> None:
        self.needs_several_workers()
        counted = group(limit("sliding_window", 10))
        stores = [open_store(owner) for owner in (1, 2, 3)]
        assert sum(stores[turn % 3].admit([ask(counted)], START)[0].allowed for turn in range(30)) == 10

    def test_keys_are_counted_apart(self, open_store: Open) -> None:
        store = open_store(1)
        counted = group(limit("fixed_window", 2))
        assert [passed(store, counted, 3, name=f"key {turn}") for turn in range(200)] == [2] * 200

    @every_kind
    def test_a_key_begins_afresh_and_no_other(self, open_store: Open, kind: str, exact: bool) -> None:
        store = open_store(1)
        counted = group(limit(kind, 5, exact=exact), limit("fixed_window", 9))
        assert [passed(store, counted, 9, name=name) for name in ("one", "other")] == [5, 5]
        assert store.forget([key("one"), key("never seen")]) == 1
        assert store.forget([key("one")]) == 0
        assert [passed(store, counted, 9, name=name) for name in ("one", "other")] == [5, 0]

    # -- all or nothing -------------------------------------------------------------------------------------------

    def test_a_refusal_by_one_limit_of_a_group_consumes_none(self, open_store: Open) -> None:
        store = open_store(1)
        counted = group(limit("token_bucket", 3), limit("fixed_window", 10))
        assert passed(store, counted, 8) == 3
        assert left(store, counted) == [0, 7]

    def test_a_refusal_of_one_group_consumes_none_of_another(self, open_store: Open) -> None:
        store = open_store(1)
        narrow, wide = group(limit("fixed_window", 2)), group(limit("fixed_window", 10), limit("token_bucket", 10))
        asks = [ask(wide, "wide"), ask(narrow, "narrow")]
        verdicts = [[told.allowed for told in store.admit(asks, START)] for _ in range(5)]
        assert verdicts == [[True, True]] * 2 + [[True, False]] * 3
        assert left(store, wide, name="wide") == [8, 8]

    def test_what_stood_beside_a_refusal_is_told_without_the_request(self, open_store: Open) -> None:
        store = open_store(1)
        narrow, wide = group(limit("fixed_window", 1)), group(limit("fixed_window", 10))
        asks = [ask(wide, "wide"), ask(narrow, "narrow")]
        store.admit(asks, START)
        beside, refused = store.admit(asks, START)
        assert readings(wide, beside)[0].remaining == 9
        assert readings(narrow, refused)[0].wait > 0

    def test_a_shadow_counts_by_itself_and_holds_nobody_back(self, open_store: Open) -> None:
        store = open_store(1)
        shadow = group(limit("fixed_window", 4), shadow=True)
        counted = group(limit("fixed_window", 3))
        asks = [ask(shadow, "shadow"), ask(counted, "counted")]
        verdicts = [[told.allowed for told in store.admit(asks, START)] for _ in range(6)]
        # The shadow has counted the request that the other refused, and so it has no more after four.
        assert verdicts == [[True, True]] * 3 + [[True, False]] + [[False, False]] * 2
        assert [told.allowed for told in store.admit([asks[0], ask(counted, "fresh")], START)] == [False, True]
        assert left(store, counted, name="fresh") == [2]

    # -- costs ----------------------------------------------------------------------------------------------------

    @every_kind
    def test_a_look_costs_nothing_and_is_never_refused(self, open_store: Open, kind: str, exact: bool) -> None:
        store = open_store(1)
        counted = group(limit(kind, 2, exact=exact))
        assert left(store, counted) == [2]
        assert passed(store, counted, 2) == 2
        told = store.admit([ask(counted, cost=PEEK)], START)[0]
        assert (told.allowed, readings(counted, told)[0].remaining) == (True, 0)

    def test_a_cost_that_does_not_fit_is_refused_whole(self, open_store: Open) -> None:
        store = open_store(1)
        counted = group(limit("token_bucket", 10))
        verdicts = [store.admit([ask(counted, cost=cost)], START)[0].allowed for cost in (7, 4, 3)]
        assert verdicts == [True, False, True]

    def test_costs_may_differ_within_a_group(self, open_store: Open) -> None:
        store = open_store(1)
        counted = group(limit("fixed_window", 10), limit("token_bucket", 100))
        assert store.admit([Ask(counted, key("one"), (1, 30))], START)[0].allowed
        assert left(store, counted) == [9, 70]

    # -- settling -------------------------------------------------------------------------------------------------

    @pytest.mark.parametrize("kind", ["token_bucket", "fixed_window", "sliding_window"])
    def test_a_charge_after_the_fact_may_go_beyond_what_there_is(self, open_store: Open, kind: str) -> None:
        store = open_store(1)
        counted = group(limit(kind, 10))
        assert store.admit([ask(counted)], START)[0].allowed
        store.settle([ask(counted, cost=14)], START)
        assert left(store, counted) == [0]
        told = store.admit([ask(counted)], START)[0]
        assert not told.allowed
        assert readings(counted, told)[0].wait > 0

    def test_what_is_given_back_is_there_again_and_no_more_than_there_was(self, open_store: Open) -> None:
        store = open_store(1)
        counted = group(limit("token_bucket", 10), limit("fixed_window", 20))
        store.admit([ask(counted, cost=6)], START)
        store.settle([ask(counted, cost=-2)], START)
        assert left(store, counted) == [6, 16]
        store.settle([ask(counted, cost=-100)], START)
        assert left(store, counted) == [10, 20]

    def test_settling_what_nobody_knows_is_no_fault(self, open_store: Open) -> None:
        store = open_store(1)
        counted = group(limit("token_bucket", 5))
        store.settle([ask(counted, "never seen", -3), ask(counted, "charged", 2)], START)
        assert left(store, counted, name="never seen") == [5]
        assert left(store, counted, name="charged") == [3]

    # -- concurrency ----------------------------------------------------------------------------------------------

    def test_a_place_is_free_again_when_the_request_has_ended(self, open_store: Open) -> None:
        store = open_store(1)
        counted = group(limit("concurrency", 2))
        assert passed(store, counted, 4) == 2
        store.settle([ask(counted, cost=-1)], START)
        assert passed(store, counted, 4) == 1

    def test_a_worker_gives_back_its_own_places_only(self, open_store: Open) -> None:
        self.needs_several_workers()
        counted = group(limit("concurrency", 4))
        one, two = open_store(1), open_store(2)
        assert (passed(one, counted, 3), passed(two, counted, 3)) == (3, 1)
        two.settle([ask(counted, cost=-4)], START)
        assert left(one, counted) == [1]

    def test_the_places_of_a_worker_that_is_gone_are_free_after_the_lease(self, open_store: Open) -> None:
        self.needs_several_workers()
        counted = group(limit("concurrency", 4))
        gone, lives = open_store(1), open_store(2)
        assert (passed(gone, counted, 3), passed(lives, counted, 1)) == (3, 1)
        for second in range(0, 40, 5):
            lives.settle([ask(counted, cost=0)], START + second * SECOND)
        assert left(lives, counted, START + 40 * SECOND) == [3]

    # -- time -----------------------------------------------------------------------------------------------------

    @every_kind
    def test_a_clock_that_steps_back_a_little_admits_no_more(self, open_store: Open, kind: str, exact: bool) -> None:
        store = open_store(1)
        counted = group(limit(kind, 5, exact=exact))
        moments = [START, START - 900, START + 50, START - 1000, START, START - 10, START]
        assert sum(store.admit([ask(counted)], now)[0].allowed for now in moments) == 5

    def test_sweeping_forgets_nothing_that_counts(self, open_store: Open) -> None:
        store = open_store(1)
        counted = group(limit("fixed_window", 2))
        for turn in range(500):
            store.admit([ask(counted, f"key {turn}")], START)
        for _ in range(20):
            store.sweep(START + MINUTE - 1)
        assert {left(store, counted, START + MINUTE - 1, f"key {turn}")[0] for turn in range(500)} == {1}
