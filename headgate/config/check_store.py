"""Checks of the stores of limits and of cached answers."""

from __future__ import annotations

from collections.abc import Iterator

from headgate.config.check_values import Finding
from headgate.config.check_wire import check_authorities, check_pair
from headgate.config.problems import Path
from headgate.config.schema import Config
from headgate.stores.cache.settings import RedisCacheSettings
from headgate.stores.redis.address import parse
from headgate.stores.settings import RedisStoreSettings, RedisTls

_PATH: Path = ("store",)
_CACHE_PATH: Path = ("cache_store",)
_LEAST_SIZE = 1 << 20


def check_store(config: Config) -> Iterator[Finding]:
    """Find what keeps the stores from being reached."""
    store = config.store
    if isinstance(store, RedisStoreSettings):
        yield from _redis(store)
    if isinstance(config.cache_store, RedisCacheSettings):
        yield from _cache(config.cache_store)


def _redis(store: RedisStoreSettings) -> Iterator[Finding]:
    if not store.url:
        yield Finding((*_PATH, "url"), "expected at least one URL", "such as redis://127.0.0.1:6379/0")
    if store.mode == "single" and len(store.url) > 1:
        yield Finding((*_PATH, "url"), "one server has one URL, and several stand here", "mode: cluster or sentinel")
    schemes = set()
    for place, url in enumerate(store.url):
        try:
            server = parse(url)
            if server.database and store.mode == "cluster":
                raise ValueError("a cluster has only database 0")
        except ValueError as error:
            # The URL itself may hold a password, so it is not shown.
            yield Finding((*_PATH, "url", place), str(error), "write redis://HOST:PORT/DATABASE")
        else:
            schemes.add(server.tls)
    if "{" in store.prefix or "}" in store.prefix:
        yield Finding((*_PATH, "prefix"), "a brace in the prefix would put all keys into one slot of a cluster")
    if 0 < store.size < _LEAST_SIZE:
        yield Finding((*_PATH, "size"), "no limit finds room in so little", "at least 1MiB, or 0 for no such file")
    yield from _tls(store.tls, schemes, _PATH)


def _cache(store: RedisCacheSettings) -> Iterator[Finding]:
    schemes = set()
    try:
        schemes.add(parse(store.url).tls)
    except ValueError as error:
        yield Finding((*_CACHE_PATH, "url"), str(error), "write redis://HOST:PORT/DATABASE")
    yield from _tls(store.tls, schemes, _CACHE_PATH)


def _tls(tls: RedisTls, schemes: set[bool], path: Path) -> Iterator[Finding]:
    yield from check_pair(tls.cert, tls.key, (*path, "tls"))
    if tls.ca is not None:
        yield from check_authorities(tls.ca, (*path, "tls", "ca"))
    if tls.cert is not None and schemes == {False}:
        message = "a client certificate is set, but no URL is rediss://, so it is never shown"
        yield Finding((*path, "tls", "cert"), message, "write the URLs as rediss://", "warning")
