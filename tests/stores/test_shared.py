"""The store that the workers of a machine share: the contract, exactness over real processes, deaths, a full file."""

from __future__ import annotations

import mmap
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headgate.stores.memory import MemoryStore
from headgate.stores.settings import SharedStoreSettings
from headgate.stores.shared import SharedStore, prepare
from tests.stores.contract import (
    MINUTE,
    SECOND,
    START,
    Answering,
    Open,
    StoreContract,
    ask,
    every_kind,
    group,
    left,
    limit,
    passed,
)
from tests.stores.processes import CEILING, end, together
from tests.stores.remote import Remote

SIZE = 1 << 20
Said = list[tuple[str, str]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return prepare(SharedStoreSettings(size=SIZE), [tmp_path])


def opened(path: Path, owner: int = 1, said: Said | None = None, size: int = SIZE) -> SharedStore:
    changes: Said = [] if said is None else said
    return SharedStore(
        path, size, owner, MemoryStore(1000, owner), lambda state, detail: changes.append((state, detail))
    )


class TestShared(StoreContract):
    @pytest.fixture
    def open_store(self, path: Path) -> Iterator[Open]:
        workers: list[Remote] = []

        def open_for(owner: int) -> Answering:
            workers.append(Remote(lambda: opened(path, owner)))
            return workers[-1]

        yield open_for
        for worker in workers:
            worker.kill()


# -- exactness over processes -----------------------------------------------------------------------------------------


@every_kind
@pytest.mark.parametrize("requests", [10, 100])
def test_of_four_workers_exactly_the_limit_passes(path: Path, kind: str, exact: bool, requests: int) -> None:
    counted = group(limit(kind, requests, exact=exact))
    assert sum(together(4, lambda worker: passed(opened(path, worker + 1), counted, requests))) == requests


def test_of_four_workers_a_refusal_consumes_none(path: Path) -> None:
    narrow, wide = group(limit("fixed_window", 300), limit("token_bucket", 500)), group(limit("sliding_window", 1000))
    asks = [ask(wide, "wide"), ask(narrow, "narrow")]

    def work(worker: int) -> int:
        store = opened(path, worker + 1)
        return sum(all(told.allowed for told in store.admit(asks, START)) for _ in range(300))

    assert sum(together(4, work)) == 300
    store = opened(path)
    assert left(store, wide, name="wide") == [700]
    assert left(store, narrow, name="narrow") == [0, 200]
    store.close()


class Tally:
    """Counts that processes keep in memory they share, one for each."""

    def __init__(self) -> None:
        self._cells = memoryview(mmap.mmap(-1, 4096)).cast("Q")

    def child(self, number: int, work: Callable[[], bool]) -> int:
        """Fork a process that works again and again and counts how often it was told True; return its id."""
        pid = os.fork()
        if pid == 0:
            try:
                while True:
                    if work():
                        self._cells[number] += 1
            finally:
                os._exit(1)
        return pid

    def wait(self, number: int, more: int) -> None:
        """Wait until this one has counted so many more."""
        wanted = self._cells[number] + more
        ends = time.monotonic() + CEILING
        while self._cells[number] < wanted:
            assert time.monotonic() < ends, f"process {number} has stopped at {self._cells[number]}"
            time.sleep(0.0005)

    @property
    def total(self) -> int:
        return sum(self._cells)


def test_workers_killed_in_the_middle_leave_the_lock_and_whole_counts(path: Path) -> None:
    counted, beside = group(limit("fixed_window", 10**9)), group(limit("token_bucket", 10**9))
    asks = [ask(counted, "counted"), ask(beside, "beside")]
    tally = Tally()

    def worker(number: int) -> int:
        stores: list[SharedStore] = []

        def work() -> bool:
            if not stores:
                stores.append(opened(path, number))
            told = stores[0].admit(asks, START)
            return [each.source for each in told] == ["store", "store"]

        return tally.child(number, work)

    survivor = worker(0)
    kills = 25
    try:
        for _ in range(kills):
            # Nearly all of its time is spent inside a transaction, so most of the kills are.
            victim = worker(1)
            tally.wait(1, 20)
            end(victim)
            tally.wait(0, 20)
    finally:
        end(survivor)
    store = opened(path)
    used = 10**9 - left(store, counted, name="counted")[0]
    # What a killed worker had consumed and not counted yet was its own last request.
    assert tally.total <= used <= tally.total + kills + 1
    # Both counts of a request were changed, or none.
    assert 10**9 - left(store, beside, name="beside")[0] == used
    store.close()


@pytest.mark.parametrize("kind", ["token_bucket", "sliding_window", "fixed_window", "concurrency"])
def test_exactly_the_limit_passes_though_a_worker_is_killed(path: Path, kind: str) -> None:
    requests = 4000
    counted = group(limit(kind, requests))
    tally = Tally()

    def victim_works() -> bool:
        if not stores:
            stores.append(opened(path, 9))
        return stores[0].admit([ask(counted)], START)[0].allowed

    stores: list[SharedStore] = []
    victim = tally.child(0, victim_works)
    tally.wait(0, 100)

    def work(worker: int) -> int:
        if worker == 3:
            os.kill(victim, signal.SIGKILL)
        return passed(opened(path, worker + 1), counted, requests)

    others = sum(together(4, work))
    os.waitpid(victim, 0)
    assert requests - 1 <= others + tally.total <= requests


# -- a full file ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "requests", "keys", "most_cost"),
    [
        pytest.param("fixed_window", 5, 40_000, 1, id="short records"),
        pytest.param("sliding_window, exact", 1000, 400, 200, id="records longer than a page"),
    ],
)
def test_ten_times_too_many_keys_are_never_an_error(
    path: Path, kind: str, requests: int, keys: int, most_cost: int
) -> None:
    counted = group(limit(kind.partition(",")[0], requests, exact="exact" in kind))

    def work(worker: int) -> tuple[Counter[str], int, Said]:
        said: Said = []
        store = opened(path, worker + 1, said)
        sources: Counter[str] = Counter()
        for turn in range(max(keys, 3000)):
            cost = 1 + turn % most_cost
            told = store.admit([ask(counted, f"{worker} {turn % keys}", cost)], START + turn)
            sources[told[0].source] += 1
        return sources, store.evicted, said

    for sources, evicted, said in together(3, work):
        # One long record in a hundred may find no pages side by side.
        assert sources.keys() <= {"store", "local"}
        assert sources["local"] <= (sources.total() // 100 if "exact" in kind else 0)
        assert evicted > 100
        assert said == []
    store = opened(path)
    assert store.keys > 100
    # There is room for what is asked for again and again.
    assert passed(store, group(limit("fixed_window", 5)), 9, name="steady") == 5
    store.close()


def test_what_is_pushed_out_is_nearest_to_its_end(path: Path) -> None:
    store = opened(path)
    lasting, passing = group(limit("fixed_window", 5, 10 * MINUTE)), group(limit("fixed_window", 5))
    for turn in range(400):
        store.admit([ask(lasting, f"lasting {turn}")], START)
    for turn in range(15_000):
        store.admit([ask(passing, f"passing {turn}")], START)
    assert store.evicted > 2000
    stayed = sum(left(store, lasting, name=f"lasting {turn}") == [4] for turn in range(400))
    assert stayed > 200
    store.close()


# -- sweeping ---------------------------------------------------------------------------------------------------------


def test_what_has_expired_is_swept_and_the_rest_stays(tmp_path: Path) -> None:
    size = 16 << 20
    path = prepare(SharedStoreSettings(size=size), [tmp_path])
    store = opened(path, size=size)
    short, long = group(limit("fixed_window", 5)), group(limit("fixed_window", 5, 10 * MINUTE))
    for turn in range(50_000):
        store.admit([ask(short if turn % 5 else long, f"key {turn}")], START)
    assert store.keys == 50_000
    calls = 0
    while store.keys > 10_000:
        store.sweep(START + 2 * MINUTE)
        calls += 1
        assert calls < 10_000
    assert (store.keys, store.swept, store.evicted) == (10_000, 40_000, 0)
    assert {left(store, long, START + 2 * MINUTE, f"key {turn}")[0] for turn in range(0, 50_000, 500)} == {4}
    store.sweep(START + 20 * MINUTE)
    store.close()


def test_what_ends_holds_no_place(path: Path) -> None:
    store = opened(path)
    counted = group(limit("concurrency", 5))
    for turn in range(100):
        store.admit([ask(counted, f"key {turn}")], START)
        store.settle([ask(counted, f"key {turn}", -1)], START)
    assert store.keys == 0
    store.close()


# -- faults -----------------------------------------------------------------------------------------------------------


def broken(store: SharedStore) -> SharedStore:
    """Close the file under the store: every use of it is an error of LMDB from now on."""
    assert store._env is not None
    store._env.close()
    return store


def test_a_store_that_fails_says_so_once_and_works_again_after_a_second(path: Path) -> None:
    said: Said = []
    store = opened(path, said=said)
    counted = group(limit("fixed_window", 5))
    assert passed(store, counted, 2) == 2
    broken(store)
    sources = [store.admit([ask(counted)], START + turn)[0].source for turn in range(3)]
    store.settle([ask(counted)], START + 3)
    store.sweep(START + 3)
    assert sources == ["local"] * 3
    assert [state for state, _ in said] == ["failing"]
    assert said[0][1]
    assert (store.keys, store.fallback.decided) == (0, 3)
    # What was counted before is still there.
    assert store.admit([ask(counted)], START + SECOND)[0].source == "store"
    assert left(store, counted, START + SECOND) == [2]
    assert [state for state, _ in said] == ["failing", "working"]
    store.close()


def test_a_store_whose_file_is_gone_goes_on_failing(path: Path) -> None:
    said: Said = []
    store = opened(path, said=said)
    counted = group(limit("fixed_window", 5))
    broken(store)
    (path / "data.mdb").unlink()
    (path / "lock.mdb").unlink()
    sources = [store.admit([ask(counted)], START + second * SECOND)[0].source for second in range(4)]
    assert sources == ["local"] * 4
    assert [state for state, _ in said] == ["failing"]
    store.close()


def test_a_request_that_fails_in_a_limit_leaves_the_lock(path: Path) -> None:
    store = opened(path)
    counted = group(limit("fixed_window", 5))
    with pytest.raises(IndexError):
        store.admit([ask(counted)._replace(costs=())], START)
    assert passed(store, counted, 9) == 5
    store.close()


def test_a_closed_store_lets_what_still_ends_pass(path: Path) -> None:
    said: Said = []
    store = opened(path, said=said)
    store.close()
    store.settle([ask(group(limit("fixed_window", 5)))], START)
    assert said == []


# -- making the file --------------------------------------------------------------------------------------------------


def test_the_file_has_all_its_bytes_from_the_start(path: Path) -> None:
    status = (path / "data.mdb").stat()
    assert status.st_size == SIZE
    assert status.st_blocks * 512 >= SIZE
    assert path.stat().st_mode & 0o077 == 0


def test_each_file_has_a_folder_of_its_own(tmp_path: Path) -> None:
    settings = SharedStoreSettings(size=SIZE)
    assert prepare(settings, [tmp_path]) != prepare(settings, [tmp_path])


def test_the_first_folder_with_room_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small, large = tmp_path / "small", tmp_path / "large"
    small.mkdir()
    large.mkdir()
    allocate = os.posix_fallocate

    def full(file: int, offset: int, length: int) -> None:
        if Path(f"/proc/self/fd/{file}").readlink().is_relative_to(small):
            raise OSError(28, "No space left on device")
        allocate(file, offset, length)

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert prepare(SharedStoreSettings(size=SIZE), [tmp_path / "none", small, large]).parent == large
    assert list(small.iterdir()) == []


def test_no_room_anywhere_is_said_with_what_to_write_instead(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(ValueError, match=r"1 MiB.*missing: No such file.*store\.path.*store\.size"):
        prepare(SharedStoreSettings(size=SIZE), [missing])


def test_a_file_that_is_none_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot be opened"):
        opened(tmp_path / "missing")
    (tmp_path / "data.mdb").write_bytes(b"no database" * 1000)
    with pytest.raises(ValueError, match="cannot be opened"):
        opened(tmp_path)
