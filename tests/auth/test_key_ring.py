"""Keys: where they come from, what they are used with, and which of them a token may have been signed with."""

from __future__ import annotations

import hmac
import json
import subprocess
import sys
from base64 import urlsafe_b64decode
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.auth.jose import read_jws
from headgate.auth.key_ring import BadKey, Key, KeyRing, key_of_secret, keys_of_file, read_key_set, ring_of
from headgate.auth.settings import JwtIssuer, KeySetSource
from tests.auth.tokens import SECRET, part, private_key, public_jwk, public_pem, token
from tests.config.files import make_files

RSA_ALGORITHMS = {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}
KINDS = {
    "RSA": RSA_ALGORITHMS,
    "P-256": {"ES256"},
    "P-384": {"ES384"},
    "P-521": {"ES512"},
    "Ed25519": {"EdDSA"},
    "Ed448": {"EdDSA"},
}
ALL = [*RSA_ALGORITHMS, "ES256", "ES384", "ES512", "EdDSA", "HS256", "HS384", "HS512", "none", ""]


def signs(key: Key, made: bytes) -> bool:
    jws = read_jws(made)
    return key.verify(jws.algorithm, jws.signed, jws.signature)


def only(jwk: dict[str, Any]) -> Key:
    keys, skipped = read_key_set(json.dumps({"keys": [jwk]}).encode())
    assert not skipped
    return keys[0]


def why_not(jwk: Any) -> str:
    keys, skipped = read_key_set(json.dumps({"keys": [jwk]}).encode())
    assert not keys
    assert skipped[0].startswith("keys[0]: ")
    return skipped[0]


# -- public keys --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_a_public_key_checks_what_its_private_half_signed_from_pem_and_from_jwk(kind: str) -> None:
    for key in (
        keys_of_file(public_pem(kind))[0],
        only(public_jwk(kind)),
        keys_of_file(json.dumps(public_jwk(kind)))[0],
    ):
        assert key.algorithms == KINDS[kind]
        for algorithm in KINDS[kind]:
            good = token(key=private_key(kind), algorithm=algorithm)
            assert signs(key, good)
            assert not signs(key, token(key=private_key(f"other {kind}"), algorithm=algorithm))
            jws = read_jws(good)
            assert not key.verify(algorithm, jws.signed + b"x", jws.signature)
            half = len(jws.signature) // 2
            inside = jws.signature[:half] + b"\x00" + jws.signature[half:]
            for cut in (inside, jws.signature[:-1], jws.signature + b"\x00", b"\x00" + jws.signature, b""):
                assert not key.verify(algorithm, jws.signed, cut)


@pytest.mark.parametrize("kind", KINDS)
def test_a_key_works_with_no_algorithm_but_its_own(kind: str) -> None:
    key = only(public_jwk(kind))
    for own in KINDS[kind]:
        jws = read_jws(token(key=private_key(kind), algorithm=own))
        for algorithm in ALL:
            assert key.verify(algorithm, jws.signed, jws.signature) is (algorithm == own)


def test_a_certificate_is_a_public_key(tmp_path: Path) -> None:
    make_files(tmp_path / "made")
    (key,) = keys_of_file((tmp_path / "made" / "good.pem").read_text())
    assert key.algorithms == {"ES256"}


def test_a_file_may_hold_several_keys() -> None:
    keys = keys_of_file(f"the old one\n{public_pem('RSA')}\nthe new one\n{public_pem('Ed25519')}")
    assert [key.what for key in keys] == ["an RSA key of 2048 bits", "an Ed25519 key"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "neither a public key"),
        ("nothing of that kind", "neither a public key"),
        ("-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----", "holds a private key"),
        ("-----BEGIN RSA PRIVATE KEY-----\nAA==\n-----END RSA PRIVATE KEY-----", "holds a private key"),
        ("-----BEGIN PUBLIC KEY-----\nAA==\n-----END PUBLIC KEY-----", "PUBLIC KEY cannot be read"),
        ("-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----", "CERTIFICATE cannot be read"),
        ("-----BEGIN PUBLIC KEY-----\n!\n-----END PUBLIC KEY-----", "PUBLIC KEY cannot be read"),
        ('{"keys": []}', "the key set is empty"),
        ('{"keys": {}}', "no list of keys"),
        ('{"kty": "oct", "k": "AAAA"}', "a shared secret that is published is none"),
        ("{", "cannot be read: it is no JSON"),
    ],
)
def test_files_without_a_usable_key(text: str, sentence: str) -> None:
    with pytest.raises(BadKey, match=sentence):
        keys_of_file(text)


