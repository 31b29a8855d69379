"""A gateway with a cache, and services whose answers are kept."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from headgate.stores.cache.layout import prepare
from headgate.stores.cache.settings import MemoryCacheSettings
from tests.proxy.peers import Message, Upstream, ok
from tests.proxy.stage import Rig, gateway, to

SIZE = 8 << 20


@asynccontextmanager
async def stored() -> AsyncIterator[dict[str, Any]]:
    """Make a store, and say how a configuration names it."""
    with tempfile.TemporaryDirectory() as folder:
        made = prepare(MemoryCacheSettings(size=SIZE), [Path(folder)])
        yield {"type": "memory", "size": SIZE, "path": str(made)}


@asynccontextmanager
async def caching(upstream: Upstream | str, cache: Any = True, **more: Any) -> AsyncIterator[Rig]:
    """Run a gateway with one route that has this cache; `more` as in `to`, `extra` are services beside that one."""
    document = to(upstream, cache=cache, **{name: value for name, value in more.items() if name != "extra"})
    document["services"] += more.get("extra", [])
    async with stored() as store, gateway({**document, "cache_store": store}) as rig:
        yield rig


def counting(*lines: str, body: Callable[[int], bytes] | None = None) -> Callable[[Message], bytes]:
    """Answer with the number of the request, counted from 1, and these fields."""
    asked = [0]

    def answer(_: Message) -> bytes:
        asked[0] += 1
        text = body(asked[0]) if body is not None else b"%d" % asked[0]
        return ok(text, *(lines or ("Cache-Control: max-age=60",)))

    return answer
