"""Signed tokens (JWT, RFC 7519, by the practices of RFC 8725): from a token to who shows it.

    read strictly -> issuers by algorithm and iss -> a key by kid -> signature -> claims -> Identity

Laws: which algorithms and keys count is configuration, and a token's header only chooses among them; iss is looked at
before the signature only to choose who may have signed, and believed only after it; a claim of the wrong type is
refused, never passed over; what a token said is in no sentence for the log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from headgate.auth.claimed import ClaimedIdentity
from headgate.auth.claims import claim, text_of
from headgate.auth.jose import Jws, looks_signed, read_jws
from headgate.auth.key_ring import KeyRing, algorithms_of, fetched
from headgate.auth.method import Judged, Known, NeedKeys, Refused
from headgate.auth.settings import JwtIssuer
from headgate.auth.token_sources import TokenSources
from headgate.core.message import RequestHead
from headgate.core.strict_json import read_object

ANY_AUDIENCE: Final = "*"


class JwtMethod:
    """The signed tokens of some issuers.

    A token is looked for in the places of all of them, and may be anyone's, wherever it stood: where a credential was
    shown says nothing of who made it.
    """

    __slots__ = ("_by_algorithm", "_sources", "in_headers", "name")

    kind = "jwt"
    challenge = "Bearer"

    def __init__(self, name: str, issuers: Sequence[JwtIssuer], rings: Mapping[str, KeyRing]) -> None:
        """Take the issuers, and the ring of each by its name; what a ring takes later counts from then on.

        Raises:
            ValueError: with a sentence, for a source that names no place.
        """
        self.name = name
        self._sources = TokenSources(
            [source for issuer in issuers for source in issuer.sources], bare=any(issuer.bare for issuer in issuers)
        )
        self.in_headers = self._sources.in_headers
        self._by_algorithm: dict[str, tuple[_Issuer, ...]] = {}
        for settings in issuers:
            # With one issuer the way has its name, which whoever tells of a refusal puts before it.
            issuer = _Issuer(settings, rings[settings.name], f"{settings.name}: " if len(issuers) > 1 else "")
            for algorithm in algorithms_of(settings):
                self._by_algorithm[algorithm] = (*self._by_algorithm.get(algorithm, ()), issuer)

    def find(self, head: RequestHead) -> bytes | None:
        """Return the first token that the request shows."""
        return self._sources.find(head, looks_signed)

    def hide(self, head: RequestHead) -> None:
        """Take all tokens off the request."""
        self._sources.hide(head, looks_signed)

    def judge(self, credential: bytes, now: float) -> Judged:
        """Return who shows this token, why it is refused, or whose keys are needed to say; `now` is the wall clock."""
        try:
            token = read_jws(credential)
        except ValueError as error:
            return _invalid(str(error))
        try:
            claims = read_object(token.payload)
        except ValueError as error:
            return _invalid(f"the token's claims cannot be read: {error}")
        return self._judge(token, claims, now)

    def _judge(self, token: Jws, claims: dict[str, Any], now: float) -> Judged:
        issuers = self._by_algorithm.get(token.algorithm)
        if issuers is None:
            return _invalid("the token's algorithm is accepted of nobody")
        shown = claims.get("iss")
        refused: Refused | None = None
        unsigned: Refused | NeedKeys | None = None
        for issuer in issuers:
            if issuer.iss is not None and issuer.iss != shown:
                continue
            missing = issuer.unsigned(token)
            if missing is not None:
                unsigned = missing if unsigned is None or isinstance(missing, NeedKeys) else unsigned
                continue
            judged = issuer.judge(token, claims, now)
            if isinstance(judged, Known):
                return judged
            refused = refused or judged
        # What is wrong with a token that one of them did sign says more than that another one did not.
        return refused or unsigned or _invalid("the token's iss is that of no issuer that uses its algorithm")


class _Issuer:
    """One issuer, compiled."""

    __slots__ = (
        "_audience",
        "_caller",
        "_expect",
        "_fetched",
        "_max_age",
        "_require",
        "_ring",
        "_skew",
        "_typ",
        "_whose",
        "iss",
        "name",
    )

    def __init__(self, settings: JwtIssuer, ring: KeyRing, whose: str) -> None:
        self.name = settings.name
        self._whose = whose
        self.iss = settings.issuer
        self._ring = ring
        self._fetched = fetched(settings)
        self._audience = frozenset(settings.audience)
        self._typ = frozenset(_media_type(typ) for typ in settings.typ)
        self._skew = settings.skew
        self._max_age = settings.max_age
        self._require = tuple(settings.require)
        self._expect = {name: frozenset(map(str.lower, values)) for name, values in settings.expect.items()}
        self._caller = ClaimedIdentity(settings.claims, settings.kind, settings.name)

    def unsigned(self, token: Jws) -> Refused | NeedKeys | None:
        """Return why a key of this issuer has not signed the token, or None when one has."""
        keys = self._ring.find(token.key_id, token.algorithm)
        for key in keys:
            if key.verify(token.algorithm, token.signed, token.signature):
                return None
        if keys:
            return _invalid(f"{self._whose}the signature is wrong")
        if self._fetched:
            return NeedKeys(self.name)
        return _invalid(f"{self._whose}there is no key for the token's kid and algorithm")

    def judge(self, token: Jws, claims: dict[str, Any], now: float) -> Known | Refused:
        """Judge what a token says whose signature is good."""
        try:
            until = self._times(claims, now)
            self._meant_for_us(token, claims)
            return Known(self._caller.of(claims), until)
        except _Expired as error:
            return Refused("expired_token", f"{self._whose}{error}")
        except ValueError as error:
            return _invalid(f"{self._whose}{error}")

    def _times(self, claims: Mapping[str, Any], now: float) -> float:
        """Return the moment at which the token ends (RFC 7519 sections 4.1.4 to 4.1.6), `now` if only skew is left."""
        until = _moment(claims, "exp")
        if until is None:
            raise ValueError("the claim exp is missing")
        issued = _moment(claims, "iat")
        if issued is not None and issued > now + self._skew:
            raise ValueError("the token was issued in the future (iat)")
        if self._max_age:
            if issued is None:
                raise ValueError("the claim iat is missing, which max_age needs")
            until = min(until, issued + self._max_age)
        if now >= until + self._skew:
            raise _Expired("the token has expired")
        begins = _moment(claims, "nbf")
        if begins is not None and begins > now + self._skew:
            raise ValueError("the token is not good yet (nbf)")
        return max(until, now)

    def _meant_for_us(self, token: Jws, claims: Mapping[str, Any]) -> None:
        # RFC 8725 section 3.11: tokens of one kind are not taken for another.
        if self._typ and (token.typ is None or _media_type(token.typ) not in self._typ):
            raise ValueError("the header typ is none of those in `typ`")
        audience = _audience(claims)
        if self._audience:
            if ANY_AUDIENCE not in self._audience and self._audience.isdisjoint(audience):
                raise ValueError("the claim aud holds none of `audience`")
        elif "aud" in claims:
            # RFC 7519 section 4.1.3: whoever is not named by aud must reject the token.
            raise ValueError("the token is meant for somebody (aud), and no `audience` says that this is us")
        for name in self._require:
            if claim(claims, name) is None:
                raise ValueError(f"the claim {name} is missing")
        for name, values in self._expect.items():
            if (said := claim(claims, name)) is not None and text_of(said).lower() not in values:
                raise ValueError(f"the claim {name} is none of those in `expect`")


class _Expired(ValueError):
    """A token whose time is over."""


def _invalid(detail: str) -> Refused:
    return Refused("invalid_token", detail)


def _moment(claims: Mapping[str, Any], name: str) -> float | None:
    """Return a NumericDate (RFC 7519 section 2): seconds since 1970, None when the claim is absent."""
    value = claims.get(name)
    if value is None and name not in claims:
        return None
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise ValueError(f"the claim {name} is no number")
    try:
        return float(value)
    except OverflowError:
        raise ValueError(f"the claim {name} is too large") from None


def _audience(claims: Mapping[str, Any]) -> Sequence[str]:
    """Return aud: one text, or a list of texts (RFC 7519 section 4.1.3)."""
    value = claims.get("aud", [])
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError("the claim aud is neither text nor a list of texts")
    return value


def _media_type(typ: str) -> str:
    """Return a typ in its short form (RFC 7515 section 4.1.9): in any case, `application/` left out."""
    lowered = typ.lower()
    short = lowered.removeprefix("application/")
    return lowered if "/" in short else short
