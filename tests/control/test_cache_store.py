"""The store of cached answers as control has it: the one of the plan in force, purged without holding control up."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from threading import get_ident

import pytest

from headgate.config.resolve import ResolvedConfig, resolve
from headgate.config.schema import Config, Route, Service
from headgate.control.cache_store import InMemory, OpenedCache
from headgate.policy.cache.settings import Cache
from headgate.stores.cache.layout import prepare
from headgate.stores.cache.memory import MemoryCache
from headgate.stores.cache.redis import RedisCache
from headgate.stores.cache.settings import MemoryCacheSettings, RedisCacheSettings
from headgate.stores.cache.store import Purge
from tests.proxy.stage import on_loop
from tests.stores.cache.contract import held, put, url
from tests.stores.redis.gates import awaited

SETTINGS = MemoryCacheSettings(size=1 << 20)


def plan(cache_store: object, *, cache: bool = True) -> ResolvedConfig:
    """Return a plan as workers have it."""
    route = Route(name="all", cache=Cache() if cache else None)
    config = resolve(Config(services=[Service(name="a", url="http://a", routes=[route])]))
    return replace(config, cache_store=cache_store)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return prepare(SETTINGS, [tmp_path])


@on_loop
async def test_what_workers_keep_is_counted_and_purged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, opened = MemoryCache(folder), OpenedCache()
    opened.follow(plan(replace(SETTINGS, path=str(folder))))
    for name in ("a", "b"):
        put(worker, name)
    assert opened.store is not None
    assert opened.store.statistics() == worker.statistics()
    threads = []
    purge = MemoryCache.purge

    def told(store: MemoryCache, what: Purge) -> int:
        threads.append(get_ident())
        return purge(store, what)

    monkeypatch.setattr(MemoryCache, "purge", told)
    found = opened.store.purge(Purge("url", url("a")))
    assert not isinstance(found, int)
    assert await awaited(found) == 1
    assert held(worker, "a", "b") == ["b"]
    assert threads[0] != get_ident()
    opened.close()
    worker.close()


def store_of(opened: OpenedCache) -> object:
    return opened.store


@on_loop
async def test_it_is_that_of_the_plan_in_force(folder: Path, tmp_path: Path) -> None:
    opened = OpenedCache()
    opened.follow(plan(SETTINGS, cache=False))
    assert store_of(opened) is None
    opened.follow(plan(replace(SETTINGS, path=str(folder))))
    first = store_of(opened)
    assert isinstance(first, InMemory)
    opened.follow(plan(replace(SETTINGS, path=str(folder))))
    assert store_of(opened) is first
    opened.follow(plan(RedisCacheSettings(url="redis://127.0.0.1:9")))
    assert isinstance(store_of(opened), RedisCache)
    assert first.statistics() is None
    opened.follow(plan(SETTINGS, cache=False))
    assert store_of(opened) is None
    # The loop lets go of what was begun.
    await asyncio.sleep(0)


@on_loop
async def test_a_file_that_is_gone_is_a_store_that_is_away(folder: Path) -> None:
    opened = OpenedCache()
    opened.follow(plan(replace(SETTINGS, path=str(folder))))
    (folder / "entries").unlink()
    assert opened.store is not None
    found = opened.store.purge(Purge("all", ""))
    assert not isinstance(found, int)
    assert await awaited(found) == -1
    opened.close()
    opened.follow(plan(replace(SETTINGS, path=str(folder))))
    assert opened.store is None
