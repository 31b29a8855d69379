"""510 tokens and keys of Project Wycheproof: every verdict right, and where ours is another one, why.

JWE is not read here, so its vectors must all be refused, the good ones too.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import pytest

from headgate.auth.jose import BadToken, read_jws
from headgate.auth.key_ring import BadKey, KeyRing, key_of_secret, read_key_set
from tests.corpora import corpus

SIGNATURE, KEY, CRYPTO = "json_web_signature_test", "json_web_key_test", "json_web_crypto_test"
HMAC = ("HS256", "HS384", "HS512")

ES521 = "the key says it is for ES521, which is no algorithm (RFC 7518 section 3.1: it is ES512), so it is not used"
FOREIGN = "a character that is no base64url is refused, not passed over (RFC 7515 section 2, RFC 4648 section 3.3)"
PS256 = (
    "the key says it is for PS256, so no token of PS384 is checked with it (RFC 7517 section 4.4, RFC 8725 section 3.1)"
)
SAME = "its padding was lost when the vector was written: to the letter it is the token of vector 357, which is valid"
SECRETS = "a key set is a public document: a shared secret in one is not used"

# Those on which we differ, all of them, with the reason.
OURS = {
    (SIGNATURE, 346): PS256,
    (SIGNATURE, 347): ES521,
    (SIGNATURE, 350): PS256,
    (SIGNATURE, 351): ES521,
    (SIGNATURE, 367): SAME,
    (SIGNATURE, 370): SAME,
    (SIGNATURE, 372): FOREIGN,
    (SIGNATURE, 373): FOREIGN,
    (KEY, 2): SECRETS,
    (CRYPTO, 48): SECRETS,
}


class Vector(NamedTuple):
    file: str
    number: int
    comment: str
    keys: dict[str, Any]
    token: str
    valid: bool
    encrypted: bool


def _vectors() -> list[Vector]:
    return [
        Vector(
            file,
            test["tcId"],
            test["comment"],
            group.get("public") or group["private"],
            # The general JSON form, written as what it is: text that is no compact token.
            text if isinstance(text := test.get("jws", test.get("jwe")), str) else json.dumps(text),
            test["result"] == "valid",
            "jwe" in test,
        )
        for file in (SIGNATURE, KEY, CRYPTO)
        for group in corpus(f"{file}.json", "testGroups")
        for test in group["tests"]
    ]


VECTORS = _vectors()


def ring(keys: dict[str, Any]) -> KeyRing:
    # A set of one secret is how the file writes the secret; we have secrets in no other place than `secret`.
    only = keys["keys"][0] if len(keys.get("keys", ())) == 1 else keys
    try:
        if only.get("kty") == "oct":
            return KeyRing([key_of_secret(json.dumps(only), HMAC)])
        return KeyRing(read_key_set(json.dumps(keys).encode())[0])
    except BadKey:
        return KeyRing()


def accepted(vector: Vector) -> bool:
    try:
        token = read_jws(vector.token.encode())
    except BadToken:
        return False
    found = ring(vector.keys).find(token.key_id, token.algorithm)
    return any(key.verify(token.algorithm, token.signed, token.signature) for key in found)


def test_all_of_them_are_here() -> None:
    assert len(VECTORS) == 510


@pytest.mark.parametrize(
    "vector", VECTORS, ids=lambda vector: f"{vector.file.split('_')[2]}-{vector.number}-{vector.comment}"
)
def test_the_verdict_is_right(vector: Vector) -> None:
    expected = vector.valid and not vector.encrypted
    differs = (vector.file, vector.number) in OURS
    assert accepted(vector) is (expected is not differs)


def test_vectors_that_lost_their_padding_are_equal_to_a_valid_one() -> None:
    tokens = {each.number: each.token for each in VECTORS if each.file == SIGNATURE}
    assert tokens[367] == tokens[370] == tokens[357]
    good = tokens[357]
    for padded in (f"{good}=", good.replace(".VGVzdA.", ".VGVzdA==."), good.replace(".VGVzdA", "==.VGVzdA")):
        with pytest.raises(BadToken):
            read_jws(padded.encode())
