"""Where a request may carry a token: header:NAME, cookie:NAME, query:NAME.

Laws: a token that stands in two places of the same name, with two values, is handed on as one text with both, which no
verifier takes: whoever reads the request behind us might take the other one. What is looked for where is decided when
the plan is built.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Final, Literal, NamedTuple
from urllib.parse import unquote_to_bytes

from headgate.core.message import RequestHead

Place = Literal["header", "cookie", "query"]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
_PARAMETER = re.compile(r"[A-Za-z0-9_.~-]{1,100}")
_BOTH: Final = b", "
_BEARER: Final = b"bearer "


class Source(NamedTuple):
    """One place; `name` in lower case for a header."""

    place: Place
    name: bytes


def parse_source(text: str) -> Source:
    """Read one of the forms above.

    Raises:
        ValueError: with a sentence, for any other text.
    """
    place, _, name = text.partition(":")
    match place:
        case "header" if _TOKEN.fullmatch(name):
            return Source("header", name.lower().encode())
        # RFC 6265 section 4.1.1: the name of a cookie is a token.
        case "cookie" if _TOKEN.fullmatch(name):
            return Source("cookie", name.encode())
        case "query" if _PARAMETER.fullmatch(name):
            return Source("query", name.encode())
        case _:
            raise ValueError("expected header:NAME, cookie:NAME or query:NAME")


class TokenSources:
    """The places of one way, in the order in which they are looked at."""

    __slots__ = ("_bare", "_sources")

    def __init__(self, texts: Sequence[str], *, bare: bool = False) -> None:
        """Read the places; the same one counts once. `bare`: in Authorization, Bearer before a token may be missing.

        Raises:
            ValueError: with a sentence, for a text that names none.
        """
        self._sources = tuple(dict.fromkeys(parse_source(text) for text in texts))
        self._bare = bare

    @property
    def in_headers(self) -> bool:
        """Tell whether all of them are header fields."""
        return all(source.place == "header" for source in self._sources)

    def find(self, head: RequestHead, takes: Callable[[bytes], bool]) -> bytes | None:
        """Return the first token that stands in one of the places and that `takes` takes for one."""
        for place, name in self._sources:
            if place == "header":
                token = _in_header(head, name, self._bare)
            elif place == "cookie":
                token = _in_cookie(head, name)
            else:
                token = _in_query(head, name)
            if token is not None and takes(token):
                return token
        return None

    def hide(self, head: RequestHead, takes: Callable[[bytes], bool]) -> None:
        """Take off the request whatever stands in one of the places and `takes` takes for a token."""
        for place, name in self._sources:
            if place == "header":
                token = _in_header(head, name, self._bare)
                if token is not None and takes(token):
                    head.fields = [field for field in head.fields if field[0].lower() != name]
            elif place == "cookie":
                token = _in_cookie(head, name)
                if token is not None and takes(token):
                    _without_cookie(head, name)
            else:
                token = _in_query(head, name)
                if token is not None and takes(token):
                    _without_parameter(head, name)


def _joined(values: list[bytes]) -> bytes | None:
    if len(values) > 1:
        return _BOTH.join(dict.fromkeys(values))
    return values[0] if values else None


# -- header fields ------------------------------------------------------------------------------------------------


def _in_header(head: RequestHead, name: bytes, bare: bool) -> bytes | None:
    size = len(name)
    shown: bytes | None = None
    for key, value in head.fields:
        if len(key) == size and key.lower() == name:
            shown = value if shown is None or shown == value else shown + _BOTH + value
    if shown is None:
        return None
    # RFC 9110 section 11.1: the scheme in any case; section 11.4: one space or more behind it.
    if shown[:7].lower() == _BEARER:
        return shown[7:].strip(b" ")
    return None if name == b"authorization" and not bare else shown


# -- cookies ------------------------------------------------------------------------------------------------------


def _in_cookie(head: RequestHead, name: bytes) -> bytes | None:
    found: list[bytes] = []
    for key, value in head.fields:
        if key.lower() == b"cookie" and name in value:
            found += map(_value, _pairs_of(name).findall(value))
    return _joined(found)


@lru_cache
def _pairs_of(name: bytes) -> re.Pattern[bytes]:
    """Return what finds the values of a cookie in one pass, however many others there are."""
    return re.compile(rb"(?:^|;)[ \t]*+" + re.escape(name) + rb"[ \t]*+=([^;]*+)")


def _cookie(pair: bytes, name: bytes) -> bytes | None:
    key, equals, value = pair.partition(b"=")
    if not equals or key.strip(b" \t") != name:
        return None
    return _value(value)


def _value(value: bytes) -> bytes:
    value = value.strip(b" \t")
    # RFC 6265 section 4.1.1: a value may stand between quotes.
    return value[1:-1] if len(value) > 1 and value[:1] == value[-1:] == b'"' else value


def _without_cookie(head: RequestHead, name: bytes) -> None:
    fields = []
    for key, value in head.fields:
        if key.lower() != b"cookie":
            fields.append((key, value))
            continue
        kept = [pair.strip(b" \t") for pair in value.split(b";") if _cookie(pair, name) is None]
        if any(kept):
            fields.append((key, b"; ".join(kept)))
    head.fields = fields


# -- the query ----------------------------------------------------------------------------------------------------


def _in_query(head: RequestHead, name: bytes) -> bytes | None:
    if not head.query:
        return None
    found = [value for pair in head.query.split(b"&") if (value := _parameter(pair, name)) is not None]
    return _joined(found)


def _parameter(pair: bytes, name: bytes) -> bytes | None:
    key, equals, value = pair.partition(b"=")
    if not equals or unquote_to_bytes(key) != name:
        return None
    return unquote_to_bytes(value)


def _without_parameter(head: RequestHead, name: bytes) -> None:
    kept = [pair for pair in (head.query or b"").split(b"&") if _parameter(pair, name) is None]
    head.query = b"&".join(kept) or None
