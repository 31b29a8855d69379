"""Which store of cached answers a worker opens, and what becomes of it."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headgate.config.resolve import ResolvedConfig, resolve
from headgate.config.schema import Config, Route, Service
from headgate.policy.cache.settings import Cache
from headgate.proxy.cache_store import CacheOpening, open_cache
from headgate.stores.cache.layout import prepare
from headgate.stores.cache.memory import MemoryCache
from headgate.stores.cache.settings import MemoryCacheSettings, RedisCacheSettings
from headgate.stores.cache.store import CacheStore
from headgate.telemetry.cells import SlotRegion, SlotWriter
from headgate.telemetry.metrics import Metrics
from tests.proxy.peers import eventually, free_port
from tests.proxy.stage import on_loop
from tests.stores.cache.contract import held, key, put

SETTINGS = MemoryCacheSettings(size=1 << 20)
Said = list[tuple[str, str, dict[str, Any]]]


def plan(cache_store: object, *, cache: bool = True) -> ResolvedConfig:
    route = Route(name="all", cache=Cache() if cache else None)
    config = resolve(Config(services=[Service(name="a", url="http://a", routes=[route])]))
    return replace(config, cache_store=cache_store)


def opening(said: Said | None = None) -> CacheOpening:
    lines: Said = [] if said is None else said

    def say(level: str, text: str, **named: Any) -> None:
        lines.append((level, text, named))

    return CacheOpening(asyncio.get_running_loop(), Metrics(SlotWriter(SlotRegion.create(1 << 18, 1 << 14))), say)


def store_of(cached: CacheOpening) -> CacheStore | None:
    return cached.store


@on_loop
async def test_it_changes_with_the_plan_and_only_once_all_is_ready(tmp_path: Path) -> None:
    folders = [str(prepare(SETTINGS, [tmp_path])) for _ in range(2)]
    cached = opening()
    cached.prepare(plan(SETTINGS, cache=False))()
    assert store_of(cached) is None
    swap = cached.prepare(plan(replace(SETTINGS, path=folders[0])))
    assert store_of(cached) is None
    swap()
    first = store_of(cached)
    assert isinstance(first, MemoryCache)
    put(first, "a")
    cached.prepare(plan(replace(SETTINGS, path=folders[0])))()
    assert cached.store is first
    cached.prepare(plan(replace(SETTINGS, path=folders[1])))()
    assert cached.store is not first
    # Who began with the old one finds nothing there, and does no harm.
    assert held(first, "a") == []
    put(first, "a")
    cached.close()
    assert store_of(cached) is None


@on_loop
async def test_a_server_that_comes_and_goes_is_said_once() -> None:
    said: Said = []
    cached = opening(said)
    port = free_port()
    cached.prepare(plan(RedisCacheSettings(url=f"redis://127.0.0.1:{port}", timeout=0.1)))()
    assert cached.store is not None
    await eventually(lambda: bool(said))
    assert cached.store.get(key("a")) is None
    [(level, text, named)] = said
    assert (level, text) == ("error", "the store of cached answers fails; services are asked")
    assert f"127.0.0.1:{port}" in named["reason"]
    cached.close()


@on_loop
async def test_what_cannot_be_opened_is_a_sentence(tmp_path: Path) -> None:
    cached = opening()
    with pytest.raises(ValueError, match="nobody has prepared the folder"):
        cached.prepare(plan(SETTINGS))
    with pytest.raises(ValueError, match="cannot be opened"):
        cached.prepare(plan(replace(SETTINGS, path=str(tmp_path))))
    with pytest.raises(ValueError, match="there is no store odd"):
        open_cache(type("Odd", (), {"type": "odd"})(), lambda *_: None, asyncio.get_running_loop())
    assert cached.store is None
