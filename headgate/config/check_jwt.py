"""Checks of the issuers of signed tokens: where keys and tokens come from, and whether they fit what is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import get_args
from urllib.parse import SplitResult, urlsplit

from headgate.auth.key_ring import SECRET_BYTES, BadKey, Key, algorithms_of, key_of_secret, keys_of_file
from headgate.auth.settings import Algorithm, JwtIssuer, KeySetSource
from headgate.auth.token_sources import parse_source
from headgate.config.check_values import KNOWN_TO_ALL, Finding, is_example
from headgate.config.check_wire import check_authorities
from headgate.config.problems import Path, printable
from headgate.config.schema import Config
from headgate.core.address import is_loopback

_PUBLIC = frozenset(get_args(Algorithm)) - SECRET_BYTES.keys()
_WAYS = ("secret", "public_key", "key_set", "discovery")


def check_jwt(config: Config) -> Iterator[Finding]:
    """Find what keeps tokens from being judged, and what makes their judging weak."""
    for place, issuer in enumerate(config.identity.jwt):
        path: Path = ("identity", "jwt", place)
        yield from check_sources(issuer.sources, (*path, "sources"))
        ways = [name for name in _WAYS if getattr(issuer, name) is not None]
        if not ways:
            yield Finding(path, "it is not said what its tokens are checked with", f"write one of {', '.join(_WAYS)}")
        for extra in ways[1:]:
            yield Finding(
                (*path, extra), f"{ways[0]} stands here as well", "write one of them; two issuers have two names"
            )
        if len(ways) == 1:
            yield from _CHECKS[ways[0]](issuer, path)


def check_sources(sources: list[str], path: Path) -> Iterator[Finding]:
    """Check where tokens are looked for."""
    if not sources:
        yield Finding(path, "expected at least one place", "such as header:Authorization")
    for place, source in enumerate(sources):
        try:
            parsed = parse_source(source)
        except ValueError as error:
            yield Finding((*path, place), str(error), "such as header:Authorization, cookie:session or query:token")
            continue
        if parsed.place == "query":
            message = "a token in the query stays in logs and histories, whoever writes them"
            yield Finding((*path, place), message, "take it from a header where you can", "warning")


# -- secrets ------------------------------------------------------------------------------------------------------


def _secret(issuer: JwtIssuer, path: Path) -> Iterator[Finding]:
    assert issuer.secret is not None
    algorithms = algorithms_of(issuer)
    yield from _not_of(issuer, frozenset(SECRET_BYTES), path, "a shared secret is not used with")
    try:
        key_of_secret(issuer.secret, algorithms)
    except BadKey as error:
        yield Finding((*path, "secret"), str(error))
        return
    # Whoever tries secrets tries them on the shortest.
    needed = min((SECRET_BYTES[name] for name in algorithms if name in SECRET_BYTES), default=0)
    if len(issuer.secret.encode()) < needed:
        message = f"a secret this short can be found by trying (RFC 7518 section 3.2 asks for {needed} bytes)"
        yield Finding((*path, "secret"), message, "make one with: openssl rand -hex 32", "warning")
    elif is_example(issuer.secret):
        yield Finding((*path, "secret"), KNOWN_TO_ALL, "make one with: openssl rand -hex 32", "warning")


def _not_of(issuer: JwtIssuer, known: frozenset[str], path: Path, why: str) -> Iterator[Finding]:
    """Find algorithms that were written and that the keys there are cannot be used with."""
    for place, algorithm in enumerate(issuer.algorithms):
        if algorithm not in known:
            hint = f"possible here: {', '.join(sorted(known))}" if known else ""
            yield Finding((*path, "algorithms", place), f"{why} {algorithm}", hint)


# -- public keys --------------------------------------------------------------------------------------------------


def _public_key(issuer: JwtIssuer, path: Path) -> Iterator[Finding]:
    assert issuer.public_key is not None
    at: Path = (*path, "public_key")
    name = printable(issuer.public_key)
    try:
        keys = keys_of_file(FilePath(issuer.public_key).read_text("utf-8"))
    except BadKey as error:
        yield Finding(at, f"the file {name} cannot be used: {error}")
        return
    except FileNotFoundError:
        yield Finding(at, f"the file {name} does not exist")
        return
    except (OSError, ValueError) as error:
        yield Finding(at, f"the file {name} cannot be read: {getattr(error, 'strerror', None) or 'it is no text'}")
        return
    yield from _fitting(issuer, keys, name, path)


def _fitting(issuer: JwtIssuer, keys: list[Key], name: str, path: Path) -> Iterator[Finding]:
    usable = frozenset(algorithm for key in keys for algorithm in key.algorithms)
    yield from _not_of(issuer, usable, path, f"the keys in {name} are not used with")
    if not issuer.algorithms and usable.isdisjoint(algorithms_of(issuer)):
        message = f"the keys in {name} are used with none of {', '.join(algorithms_of(issuer))}, which is the default"
        yield Finding((*path, "algorithms"), message, f"write algorithms: {min(usable)}")


# -- keys that are fetched ----------------------------------------------------------------------------------------


def _key_set(issuer: JwtIssuer, path: Path) -> Iterator[Finding]:
    assert issuer.key_set is not None
    if issuer.key_set.url is None:
        yield Finding((*path, "key_set", "url"), "expected the URL of the key set", "or write discovery and issuer")
    yield from _fetched(issuer, issuer.key_set, (*path, "key_set"), path)


def _discovery(issuer: JwtIssuer, path: Path) -> Iterator[Finding]:
    assert issuer.discovery is not None
    yield from _fetched(issuer, issuer.discovery, (*path, "discovery"), path)
    if issuer.issuer is None:
        message = "discovery needs the issuer, which its document must name to the letter"
        yield Finding((*path, "issuer"), message, "write issuer: https://...")
        return
    # OpenID Connect Discovery section 2: an issuer is an https URL without query and fragment.
    url = _url(issuer.issuer)
    if url is None or url.query or url.fragment:
        yield Finding((*path, "issuer"), "discovery needs an issuer that is a URL", "such as https://login.example.com")
    elif url.scheme != "https" and not is_loopback(url.hostname or ""):
        yield Finding(
            (*path, "issuer"), "discovery without TLS lets anybody on the way be the issuer", "write https://"
        )


def _fetched(issuer: JwtIssuer, source: KeySetSource, at: Path, path: Path) -> Iterator[Finding]:
    yield from _not_of(issuer, _PUBLIC, path, "keys that are fetched are public, and not used with")
    if source.ca is not None:
        yield from check_authorities(source.ca, (*at, "ca"))
    if source.url is None:
        return
    url = _url(source.url)
    if url is None:
        yield Finding((*at, "url"), "expected a URL", "such as https://login.example.com/keys")
    elif url.scheme != "https" and not is_loopback(url.hostname or ""):
        message = "without TLS anybody on the way can send keys of their own"
        yield Finding((*at, "url"), message, "write https://", "warning")


def _url(text: str) -> SplitResult | None:
    try:
        url = urlsplit(text)
        good = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        return None
    return url if good and text.isascii() and text.isprintable() and " " not in text else None


_CHECKS = {"secret": _secret, "public_key": _public_key, "key_set": _key_set, "discovery": _discovery}
