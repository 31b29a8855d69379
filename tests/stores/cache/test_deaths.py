"""Workers killed anywhere: what is left is whole, the lock is free, and the others go on."""

from __future__ import annotations

import os
import random
import select
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from headgate.stores.cache.layout import prepare
from headgate.stores.cache.memory import MemoryCache
from headgate.stores.cache.settings import MemoryCacheSettings
from headgate.stores.cache.store import Cached, Place, Purge
from tests.stores.cache.contract import KEEP, cached, held, key, put, url
from tests.stores.processes import CEILING, together

SIZE = 1 << 20
NAMES = [f"{number}" for number in range(700)]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return prepare(MemoryCacheSettings(size=SIZE), [tmp_path])


@pytest.fixture
def store(folder: Path) -> Iterator[MemoryCache]:
    store = MemoryCache(folder)
    yield store
    store.close()


def check(store: MemoryCache) -> None:
    """See that the books are right, that all that is found is right and whole, and that it can be gone on with."""
    # Whoever takes the lock next counts anew.
    put(store, "check", size=10)
    assert held(store, "check") == ["check"]
    store.drop(key("check"))
    alive = held(store, *NAMES)
    before = store.statistics()
    assert before is not None
    assert before.entries is not None
    # Of what was invalidated the room comes free later.
    assert len(alive) <= before.entries
    store._entries.recount()
    assert store.statistics() == before


def dies_in(folder: Path, work: Callable[[MemoryCache], object], lines: int) -> bool:
    """Do the work in a process that is killed before it has run so many lines of the store; tell whether it was."""
    pid = os.fork()
    if pid == 0:
        store = MemoryCache(folder)
        left = lines

        def trace(frame: FrameType, event: str, given: Any) -> Any:
            nonlocal left
            if "stores/cache" not in frame.f_code.co_filename:
                return None
            if event == "line":
                left -= 1
                if not left:
                    os.kill(os.getpid(), signal.SIGKILL)
            return trace

        sys.settrace(trace)
        work(store)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) or status == 0
    return os.WIFSIGNALED(status)


def replaces(store: MemoryCache) -> None:
    store.put(key("650"), cached("650", 3000), Place(url("650"), ("red",)), KEEP, store.moment)


def renews(store: MemoryCache) -> None:
    head, body = cached("698", 1500)
    store.renew(key("698"), head, Cached(head, body), Place(url("698"), ("red",)), KEEP, store.moment)


# Which steps there are depends on what is there, so each is done until it is over, from a state that has all of them.
WORKS: dict[str, Callable[[MemoryCache], object]] = {
    "put where others have to go": lambda store: put(store, "699", "red", size=9000),
    "replace": replaces,
    "renew": renews,
    "drop": lambda store: store.drop(key("640")),
    "invalidate": lambda store: store.invalidate(url("640")),
    "claim": lambda store: store.yield_(key("a")) if store.claim(key("a"), 10) else None,
    "purge everything": lambda store: store.purge(Purge("all", "")),
    "purge a tag": lambda store: store.purge(Purge("tag", "red")),
}


@pytest.mark.parametrize("work", WORKS)
def test_a_worker_may_be_killed_before_any_line(folder: Path, store: MemoryCache, work: str) -> None:
    for name in NAMES:
        put(store, name, *["red"] * (int(name) > 690), size=1500)
        if int(name) % 3 == 0:
            held(store, name)
    lines = 1
    while dies_in(folder, WORKS[work], lines):
        check(store)
        # What goes through all slots has many lines that are alike.
        lines += 1 + lines // 6
    assert lines > 10
    check(store)
    for name in NAMES:
        put(store, name, size=1000)
    assert len(held(store, *NAMES)) > 400


def test_a_claim_ends_with_its_owner(folder: Path, store: MemoryCache) -> None:
    (claimed,) = together(1, lambda _: MemoryCache(folder).claim(key("a"), 1000))
    assert claimed
    assert store.claim(key("a"), 1000)


def test_workers_that_come_and_go_see_nothing_but_whole_entries(folder: Path, store: MemoryCache) -> None:
    chance = random.Random(6)
    told, tells = os.pipe()

    def begin(seed: int) -> int:
        pid = os.fork()
        if pid == 0:
            try:
                _work(MemoryCache(folder), random.Random(seed), tells)
            finally:
                os.write(tells, b"!")
                os._exit(1)
        return pid

    # A descriptor may have any number here, which `select` cannot take.
    heard = select.poll()
    heard.register(told, select.POLLIN)
    workers = [begin(number) for number in range(3)]
    try:
        for number in range(3, 20):
            for _ in range(chance.randrange(1, 60)):
                assert heard.poll(CEILING * 1000), "nobody works any more"
                assert b"!" not in os.read(told, 1), "a worker has seen what cannot be"
            os.kill(workers[0], signal.SIGKILL)
            os.waitpid(workers.pop(0), 0)
            workers.append(begin(number))
    finally:
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        os.close(told)
        os.close(tells)
    check(store)


def _work(store: MemoryCache, chance: random.Random, tells: int) -> None:
    while True:
        for _ in range(20):
            name = chance.choice(NAMES)
            what = chance.random()
            if what < 0.5:
                held(store, name)
            elif what < 0.9:
                put(store, name, "red", size=chance.randrange(4000))
            elif what < 0.97:
                store.drop(key(name))
            elif what < 0.995:
                store.invalidate(url(name))
            else:
                store.purge(Purge("prefix", url(name)))
            if store.claim(key(name), 10):
                store.yield_(key(name))
        os.write(tells, b".")
