"""Tokens for tests, signed by somebody else's code than that which checks them (PyJWT)."""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import get_default_algorithms

from headgate.auth.jwt import JwtMethod
from headgate.auth.key_ring import KeyRing, ring_of
from headgate.auth.settings import JwtIssuer

SECRET = "0123456789abcdef0123456789abcdef"
NOW = 1_800_000_000.0
_ALGORITHMS = get_default_algorithms()


def part(data: bytes) -> bytes:
    """Write one part of a token."""
    return urlsafe_b64encode(data).rstrip(b"=")


def token(claims: object = None, *, key: Any = SECRET, algorithm: str = "HS256", **header: object) -> bytes:
    """Make a token that is good until NOW + 60, unless `claims` (added to that, or raw bytes) say something else."""
    made: dict[str, object] = {"alg": algorithm, **header}
    payload = (
        claims if isinstance(claims, bytes) else json.dumps({"sub": "ann", "exp": NOW + 60, **_dict(claims)}).encode()
    )
    return signed(json.dumps(made).encode(), payload, key, algorithm)


def _dict(claims: object) -> dict[str, object]:
    assert claims is None or isinstance(claims, dict)
    return claims or {}


def signed(header: bytes, payload: bytes, key: Any = SECRET, algorithm: str = "HS256") -> bytes:
    """Sign any header and any payload."""
    message = part(header) + b"." + part(payload)
    secret = key.encode() if isinstance(key, str) else key
    return message + b"." + part(_ALGORITHMS[algorithm].sign(message, secret))


@cache
def private_key(kind: str) -> Any:
    """Make one private key of a kind, such as RSA, other RSA, P-256, Ed25519; always the same in one run."""
    curves = {"P-256": ec.SECP256R1(), "P-384": ec.SECP384R1(), "P-521": ec.SECP521R1()}
    name = kind.split()[-1]
    if name in curves:
        return ec.generate_private_key(curves[name])
    if name == "Ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    if name == "Ed448":
        return ed448.Ed448PrivateKey.generate()
    return rsa.generate_private_key(65537, int(name.partition("-")[2] or 2048))


def public_pem(kind: str) -> str:
    """Return the public half of one of them."""
    public = private_key(kind).public_key()
    pem: bytes = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return pem.decode()


def public_jwk(kind: str, **more: object) -> dict[str, object]:
    """Return the public half of one of them as a JWK."""
    name = {"P": "ES256", "R": "RS256", "E": "EdDSA"}[kind.split()[-1][0]]
    jwk: dict[str, object] = _ALGORITHMS[name].to_jwk(private_key(kind).public_key(), as_dict=True)
    jwk.pop("key_ops", None)
    return {**jwk, **more}


def method_of(*issuers: JwtIssuer, files: dict[str, str] | None = None, **rings: KeyRing) -> JwtMethod:
    """Make the method of these issuers; public_key names one of `files`."""
    made = {issuer.name: ring_of(issuer, lambda name: (files or {})[name]) for issuer in issuers}
    return JwtMethod("jwt", issuers, {**made, **rings})
