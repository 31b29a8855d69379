"""Checks of caching: names that cannot be, settings that do nothing, and who would see what is another's."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from headgate.config.check_values import Finding
from headgate.config.problems import Path, printable
from headgate.config.schema import Config, Route
from headgate.core.field_names import TOKEN
from headgate.policy.cache.settings import Cache, CacheKey
from headgate.stores.cache.settings import MOST_IN_REDIS, RedisCacheSettings

_KEPT_METHODS = frozenset(("GET", "HEAD"))
# Of the room of a store in memory, what one entry may take (stores.cache.entries): it would push out all others.
_SHARE = 5


def check_cache(config: Config) -> Iterator[Finding]:
    """Check it on all levels."""
    for level in _levels(config):
        cache, path = level.cache, (*level.path, "cache")
        if not cache.enabled:
            continue
        yield from _names(cache, path)
        yield from _key(cache.key, (*path, "key"))
        yield from _times(cache, path)
        yield from _shared(cache, path)
        yield from _size(cache, config, path)
        if level.route is not None:
            yield from _in_vain(level.route, path)


class _Level(NamedTuple):
    path: Path
    cache: Cache
    route: Route | None


def _levels(config: Config) -> Iterator[_Level]:
    if config.cache is not None:
        yield _Level((), config.cache, None)
    for place, service in enumerate(config.services):
        path: Path = ("services", place)
        if service.cache is not None:
            yield _Level(path, service.cache, None)
        for number, route in enumerate(service.routes):
            if route.cache is not None:
                yield _Level((*path, "routes", number), route.cache, route)


def _names(cache: Cache, path: Path) -> Iterator[Finding]:
    for at, names in (
        (("bypass", "headers"), cache.bypass.headers),
        (("bypass", "cookies"), cache.bypass.cookies),
        (("key", "headers"), cache.key.headers),
        (("tags",), cache.tags),
        (("targeted",), cache.targeted),
    ):
        what = "a cookie" if at[-1] == "cookies" else "a header field"
        for place, name in enumerate(names):
            if not TOKEN.fullmatch(name):
                yield Finding((*path, *at, place), f'"{printable(name)}" is not the name of {what}')
    for at, names in (
        (("bypass", "query"), cache.bypass.query),
        (("key", "include"), cache.key.include),
        (("key", "exclude"), cache.key.exclude),
    ):
        yield from _parameters(names, (*path, *at))


def _parameters(names: Iterable[str], path: Path) -> Iterator[Finding]:
    prefixes = path[-1] == "exclude"
    for place, name in enumerate(names):
        bare = name.removesuffix("*") if prefixes else name
        if not name or any(mark in bare for mark in "&=#;"):
            yield Finding((*path, place), f'"{printable(name)}" is not the name of a query parameter')
        elif "*" in bare:
            hint = "write one at its end" if prefixes else "write the whole name"
            yield Finding((*path, place), "a * inside a name stands for itself", hint, "warning")


def _key(key: CacheKey, path: Path) -> Iterator[Finding]:
    if key.query == "all" and key.include:
        yield Finding(
            (*path, "include"), "all parameters count, so none has to be named", "write query: none", "warning"
        )
    if key.query == "none" and key.exclude:
        yield Finding((*path, "exclude"), "no parameter counts but those of include", "write query: all", "warning")


def _times(cache: Cache, path: Path) -> Iterator[Finding]:
    for name, seconds in (("ttl", cache.ttl), ("default_ttl", cache.default_ttl)):
        if seconds is not None and seconds > cache.max_ttl:
            message = f"max_ttl ends it after {cache.max_ttl:g} seconds"
            yield Finding((*path, name), message, f"write max_ttl: {seconds:g}", "warning")


def _shared(cache: Cache, path: Path) -> Iterator[Finding]:
    if cache.authorized and cache.key.partition == "shared":
        message = "what one caller is answered everybody gets, though nothing in the answer allows it"
        yield Finding((*path, "authorized"), message, "leave out key.partition: shared, or authorized", "warning")


def _size(cache: Cache, config: Config, path: Path) -> Iterator[Finding]:
    store = config.cache_store
    if isinstance(store, RedisCacheSettings):
        if cache.max_entry > MOST_IN_REDIS:
            message = f"answers of more than {MOST_IN_REDIS} bytes are not kept in Redis"
            yield Finding((*path, "max_entry"), message, f"write {MOST_IN_REDIS}", "warning")
    elif cache.max_entry > store.size // _SHARE:
        message = f"cache_store.size has room for entries of up to {store.size // _SHARE} bytes"
        yield Finding((*path, "max_entry"), message, "write a larger size there", "warning")


def _in_vain(route: Route, path: Path) -> Iterator[Finding]:
    if route.respond is not None or route.redirect is not None:
        yield Finding(path, "the route answers by itself, so there is nothing to keep", "", "warning")
    methods = {name.upper() for name in route.match.method}
    if methods and not methods & _KEPT_METHODS:
        yield Finding(path, "only answers to GET and HEAD are kept, and the route takes neither", "", "warning")
