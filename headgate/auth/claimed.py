"""From what a good token says to the caller it tells of: signed tokens and answers of introspection alike.

Laws: of several names the first that is present counts; null and an empty text are absent. What is present in another
form than it must have makes the whole token unusable: nobody is let in with half of what an issuer said, and the
operator's log names the claim. Values are not shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from headgate.auth.claims import claim
from headgate.auth.settings import ClaimNames, Kind
from headgate.core.identity import Identity

# OpenID Connect Core section 2: sub is at most 255 characters long.
_LONGEST = 256


class ClaimedIdentity:
    """Makes callers of this `kind`, known by the way called `method`, of claims with these names."""

    __slots__ = ("_kind", "_method", "_names")

    def __init__(self, names: ClaimNames, kind: Kind, method: str) -> None:
        self._names = names
        self._kind: Kind = kind
        self._method = method

    def of(self, claims: Mapping[str, Any]) -> Identity:
        """Return the caller.

        Raises:
            ValueError: with a sentence that shows no value, for a claim that is not what it must be.
        """
        names = self._names
        return Identity(
            kind=self._kind,
            id=_text(claims, names.id),
            tenant=_text(claims, names.tenant),
            roles=_words(claims, names.roles),
            tier=_text(claims, names.tier),
            scopes=_words(claims, names.scopes),
            claims=claims,
            method=self._method,
        )


def _first(claims: Mapping[str, Any], names: Sequence[str]) -> tuple[str, Any]:
    for name in names:
        value = claim(claims, name)
        if value is not None and value != "":
            return name, value
    return "", None


def _text(claims: Mapping[str, Any], names: Sequence[str]) -> str:
    name, value = _first(claims, names)
    if value is None:
        return ""
    # Some issuers number their users and tenants.
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or len(text) > _LONGEST or (text and not text.isprintable()):
        raise ValueError(f"the claim {name} is no text of at most {_LONGEST} printable characters")
    return text


def _words(claims: Mapping[str, Any], names: Sequence[str]) -> frozenset[str]:
    name, value = _first(claims, names)
    if value is None:
        return frozenset()
    if isinstance(value, str):
        return frozenset(value.split())
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"the claim {name} is neither a list of texts nor words in one text")
    return frozenset(value)
