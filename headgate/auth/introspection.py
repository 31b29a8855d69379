"""Opaque tokens, which only the server that gave them out can read: it is asked (RFC 7662).

    form: token=...&token_type_hint=access_token      json: {"token": "..."}
    -> {"active": true, "sub": ..., "exp": ..., ...}

Laws: only an answer that says in so many words that a token is good lets anybody in. An answer that says neither yes
nor no, or that is about our own credentials, is no verdict on the token. No verdict outlives the token's own exp,
whoever is away. A token reaches no sentence for the log.
"""

from __future__ import annotations

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Mapping
from functools import partial
from typing import Any, Final
from urllib.parse import quote_plus, urlencode

from headgate.auth.claimed import ClaimedIdentity
from headgate.auth.jose import looks_signed
from headgate.auth.method import Judged, Known, NeedCall, Refused
from headgate.auth.settings import Introspection
from headgate.auth.token_sources import TokenSources
from headgate.core.message import Fields, RequestHead
from headgate.core.strict_json import read_object

# RFC 6749 appendix A.12 allows all visible ASCII and blanks; a blank is what two tokens in one request are joined by.
_TOKEN: Final = re.compile(rb"[!-~]{1,8192}")
# What is remembered of an answer is remembered for thousands of tokens.
_MOST_ANSWER: Final = 16_384
# Seconds that clocks may differ by where a token says from when on it is good.
_SKEW: Final = 30.0
_ID_LETTERS: Final = 16
_UNAVAILABLE: Final = "identity_unavailable"
_JSON: Final = b"application/json"


