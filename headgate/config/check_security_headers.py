"""Checks of security headers: values that browsers would ignore or read as something else."""

from __future__ import annotations

import re
from collections.abc import Iterator

from headgate.config.check_values import Finding
from headgate.config.problems import Path, did_you_mean, printable
from headgate.config.schema import Config
from headgate.core.field_names import CONTROLS
from headgate.policy.hygiene_settings import SecurityHeaders
from headgate.policy.security_headers import transport_of

# Referrer Policy, section 3.
_REFERRER = (
    "no-referrer",
    "no-referrer-when-downgrade",
    "origin",
    "origin-when-cross-origin",
    "same-origin",
    "strict-origin",
    "strict-origin-when-cross-origin",
    "unsafe-url",
)
_OPENER = ("unsafe-none", "same-origin-allow-popups", "same-origin", "noopener-allow-popups")
_RESOURCE = ("same-site", "same-origin", "cross-origin")
# What the lists of browsers ask for (hstspreload.org): a year, and all names below.
_PRELOAD_SECONDS = 31_536_000
_KEYWORDS = re.compile(r"(?<![^\s;,])(self|none|unsafe-inline|unsafe-eval|strict-dynamic|unsafe-hashes)(?![^\s;,])")


def check_security_headers(settings: SecurityHeaders, path: Path, config: Config) -> Iterator[Finding]:
    """Check one block."""
    yield from _transport(settings, path, config)
    for key in (
        "content_security_policy",
        "referrer_policy",
        "permissions_policy",
        "xss_protection",
        "cross_origin_opener_policy",
        "cross_origin_resource_policy",
    ):
        text = getattr(settings, key)
        if text and (CONTROLS.search(text.encode()) or not text.isascii() or text != text.strip()):
            message = "a value holds visible ASCII characters only, no line breaks, and no spaces around it"
            yield Finding((*path, key), message, "write it on one line")
        elif text:
            yield from _value(key, text, (*path, key))


def _transport(settings: SecurityHeaders, path: Path, config: Config) -> Iterator[Finding]:
    hsts, written = transport_of(settings), settings.hsts is not None
    if hsts is None or not written:
        return
    if hsts.preload and (hsts.max_age < _PRELOAD_SECONDS or not hsts.subdomains):
        message = "the lists that browsers ship take names with a max_age of a year and subdomains only"
        yield Finding((*path, "hsts", "preload"), message, "write max_age: 365d and subdomains: true")
    over_https = any(listen.tls is not None for listen in config.listen) or config.forwarding.trust
    if hsts.over == "https" and not over_https:
        message = "it is never sent: no listener has tls, and no proxy is trusted to say that it ended TLS"
        yield Finding((*path, "hsts"), message, "write listen.tls, or forwarding.trust", "warning")


def _value(key: str, text: str, path: Path) -> Iterator[Finding]:
    match key:
        case "content_security_policy":
            for word in dict.fromkeys(_KEYWORDS.findall(text)):
                message = f"{word} without quotes is a host called {word}"
                yield Finding(path, message, f"write '{word}'")
        case "permissions_policy" if "'" in text or "=" not in text:
            yield Finding(path, "this is no Permissions-Policy", "write it as camera=(), geolocation=(self)")
        case "xss_protection" if text[0] not in "01":
            yield Finding(path, "expected 0, 1 or 1; mode=block", "0 is what browsers advise")
        case "referrer_policy":
            yield from _known(text.split(","), _REFERRER, path)
        case "cross_origin_opener_policy":
            yield from _known([text.partition(";")[0]], _OPENER, path)
        case "cross_origin_resource_policy":
            yield from _known([text], _RESOURCE, path)


def _known(words: list[str], known: tuple[str, ...], path: Path) -> Iterator[Finding]:
    for word in map(str.strip, words):
        if word not in known:
            hint = did_you_mean(word, known) or f"one of {', '.join(known)}"
            yield Finding(path, f'browsers know no "{printable(word)}" here', hint)
