"""What cannot be right in the admin listener and its tokens."""

from __future__ import annotations

import re
from collections.abc import Iterator

from headgate.config.check_values import Finding
from headgate.config.schema import Config
from headgate.core.address import is_loopback, parse_listen

# RFC 6750 section 2.1 allows fewer characters; these are what an Authorization header can hold without doubt.
_TOKEN = re.compile(r"[\x21-\x7e]+")
_PATH = re.compile(r"/[!-~]*")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_SHORTEST = 16


def check_admin(config: Config) -> Iterator[Finding]:
    """Check it."""
    admin = config.admin
    yield from _tokens(config)
    for place, path in enumerate(admin.public):
        if not _PATH.fullmatch(path):
            yield Finding(("admin", "public", place), "expected a path", "such as /metrics")
    for place, host in enumerate(admin.hosts):
        if not _HOST.fullmatch(host):
            yield Finding(("admin", "hosts", place), "expected a name without a port", "such as admin.example.com")
    try:
        address = parse_listen(admin.address)
    except ValueError:
        # What is wrong with it is found where it is listened on.
        return
    if admin.hosts and (address.unix or not is_loopback(address.host)):
        message = "this is looked at only where admin.address is a loopback address"
        yield Finding(("admin", "hosts"), message, "", "warning")


def _tokens(config: Config) -> Iterator[Finding]:
    admin = config.admin
    exposed = _is_exposed(admin.address)
    if admin.token and not _TOKEN.fullmatch(admin.token):
        yield Finding(
            ("admin", "token"), "a token is visible ASCII without spaces", "such as openssl rand -hex 32 makes"
        )
    elif admin.token and len(admin.token) < _SHORTEST and exposed:
        message = (
            f"a token of less than {_SHORTEST} characters can be guessed, and {admin.address} is no loopback address"
        )
        yield Finding(("admin", "token"), message, "make one: openssl rand -hex 32", "warning")
    names: set[str] = {"admin"}
    known = {admin.token} if admin.token else set()
    for place, each in enumerate(admin.tokens):
        if not each.name.isprintable():
            yield Finding(("admin", "tokens", place, "name"), "expected printable characters")
        elif each.name in names:
            message = "another token has this name" if each.name != "admin" else "that is the name of admin.token"
            yield Finding(("admin", "tokens", place, "name"), message, "give each its own name")
        names.add(each.name)
        if not _TOKEN.fullmatch(each.token):
            message = "a token is visible ASCII without spaces"
            yield Finding(("admin", "tokens", place, "token"), message, "such as openssl rand -hex 32 makes")
        elif len(each.token) < _SHORTEST:
            message = f"a token has at least {_SHORTEST} characters"
            yield Finding(("admin", "tokens", place, "token"), message, "make one: openssl rand -hex 32")
        elif each.token in known:
            yield Finding(("admin", "tokens", place, "token"), "another operator has this token", "give each its own")
        known.add(each.token)


def _is_exposed(address: str) -> bool:
    try:
        parsed = parse_listen(address)
    except ValueError:
        return False
    return not parsed.unix and not is_loopback(parsed.host)
