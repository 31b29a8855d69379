"""Checks of the ways to show who one is: their names and order, users and their hashes, certificates and rules."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

from headgate.auth.basic import PasswordHash, read_hash
from headgate.auth.settings import Basic, BasicUser, Certificates, IdentitySettings
from headgate.catalog import AUTH
from headgate.config.check_values import Finding
from headgate.config.problems import Path, did_you_mean, printable
from headgate.config.schema import Config, Listen
from headgate.core.address import is_loopback, parse_listen

_PATH: Path = ("identity",)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def check_methods(config: Config) -> Iterator[Finding]:
    """Find what keeps a way from being found, or from being what it seems."""
    identity = config.identity
    configured = _configured(identity)
    yield from _names(identity)
    yield from _order(identity.order, configured)
    if identity.basic is not None:
        yield from _users(identity.basic, (*_PATH, "basic"))
        yield from _in_the_clear(config.listen)
    if identity.stand_in is not None:
        message = "anybody is let in who shows anything at all"
        yield Finding((*_PATH, "stand_in"), message, "for tests only", "warning")
    if identity.certificates is not None:
        yield from _certificates(identity.certificates, config.listen)
        if all(listen.tls and listen.tls.client_ca and listen.tls.client_auth == "require" for listen in config.listen):
            yield from _never_reached(config, configured)


def _configured(identity: IdentitySettings) -> list[str]:
    """List the kinds that are configured, in the order in which they are looked for."""
    there = [kind for kind, entry in AUTH.items() if entry.configured(identity)]
    return [kind for kind in dict.fromkeys((*identity.order, *there)) if kind in there]


def _names(identity: IdentitySettings) -> Iterator[Finding]:
    seen: set[str] = set()
    for entry in AUTH.values():
        several = isinstance(getattr(identity, entry.key), list)
        for place, each in enumerate(entry.configured(identity)):
            if each.name in seen:
                at: Path = (*_PATH, entry.key, *((place,) if several else ()), "name")
                name = printable(each.name)
                message = f'two ways are called "{name}", and logs, metrics and auth.methods tell them by it'
                yield Finding(at, message, "write a name of its own")
            seen.add(each.name)


def _order(order: list[str], configured: list[str]) -> Iterator[Finding]:
    path: Path = (*_PATH, "order")
    for place, kind in enumerate(order):
        if kind not in AUTH:
            message = f'there is no way "{printable(kind)}"'
            yield Finding((*path, place), message, did_you_mean(kind, AUTH) or f"write {', '.join(AUTH)}")
        elif kind in order[:place]:
            yield Finding((*path, place), f"{kind} stands here twice", "write it once")
    for kind in configured:
        if kind not in order:
            yield Finding(path, f"{kind} is not listed, so it is looked for last", "write its place", "warning")


# -- user names and passwords --------------------------------------------------------------------------------------


def _users(basic: Basic, path: Path) -> Iterator[Finding]:
    if not basic.users:
        yield Finding((*path, "users"), "expected at least one user", "write a name and a hash, or take basic out")
    first: dict[str, int] = {}
    hashes: list[PasswordHash] = []
    for place, user in enumerate(basic.users):
        at: Path = (*path, "users", place)
        yield from _user_name(user, at)
        # As names are compared: an accent may be written in two ways.
        name = unicodedata.normalize("NFC", user.name)
        if first.setdefault(name, place) != place:
            yield Finding((*at, "name"), f'the user "{printable(name)}" stands here twice', "give each its own name")
        try:
            hashes.append(read_hash(user.hash))
        except ValueError as error:
            # What stands there may be a password: it is not shown.
            yield Finding((*at, "hash"), str(error), "make it by `headgate keys hash --password`")
    if len({each.cost for each in hashes}) > 1:
        message = "hashes of different costs: how long a refusal takes can tell which users there are"
        yield Finding((*path, "users"), message, "make all of them by `headgate keys hash --password`", "warning")


def _user_name(user: BasicUser, path: Path) -> Iterator[Finding]:
    # RFC 7617 section 2: a colon ends the user name.
    if ":" in user.name or _CONTROL.search(user.name):
        message = "a user name with a colon or a control character cannot be sent"
        yield Finding((*path, "name"), message, "write another name")


def _in_the_clear(listeners: list[Listen]) -> Iterator[Finding]:
    for listen in listeners:
        if listen.tls is None and not _is_near(listen.address):
            message = f"passwords come to {printable(listen.address)} in the clear, for anybody on the way to read"
            yield Finding((*_PATH, "basic"), message, "give the listener tls, or let it listen on loopback", "warning")


def _is_near(text: str) -> bool:
    """Tell whether only this machine can reach an address."""
    try:
        address = parse_listen(text)
        return bool(address.unix) or is_loopback(address.host)
    except ValueError:
        return False


# -- certificates --------------------------------------------------------------------------------------------------


def _certificates(settings: Certificates, listeners: list[Listen]) -> Iterator[Finding]:
    path: Path = (*_PATH, "certificates")
    if not any(listen.tls is not None and listen.tls.client_ca is not None for listen in listeners):
        message = "no listener asks for client certificates, so nobody can show one"
        yield Finding(path, message, "write client_ca under tls of a listener")
    yield from _rules(settings, (*path, "rules"))


def _never_reached(config: Config, configured: list[str]) -> Iterator[Finding]:
    """Find what stands behind the certificates that every connection has."""
    later = configured[configured.index("certificate") + 1 :]
    levels = [config.auth, *(service.auth for service in config.services)]
    levels += [route.auth for service in config.services for route in service.routes]
    # Where certificates do not count, what stands behind them is looked for.
    if later and not any(auth is not None and auth.methods for auth in levels):
        message = f"every connection has a certificate, so {' and '.join(later)} behind it never {_count(later)}"
        yield Finding((*_PATH, "order"), message, "write certificate last, or client_auth: request", "warning")


def _count(kinds: list[str]) -> str:
    return "count" if len(kinds) > 1 else "counts"


def _rules(settings: Certificates, path: Path) -> Iterator[Finding]:
    everybody = -1
    for place, rule in enumerate(settings.rules):
        at: Path = (*path, place, "match")
        if "*" in rule.match.removeprefix("*").removesuffix("*"):
            yield Finding(at, "a * stands at the beginning or at the end only", "such as *.example.com or svc-*")
        elif everybody >= 0:
            message = f"rules[{everybody}] matches everybody, so this one never counts"
            yield Finding(at, message, "move it before that one", "warning")
        elif rule.match in ("*", "**"):
            everybody = place
