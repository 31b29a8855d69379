"""Public keys that signatures of tokens are checked with: RSA, ECDSA, EdDSA (RFC 7518, RFC 8037), from JWK and PEM.

Imported only where such keys are configured or fetched. Laws: weak keys are refused, whoever hands them to us; what is
needed for a check is made once, when the key is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed448, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from headgate.auth.key_ring import MOST_KEYS, BadKey, Key, Verify, allowed, check_use, number

# RFC 7518 sections 3.3 and 3.5.
_LEAST_RSA_BITS: Final = 2048
# What a check costs grows with the square of the modulus and with the length of the exponent.
_MOST_RSA_BITS: Final = 8192
_MOST_EXPONENT: Final = 2**32

_HASHES: Final[Mapping[str, hashes.HashAlgorithm]] = {
    "256": hashes.SHA256(),
    "384": hashes.SHA384(),
    "512": hashes.SHA512(),
}
_RSA: Final = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
# RFC 7518 section 3.4: each algorithm has its own curve.
_CURVES: Final[Mapping[str, tuple[str, ec.EllipticCurve]]] = {
    "P-256": ("ES256", ec.SECP256R1()),
    "P-384": ("ES384", ec.SECP384R1()),
    "P-521": ("ES512", ec.SECP521R1()),
}
_BY_CURVE: Final = {curve.name: (name, algorithm) for name, (algorithm, curve) in _CURVES.items()}

_PEM = re.compile(r"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


# -- JWK ----------------------------------------------------------------------------------------------------------


def key_of_jwk(jwk: Mapping[str, Any]) -> Key:
    """Read one public JWK (RFC 7517, RFC 7518 section 6, RFC 8037 section 2).

    Raises:
        BadKey: with a sentence, when it cannot be used.
    """
    try:
        if jwk["kty"] == "RSA":
            modulus, exponent = (int.from_bytes(number(jwk, name)) for name in ("n", "e"))
            _check_rsa(modulus, exponent)
            return _rsa_key(rsa.RSAPublicNumbers(exponent, modulus).public_key(), jwk)
        if jwk["kty"] == "EC":
            return _ec_key(_point(jwk), jwk)
        return _okp_key(_okp(jwk), jwk)
    except BadKey:
        raise
    except (ValueError, UnsupportedAlgorithm):
        raise BadKey("its numbers are those of no key") from None


def _point(jwk: Mapping[str, Any]) -> ec.EllipticCurvePublicKey:
    name = jwk.get("crv")
    if not isinstance(name, str) or name not in _CURVES:
        raise BadKey("its curve (crv) is not used here")
    curve = _CURVES[name][1]
    x, y = number(jwk, "x"), number(jwk, "y")
    # RFC 7518 section 6.2.1.2: neither more nor fewer bytes than a coordinate of the curve has.
    if not len(x) == len(y) == _size(curve):
        raise BadKey("its coordinates are not as long as those of its curve")
    return ec.EllipticCurvePublicNumbers(int.from_bytes(x), int.from_bytes(y), curve).public_key()


def _okp(jwk: Mapping[str, Any]) -> ed25519.Ed25519PublicKey | ed448.Ed448PublicKey:
    x = number(jwk, "x")
    match jwk.get("crv"):
        case "Ed25519":
            return ed25519.Ed25519PublicKey.from_public_bytes(x)
        case "Ed448":
            return ed448.Ed448PublicKey.from_public_bytes(x)
        case _:
            raise BadKey("its curve (crv) is not used here")


# -- PEM ----------------------------------------------------------------------------------------------------------


def keys_of_pem(text: str) -> list[Key]:
    """Read all public keys and certificates of a PEM file.

    Raises:
        BadKey: with a sentence, when one of them cannot be used, or there is none.
    """
    keys = [_key_of_block(block[1], block[0].encode()) for block in _PEM.finditer(text)]
    if not keys:
        raise BadKey("it holds neither a public key in PEM form (-----BEGIN PUBLIC KEY-----) nor a JWK")
    if len(keys) > MOST_KEYS:
        raise BadKey(f"it holds more than {MOST_KEYS} keys")
    return keys


def _key_of_block(label: str, block: bytes) -> Key:
    if label.endswith("PRIVATE KEY"):
        raise BadKey("it holds a private key; only its public half belongs here")
    try:
        if label == "CERTIFICATE":
            key: object = x509.load_pem_x509_certificate(block).public_key()
        else:
            key = load_pem_public_key(block)
    except (ValueError, UnsupportedAlgorithm):
        raise BadKey(f"its {label} cannot be read") from None
    match key:
        case rsa.RSAPublicKey():
            numbers = key.public_numbers()
            _check_rsa(numbers.n, numbers.e)
            return _rsa_key(key, {})
        case ec.EllipticCurvePublicKey():
            return _ec_key(key, {})
        case ed25519.Ed25519PublicKey() | ed448.Ed448PublicKey():
            return _okp_key(key, {})
        case _:
            raise BadKey("its key is of a type that tokens are not signed with here")


# -- checks of signatures -----------------------------------------------------------------------------------------


def _rsa_key(key: rsa.RSAPublicKey, jwk: Mapping[str, Any]) -> Key:
    key_id = check_use(jwk, *_RSA)
    return Key(key_id, f"an RSA key of {key.key_size} bits", {name: _rsa(key, name) for name in allowed(jwk, _RSA)})


def _rsa(key: rsa.RSAPublicKey, algorithm: str) -> Verify:
    digest = _HASHES[algorithm[2:]]
    # RFC 7518 section 3.5: the salt is as long as the hash, and MGF1 uses the same one.
    form = padding.PSS(padding.MGF1(digest), digest.digest_size) if algorithm[0] == "P" else padding.PKCS1v15()

    def verify(message: bytes, signature: bytes) -> bool:
        try:
            key.verify(signature, message, form, digest)
        except InvalidSignature:
            return False
        return True

    return verify


def _ec_key(key: ec.EllipticCurvePublicKey, jwk: Mapping[str, Any]) -> Key:
    if key.curve.name not in _BY_CURVE:
        raise BadKey("its curve is not used here")
    name, algorithm = _BY_CURVE[key.curve.name]
    return Key(check_use(jwk, algorithm), f"an EC key of {name}", {algorithm: _ecdsa(key, algorithm)})


def _ecdsa(key: ec.EllipticCurvePublicKey, algorithm: str) -> Verify:
    size = _size(key.curve)
    form = ec.ECDSA(_HASHES[algorithm[2:]])

    def verify(message: bytes, signature: bytes) -> bool:
        # RFC 7518 section 3.4: R and S, each as long as the curve's order, and nothing else.
        if len(signature) != 2 * size:
            return False
        der = encode_dss_signature(int.from_bytes(signature[:size]), int.from_bytes(signature[size:]))
        try:
            key.verify(der, message, form)
        except InvalidSignature:
            return False
        return True

    return verify


def _size(curve: ec.EllipticCurve) -> int:
    return (curve.key_size + 7) // 8


def _okp_key(key: ed25519.Ed25519PublicKey | ed448.Ed448PublicKey, jwk: Mapping[str, Any]) -> Key:
    name = "Ed25519" if isinstance(key, ed25519.Ed25519PublicKey) else "Ed448"

    def verify(message: bytes, signature: bytes) -> bool:
        try:
            key.verify(signature, message)
        except InvalidSignature:
            return False
        return True

    return Key(check_use(jwk, "EdDSA"), f"an {name} key", {"EdDSA": verify})


# -- weak keys ----------------------------------------------------------------------------------------------------


def _check_rsa(modulus: int, exponent: int) -> None:
    if not _LEAST_RSA_BITS <= modulus.bit_length() <= _MOST_RSA_BITS:
        bits = modulus.bit_length()
        raise BadKey(f"an RSA key of {bits} bits; {_LEAST_RSA_BITS} to {_MOST_RSA_BITS} are accepted")
    if exponent % 2 == 0 or not 3 <= exponent < _MOST_EXPONENT:
        raise BadKey("the exponent of an RSA key must be odd, and from 3 to 2**32")
    if all(modulus % prime in residues for prime, residues in _weak_residues()):
        raise BadKey("an RSA key made by a generator known to be broken (CVE-2017-15361)")


@cache
def _weak_residues() -> tuple[tuple[int, frozenset[int]], ...]:
    """Return, for small primes, what is left of the moduli that the broken generator makes: powers of 65537."""
    return tuple(
        (prime, frozenset(_powers(prime))) for prime in range(3, 168) if all(prime % n for n in range(2, prime))
    )


def _powers(prime: int) -> Iterable[int]:
    power = 1
    for _ in range(prime - 1):
        yield power
        power = power * 65537 % prime
