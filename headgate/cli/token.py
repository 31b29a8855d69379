"""`headgate token`: a signed token for trying things out, as an issuer of the configuration would make it.

Law: what it prints is the token and what the token says, which is no secret; never what it was signed with.
"""

from __future__ import annotations

import argparse
import getpass
import json
import sys
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from headgate.auth.jwt import ANY_AUDIENCE, JwtMethod
from headgate.auth.key_ring import SECRET_BYTES, algorithms_of, jwk_of_secret, key_of_secret, number, ring_of
from headgate.auth.method import Refused
from headgate.auth.settings import ClaimNames, JwtIssuer
from headgate.cli.arguments import DEFAULT_FILE, Namespace, Parser, add_configuration, add_json, duration
from headgate.cli.configuration import load_valid

_FROM_INPUT = "-"
_MOST_STDIN = 65_536
_RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
_OF_CURVE = {"secp256r1": "ES256", "secp384r1": "ES384", "secp521r1": "ES512"}


def add_arguments(parser: Parser) -> None:
    """Add the options."""
    signing = parser.add_mutually_exclusive_group()
    signing.add_argument(
        "--secret",
        metavar="TEXT",
        help="sign with this secret in place of the configuration's; - reads it from standard input, so that neither"
        " the list of processes nor the shell's history shows it",
    )
    signing.add_argument("--key", metavar="FILE", type=Path, help="sign with the private key in this PEM file")
    parser.add_argument(
        "--algorithm", metavar="NAME", help="such as HS256; by default one that the key can be used with"
    )
    parser.add_argument("--issuer", metavar="NAME", help="the issuer in identity.jwt that it is to come from")
    parser.add_argument("--sub", metavar="ID", default="developer", help="the caller's id (developer)")
    parser.add_argument("--tenant", metavar="NAME", help="the tenant")
    parser.add_argument("--role", metavar="NAME", action="append", default=[], help="a role; repeatable")
    parser.add_argument("--scope", metavar="NAME", action="append", default=[], help="a scope; repeatable")
    parser.add_argument("--tier", metavar="NAME", help="the tier")
    parser.add_argument(
        "--audience", metavar="NAME", help="whom it is for; by default the first that the issuer's tokens are taken for"
    )
    parser.add_argument(
        "--claim",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        type=_claim,
        help="any other claim, the value as JSON or as text; over what the options above make; repeatable",
    )
    parser.add_argument(
        "--expires",
        metavar="TIME",
        type=duration,
        default=3600.0,
        help="how long it is good, such as 30m, 1h, 7d (1h)",
    )
    add_configuration(parser, "-c", "--config")
    add_json(parser)


