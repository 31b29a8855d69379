"""Who asks in the bench: the same callers, shown in the same way, judged by each peer in its own words. Pure but for
the keys it makes.

Signed tokens: issuer, audience, expiry, signature and role are checked, and the limit counts by subject. Envoy
remembers tokens, as Headgate does; HAProxy has no such memory and checks each time. API keys: known by their SHA-256,
of which HAProxy is given a list; Envoy has nothing that compares. Keys in a database are for Headgate alone, which then
remembers none, so that each request looks its own up among all there are.
"""

from __future__ import annotations

import base64
import hashlib
import json
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bench import stored_keys

Credential = Literal["", "hs256", "rs256", "key"]

KEY_FIELD = "X-API-Key"
ROLE = "reader"
_ISSUER, _AUDIENCE = "https://issuer.example", "api"
_SECRET = "a-shared-secret-of-the-bench-of-more-than-32-bytes"
_SECONDS = 7 * 86400
_NAME = "bench"


@dataclass(frozen=True, slots=True)
class Callers:
    """Who asks: by which kind of credential, and how many different ones take turns.

    `stored`: their keys are in a database, with others, so many in all; 0: in the configuration.
    """

    credential: Credential
    count: int
    stored: int = 0

    def field(self, number: int) -> tuple[str, str]:
        """Return the header field that one of them sends."""
        if self.credential == "key":
            return KEY_FIELD, api_key(number)
        return "Authorization", f"Bearer {_token(self.credential, number)}"

    def fields(self) -> list[tuple[str, str]]:
        """Return the header fields of all of them."""
        return [self.field(number) for number in range(self.count)]


def api_key(number: int) -> str:
    """Return a key of the form that Headgate makes."""
    return "hg_" + base64.urlsafe_b64encode(hashlib.sha256(b"key %d" % number).digest()).decode().rstrip("=")


@lru_cache(1)
def _rsa() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def _public_pem() -> str:
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return _rsa().public_key().public_bytes(serialization.Encoding.PEM, form).decode()


@lru_cache(1 << 20)
def _token(credential: Credential, number: int) -> str:
    now = int(time.time())
    claims: dict[str, object] = {"sub": f"user-{number}", "tenant": "acme", "role": ROLE}
    claims |= {"iss": _ISSUER, "aud": _AUDIENCE, "iat": now, "exp": now + _SECONDS}
    if credential == "hs256":
        return jwt.encode(claims, _SECRET, "HS256")
    return jwt.encode(claims, _rsa(), "RS256", {"kid": _NAME})


# -- in the words of each peer -------------------------------------------------------------------------------------


def headgate(callers: Callers, folder: Path) -> dict[str, object]:
    """Return what Headgate has at its top level for these callers."""
    identity: dict[str, Any]
    if callers.stored:
        state = folder / f"keys-{callers.stored}"
        stored_keys.load(state, [api_key(number) for number in range(callers.count)], f'["{ROLE}"]', callers.stored)
        identity = {"api_keys": {"pepper": stored_keys.PEPPER}, "cache": 0}
        return {"identity": identity, "auth": {"roles": [ROLE]}, "state_dir": str(state)}
    if callers.credential == "key":
        static = [
            {"id": f"k{number}", "hash": f"sha256:{_digest(number)}", "tenant": "acme", "roles": ROLE}
            for number in range(callers.count)
        ]
        identity = {"api_keys": {"static": static}}
    else:
        issuer: dict[str, object] = {"name": _NAME, "issuer": _ISSUER, "audience": _AUDIENCE}
        if callers.credential == "hs256":
            issuer |= {"secret": _SECRET}
        else:
            file = folder / "issuer.pem"
            file.write_text(_public_pem())
            issuer |= {"public_key": str(file), "algorithms": "RS256"}
        identity = {"jwt": issuer, "cache": 2 * max(callers.count, 1000)}
    return {"identity": identity, "auth": {"roles": [ROLE]}}


def haproxy(callers: Callers, folder: Path) -> str:
    """Return the lines of HAProxy's frontend; `txn.caller` is then who asks."""
    if callers.credential == "key":
        known = folder / "keys.lst"
        known.write_text("".join(f"{_digest(number)}\n" for number in range(callers.count)))
        return f"""  http-request set-var(txn.caller) req.hdr({KEY_FIELD}),sha2(256),hex,lower
  http-request deny deny_status 401 unless {{ var(txn.caller) -m str -f {known} }}
"""
    algorithm, key = callers.credential.upper(), f'"{_SECRET}"'
    if callers.credential == "rs256":
        file = folder / "issuer.pem"
        file.write_text(_public_pem())
        key = f'"{file}"'
    claim = "var(txn.bearer),jwt_payload_query"
    return f"""  http-request set-var(txn.bearer) http_auth_bearer
  http-request set-var(txn.alg) var(txn.bearer),jwt_header_query('$.alg')
  http-request deny deny_status 401 unless {{ var(txn.alg) -m str {algorithm} }}
  http-request deny deny_status 401 unless {{ var(txn.bearer),jwt_verify(txn.alg,{key}) 1 }}
  http-request deny deny_status 401 unless {{ {claim}('$.iss') -m str {_ISSUER} }}
  http-request deny deny_status 401 unless {{ {claim}('$.aud') -m str {_AUDIENCE} }}
  http-request set-var(txn.exp) {claim}('$.exp','int')
  http-request set-var(txn.now) date()
  http-request deny deny_status 401 if {{ var(txn.exp),sub(txn.now) -m int lt 0 }}
  http-request deny deny_status 403 unless {{ {claim}('$.role') -m str {ROLE} }}
  http-request set-var(txn.caller) {claim}('$.sub')
"""


def envoy(callers: Callers, jwt_type: str, rbac_type: str) -> list[dict[str, object]]:
    """Return Envoy's filters: who asks, and whether it has the role. The types are those of their packages."""
    key: dict[str, object] = {"kty": "oct", "alg": "HS256", "k": _base64(_SECRET.encode())}
    if callers.credential == "rs256":
        key = {**json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(_rsa().public_key())), "kid": _NAME, "alg": "RS256"}
    provider = {
        "issuer": _ISSUER,
        "audiences": [_AUDIENCE],
        "local_jwks": {"inline_string": json.dumps({"keys": [key]})},
        "forward": True,
        "payload_in_metadata": "token",
        "jwt_cache_config": {"jwt_cache_size": 2 * max(callers.count, 1000)},
    }
    rules = [{"match": {"prefix": "/"}, "requires": {"provider_name": _NAME}}]
    shown = {
        "filter": "envoy.filters.http.jwt_authn",
        "path": [{"key": "token"}, {"key": "role"}],
        "value": {"string_match": {"exact": ROLE}},
    }
    policy = {"permissions": [{"any": True}], "principals": [{"metadata": shown}]}
    return [
        {
            "name": "envoy.filters.http.jwt_authn",
            "typed_config": {"@type": jwt_type, "providers": {_NAME: provider}, "rules": rules},
        },
        {
            "name": "envoy.filters.http.rbac",
            "typed_config": {"@type": rbac_type, "rules": {"action": "ALLOW", "policies": {ROLE: policy}}},
        },
    ]


def _digest(number: int) -> str:
    return hashlib.sha256(api_key(number).encode()).hexdigest()


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")
