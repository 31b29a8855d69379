"""Checks of the store of limits."""

from __future__ import annotations

from collections.abc import Iterator

from headgate.config.check_values import Finding
from headgate.config.check_wire import check_authorities, check_pair
from headgate.config.problems import Path
from headgate.config.schema import Config
from headgate.stores.redis.address import parse
from headgate.stores.settings import RedisStoreSettings

_PATH: Path = ("store",)


def check_store(config: Config) -> Iterator[Finding]:
    """Find what keeps the store from being reached."""
    store = config.store
    if isinstance(store, RedisStoreSettings):
        yield from _redis(store)


def _redis(store: RedisStoreSettings) -> Iterator[Finding]:
    if not store.url:
        yield Finding((*_PATH, "url"), "no server is named", "write redis://HOST:PORT/DATABASE")
    schemes = set()
    for place, url in enumerate(store.url):
        try:
            server = parse(url)
        except ValueError as error:
            yield Finding((*_PATH, "url", place), str(error), "write redis://USER:PASSWORD@HOST:PORT/DATABASE")
            continue
        schemes.add(server.tls)
        if server.database and store.mode == "cluster":
            yield Finding((*_PATH, "url", place), "a cluster has no databases but 0", "leave it out of the URL")
    if "{" in store.prefix or "}" in store.prefix:
        message = "a brace in the prefix would put all keys into one slot of a cluster"
        yield Finding((*_PATH, "prefix"), message)
    yield from check_pair(store.tls.cert, store.tls.key, (*_PATH, "tls"))
    if store.tls.ca is not None:
        yield from check_authorities(store.tls.ca, (*_PATH, "tls", "ca"))
    if store.tls.cert is not None and schemes == {False}:
        message = "a client certificate is set, but no URL is rediss://, so it is never shown"
        yield Finding((*_PATH, "tls", "cert"), message, "write the URLs as rediss://", "warning")
