"""Cached answers in memory against a dictionary: whatever is done, nothing is found that the dictionary has not."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, invariant, rule

from headgate.stores.cache.layout import prepare
from headgate.stores.cache.memory import MemoryCache
from headgate.stores.cache.settings import MemoryCacheSettings
from headgate.stores.cache.store import Cached, Place, Purge
from tests.stores.cache.contract import key, url
from tests.stores.cache.test_memory import SIZE, Clock

names = st.sampled_from([f"{folder}/{number}" for folder in "ab" for number in range(12)])
tags = st.lists(st.sampled_from(["red", "green", "blue"]), unique=True, max_size=2)
# Some have no room in the small ring, and a few in neither.
sizes = st.sampled_from([0, 1, 500, 3000, 20_000, 40_000, 300_000])


class Kept(NamedTuple):
    cached: Cached
    tags: list[str]
    ends: float


class Asked(NamedTuple):
    """A request under way: when it began, by the number of purges before it, and by the store's moment."""

    purges: int
    moment: int


class Model(RuleBasedStateMachine):
    """Two workers of one store, and the dictionary."""

    asked = Bundle("asked")

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.clock = Clock()
        folder = prepare(MemoryCacheSettings(size=SIZE), [Path(self.folder.name)])
        self.stores = [MemoryCache(folder, self.clock) for _ in range(2)]
        self.kept: dict[str, Kept] = {}
        self.purges: list[Purge] = []
        self.written = 0

    def teardown(self) -> None:
        for store in self.stores:
            store.close()
        self.folder.cleanup()

    @rule(target=asked, worker=st.integers(0, 1))
    def ask(self, worker: int) -> Asked:
        return Asked(len(self.purges), self.stores[worker].moment)

    @rule(worker=st.integers(0, 1), name=names, tags=tags, size=sizes, keep=st.sampled_from([1.0, 100.0]), asked=asked)
    def put(self, worker: int, name: str, tags: list[str], size: int, keep: float, asked: Asked) -> None:
        self.written += 1
        cached = Cached(f"{name} {self.written}".encode(), bytes([self.written % 256]) * size)
        self.stores[worker].put(key(name), cached, Place(url(name), tags), keep, asked.moment)
        self.kept.pop(name, None)
        if not any(meant(each, name, tags) for each in self.purges[asked.purges :]):
            self.kept[name] = Kept(cached, tags, self.clock.now + keep)

    @rule(worker=st.integers(0, 1), name=names, asked=asked)
    def renew(self, worker: int, name: str, asked: Asked) -> None:
        before = self.kept.get(name)
        if before is None:
            return
        self.written += 1
        cached = Cached(f"{name} {self.written}".encode(), before.cached.body)
        place = Place(url(name), before.tags)
        self.stores[worker].renew(key(name), before.cached.head, cached, place, 50.0, asked.moment)
        if self.stores[0].get(key(name)) == before.cached:
            raise AssertionError("it was not renewed")
        del self.kept[name]
        if not any(meant(each, name, before.tags) for each in self.purges[asked.purges :]):
            self.kept[name] = Kept(cached, before.tags, self.clock.now + 50.0)

    @rule(worker=st.integers(0, 1), name=names)
    def drop(self, worker: int, name: str) -> None:
        self.stores[worker].drop(key(name))
        self.kept.pop(name, None)

    @rule(
        worker=st.integers(0, 1),
        what=st.one_of(
            names.map(lambda name: Purge("url", url(name))),
            st.sampled_from(["a/", "b/1", "", "a/11"]).map(lambda text: Purge("prefix", url(text))),
            st.sampled_from(["red", "green"]).map(lambda tag: Purge("tag", tag)),
            st.just(Purge("all", "")),
        ),
    )
    def purge(self, worker: int, what: Purge) -> None:
        self.purges.append(what)
        self.stores[worker].purge(what)
        self.kept = {name: kept for name, kept in self.kept.items() if not meant(what, name, kept.tags)}

    @rule(worker=st.integers(0, 1), name=names)
    def invalidate(self, worker: int, name: str) -> None:
        self.purges.append(Purge("url", url(name)))
        self.stores[worker].invalidate(url(name))
        self.kept.pop(name, None)

    @rule(seconds=st.sampled_from([0.5, 2.0, 60.0]))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds
        self.kept = {name: kept for name, kept in self.kept.items() if kept.ends > self.clock.now}

    @invariant()
    def nothing_is_found_that_is_not_kept(self) -> None:
        found = self.stores[0].statistics()
        assert found is not None
        for name in {*self.kept, "a/1", "b/11"}:
            cached = self.stores[1].get(key(name))
            kept = self.kept.get(name)
            if cached is not None:
                assert kept is not None
                assert cached == kept.cached
            elif kept is not None:
                # It was too large, or made room.
                assert found.refused or found.evicted
                del self.kept[name]

    @invariant()
    def the_books_are_right(self) -> None:
        store = self.stores[0]
        before = store.statistics()
        store._entries.recount()
        assert store.statistics() == before


def meant(what: Purge, name: str, tags: list[str]) -> bool:
    match what.scope:
        case "url":
            return url(name) == what.value
        case "prefix":
            return url(name).startswith(what.value)
        case "tag":
            return what.value in tags
    return True


TestModel = Model.TestCase
TestModel.settings = settings(max_examples=50, stateful_step_count=40, deadline=None)
