"""The store in the memory of one process: the contract, its bounds, and its sweep."""

from __future__ import annotations

import pytest

from headgate.stores.memory import MemoryStore
from tests.stores.contract import MINUTE, START, Open, StoreContract, ask, group, left, limit, passed


class TestMemory(StoreContract):
    shared = False

    @pytest.fixture
    def open_store(self) -> Open:
        return lambda owner: MemoryStore(1000, owner)


def test_what_has_expired_is_swept_and_the_rest_stays() -> None:
    store = MemoryStore(100_000, 1)
    short, long = group(limit("fixed_window", 5)), group(limit("fixed_window", 5, 10 * MINUTE))
    for turn in range(50_000):
        store.admit([ask(short if turn % 5 else long, f"key {turn}")], START)
    assert store.keys == 50_000
    calls = 0
    while store.keys > 10_000:
        store.sweep(START + 2 * MINUTE)
        calls += 1
    # Bounded in each call, and done after one round.
    assert calls == 50_000 // 1000
    assert store.swept == 40_000
    assert {left(store, long, START + 2 * MINUTE, f"key {turn}")[0] for turn in range(0, 50_000, 500)} == {4}


def test_more_keys_than_may_be_push_out_those_nearest_to_their_end() -> None:
    store = MemoryStore(1000, 1)
    lasting, passing = group(limit("fixed_window", 5, 10 * MINUTE)), group(limit("fixed_window", 5))
    for turn in range(400):
        store.admit([ask(lasting, f"lasting {turn}")], START)
    for turn in range(3000):
        store.admit([ask(passing, f"passing {turn}")], START)
    assert store.keys == 1000
    assert store.evicted == 2400
    stayed = sum(left(store, lasting, name=f"lasting {turn}") == [4] for turn in range(400))
    assert stayed > 300


def test_a_limit_is_kept_while_others_push_each_other_out() -> None:
    store = MemoryStore(1000, 1)
    lasting, passing = group(limit("fixed_window", 5, 10 * MINUTE)), group(limit("fixed_window", 5))
    assert passed(store, lasting, 9, name="kept") == 5
    for turn in range(2000):
        store.admit([ask(passing, f"passing {turn}")], START)
    assert passed(store, lasting, 1, name="kept") == 0


def test_what_ends_holds_no_place() -> None:
    store = MemoryStore(1000, 1)
    counted = group(limit("concurrency", 5))
    for turn in range(100):
        store.admit([ask(counted, f"key {turn}")], START)
        store.settle([ask(counted, f"key {turn}", -1)], START)
    assert store.keys == 0


def test_a_closed_store_holds_nothing() -> None:
    store = MemoryStore(1000, 1)
    store.admit([ask(group(limit("fixed_window", 5)))], START)
    store.close()
    assert repr(store) == "<MemoryStore 0 of 1000 keys, 0 evicted, 0 swept>"
