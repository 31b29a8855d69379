"""Cached answers in memory: the contract, what it may hold, who goes when it is full, and that no scan empties it."""

from __future__ import annotations

import random
import signal
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

import pytest

from headgate.stores.cache.index import Index
from headgate.stores.cache.layout import Shared, prepare
from headgate.stores.cache.memory import MemoryCache
from headgate.stores.cache.ring import Ring
from headgate.stores.cache.settings import MemoryCacheSettings
from headgate.stores.cache.store import Cached, Place, Purge
from tests.stores.cache.contract import KEEP, CacheContract, Open, cached, held, key, put, url
from tests.stores.processes import holding, together

SIZE = 1 << 20


class Clock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return prepare(MemoryCacheSettings(size=SIZE), [tmp_path])


@pytest.fixture
def store(folder: Path, clock: Clock) -> Iterator[MemoryCache]:
    store = MemoryCache(folder, clock)
    yield store
    store.close()


class TestMemory(CacheContract):
    @pytest.fixture
    def open_store(self, folder: Path, clock: Clock) -> Iterator[Open]:
        stores: list[MemoryCache] = []

        def open_one() -> MemoryCache:
            stores.append(MemoryCache(folder, clock))
            return stores[-1]

        yield open_one
        for store in stores:
            store.close()

    @pytest.fixture
    def passes(self, clock: Clock) -> Callable[[float], None]:
        def passes(seconds: float) -> None:
            clock.now += seconds

        return passes


def statistics(store: MemoryCache) -> tuple[int, int]:
    found = store.statistics()
    assert found is not None
    assert found.entries is not None
    assert found.bytes is not None
    return found.entries, found.bytes


# -- room -------------------------------------------------------------------------------------------------------------


def test_a_store_is_filled_before_anybody_goes(store: MemoryCache) -> None:
    names = [f"{number}" for number in range(400)]
    for name in names:
        put(store, name, size=1500)
    assert len(held(store, *names)) == 400
    assert statistics(store)[0] == 400


def test_it_goes_on_for_ever_and_holds_no_more_than_there_is_room_for(store: MemoryCache) -> None:
    names = [f"{number}" for number in range(3000)]
    for name in names:
        put(store, name, size=1500)
        entries, taken = statistics(store)
        assert taken <= SIZE
    alive = held(store, *names)
    assert len(alive) == entries
    assert entries > 500
    found = store.statistics()
    assert found is not None
    assert found.stored == 3000
    assert found.evicted == 3000 - entries


def test_a_scan_does_not_take_what_is_used(store: MemoryCache) -> None:
    used = [f"used {number}" for number in range(100)]
    for name in used:
        put(store, name, size=1500)
    for number in range(5000):
        if number % 10 == 0:
            held(store, *used)
        put(store, f"scan {number}", size=1500)
    assert held(store, *used) == used


def test_who_comes_back_soon_stays_longer_than_who_came_once(store: MemoryCache) -> None:
    for number in range(1000):
        put(store, f"fill {number}", size=1500)
        held(store, f"fill {number}")
    put(store, "again", size=1500)
    for number in range(60):
        put(store, f"scan {number}", size=1500)
    assert held(store, "again") == []
    put(store, "again", size=1500)
    for number in range(200):
        put(store, f"scan, too {number}", size=1500)
    assert held(store, "again") == ["again"]


def test_more_is_found_than_if_the_last_used_stayed(store: MemoryCache) -> None:
    # Half of the requests come from readers who ask for few things often, half from one who reads everything once.
    chance = random.Random(6)
    weights = list(accumulate(1 / place**0.9 for place in range(1, 3001)))
    wanted = chance.choices(range(3000), cum_weights=weights, k=6000)
    recent: OrderedDict[int, None] = OrderedDict()
    found = found_there = 0
    for turn, number in enumerate(wanted):
        if held(store, f"{number}"):
            found += 1
        else:
            put(store, f"{number}", size=1500)
        put(store, f"once {turn}", size=1500)
        if number in recent:
            found_there += 1
            del recent[number]
        recent[number] = recent[-turn - 1] = None
        while len(recent) > 600:
            recent.popitem(last=False)
    entries = statistics(store)[0]
    assert entries < 600
    assert found > found_there * 1.1


