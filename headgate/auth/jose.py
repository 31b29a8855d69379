"""Signed tokens as they come over the wire: the compact form of JWS (RFC 7515 section 7.1), read strictly.

Laws: one text, one token: every other spelling of the same bytes is refused, so that nothing remembered by the hash of
a token can be had under a second hash. What we do not understand and a token calls important is refused. What names
keys or places to get them from (jku, jwk, x5u, x5c) is never looked at: keys are configuration (RFC 8725 section 3.10).
"""

from __future__ import annotations

import re
from binascii import a2b_base64
from functools import lru_cache
from typing import Any, Final, NamedTuple

from headgate.core.strict_json import read_object

MOST_BYTES: Final = 8192
MOST_KEY_ID: Final = 256
# Tokens that one key signs begin alike. Strangers can push such a header out, and no more: it is read again.
_HEADERS: Final = 64

# RFC 7515 section 2: base64url without padding, line breaks, white space or other characters. A payload may be empty.
_COMPACT = re.compile(rb"([A-Za-z0-9_-]++)\.([A-Za-z0-9_-]*+)\.([A-Za-z0-9_-]++)")
_TEXT = re.compile(rb"[A-Za-z0-9_-]*")
_TO_STANDARD = bytes.maketrans(b"-_", b"+/")
# The last character of a part whose length is 2 or 3 beyond a multiple of 4: the bits it has too many must be 0
# (RFC 4648 section 3.5).
_LAST = {2: frozenset(b"AQgw"), 3: frozenset(b"AEIMQUYcgkosw048")}

# What changes how the rest is to be read, and none of which we do: crit (RFC 7515 section 4.1.11), unencoded payloads
# (RFC 7797), compression (RFC 8725 section 3.6), encryption (RFC 7516).
_REFUSED: Final = ("crit", "b64", "zip", "enc")


class BadToken(ValueError):
    """What came is no signed token as we read them; the sentence holds nothing of it."""


class Jws(NamedTuple):
    """One token, its signature not checked yet. `signed` are the bytes that the signature is over."""

    algorithm: str
    key_id: str | None
    typ: str | None
    payload: bytes
    signed: bytes
    signature: bytes


def looks_signed(credential: bytes) -> bool:
    """Tell whether this has the outline of a compact JWS: three parts. API keys and opaque tokens have not."""
    return credential.count(b".") == 2


def read_jws(token: bytes) -> Jws:
    """Take a token apart.

    Raises:
        BadToken: with a sentence, for what is none.
    """
    if len(token) > MOST_BYTES:
        raise BadToken(f"the token is longer than {MOST_BYTES} bytes")
    parts = _COMPACT.fullmatch(token)
    if parts is None:
        raise BadToken("the token is not three parts of base64url")
    algorithm, key_id, typ = _read_header(parts[1])
    try:
        payload, signature = _decoded(parts[2]), _decoded(parts[3])
    except ValueError as error:
        raise BadToken(f"the token has a part that is no base64url: {error}") from None
    return Jws(algorithm, key_id, typ, payload, token[: parts.end(2)], signature)


@lru_cache(_HEADERS)
def _read_header(part: bytes) -> tuple[str, str | None, str | None]:
    """Return alg, kid and typ; part is of the right letters."""
    try:
        header = read_object(_decoded(part))
    except ValueError as error:
        raise BadToken(f"the token's header cannot be read: {error}") from None
    for name in _REFUSED:
        if name in header:
            raise BadToken(f"the token's header has {name}, which is not understood here")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str):
        raise BadToken("the token's header names no algorithm")
    key_id = _maybe_text(header, "kid")
    if key_id is not None and len(key_id) > MOST_KEY_ID:
        raise BadToken(f"the token's kid is longer than {MOST_KEY_ID} characters")
    return algorithm, key_id, _maybe_text(header, "typ")


def _maybe_text(header: dict[str, Any], name: str) -> str | None:
    value = header.get(name)
    if value is None and name not in header:
        return None
    if not isinstance(value, str):
        raise BadToken(f"the token's {name} is no text")
    return value


def decode_base64url(text: bytes) -> bytes:
    """Decode base64url in its one canonical spelling.

    Raises:
        ValueError: with a sentence, for any other.
    """
    if _TEXT.fullmatch(text) is None:
        raise ValueError("it has other characters")
    return _decoded(text)


def _decoded(text: bytes) -> bytes:
    beyond = len(text) % 4
    if beyond and (beyond == 1 or text[-1] not in _LAST[beyond]):
        raise ValueError("its end is not canonical")
    return a2b_base64(text.translate(_TO_STANDARD) + b"==")