def test_weak_and_monstrous_keys_are_refused_from_pem_too() -> None:
    with pytest.raises(BadKey, match="an RSA key of 1024 bits; 2048 to 8192"):
        keys_of_file(public_pem("RSA-1024"))
    assert "of 1024 bits" in why_not(public_jwk("RSA-1024"))
    assert "of 16384 bits" in why_not({"kty": "RSA", "e": "AQAB", "n": part(b"\xff" * 2048).decode()})
    assert "exponent" in why_not(public_jwk("RSA", e="BA"))
    assert "exponent" in why_not(public_jwk("RSA", e="AQ"))
    assert "exponent" in why_not(public_jwk("RSA", e=part(b"\x01" * 9).decode()))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"use": "enc"}, "not for signatures (use)"),
        ({"use": 1}, "not for signatures (use)"),
        ({"key_ops": ["encrypt"]}, "(key_ops)"),
        ({"key_ops": "verify"}, "(key_ops)"),
        ({"alg": "HS256"}, "(alg)"),
        ({"alg": "ES384"}, "(alg)"),
        ({"alg": 1}, "(alg)"),
        ({"kid": 7}, "(kid)"),
        ({"kty": "RSA"}, "its n is missing"),
        ({"kty": "oct"}, "published"),
        ({"kty": "other"}, "(kty)"),
        ({"kty": ["EC"]}, "(kty)"),
        ({"crv": "P-384"}, "coordinates"),
        ({"crv": "secp256k1"}, "(crv)"),
        ({"crv": ["P-256"]}, "(crv)"),
        ({"x": "AA"}, "coordinates"),
        ({"x": "A" * 43}, "the numbers|its numbers"),
        ({"x": "=" * 43}, "its x is missing, or is no base64url"),
        ({"x": "é"}, "its x is missing, or is no base64url"),
        ({"y": None}, "its y is missing"),
        ({"d": "AA"}, "a private key that is published is none"),
    ],
)
def test_keys_of_a_set_that_are_skipped(changes: dict[str, object], sentence: str) -> None:
    said = why_not({**public_jwk("P-256"), **changes})
    assert any(each in said for each in sentence.split("|"))


def test_edwards_keys_that_are_none() -> None:
    assert "(crv)" in why_not(public_jwk("Ed25519", crv="X25519"))
    assert "numbers" in why_not(public_jwk("Ed25519", x="AAAA"))
    assert "numbers" in why_not(public_jwk("Ed25519", crv="Ed448"))


def test_a_set_with_unusable_keys_gives_the_others() -> None:
    listed = [public_jwk("RSA", kid="a"), {"kty": "new"}, 7, None, public_jwk("P-256", kid="b", use="sig", alg="ES256")]
    keys, skipped = read_key_set(json.dumps({"keys": listed}).encode())
    assert [key.key_id for key in keys] == ["a", "b"]
    assert [each.partition(":")[0] for each in skipped] == ["keys[1]", "keys[2]", "keys[3]"]


def test_a_set_is_bounded_and_read_strictly() -> None:
    jwk = public_jwk("Ed25519")
    assert len(read_key_set(json.dumps({"keys": [jwk] * 100}).encode())[0]) == 100
    with pytest.raises(BadKey, match="more than 100 keys"):
        read_key_set(json.dumps({"keys": [jwk] * 101}).encode())
    with pytest.raises(BadKey, match="a name stands twice"):
        read_key_set(b'{"keys": [], "keys": []}')
    with pytest.raises(BadKey, match="it is no JSON"):
        read_key_set(b"<html>502 Bad Gateway</html>")


