"""The keys that tokens of one issuer are checked with.

Laws: a key works with the algorithms of its own type and with no other, so a public key can never be taken for a shared
secret (RFC 8725 section 3.1); kid is a key of a table and nothing else. A shared secret needs the standard library
alone: public keys bring in cryptography, and only when there is one (`auth.public_key`).
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from headgate.auth.jose import decode_base64url
from headgate.auth.settings import JwtIssuer
from headgate.core.strict_json import read_object

Verify = Callable[[bytes, bytes], bool]

MOST_KEYS: Final = 100
# OpenID Connect Core section 10.1: of several keys a token must name its own. Without a name a few are tried; each
# costs a signature.
_MOST_TRIED: Final = 8

_DIGESTS: Final = {"HS256": "sha256", "HS384": "sha384", "HS512": "sha512"}
# RFC 7518 section 3.2: at least as long as the hash, in bytes.
SECRET_BYTES: Final[Mapping[str, int]] = {"HS256": 32, "HS384": 48, "HS512": 64}
_NO_SECRET = re.compile(
    r"-----BEGIN |^(ssh-(rsa|dss|ed25519)|ecdsa-sha2-|sk-ssh-|sk-ecdsa-)|^ssh-[a-z0-9-]+@openssh\.com ", re.MULTILINE
)


class BadKey(ValueError):
    """What came is no key that signatures can be checked with; the sentence holds nothing of it."""


class Key:
    """One key. `what` says for people what it is; it never holds anything of the key itself."""

    __slots__ = ("_verify", "key_id", "what")

    def __init__(self, key_id: str | None, what: str, verify: Mapping[str, Verify]) -> None:
        """Take the check of a signature (message, signature) for each algorithm the key may be used with."""
        self.key_id = key_id
        self.what = what
        self._verify = dict(verify)

    @property
    def algorithms(self) -> frozenset[str]:
        """Return the algorithms it works with."""
        return frozenset(self._verify)

    def verify(self, algorithm: str, message: bytes, signature: bytes) -> bool:
        """Tell whether this key signed the message; never with an algorithm that is not its own."""
        verify = self._verify.get(algorithm)
        return verify is not None and verify(message, signature)

    def __repr__(self) -> str:
        return f"<Key {self.what}>"


class KeyRing:
    """The keys of one issuer as they are now. `version` 0: there have never been any."""

    __slots__ = ("_by_id", "_nameless", "version")

    def __init__(self, keys: Iterable[Key] = (), version: int = 0) -> None:
        """Begin with these keys."""
        self._by_id: dict[tuple[str | None, str], tuple[Key, ...]] = {}
        self._nameless: dict[str, tuple[Key, ...]] = {}
        self.version = 0
        self.take(keys, version)

    def take(self, keys: Iterable[Key], version: int) -> None:
        """Use these keys from now on, and no others."""
        by_id: dict[tuple[str | None, str], tuple[Key, ...]] = {}
        nameless: dict[str, tuple[Key, ...]] = {}
        for key in keys:
            for algorithm in key.algorithms:
                if key.key_id is None:
                    nameless[algorithm] = (*nameless.get(algorithm, ()), key)[:_MOST_TRIED]
                else:
                    by_id[key.key_id, algorithm] = (*by_id.get((key.key_id, algorithm), ()), key)[:_MOST_TRIED]
                by_id[None, algorithm] = (*by_id.get((None, algorithm), ()), key)[:_MOST_TRIED]
        self._by_id, self._nameless, self.version = by_id, nameless, version

    def find(self, key_id: str | None, algorithm: str) -> tuple[Key, ...]:
        """Return the keys that may have signed a token with this kid (None: it has none) and algorithm, few of them.

        A key without a name may be any token's.
        """
        found = self._by_id.get((key_id, algorithm))
        return found if found is not None else self._nameless.get(algorithm, ())

    def __len__(self) -> int:
        return len({id(key) for keys in self._by_id.values() for key in keys})

    def __repr__(self) -> str:
        return f"<KeyRing version {self.version}: {len(self)} keys>"


# -- shared secrets -----------------------------------------------------------------------------------------------


def key_of_secret(text: str, algorithms: Sequence[str]) -> Key:
    """Make the key of a shared secret: its text, or, for one that is no text, a JWK of the type oct.

    Raises:
        BadKey: with a sentence; for what is a key of another kind too, whose public half is no secret.
    """
    if not text:
        raise BadKey("the secret is empty")
    if _NO_SECRET.search(text):
        raise BadKey("the secret is a PEM or SSH key, and no secret: write public_key instead")
    jwk = jwk_of_secret(text)
    return _secret(None, text.encode(), algorithms) if jwk is None else _within(_secret_of_jwk(jwk), algorithms)


def jwk_of_secret(text: str) -> dict[str, Any] | None:
    """Return the JWK (or JWK set) that a secret is written as, None when it is its own text."""
    if not text.lstrip().startswith("{"):
        return None
    try:
        jwk = read_object(text.encode())
    except ValueError:
        return None
    return jwk if "kty" in jwk or "keys" in jwk else None


def _within(key: Key, algorithms: Sequence[str]) -> Key:
    if not key.algorithms & set(algorithms):
        raise BadKey("the secret is a JWK for other algorithms")
    return key


def _secret(key_id: str | None, secret: bytes, algorithms: Iterable[str]) -> Key:
    verify = {name: _hmac(secret, _DIGESTS[name]) for name in algorithms if name in _DIGESTS}
    return Key(key_id, "a shared secret", verify)


def _hmac(secret: bytes, digest: str) -> Verify:
    def verify(message: bytes, signature: bytes) -> bool:
        return hmac.compare_digest(hmac.digest(secret, message, digest), signature)

    return verify


def _secret_of_jwk(jwk: Mapping[str, Any]) -> Key:
    if jwk.get("kty") != "oct":
        raise BadKey("the secret is a JWK of another type than oct, which is no secret")
    key_id = check_use(jwk, "HS256", "HS384", "HS512")
    secret = number(jwk, "k")
    long_enough = [name for name in allowed(jwk, _DIGESTS) if len(secret) >= SECRET_BYTES[name]]
    if not long_enough:
        raise BadKey("the secret is shorter than the hash of its algorithm (RFC 7518 section 3.2)")
    return _secret(key_id, secret, long_enough)


# -- JSON Web Keys (RFC 7517) -------------------------------------------------------------------------------------


def read_key_set(body: bytes) -> tuple[list[Key], list[str]]:
    """Read a JWK set, or one JWK: the keys we can use, and a sentence on each of the others.

    Raises:
        BadKey: with a sentence, when it is neither.
    """
    try:
        document = read_object(body)
    except ValueError as error:
        raise BadKey(f"the key set cannot be read: {error}") from None
    listed = document.get("keys") if "keys" in document else [document]
    if not isinstance(listed, list):
        raise BadKey("the key set has no list of keys")
    if len(listed) > MOST_KEYS:
        raise BadKey(f"the key set has more than {MOST_KEYS} keys")
    keys: list[Key] = []
    skipped: list[str] = []
    for place, jwk in enumerate(listed):
        try:
            keys.append(_public(jwk))
        except BadKey as error:
            skipped.append(f"keys[{place}]: {error}")
    return keys, skipped


def _public(jwk: Any) -> Key:
    if not isinstance(jwk, dict):
        raise BadKey("it is no JSON object")
    kind = jwk.get("kty")
    if kind == "oct":
        raise BadKey("a shared secret that is published is none")
    if not isinstance(kind, str) or kind not in ("RSA", "EC", "OKP"):
        raise BadKey("its type (kty) is not known here")
    if "d" in jwk:
        raise BadKey("a private key that is published is none")
    from headgate.auth.public_key import key_of_jwk

    return key_of_jwk(jwk)


def check_use(jwk: Mapping[str, Any], *algorithms: str) -> str | None:
    """Check that a JWK is meant for the signatures of these algorithms (RFC 7517 sections 4.2 to 4.4); return its kid.

    Raises:
        BadKey: with a sentence, when it is not.
    """
    if jwk.get("use", "sig") != "sig":
        raise BadKey("it is not for signatures (use)")
    operations = jwk.get("key_ops", ["verify"])
    if not isinstance(operations, list) or "verify" not in operations:
        raise BadKey("it is not for checking signatures (key_ops)")
    if not allowed(jwk, algorithms):
        raise BadKey("its algorithm (alg) is none that a key of its type is used with here")
    key_id = jwk.get("kid")
    if key_id is not None and not isinstance(key_id, str):
        raise BadKey("its name (kid) is no text")
    return key_id


def allowed(jwk: Mapping[str, Any], algorithms: Iterable[str]) -> list[str]:
    """Return those of these algorithms that a JWK lets itself be used with: all, or the one it names."""
    own = jwk.get("alg")
    return [name for name in algorithms if own is None or own == name]


def number(jwk: Mapping[str, Any], name: str) -> bytes:
    """Return the bytes of one of a JWK's numbers.

    Raises:
        BadKey: with a sentence, when it is missing or is no base64url.
    """
    value = jwk.get(name)
    try:
        made = decode_base64url(value.encode("ascii")) if isinstance(value, str) else b""
    except ValueError:
        made = b""
    if not made:
        raise BadKey(f"its {name} is missing, or is no base64url")
    return made


# -- files and issuers --------------------------------------------------------------------------------------------


def keys_of_file(text: str) -> list[Key]:
    """Read the keys of a file: PEM public keys or certificates, a JWK, or a JWK set.

    Raises:
        BadKey: with a sentence, when it holds none that can be used.
    """
    if not text.lstrip().startswith("{"):
        from headgate.auth.public_key import keys_of_pem

        return keys_of_pem(text)
    keys, skipped = read_key_set(text.strip().encode())
    if not keys:
        raise BadKey(skipped[0] if skipped else "the key set is empty")
    return keys


def algorithms_of(issuer: JwtIssuer) -> tuple[str, ...]:
    """Return the algorithms that tokens of an issuer may be signed with, those by default included."""
    return tuple(issuer.algorithms) or (("HS256",) if issuer.secret is not None else ("RS256", "ES256"))


def fetched(issuer: JwtIssuer) -> bool:
    """Tell whether the keys of an issuer come from elsewhere, at run time."""
    return issuer.key_set is not None or issuer.discovery is not None


def ring_of(issuer: JwtIssuer, read: Callable[[str], str]) -> KeyRing:
    """Make the ring of an issuer, empty for one whose keys are fetched; `read` returns the text of a file.

    Raises:
        ValueError: with a sentence (BadKey among them), when there are no usable keys in what is configured.
        OSError: from `read`.
    """
    if issuer.secret is not None:
        return KeyRing([key_of_secret(issuer.secret, algorithms_of(issuer))], 1)
    if issuer.public_key is not None:
        return KeyRing(keys_of_file(read(issuer.public_key)), 1)
    return KeyRing()