def _claim(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise argparse.ArgumentTypeError("expected NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


class Unable(Exception):
    """There is no token to be had; the sentence says what to write instead."""


class Signer(NamedTuple):
    """What a token is signed with; `key` is never shown."""

    key: Any
    algorithm: str
    key_id: str | None


def run(arguments: Namespace) -> int:
    """Print a token; return 1 when there is nothing to sign it with, which is said."""
    issuers: list[JwtIssuer] = []
    if arguments.secret == _FROM_INPUT:
        arguments.secret = _read_secret()
    alone = (arguments.secret or arguments.key) and arguments.issuer is None
    if arguments.config or arguments.set or not alone or Path(DEFAULT_FILE).exists():
        config = load_valid(arguments)
        if config is None:
            return 1
        issuers = config.identity.jwt
    try:
        issuer = _issuer(arguments, issuers)
        signer = _signer(arguments, issuer)
        claims = _claims(arguments, issuer, time.time())
        token = _sign(claims, signer, issuer.typ[0] if issuer.typ else "JWT")
    except Unable as error:
        print(f"headgate token: {error}", file=sys.stderr)
        return 1
    if issuers:
        _warn(token, issuer)
    print(json.dumps({"token": token, "claims": claims}, indent=2) if arguments.json else token)
    return 0


def _read_secret() -> str:
    if sys.stdin.isatty():
        return getpass.getpass("Secret: ")
    return sys.stdin.buffer.read(_MOST_STDIN).removesuffix(b"\n").removesuffix(b"\r").decode("utf-8", "replace")


def _issuer(arguments: Namespace, issuers: list[JwtIssuer]) -> JwtIssuer:
    """Choose the issuer: the one that is named, else the only one that can be meant."""
    names = ", ".join(issuer.name for issuer in issuers)
    if arguments.issuer is not None:
        for issuer in issuers:
            if issuer.name == arguments.issuer:
                return issuer
        known = f"there are {names}" if names else "identity.jwt is empty"
        raise Unable(f'there is no issuer "{arguments.issuer}" in identity.jwt: {known}')
    if not issuers:
        return JwtIssuer()
    given = arguments.secret is not None or arguments.key is not None
    candidates = [issuer for issuer in issuers if given or issuer.secret is not None] or issuers
    if len(candidates) > 1:
        raise Unable(f"there are several issuers, so say which one: --issuer with one of {names}")
    return candidates[0]


# -- what it is signed with ---------------------------------------------------------------------------------------


def _signer(arguments: Namespace, issuer: JwtIssuer) -> Signer:
    if arguments.key is not None:
        return _of_file(arguments.key, arguments.algorithm, issuer)
    secret = arguments.secret if arguments.secret is not None else issuer.secret
    if secret is not None:
        return _of_secret(secret, arguments.algorithm, issuer)
    if issuer.public_key or issuer.key_set or issuer.discovery:
        raise Unable(
            f'the issuer "{issuer.name}" is known here by its public keys, which sign nothing:'
            " give its private key with --key FILE"
        )
    raise Unable("there is nothing to sign with: no issuer in identity.jwt has a secret; give --secret or --key FILE")


def _of_secret(secret: str, wanted: str | None, issuer: JwtIssuer) -> Signer:
    fitting = [name for name in algorithms_of(issuer) if name in SECRET_BYTES] or ["HS256"]
    algorithm = _chosen(wanted, tuple(SECRET_BYTES), fitting, "a secret")
    try:
        key = key_of_secret(secret, [algorithm])
    except ValueError as error:
        raise Unable(str(error)) from None
    jwk = jwk_of_secret(secret)
    return Signer(number(jwk, "k") if jwk else secret.encode(), algorithm, key.key_id)


def _of_file(path: Path, wanted: str | None, issuer: JwtIssuer) -> Signer:
    from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(path.read_bytes(), None)
    except OSError as error:
        raise Unable(f"{path} cannot be read: {error.strerror}") from None
    except TypeError:
        raise Unable(f"the key in {path} is encrypted: store it without pass phrase for this") from None
    except ValueError:
        raise Unable(f"{path} holds no private key in PEM form (-----BEGIN PRIVATE KEY-----)") from None
    match key:
        case rsa.RSAPrivateKey():
            usable: tuple[str, ...] = _RSA
        case ec.EllipticCurvePrivateKey() if key.curve.name in _OF_CURVE:
            usable = (_OF_CURVE[key.curve.name],)
        case ed25519.Ed25519PrivateKey() | ed448.Ed448PrivateKey():
            usable = ("EdDSA",)
        case _:
            raise Unable(f"the key in {path} is of a type that tokens are not signed with here")
    fitting = [name for name in algorithms_of(issuer) if name in usable] or [usable[0]]
    return Signer(key, _chosen(wanted, usable, fitting, f"the key in {path}"), None)


def _chosen(wanted: str | None, usable: tuple[str, ...], fitting: list[str], what: str) -> str:
    if wanted is None:
        return fitting[0]
    if wanted not in usable:
        raise Unable(f"{what} is used with {', '.join(usable)}, and not with {wanted}")
    return wanted


# -- what it says -------------------------------------------------------------------------------------------------


def _claims(arguments: Namespace, issuer: JwtIssuer, now: float) -> dict[str, Any]:
    names: ClaimNames = issuer.claims
    claims: dict[str, Any] = {"iat": int(now), "exp": int(now + (arguments.expires or 0.0))}
    if issuer.issuer is not None:
        claims["iss"] = issuer.issuer
    audience = arguments.audience or next((name for name in issuer.audience if name != ANY_AUDIENCE), None)
    if audience is not None:
        claims["aud"] = audience
    said: list[tuple[list[str], Any]] = [
        (names.id, arguments.sub),
        (names.tenant, arguments.tenant),
        (names.roles, arguments.role),
        # RFC 8693 section 4.2: scope is one text, its words between spaces.
        (names.scopes, " ".join(arguments.scope)),
        (names.tier, arguments.tier),
    ]
    for of, value in said:
        if value and of:
            _put(claims, of[0], value)
    return {**claims, **dict(arguments.claim)}


def _put(claims: dict[str, Any], name: str, value: Any) -> None:
    """Set a claim by the name it is read by: a.b is b inside a, but for names that are URLs."""
    *outer, last = [name] if "/" in name else name.split(".")
    for step in outer:
        claims = claims.setdefault(step, {})
    claims[last] = value


def _sign(claims: Mapping[str, Any], signer: Signer, typ: str) -> str:
    import jwt

    header = {"typ": typ} if signer.key_id is None else {"typ": typ, "kid": signer.key_id}
    try:
        with warnings.catch_warnings():
            # Of a short secret `headgate check` warns, and here it is said by _warn only if the gateway refuses it.
            warnings.simplefilter("ignore")
            return jwt.encode(dict(claims), signer.key, algorithm=signer.algorithm, headers=header)
    except (jwt.PyJWTError, TypeError, ValueError) as error:
        raise Unable(f"it cannot be signed: {error}") from None


def _warn(token: str, issuer: JwtIssuer) -> None:
    """Say why the gateway would refuse the token, if it can be said here."""
    try:
        ring = ring_of(issuer, lambda name: Path(name).read_text("utf-8"))
    except (OSError, ValueError):
        return
    judged = JwtMethod(issuer.name, [issuer], {issuer.name: ring}).judge(token.encode(), time.time())
    if isinstance(judged, Refused):
        print(f"headgate token: warning: the gateway would refuse it: {judged.detail}", file=sys.stderr)