@given(st.binary(max_size=200))
def test_garbage_is_no_key_set(body: bytes) -> None:
    try:
        keys, _ = read_key_set(body)
        assert keys == []
    except BadKey:
        pass


@given(
    st.dictionaries(
        st.sampled_from(["kty", "crv", "x", "y", "n", "e", "kid", "use", "alg", "key_ops", "k"]),
        st.sampled_from(
            ["RSA", "EC", "OKP", "P-256", "Ed25519", "AQAB", "", "sig", "ES256", "AA", "A" * 43, None, 7, []]
        ),
    )
)
def test_any_members_are_a_key_or_a_sentence(jwk: dict[str, object]) -> None:
    keys, skipped = read_key_set(json.dumps({"keys": [jwk]}).encode())
    assert len(keys) + len(skipped) == 1


# -- secrets ------------------------------------------------------------------------------------------------------


def test_a_secret_checks_with_its_algorithms_only() -> None:
    key = key_of_secret(SECRET, ["HS256", "HS512"])
    assert key.algorithms == {"HS256", "HS512"}
    assert signs(key, token())
    assert signs(key, token(key=SECRET * 2, algorithm="HS512")) is False
    assert signs(key_of_secret(SECRET * 2, ["HS512"]), token(key=SECRET * 2, algorithm="HS512"))
    assert not signs(key_of_secret(SECRET * 2, ["HS256"]), token(key=SECRET * 2, algorithm="HS512"))


def test_a_secret_that_is_no_text_is_a_jwk() -> None:
    secret = bytes(range(200, 232))
    key = key_of_secret(json.dumps({"kty": "oct", "k": part(secret).decode(), "kid": "s"}), ["HS256"])
    assert key.key_id == "s"
    assert signs(key, token(key=secret))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "empty"),
        (public_pem("RSA"), "PEM"),
        (public_pem("P-256"), "PEM"),
        ("  -----BEGIN CERTIFICATE-----", "PEM"),
        ("ssh-rsa AAAAB3NzaC1yc2E= me", "SSH"),
        ("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 me", "SSH"),
        ("ecdsa-sha2-nistp256 AAAA", "SSH"),
        (json.dumps(public_jwk("RSA")), "another type than oct"),
        (json.dumps({"keys": [public_jwk("RSA")]}), "another type than oct"),
        (json.dumps({"kty": "oct", "k": "AAAA"}), "shorter than the hash"),
        (json.dumps({"kty": "oct", "k": part(SECRET.encode()).decode(), "alg": "HS512"}), "shorter than the hash"),
        (json.dumps({"kty": "oct", "k": part(SECRET.encode() * 2).decode(), "alg": "HS512"}), "for other algorithms"),
        (json.dumps({"kty": "oct"}), "its k is missing"),
    ],
    ids=lambda value: value[:21],
)
def test_what_is_no_secret(text: str, sentence: str) -> None:
    with pytest.raises(BadKey, match=sentence):
        key_of_secret(text, ["HS256"])


@pytest.mark.parametrize("text", ["{not json", '{"a": 1}', "my ssh-rsa", "x" * 10_000, "\x00\x01"])
def test_strange_secrets_are_secrets(text: str) -> None:
    assert signs(key_of_secret(text, ["HS256"]), token(key=text.encode()) if "{" not in text else _hs256(text))


def _hs256(secret: str) -> bytes:
    message = part(b'{"alg":"HS256"}') + b"." + part(b"{}")
    return message + b"." + part(hmac.digest(secret.encode(), message, "sha256"))


# -- rings --------------------------------------------------------------------------------------------------------


def named(name: str | None, *algorithms: str) -> Key:
    return Key(name, "a key", {algorithm: lambda message, signature: True for algorithm in algorithms or ("RS256",)})


