"""The check of the soak that needs no gateway: the stores of limits, with a million keys that come and go."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from time import monotonic, thread_time
from typing import Protocol

from bench.scene import Scene, Verdict
from bench.stage import say
from headgate.policy.limit.fixed_window import FixedWindow
from headgate.policy.limit.group import Group
from headgate.stores.memory import MemoryStore
from headgate.stores.settings import SharedStoreSettings
from headgate.stores.shared import SharedStore, prepare
from headgate.stores.store import KEY_BYTES, Ask, Store

_PAUSE_SECONDS = 0.01
_SIZE = 256 * 1024 * 1024
_MINUTE = 60_000_000
# As often as a worker sweeps, ten times faster.
_REST_SECONDS = 0.01


class _Counting(Store, Protocol):
    @property
    def keys(self) -> int:
        """How many keys are held."""


async def keys(scene: Scene, count: int = 1_000_000) -> Verdict:
    """A million keys of limits come, expire and are swept, in each store, and no step of the sweep takes over 10 ms."""
    folder = prepare(SharedStoreSettings(size=_SIZE), [scene.stage.folder])
    stores: dict[str, Callable[[], _Counting]] = {
        "memory": lambda: MemoryStore(count, 1),
        "shared": lambda: SharedStore(folder, _SIZE, 1, MemoryStore(count, 1), lambda state, reason: None),
    }
    words = []
    held = True
    for name, make in stores.items():
        store = make()
        filled, swept, gone = await _fill_and_sweep(store, count, scene.deadline())
        store.close()
        held = held and gone and swept < _PAUSE_SECONDS
        words.append(
            f"{name}: longest step of the sweep {swept * 1000:.2f} ms, longest admission {filled * 1000:.2f} ms"
            f"{'' if gone else ', AND SOME ARE LEFT'}"
        )
        say(f"  {words[-1]}")
    return Verdict(held, f"{count:,} keys; {'; '.join(words)} (at most {_PAUSE_SECONDS * 1000:g})")


async def _fill_and_sweep(store: _Counting, count: int, deadline: float) -> tuple[float, float, bool]:
    """Return the longest admission and the longest sweep, in seconds of CPU, and whether all keys are gone.

    CPU, because what else runs on the machine is no pause of the store.
    """
    group = Group(["keys"], [FixedWindow(10, _MINUTE)], b"the soak")
    began = int(monotonic() * 1_000_000)
    filled = swept = 0.0
    for _ in range(count):
        ask = [Ask(group, os.urandom(KEY_BYTES), (1,))]
        before = thread_time()
        store.admit(ask, began)
        filled = max(filled, thread_time() - before)
    loop = asyncio.get_running_loop()
    while store.keys and loop.time() < deadline:
        before = thread_time()
        store.sweep(began + 2 * _MINUTE)
        swept = max(swept, thread_time() - before)
        await asyncio.sleep(_REST_SECONDS)
    return filled, swept, not store.keys
