"""Checks of single values that several blocks share: header fields and paths."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import quote

from headgate.config.problems import Path, Severity, printable
from headgate.core.uri import BadTarget, normalize_path

# RFC 9110 section 5.6.2.
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
# RFC 9110 section 5.5, without obs-text: what one server reads as Latin-1 another reads as UTF-8.
_VALUE = re.compile(r"[\t -~]*")
# What stays as it is written: only what is not visible ASCII may be written raw and is escaped.
_VISIBLE = "".join(map(chr, range(0x21, 0x7F)))
# Framing and the life of a connection are the wire's alone (RFC 9110 section 7.6.1, RFC 9112 section 6).
_WIRE = frozenset(
    (
        "connection",
        "content-length",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    )
)


class Finding(NamedTuple):
    """One thing wrong, by the way to its key; the loader adds where that was written."""

    path: Path
    message: str
    hint: str = ""
    severity: Severity = "error"


def is_token(text: str) -> bool:
    """Tell whether text is a token: what methods and names of header fields are made of."""
    return _TOKEN.fullmatch(text) is not None


def field_problem(path: Path, name: str, value: str) -> Iterator[Finding]:
    """Find what makes a header field illegal, or one that is not configuration's to change."""
    if not is_token(name):
        message = f'"{printable(name)}" is not the name of a header field'
        yield Finding(path, message, "use letters, digits and hyphens, without a colon")
    elif name.lower() in _WIRE:
        yield Finding(path, f"{name} is about the connection itself and is the gateway's to set", "leave it out")
    if not _VALUE.fullmatch(value):
        yield Finding(path, "the value of a header field takes visible ASCII characters and spaces only")
    elif value != value.strip():
        yield Finding(path, "the value of a header field neither begins nor ends with a space")


def path_problem(path: Path, text: str) -> Iterator[Finding]:
    """Find what keeps a path from being one in normal form."""
    if not text.startswith("/"):
        yield Finding(path, 'the path must begin with "/"', f"write /{printable(text)}" if text else "")
        return
    escaped = quote(text, safe=_VISIBLE)
    try:
        normal = normalize_path(escaped.encode("ascii"), encoded_slashes=True)
    except BadTarget as error:
        yield Finding(path, f"no request has such a path: {error}")
        return
    if normal != escaped:
        yield Finding(path, "requests are compared in normal form, and this path is not in it", f"write {normal}")