class IntrospectionMethod:
    """One server that knows tokens."""

    kind = "introspection"
    challenge = "Bearer"

    __slots__ = ("_callers", "_fields", "_prefix", "_settings", "_sources", "_trusted", "_wrong", "in_headers", "name")

    def __init__(self, settings: Introspection) -> None:
        """Make the question ready.

        Raises:
            ValueError: with a sentence, for a source that is none.
        """
        self.name = settings.name
        self._settings = settings
        self._sources = TokenSources(settings.sources)
        self.in_headers = self._sources.in_headers
        self._prefix = settings.prefix.encode()
        self._wrong = "invalid_api_key" if settings.kind == "api_key" else "invalid_token"
        self._callers = ClaimedIdentity(settings.claims, settings.kind, settings.name)
        content_type = _JSON if settings.form == "json" else b"application/x-www-form-urlencoded"
        self._fields: Fields = [(b"Accept", _JSON), (b"Content-Type", content_type)]
        self._trusted = settings.client_id is not None or settings.client_secret is not None
        if self._trusted:
            self._fields.append((b"Authorization", _basic(settings.client_id or "", settings.client_secret or "")))

    def find(self, head: RequestHead) -> bytes | None:
        """Return the token that a request shows, if it is one of this server's as far as its look can tell."""
        return self._sources.find(head, self._takes)

    def hide(self, head: RequestHead) -> None:
        """Take the token off the request."""
        self._sources.hide(head, self._takes)

    def _takes(self, token: bytes) -> bool:
        return token.startswith(self._prefix) if self._prefix else not looks_signed(token)

    def judge(self, credential: bytes, now: float) -> Judged:
        """Return what the server is to be asked, or why no server need be asked about this."""
        if not _TOKEN.fullmatch(credential):
            return Refused("invalid_token", "what was shown cannot be a token (RFC 6749 appendix A.12)")
        # Whom an answer does not name is known by what was shown; no shorter than that two would have the same.
        fallback = hashlib.sha256(credential).hexdigest()[:_ID_LETTERS]
        return NeedCall(self._fields, self._question(credential.decode("ascii")), partial(self._read, fallback))

    def _question(self, token: str) -> bytes:
        field = self._settings.field
        if self._settings.form == "json":
            return json.dumps({field: token}).encode()
        # RFC 7662 section 2.1: the hint spares a server that has both a look among its refresh tokens.
        hint = {"token_type_hint": "access_token"} if field == "token" else {}
        return urlencode({field: token, **hint}).encode()

    # -- the answer ------------------------------------------------------------------------------------------------

    def _read(self, fallback: str, status: int, body: bytes, now: float) -> Known | Refused:
        """Return the verdict that an answer is; `fallback` is the id of a caller whom it does not name."""
        if status != 200:
            return self._declined(status)
        if len(body) > _MOST_ANSWER:
            return self._no_verdict(f"its answer has more than {_MOST_ANSWER} bytes")
        active = self._settings.active
        try:
            answer = read_object(body) if body or active else {}
        except ValueError as error:
            return self._no_verdict(f"its answer cannot be read: {error}")
        if active:
            said = answer.get(active)
            if said is False:
                return Refused(self._wrong, f"{self.name} says that the token is not active")
            if said is not True:
                return self._no_verdict(f"its answer does not say whether the token is {active}")
        for field, values in self._settings.refuse.items():
            if str(answer.get(field)).lower() in map(str.lower, values):
                return Refused(self._wrong, f"{self.name} says of {field} what means no")
        return self._outlined(answer, now) or self._caller(answer, now, fallback)

    def _declined(self, status: int) -> Refused:
        """Take a status that is not the one for an answer."""
        # A server that says by its status alone whether a key is good has no other way to say no. Where we show
        # credentials of our own, these two may be about them (RFC 6749 section 5.2).
        about_us = self._trusted and status in (401, 403)
        if not self._settings.active and 400 <= status < 500 and status not in (408, 425, 429) and not about_us:
            return Refused(self._wrong, f"{self.name} says {status}")
        if status in (401, 403):
            return self._no_verdict(f"it does not take our own credentials: status {status}")
        return self._no_verdict(f"status {status}")

    def _outlined(self, answer: Mapping[str, Any], now: float) -> Refused | None:
        """Return what speaks against a token in what else is said of it (RFC 7662 section 2.2)."""
        settings = self._settings
        for name in ("exp", "nbf"):
            if answer.get(name) is not None and _moment(answer[name]) is None:
                return self._no_verdict(f"{name} of its answer is no date")
        end, begin = _moment(answer.get("exp")), _moment(answer.get("nbf"))
        if end is not None and end <= now:
            return Refused("expired_token", f"exp of the token lies {now - end:.0f} s back")
        if begin is not None and begin > now + _SKEW:
            return Refused("invalid_token", f"nbf of the token lies {begin - now:.0f} s ahead")
        issuer, audience = answer.get("iss"), answer.get("aud")
        if settings.issuer is not None and issuer is not None and issuer != settings.issuer:
            return Refused("invalid_token", "iss of the token is another issuer than ours")
        if settings.audience and audience is not None:
            named = audience if isinstance(audience, list) else [audience]
            if not any(each in settings.audience for each in named):
                return Refused("invalid_token", "aud of the token is for others")
        return None

    def _caller(self, answer: Mapping[str, Any], now: float, fallback: str) -> Known | Refused:
        settings = self._settings
        try:
            identity = self._callers.of(answer)
        except ValueError as error:
            return Refused(self._wrong, str(error))
        if not identity.id:
            identity = identity._replace(id=fallback)
        end = _moment(answer.get("exp"))
        until = now + settings.cache
        stale_until = until + settings.max_stale
        if end is not None:
            until, stale_until = min(until, end), min(stale_until, end)
        return Known(identity, until, stale_until)

    def _no_verdict(self, why: str) -> Refused:
        return Refused(_UNAVAILABLE, f"{self.name}: {why}")


def _basic(name: str, password: str) -> bytes:
    # RFC 6749 section 2.3.1: both are encoded as form fields before they are joined.
    pair = f"{quote_plus(name)}:{quote_plus(password)}"
    return b"Basic " + b64encode(pair.encode())


def _moment(value: Any) -> float | None:
    """Return seconds since 1970, or None for what are none."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) < 1e12:
        return None
    return float(value)