def test_a_ring_finds_by_kid_and_algorithm() -> None:
    a, b, nameless = named("a", "RS256", "PS256"), named("b", "ES256"), named(None, "RS256")
    ring = KeyRing([a, b, nameless], 3)
    assert ring.version == 3
    assert len(ring) == 3
    assert ring.find("a", "RS256") == (a,)
    assert ring.find("a", "PS256") == (a,)
    assert ring.find("b", "ES256") == (b,)
    # A key that nobody gave a name may have signed what names another one.
    assert ring.find("c", "RS256") == (nameless,)
    assert ring.find(None, "RS256") == (a, nameless)
    assert ring.find("b", "RS256") == (nameless,)
    assert ring.find("a", "ES256") == ()
    assert ring.find("a", "HS256") == ()


@pytest.mark.parametrize("kid", ["../../etc/passwd", "' OR 1=1 --", "http://127.0.0.1/key", "", "None", "a\x00"])
def test_kid_is_a_key_of_a_table_and_nothing_else(kid: str) -> None:
    assert KeyRing([named("a")]).find(kid, "RS256") == ()


def test_a_ring_takes_new_keys_whole() -> None:
    ring = KeyRing()
    assert (ring.version, len(ring), ring.find(None, "RS256")) == (0, 0, ())
    ring.take([named("old")], 1)
    ring.take([named("new")], 2)
    assert ring.version == 2
    assert ring.find("old", "RS256") == ()
    assert len(ring.find("new", "RS256")) == 1


def test_equal_names_and_no_name_cost_a_few_tries_at_most() -> None:
    ring = KeyRing([named("same") for _ in range(50)] + [named(None) for _ in range(50)])
    for kid in ("same", None, "other"):
        assert len(ring.find(kid, "RS256")) == 8


def test_the_ring_of_an_issuer() -> None:
    files = {"keys.pem": public_pem("RSA")}
    assert ring_of(JwtIssuer(secret=SECRET), files.__getitem__).find("any", "HS256")
    assert ring_of(JwtIssuer(public_key="keys.pem"), files.__getitem__).find("any", "RS256")
    fetched = ring_of(JwtIssuer(key_set=KeySetSource(url="https://login.example.com")), files.__getitem__)
    assert (fetched.version, len(fetched)) == (0, 0)


def test_nothing_of_a_key_is_shown() -> None:
    key = key_of_secret(SECRET, ["HS256"])
    assert SECRET not in repr(key) + repr(KeyRing([key])) + key.what


def test_a_worker_without_public_keys_loads_no_cryptography() -> None:
    script = (
        "import sys\n"
        "from headgate.auth.jwt import JwtMethod\n"
        "from headgate.auth.key_ring import ring_of\n"
        "from headgate.auth.settings import JwtIssuer\n"
        f"issuer = JwtIssuer(secret={SECRET!r})\n"
        "method = JwtMethod('jwt', [issuer], {'jwt': ring_of(issuer, open)})\n"
        f"print(method.judge({token()!r}, 1.0).identity.id)\n"
        "print(*sorted({'jwt', 'cryptography'} & set(sys.modules)))\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("ann\n\n", "")


def test_the_public_half_as_a_secret_signs_nothing() -> None:
    """RS256 confused with HS256 (RFC 8725 section 2.1): the attacker signs with the public key, which all know."""
    pem = public_pem("RSA")
    (key,) = keys_of_file(pem)
    jwk = public_jwk("RSA")
    for secret in (pem.encode(), pem.strip().encode(), str(jwk["n"]).encode(), urlsafe_b64decode(f"{jwk['n']}==")):
        message = part(b'{"alg":"HS256"}') + b"." + part(b"{}")
        forged = hmac.digest(secret, message, "sha256")
        for algorithm in ALL:
            assert not key.verify(algorithm, message, forged)
        assert KeyRing([key]).find(None, "HS256") == ()