def test_of_a_full_store_what_is_used_once_more_moves_on(store: MemoryCache) -> None:
    for number in range(1000):
        put(store, f"{number}", size=1500)
    put(store, "new", size=1500)
    assert held(store, "new") == ["new"]
    for number in range(100):
        put(store, f"scan {number}", size=1500)
    assert held(store, "new") == ["new"]


def test_of_those_that_moved_on_the_used_stay(store: MemoryCache) -> None:
    favourites = [f"favourite {number}" for number in range(50)]
    for name in favourites:
        put(store, name, size=1500)
    for number in range(3000):
        if number % 100 == 0:
            assert held(store, *favourites) == favourites
        put(store, f"{number}", size=1500)
        held(store, f"{number}")


def test_what_has_expired_or_was_purged_goes_before_what_lives(store: MemoryCache, clock: Clock) -> None:
    for number in range(250):
        put(store, f"short {number}", size=1500, keep=10)
    for number in range(150):
        put(store, f"red {number}", "red", size=1500)
    clock.now += 11
    store.invalidate(url("nobody"))
    assert store.purge(Purge("tag", "red")) == 150
    names = [f"new {number}" for number in range(400)]
    for name in names:
        put(store, name, size=1500)
    assert held(store, *names) == names
    found = store.statistics()
    assert found is not None
    assert found.evicted == 0


def test_a_large_entry_has_to_come_back_and_a_larger_one_never_stays(store: MemoryCache) -> None:
    small = [f"{number}" for number in range(100)]
    for name in small:
        put(store, name, size=1000)
    put(store, "large", size=100_000)
    assert held(store, "large") == []
    put(store, "large", size=100_000)
    assert held(store, "large") == ["large"]
    for _ in range(2):
        put(store, "larger", size=400_000)
    assert held(store, "larger", *small) == small


def test_an_entry_that_is_replaced_by_one_too_large_is_gone(store: MemoryCache) -> None:
    put(store, "a", size=100)
    put(store, "a", size=400_000)
    assert held(store, "a") == []
    assert statistics(store) == (0, 0)


def test_where_all_slots_of_a_bucket_are_taken_the_least_used_goes(store: MemoryCache) -> None:
    names = [bytes(8) + number.to_bytes(12, "big") for number in range(9)]
    for name in names:
        store.put(name, Cached(b"", name), Place(url("a"), ()), KEEP, 0)
        if name is not names[3]:
            assert store.get(name) is not None
    assert [name for name in names if store.get(name) is None] == [names[3]]


def test_keys_that_look_alike_in_the_index_are_told_apart(store: MemoryCache) -> None:
    names = [bytes(12) + number.to_bytes(8, "big") for number in range(8)]
    for name in names:
        store.put(name, Cached(b"", name), Place(url("a"), ()), KEEP, 0)
    assert [store.get(name) for name in names] == [Cached(b"", name) for name in names]
    store.drop(names[2])
    assert [name for name in names if store.get(name) is None] == [names[2]]


def test_purging_everything_gives_all_of_the_room_back(store: MemoryCache) -> None:
    names = [f"{number}" for number in range(500)]
    for name in names:
        put(store, name, size=1500)
    assert store.purge(Purge("all", "")) == 500
    assert statistics(store) == (0, 0)
    for name in names:
        put(store, name, size=1500)
    assert held(store, *names) == names


def test_a_hundred_thousand_entries_of_two_kibibytes_take_less_than_300_megabytes(tmp_path: Path) -> None:
    # A twentieth of each: all parts of the file grow with it.
    size, count = 290_000_000 // 20, 100_000 // 20
    store = MemoryCache(prepare(MemoryCacheSettings(size=size), [tmp_path]))
    head, body = b"h" * 300, b"b" * 2048
    keys = [key(f"{number}") for number in range(count)]
    for each in keys:
        store.put(each, Cached(head, body), Place("https://shop.example/some/path/of/usual/length", ()), KEEP, 0)
    assert statistics(store)[0] == count
    assert all(store.get(each) == Cached(head, body) for each in keys)
    store.close()


