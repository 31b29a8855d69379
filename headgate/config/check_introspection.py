"""Checks of servers that are asked about tokens: whether they can be asked, and whether they ever are."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from headgate.auth.settings import IdentitySettings, Introspection
from headgate.auth.token_sources import parse_source
from headgate.config.check_jwt import check_sources
from headgate.config.check_values import Finding
from headgate.config.check_wire import check_resource
from headgate.config.problems import Path
from headgate.config.schema import Config

_VISIBLE = re.compile(r"[!-~]*")
_BEARER = "header:authorization"
# What a signed token begins with: an object in base64url, whose first characters are {".
_SIGNED = "eyJ"


def check_introspection(config: Config) -> Iterator[Finding]:
    """Find what keeps a server from being asked, or from being asked safely."""
    identity = config.identity
    for place, settings in enumerate(identity.introspection):
        path: Path = ("identity", "introspection", place)
        for url in settings.url:
            yield from check_resource(url + settings.path, settings.ca, path)
        yield from check_sources(settings.sources, (*path, "sources"))
        yield from _question(settings, path)
    yield from _never_asked(identity)


def _question(settings: Introspection, path: Path) -> Iterator[Finding]:
    if settings.client_secret is not None and settings.client_id is None:
        yield Finding((*path, "client_secret"), "a password without a name is never right", "write client_id too")
    if not settings.field:
        yield Finding((*path, "field"), "the token needs a name in the question", "such as token")
    if not _VISIBLE.fullmatch(settings.prefix):
        yield Finding((*path, "prefix"), "no token has a blank, a control character or one that is not ASCII")


# -- who is looked for first ---------------------------------------------------------------------------------------


class _Taker(NamedTuple):
    """What one way takes at one place: what begins with `prefix`, opaque tokens (empty) or everything (None)."""

    kind: str
    path: Path
    name: str
    place: str
    prefix: str | None


def _never_asked(identity: IdentitySettings) -> Iterator[Finding]:
    """Find ways for which nothing is left at any place, because another way has taken it: the first one decides."""
    ordered = sorted(_takers(identity), key=lambda taker: _rank(identity, taker.kind))
    for path in dict.fromkeys(taker.path for taker in ordered):
        own = [place for place, taker in enumerate(ordered) if taker.path == path]
        found = [next((each for each in ordered[:at] if _covers(each, ordered[at])), None) for at in own]
        first = found[0]
        if first is None or None in found or "introspection" not in (first.kind, ordered[own[0]].kind):
            continue
        message = f'"{first.name}" is looked for first and takes all that would be left for "{ordered[own[0]].name}"'
        yield Finding(path, message, "tell them apart by prefix, by sources or by identity.order", "warning")


def _rank(identity: IdentitySettings, kind: str) -> int:
    return identity.order.index(kind) if kind in identity.order else len(identity.order)


def _takers(identity: IdentitySettings) -> Iterator[_Taker]:
    for number, issuer in enumerate(identity.jwt):
        for source in issuer.sources:
            yield _Taker("jwt", ("identity", "jwt", number), issuer.name, _place(source), _SIGNED)
    keys = identity.api_keys
    if keys is not None and keys.enabled and keys.unknown == "refuse":
        for header in keys.headers:
            yield _Taker("api_key", ("identity", "api_keys"), keys.name, _place(f"header:{header}"), None)
        if keys.bearer:
            yield _Taker("api_key", ("identity", "api_keys"), keys.name, _BEARER, keys.prefix)
    for number, server in enumerate(identity.introspection):
        for source in server.sources:
            path: Path = ("identity", "introspection", number)
            yield _Taker("introspection", path, server.name, _place(source), server.prefix)


def _place(source: str) -> str:
    try:
        kind, name = parse_source(source)
    except ValueError:
        # Said elsewhere; a place that is none is nobody else's.
        return f"none:{source}"
    return f"{kind}:{name.decode()}"


def _covers(one: _Taker, other: _Taker) -> bool:
    """Tell whether the way that is looked for first leaves nothing to the other one at its place."""
    if one.path == other.path or one.place != other.place:
        return False
    if one.prefix is None or other.prefix is None:
        return one.prefix is None
    if not one.prefix:
        return not other.prefix.startswith(_SIGNED)
    return other.prefix.startswith(one.prefix)
