"""The store that a configuration names, opened by a worker."""

from __future__ import annotations

import os
from asyncio import AbstractEventLoop
from pathlib import Path
from typing import Any

from headgate.stores.fallback import OnChange
from headgate.stores.memory import MemoryStore
from headgate.stores.settings import MemoryStoreSettings, RedisStoreSettings, SharedStoreSettings
from headgate.stores.shared import SharedStore
from headgate.stores.store import Store

# What a worker counts by itself while the store is away.
_LOCAL_KEYS = 100_000


def _standby(settings: RedisStoreSettings, owner: int, local: MemoryStore) -> MemoryStore | SharedStore:
    """Open what counts while the servers are away: what all workers share, or without a file for it their own memory.

    If that file fails too, nobody is told: that the store fails is known already.
    """
    if settings.path is None or not settings.counts_together:
        return local
    return SharedStore(Path(settings.path), settings.size, owner, local, lambda state, reason: None)


def open_store(settings: Any, on_change: OnChange, loop: AbstractEventLoop) -> Store:
    """Open it; `on_change` is told when it fails and when it works again. One elsewhere is connected to from `loop`.

    Raises:
        ValueError: with a sentence, when it cannot be opened.
    """
    # Six bytes, so that the script of a store elsewhere can count with it.
    owner = int.from_bytes(os.urandom(6), "little")
    if isinstance(settings, MemoryStoreSettings):
        return MemoryStore(settings.max_keys, owner)
    local = MemoryStore(_LOCAL_KEYS, owner)
    if isinstance(settings, SharedStoreSettings):
        if settings.path is None:
            raise ValueError("nobody has prepared the folder of the shared store")
        return SharedStore(Path(settings.path), settings.size, owner, local, on_change)
    if isinstance(settings, RedisStoreSettings):
        # Here, so that a worker without Redis loads nothing of it.
        from headgate.stores.redis.store import RedisStore

        return RedisStore(settings, owner, _standby(settings, owner, local), on_change, loop)
    raise ValueError(f"there is no store {settings.type}")
