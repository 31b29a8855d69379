"""Checks of API keys: where they are shown, static ones, the pepper, and the database they are kept in.

Law: no message holds a hash, a pepper or a part of the database's URL beyond its scheme.
"""

from __future__ import annotations

from collections.abc import Iterator

from headgate.auth.api_key import read_moment, read_static_hash
from headgate.auth.settings import ApiKeys, StaticKey
from headgate.config.check_values import Finding
from headgate.config.check_wire import check_networks
from headgate.config.database_url import database_kind
from headgate.config.problems import Path, printable
from headgate.config.schema import Config
from headgate.core.field_names import field_name_objection

_PATH: Path = ("identity", "api_keys")
_SHORTEST_PEPPER = 16


def check_keys(config: Config) -> Iterator[Finding]:
    """Find what keeps keys from being taken, or from being known."""
    if config.database.url is not None:
        try:
            database_kind(config.database.url)
        except ValueError as error:
            yield Finding(("database", "url"), str(error))
    keys = config.identity.api_keys
    if keys is not None:
        yield from _shown(keys)
        yield from _static(keys.static)
        if keys.pepper is not None and len(keys.pepper) < _SHORTEST_PEPPER:
            message = f"expected at least {_SHORTEST_PEPPER} characters"
            yield Finding((*_PATH, "pepper"), message, "such as what `openssl rand -hex 32` prints")
        if keys.enabled and not keys.database and not keys.static:
            message = "no key can be right: there is neither a database of keys nor a static one"
            yield Finding((*_PATH, "database"), message, "write static keys, or database: true", "warning")


def _shown(keys: ApiKeys) -> Iterator[Finding]:
    if not keys.headers and not keys.bearer:
        yield Finding((*_PATH, "headers"), "no request can show a key", "write a header, or bearer: true")
    for place, name in enumerate(keys.headers):
        at = (*_PATH, "headers", place)
        objection = field_name_objection(name, "request")
        if objection is not None:
            yield Finding(at, objection, "such as X-API-Key")
        elif name.lower() == "authorization":
            yield Finding(at, "all of Authorization is never a key", "write bearer: true")
        elif name.lower() == "cookie":
            yield Finding(at, "all of Cookie is never a key", "such as X-API-Key")


def _static(keys: list[StaticKey]) -> Iterator[Finding]:
    ids: set[str] = set()
    hashes: set[bytes] = set()
    for place, key in enumerate(keys):
        at = (*_PATH, "static", place)
        if key.id in ids:
            yield Finding((*at, "id"), f'the key "{printable(key.id)}" stands here twice', "give each its own id")
        ids.add(key.id)
        try:
            known = read_static_hash(key.hash)
        except ValueError as error:
            yield Finding((*at, "hash"), str(error))
        else:
            if known in hashes:
                yield Finding((*at, "hash"), "another key has the same hash, so only one of them is known")
            hashes.add(known)
        if key.expires is not None:
            try:
                read_moment(key.expires)
            except ValueError as error:
                yield Finding((*at, "expires"), str(error))
        yield from check_networks(key.addresses, (*at, "addresses"))
