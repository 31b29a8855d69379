"""The store of cached answers as control uses it: to look at it, and to purge.

Law: control's loop is held up by nothing: what looks through all entries of a store in memory does so in a thread, and
with a store of its own, because the lock keeps out other openings of the file and not other threads.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from headgate.config.resolve import ResolvedConfig
from headgate.core.steps import Reply
from headgate.proxy.cache_store import open_cache
from headgate.stores.cache.memory import MemoryCache
from headgate.stores.cache.store import CacheStore, Purge, Statistics


class OpenedCache:
    """The store in force; None where nothing is cached, or it cannot be opened."""

    def __init__(self) -> None:
        self._settings: Any = None
        self.store: InMemory | CacheStore | None = None

    def follow(self, config: ResolvedConfig) -> None:
        """Open what a plan in force names, as workers have it; close what it does not."""
        settings = config.cache_store if any(route.cache is not None for route in config.routes) else None
        if settings == self._settings:
            return
        self.close()
        if settings is not None:
            try:
                self.store = _open(settings)
            except ValueError:
                # Workers have opened it or refused the plan; whoever asks for it here is told that it is away.
                return
        self._settings = settings

    def close(self) -> None:
        """Let go of it."""
        if self.store is not None:
            self.store.close()
        self.store = self._settings = None


class InMemory:
    """A store in memory, purged in a thread."""

    __slots__ = ("_folder", "_store")

    def __init__(self, folder: Path) -> None:
        """Open it.

        Raises:
            ValueError: with a sentence, when it cannot be opened.
        """
        self._folder = folder
        self._store = MemoryCache(folder)

    def purge(self, what: Purge) -> Reply[int]:
        """Forget all that this names; return how many there were, -1 when the file is gone."""
        reply: Reply[int] = Reply()
        done = asyncio.get_running_loop().run_in_executor(None, _purge, self._folder, what)
        done.add_done_callback(lambda found: reply.set(-1 if found.cancelled() else found.result()))
        return reply

    def statistics(self) -> Statistics | None:
        """Tell how it is."""
        return self._store.statistics()

    def close(self) -> None:
        """Let go of the file."""
        self._store.close()


def _purge(folder: Path, what: Purge) -> int:
    try:
        store = MemoryCache(folder)
    except ValueError:
        return -1
    try:
        return store.purge(what)
    finally:
        store.close()


def _open(settings: Any) -> InMemory | CacheStore:
    if settings.type == "memory":
        return InMemory(Path(settings.path))
    return open_cache(settings, lambda state, reason: None, asyncio.get_running_loop())
