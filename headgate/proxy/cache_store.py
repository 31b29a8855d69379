"""The store of cached answers that a configuration names, opened by a worker; there is none where nothing is cached.

Law: a request that has begun with a store goes on with it; once that is closed, it finds nothing and keeps nothing.
"""

from __future__ import annotations

from asyncio import AbstractEventLoop
from collections.abc import Callable
from pathlib import Path
from typing import Any

from headgate.config.resolve import ResolvedConfig
from headgate.proxy.breaking import Say
from headgate.stores.cache.memory import MemoryCache
from headgate.stores.cache.settings import MemoryCacheSettings, RedisCacheSettings
from headgate.stores.cache.store import CacheStore, OnChange
from headgate.stores.fallback import FAILING
from headgate.telemetry.metrics import Metrics


class CacheOpening:
    """The store of one worker: `store` is the one in force, None while nothing is cached."""

    def __init__(self, loop: AbstractEventLoop, metrics: Metrics, say: Say) -> None:
        self._loop = loop
        self._metrics = metrics
        self._say = say
        self._settings: object = None
        self.store: CacheStore | None = None

    def prepare(self, config: ResolvedConfig) -> Callable[[], None]:
        """Open the store of a plan; the function returned swaps it in and cannot fail.

        Raises:
            ValueError: with a sentence, when it cannot be opened.
        """
        wanted = config.cache_store if any(route.cache is not None for route in config.routes) else None
        if wanted == self._settings:
            return lambda: None
        store = open_cache(wanted, self._changed, self._loop) if wanted is not None else None
        return lambda: self._use(wanted, store)

    def close(self) -> None:
        """Let go of the store."""
        self._use(None, None)

    def _use(self, settings: object, store: CacheStore | None) -> None:
        old, self.store, self._settings = self.store, store, settings
        if old is not None:
            old.close()
        self._metrics.cells[self._metrics.cache_failing] = 0

    def _changed(self, state: str, reason: str) -> None:
        failing = state == FAILING
        self._metrics.cells[self._metrics.cache_failing] = int(failing)
        if failing:
            self._say("error", "the store of cached answers fails; services are asked", reason=reason)
        else:
            self._say("info", "the store of cached answers works again")


def open_cache(settings: Any, on_change: OnChange, loop: AbstractEventLoop) -> CacheStore:
    """Open a store; `on_change` is told when it fails and when it works again. `loop` connects to one elsewhere.

    Raises:
        ValueError: with a sentence, when it cannot be opened.
    """
    if isinstance(settings, MemoryCacheSettings):
        if settings.path is None:
            raise ValueError("nobody has prepared the folder of the store of cached answers")
        return MemoryCache(Path(settings.path))
    if isinstance(settings, RedisCacheSettings):
        # Here, so that a worker without Redis loads nothing of it.
        from headgate.stores.cache.redis import RedisCache

        return RedisCache(settings, on_change, loop)
    raise ValueError(f"there is no store {settings.type}")
