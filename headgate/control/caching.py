"""The cache as an operator sees it: what it holds, what became of requests at it, and what is purged from it.

Laws: what was purged is never answered again, and nothing is said to be purged before that is so; what requests came to
is read from the workers' cells, what is held from the store; who looks never waits longer than PATIENCE for a store.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

from headgate.config.resolve import ResolvedConfig, ResolvedRoute
from headgate.control.log import Log
from headgate.core.steps import Reply, Steps
from headgate.core.uri import BadTarget
from headgate.policy.cache.key import Keys, purge_url
from headgate.stores.cache.store import Purge, Purgeable, Scope, Statistics
from headgate.telemetry.cells import Sample, SeriesName, SlotRegion, read
from headgate.telemetry.metrics import CACHE_RESULTS, FROM_CACHE

# Seconds.
PATIENCE: Final = 10.0
MOST_VALUE: Final = 4096

_REQUESTS: Final = "headgate_cache_requests_total"
_BYTES: Final = "headgate_cache_response_bytes_total"
# By family the field of Statistics that it shows.
_GAUGES: Final = {
    "headgate_cache_entries": "entries",
    "headgate_cache_bytes": "bytes",
    "headgate_cache_size_bytes": "size",
}
_COUNTERS: Final = {f"headgate_cache_{name}_total": name for name in ("stored", "refused", "evicted", "purged")}

T = TypeVar("T")


class Away(Exception):
    """The store cannot be reached."""


class Caching:
    """All of it. `store` gives the one in force, None where no route has a cache; whoever opens it connects it."""

    def __init__(self, log: Log, regions: Sequence[SlotRegion] = ()) -> None:
        """`regions` are those of all worker slots."""
        self.store: Callable[[], Purgeable | None] = lambda: None
        self._regions = regions
        self._log = log
        self._type = ""
        self._routes: list[ResolvedRoute] = []
        self._keys: tuple[Keys, ...] = ()
        # Of a store that has to be asked, what it said last.
        self._known: Statistics | None = None
        self._asked: _Coming[Statistics | None] | None = None

    def follow(self, config: ResolvedConfig) -> None:
        """Know the routes with a cache of this configuration from now on."""
        self._routes = [route for route in config.routes if route.cache is not None]
        # By which parameters count: a URL is kept by them, and named with all.
        counting = {}
        for cache in [route.cache for route in self._routes if route.cache is not None]:
            key = cache.key
            counting[key.query, tuple(key.include), tuple(key.exclude)] = Keys(key, "")
        self._keys = tuple(counting.values())
        self._type = config.cache_store.type
        self._known = None

    def counts(self) -> dict[str, dict[str, int]]:
        """Return by route how many requests came to what (telemetry.metrics.CACHE_RESULTS), and the `bytes` answered.

        Read from the cells: under which names metrics are shown, if at all, says the configuration.
        """
        counts: dict[str, dict[str, int]] = {}
        for name, (value,) in read(self._regions, (_REQUESTS, _BYTES)):
            route = counts.setdefault(name.labels[0], {**dict.fromkeys(sorted(CACHE_RESULTS), 0), "bytes": 0})
            what = "bytes" if name.family == _BYTES else name.labels[1]
            route[what] = route.get(what, 0) + value
        return counts

    async def statistics(self) -> Statistics | None:
        """Return how the store is; None where there is none, or it is away."""
        store = self.store()
        if store is None:
            return None
        try:
            async with asyncio.timeout(PATIENCE):
                self._known = await _come(store.statistics())
        except TimeoutError:
            self._known = None
        return self._known

    def describe(self, counts: Mapping[str, Mapping[str, int]], held: Statistics | None) -> dict[str, Any]:
        """Describe the cache by what `counts` and `statistics` have returned."""
        routes = [{**_settings(each), **_shares(counts.get(each.name, {}))} for each in self._routes]
        total: dict[str, int] = {}
        for each in counts.values():
            for what, count in each.items():
                total[what] = total.get(what, 0) + count
        store = None
        if self._routes:
            store = {"type": self._type, "away": held is None, **(held._asdict() if held is not None else {})}
        return {"store": store, **_shares(total), "routes": routes}

    @property
    def used(self) -> bool:
        """Tell whether some route has a cache."""
        return bool(self._routes)

    async def purge(self, what: Purge) -> int:
        """Forget all that this names; return how many answers there were.

        Raises:
            Away: the store cannot be opened, or has not said that it is done.
        """
        store = self.store()
        if store is None:
            raise Away("the store of cached answers cannot be opened")
        found = 0
        try:
            async with asyncio.timeout(PATIENCE):
                for each in self._written(what):
                    forgotten = await _come(store.purge(each))
                    if forgotten < 0:
                        raise TimeoutError
                    found += forgotten
        except TimeoutError:
            raise Away("the store of cached answers has not said that it is done") from None
        self._log("info", "cached answers are purged by hand", by=what.scope, answers=found)
        return found

    def _written(self, what: Purge) -> list[Purge]:
        """Return the purges of all forms in which routes keep what this names."""
        if what.scope != "url":
            return [what]
        forms = dict.fromkeys([what.value, *(keys.written(what.value) for keys in self._keys)])
        return [Purge("url", form) for form in forms]

    def samples(self) -> list[Sample]:
        """Return what the store counts. One that has to be asked is asked now, and what it said before is shown."""
        store = self.store()
        if store is None:
            return []
        if self._asked is None or self._asked.done:
            self._asked = _Coming(store.statistics(), self._know)
        held = self._known
        if held is None:
            return []
        shown = {**_GAUGES, **_COUNTERS}
        return [
            Sample(SeriesName(family, "gauge" if family in _GAUGES else "counter", ()), [value])
            for family, field in shown.items()
            if (value := getattr(held, field)) is not None
        ]

    def _know(self, held: Statistics | None) -> None:
        self._known = held


def purge_of(scope: Scope, value: str) -> Purge:
    """Return the purge that somebody asked for, with URLs in the form that entries have.

    Raises:
        ValueError: with a sentence, when that is no URL.
    """
    if scope not in ("url", "prefix"):
        return Purge(scope, value)
    try:
        return Purge(scope, purge_url(value))
    except BadTarget as error:
        raise ValueError(f"{scope}: expected a URL such as https://shop.example/products: {error}") from None


class _Coming(Generic[T]):
    """A value that is here, or comes; `then` is given it."""

    def __init__(self, value: T | Reply[T], then: Callable[[T], None]) -> None:
        self.done = False
        self._then = then
        Steps(self._take(value)).go_on()

    async def _take(self, value: T | Reply[T]) -> None:
        try:
            self._then(await value if isinstance(value, Reply) else value)
        finally:
            self.done = True


async def _come(value: T | Reply[T]) -> T:
    """Wait for a value in a task."""
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    _Coming(value, lambda found: None if future.done() else future.set_result(found))
    return await future


def _settings(route: ResolvedRoute) -> dict[str, Any]:
    cache = route.cache
    assert cache is not None
    return {
        "route": route.name,
        "ttl": cache.ttl,
        "default_ttl": cache.default_ttl,
        "stale_while_revalidate": cache.stale_while_revalidate,
        "stale_if_error": cache.stale_if_error,
        "partition": cache.key.partition,
        "max_entry": cache.max_entry,
    }


def _shares(counts: Mapping[str, int]) -> dict[str, Any]:
    """Tell what requests came to, and the share of those answered from the cache that it had a part in."""
    results = {name: counts.get(name, 0) for name in sorted(CACHE_RESULTS)}
    asked = sum(results.values()) - results["bypass"]
    answered = sum(results[name] for name in FROM_CACHE)
    return {
        "results": results,
        "hit_rate": round(answered / asked, 4) if asked else None,
        "response_bytes": counts.get("bytes", 0),
    }