# -- readers and writers ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("reads", [0, 1])
def test_what_is_overwritten_while_it_is_read_is_not_found(
    store: MemoryCache, folder: Path, monkeypatch: pytest.MonkeyPatch, reads: int
) -> None:
    writer = MemoryCache(folder)
    put(writer, "a", size=1500)
    read = Ring.read
    left = reads

    def interrupted(ring: Ring, offset: int, count: int) -> bytes:
        nonlocal left
        left -= 1
        if left == -1:
            monkeypatch.setattr(Ring, "read", read)
            for number in range(2000):
                put(writer, f"{number}", size=1500)
        return read(ring, offset, count)

    monkeypatch.setattr(Ring, "read", interrupted)
    assert store.get(key("a")) is None
    assert left < 0
    writer.close()


def test_an_entry_that_moves_on_while_it_is_read_is_right_or_not_found(
    store: MemoryCache, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = MemoryCache(folder)
    put(writer, "a", size=1500)
    candidates = Index.candidates

    def interrupted(index: Index, sought: bytes) -> list[int]:
        found = candidates(index, sought)
        monkeypatch.setattr(Index, "candidates", candidates)
        for number in range(100):
            put(writer, f"{number}", size=1500)
        return found

    monkeypatch.setattr(Index, "candidates", interrupted)
    assert store.get(key("a")) == cached("a", 1500)
    writer.close()


def test_a_purge_takes_nothing_that_was_asked_for_after_it_began(
    store: MemoryCache, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = MemoryCache(folder)
    for name in ("a", "b"):
        put(worker, name, "red")
    purge = MemoryCache._purge

    def interrupted(purging: MemoryCache, what: Purge, moment: int) -> int:
        put(worker, "a", "red")
        return purge(purging, what, moment)

    monkeypatch.setattr(MemoryCache, "_purge", interrupted)
    assert store.purge(Purge("tag", "red")) == 1
    assert held(store, "a", "b") == ["a"]
    worker.close()


def test_on_a_machine_that_keeps_no_order_readers_keep_out_writers(
    store: MemoryCache, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headgate.stores.cache.memory._ORDERED", False)
    put(store, "a")
    with holding(lambda: locked(folder)):
        (found,) = together(1, lambda _: waits(folder))
    assert found
    assert held(store, "a") == ["a"]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of another opening of the file."""
    shared = Shared(folder)
    shared.lock()
    yield
    shared.close()


def waits(folder: Path) -> bool:
    """Tell whether looking something up waits for the lock: an alarm ends it."""
    store = MemoryCache(folder)

    def ring(number: int, frame: object) -> None:
        raise TimeoutError

    signal.signal(signal.SIGALRM, ring)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        store.get(key("a"))
    except TimeoutError:
        return True
    return False


# -- the file ---------------------------------------------------------------------------------------------------------


def test_a_closed_store_finds_nothing_and_keeps_nothing(store: MemoryCache) -> None:
    put(store, "a")
    store.close()
    store.close()
    assert store.get(key("a")) is None
    put(store, "a")
    store.renew(key("a"), cached("a").head, cached("a"), Place(url("a"), ()), KEEP, 0)
    store.drop(key("a"))
    store.invalidate(url("a"))
    assert store.claim(key("a"), 1)
    store.yield_(key("a"))
    assert store.purge(Purge("all", "")) == -1
    assert store.statistics() is None


def test_what_is_no_store_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be opened: No such file or directory"):
        MemoryCache(tmp_path)
    (tmp_path / "entries").write_bytes(bytes(1 << 20))
    with pytest.raises(ValueError, match="is no store of cached answers"):
        MemoryCache(tmp_path)


def test_where_there_is_no_room_a_sentence_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"finds no place for its 1 MiB .*missing: No such file or directory"):
        prepare(MemoryCacheSettings(size=SIZE), [tmp_path / "missing"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("seed", range(20))
def test_what_somebody_else_wrote_to_the_file_is_a_miss_at_worst(store: MemoryCache, seed: int) -> None:
    chance = random.Random(seed)
    for number in range(300):
        put(store, str(number), "tag", size=chance.randrange(2000))
    memory = store._shared.memory
    for _ in range(chance.choice((1, 20, 500))):
        # Where all is counted as well as anywhere.
        memory[chance.randrange(16, len(memory) if chance.random() < 0.7 else 4096)] = chance.randrange(256)
    for _ in range(400):
        name = str(chance.randrange(400))
        what = chance.random()
        if what < 0.5:
            store.get(key(name))
        elif what < 0.9:
            put(store, name, "tag", size=chance.randrange(2000))
        else:
            store.purge(Purge("prefix", url("1")))
    store.purge(Purge("all", ""))
    assert store.statistics() is not None
