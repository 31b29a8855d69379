"""One configured way of each kind, with credentials that are good for it, for tests that hold all kinds to one law."""

from __future__ import annotations

import json
from typing import NamedTuple

from headgate.auth.api_key import KeyRecord, digest, pack, static_hash
from headgate.auth.key_ring import read_key_set, ring_of
from headgate.auth.method import Given, Judged, Known, Method, NeedCall, NeedKeys, NeedWork, Refused
from headgate.auth.settings import (
    ApiKeys,
    Basic,
    BasicUser,
    CertificateRule,
    Certificates,
    IdentitySettings,
    Introspection,
    JwtIssuer,
    KeySetSource,
    StandIn,
    StaticKey,
)
from headgate.catalog import AUTH
from headgate.core.message import Fields
from tests.auth.passwords import basic, kept
from tests.auth.tokens import NOW, SECRET, private_key, public_jwk, token

KEY = b"voc_key-of-the-database"
STATIC_KEY = b"voc_key-of-the-file"
PEPPER = b"pepper" * 6
ANSWER = json.dumps({"active": True, "sub": "eve", "exp": NOW + 60}).encode()
# The issuer whose keys have come, and the one whose keys have not.
FETCHED, AWAITED = "fetched", "awaited"


Shown = tuple[Fields, bytes | None, bytes]


class Case(NamedTuple):
    """The settings of one kind, and what shows a caller by it: header fields, a query, a certificate."""

    identity: IdentitySettings
    shown: tuple[Shown, ...]


def _in_fields(*fields: tuple[bytes, bytes]) -> Shown:
    return list(fields), None, b""


_BASIC = basic("ann", "open sesame").partition(": ")[2].encode()
_CERTIFICATE = json.dumps(
    {
        "expires": NOW + 60,
        "fingerprint": "ab" * 32,
        "subject": [[["organizationName", "acme"]], [["commonName", "svc-a"]]],
        "names": [["DNS", "svc-a.example.com"]],
    }
).encode()
_KEYS = {digest(PEPPER, KEY): pack(KeyRecord("k1", "ann", "acme", ("agent",), expires=NOW + 60))}
_TOKEN = token()
_SIGNED = token({"iss": "https://fetched"}, key=private_key("P-256"), algorithm="ES256", kid="one")
_UNKNOWN = token({"iss": "https://awaited"}, key=private_key("other P-256"), algorithm="ES256", kid="two")
_PLACES = ["header:Authorization", "header:X-Token", "cookie:session", "query:token"]

CASES: dict[str, Case] = {
    "certificate": Case(
        IdentitySettings(
            certificates=Certificates(name="mesh", rules=[CertificateRule(match="svc-*", roles=["agent"])])
        ),
        (([], None, _CERTIFICATE),),
    ),
    "jwt": Case(
        IdentitySettings(
            jwt=[
                JwtIssuer(name="shared", secret=SECRET, sources=_PLACES),
                JwtIssuer(name=FETCHED, issuer="https://fetched", key_set=KeySetSource(url="https://fetched/keys")),
                JwtIssuer(name=AWAITED, issuer="https://awaited", key_set=KeySetSource(url="https://awaited/keys")),
            ]
        ),
        (
            _in_fields((b"Authorization", b"Bearer " + _TOKEN)),
            _in_fields((b"authorization", b"bearer  " + _SIGNED)),
            _in_fields((b"Authorization", b"Bearer " + _UNKNOWN)),
            _in_fields((b"X-Token", _TOKEN)),
            _in_fields((b"Cookie", b"a=b; session=" + _TOKEN)),
            ([], b"a=b&token=" + _TOKEN, b""),
        ),
    ),
    "api_key": Case(
        IdentitySettings(
            api_keys=ApiKeys(
                prefix="voc_",
                headers=["X-API-Key", "X-Key"],
                static=[StaticKey(id="s1", hash=static_hash(STATIC_KEY), expires="2100-01-01")],
            )
        ),
        (
            _in_fields((b"X-API-Key", KEY)),
            _in_fields((b"x-key", STATIC_KEY)),
            _in_fields((b"Authorization", b"Bearer " + KEY)),
        ),
    ),
    "basic": Case(
        IdentitySettings(basic=Basic(users=[BasicUser(name="ann", hash=kept("open sesame"), tenant="acme")])),
        (_in_fields((b"Authorization", _BASIC)),),
    ),
    "introspection": Case(
        IdentitySettings(
            introspection=[
                Introspection(name="server", url=["https://idp.example/ask"], prefix="op_", sources=_PLACES, cache=5),
                Introspection(name="other", url=["https://other.example/ask"], active="", form="json", cache=0),
            ]
        ),
        (
            _in_fields((b"Authorization", b"Bearer op_1")),
            _in_fields((b"Authorization", b"Bearer opaque")),
            ([], b"token=op_1", b""),
        ),
    ),
    "stand_in": Case(
        IdentitySettings(stand_in=StandIn(name="anybody", id="mock", roles=["agent"])),
        (_in_fields((b"Authorization", b"Bearer anything")), _in_fields((b"authorization", b"x"))),
    ),
}


def given() -> Given:
    """Return what methods are made with."""
    rings = {issuer.name: ring_of(issuer, str) for issuer in CASES["jwt"].identity.jwt}
    keys, _ = read_key_set(json.dumps(public_jwk("P-256", kid="one")).encode())
    rings[FETCHED].take(keys, 1)
    return Given(rings, _KEYS.get, PEPPER)


def methods_of(kind: str) -> list[Method]:
    """Make the methods of a kind, as a gateway would."""
    entry = AUTH[kind]
    return entry.build(entry.configured(CASES[kind].identity), given())


def outcome(judged: Judged, status: int = 200, answer: bytes = ANSWER) -> Known | Refused | NeedKeys:
    """Return what a verdict comes to once work is done and a server that is asked has given this answer."""
    if isinstance(judged, NeedCall):
        return judged.read(status, answer, NOW)
    return judged.work() if isinstance(judged, NeedWork) else judged
