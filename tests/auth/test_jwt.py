"""Signed tokens judged: by whom, when, for whom; and every way around it that is known."""

from __future__ import annotations

import hmac
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.auth.jwt import JwtMethod
from headgate.auth.key_ring import KeyRing, keys_of_file, read_key_set
from headgate.auth.method import Judged, Known, NeedKeys, Refused
from headgate.auth.settings import ClaimNames, JwtIssuer, KeySetSource
from headgate.core.identity import Identity
from tests.auth.heads import head
from tests.auth.tokens import NOW, SECRET, method_of, part, private_key, public_jwk, public_pem, signed, token

OTHER = "fedcba9876543210fedcba9876543210"
FETCHED = KeySetSource(url="https://login.example.com/keys")


def one(**settings_of: Any) -> JwtMethod:
    return method_of(JwtIssuer(**{"secret": SECRET, **settings_of}))


def judge(claims: object = None, now: float = NOW, header: dict[str, Any] | None = None, **settings_of: Any) -> Judged:
    return one(**settings_of).judge(token(claims, **(header or {})), now)


def reason(judged: Judged) -> str:
    """Return why a token is refused, what is needed, or nothing when it is good."""
    if isinstance(judged, Known):
        return ""
    assert isinstance(judged, Refused | NeedKeys), judged
    if isinstance(judged, NeedKeys):
        return f"needs {judged.issuer}"
    assert judged.reason in ("invalid_token", "expired_token")
    return f"expired: {judged.detail}" if judged.reason == "expired_token" else judged.detail


def test_a_good_token_tells_who_shows_it() -> None:
    claims = {"sub": "ann", "tenant": "acme", "roles": ["admin"], "scope": "read write", "tier": "gold"}
    judged = judge(claims)
    assert judged == Known(
        Identity(
            kind="user",
            id="ann",
            tenant="acme",
            roles=frozenset({"admin"}),
            tier="gold",
            scopes=frozenset({"read", "write"}),
            claims={"exp": NOW + 60, **claims},
            method="jwt",
        ),
        until=NOW + 60,
    )


def test_kind_names_and_claims_are_as_the_issuer_has_them() -> None:
    names = ClaimNames(id=["user_id", "sub"], roles=["realm_access.roles"], tenant=["https://example.com/org"])
    claims = {"user_id": 7, "realm_access": {"roles": ["x y"]}, "https://example.com/org": "acme"}
    judged = one(name="idp", kind="service", claims=names).judge(token(claims), NOW)
    assert isinstance(judged, Known)
    identity = judged.identity
    assert (identity.kind, identity.id, identity.tenant, identity.method) == ("service", "7", "acme", "idp")
    assert (identity.roles, identity.tier) == (frozenset({"x y"}), "")


@pytest.mark.parametrize("claims", [{"sub": ["ann"]}, {"sub": "a\nb"}, {"tenant": "a\x00"}, {"roles": [{}]}])
def test_claims_that_make_no_caller_are_refused(claims: dict[str, Any]) -> None:
    assert reason(judge(claims)).startswith(f"the claim {next(iter(claims))} is n")


# -- times --------------------------------------------------------------------------------------------------------

HOUR = 3600.0


@pytest.mark.parametrize(
    ("claims", "at", "expected"),
    [
        # exp, with a skew of 30 s: "on or after which the JWT MUST NOT be accepted" (RFC 7519 section 4.1.4).
        ({"exp": NOW}, -1, ""),
        ({"exp": NOW}, 29.9, ""),
        ({"exp": NOW}, 30, "expired: the token has expired"),
        ({"exp": NOW}, HOUR, "expired: the token has expired"),
        ({"exp": NOW}, -HOUR, ""),
        ({"exp": NOW + 0.5}, 30.4, ""),
        ({"exp": 0}, 0, "expired: the token has expired"),
        ({"exp": -1e300}, 0, "expired: the token has expired"),
        ({"exp": 1e300}, 0, ""),
        ({"exp": None}, 0, "the claim exp is no number"),
        ({"exp": "9999999999"}, 0, "the claim exp is no number"),
        ({"exp": True}, 0, "the claim exp is no number"),
        ({"exp": [NOW + 60]}, 0, "the claim exp is no number"),
        ({"exp": 10**399}, 0, "the claim exp is too large"),
        # nbf
        ({"nbf": NOW}, 0, ""),
        ({"nbf": NOW + 30}, 0, ""),
        ({"nbf": NOW + 30.5}, 0, "the token is not good yet (nbf)"),
        ({"nbf": NOW, "exp": NOW + 2 * HOUR}, -HOUR, "the token is not good yet (nbf)"),
        ({"nbf": NOW, "exp": NOW + 2 * HOUR}, HOUR, ""),
        ({"nbf": "0"}, 0, "the claim nbf is no number"),
        ({"nbf": None}, 0, "the claim nbf is no number"),
        # iat
        ({"iat": NOW - HOUR}, 0, ""),
        ({"iat": NOW + 30}, 0, ""),
        ({"iat": NOW + 31}, 0, "the token was issued in the future (iat)"),
        ({"iat": NOW, "exp": NOW + 2 * HOUR}, -HOUR, "the token was issued in the future (iat)"),
        ({"iat": False}, 0, "the claim iat is no number"),
    ],
)
def test_times(claims: dict[str, Any], at: float, expected: str) -> None:
    assert reason(judge(claims, NOW + at)) == expected


def test_exp_is_demanded() -> None:
    assert reason(judge(b'{"sub": "ann"}')) == "the claim exp is missing"


def test_without_skew_the_moment_itself_counts() -> None:
    assert reason(judge({"exp": NOW}, NOW - 0.001, skew=0.0)) == ""
    assert reason(judge({"exp": NOW}, NOW, skew=0.0)) == "expired: the token has expired"
    assert reason(judge({"nbf": NOW + 0.001}, NOW, skew=0.0)) == "the token is not good yet (nbf)"


@pytest.mark.parametrize(
    ("issued", "expected"),
    [
        (NOW - 600, ""),
        (NOW - 629, ""),
        (NOW - 630, "expired: the token has expired"),
        (None, "the claim iat is missing, which max_age needs"),
    ],
)
def test_old_age(issued: float | None, expected: str) -> None:
    claims = {"exp": NOW + HOUR} if issued is None else {"exp": NOW + HOUR, "iat": issued}
    assert reason(judge(claims, max_age=600.0)) == expected


def test_a_verdict_ends_with_the_token_and_never_later() -> None:
    judged = judge({"exp": NOW + HOUR, "iat": NOW - 100}, max_age=600.0)
    assert isinstance(judged, Known)
    assert judged.until == NOW + 500
    late = judge({"exp": NOW}, NOW + 10)
    assert isinstance(late, Known)
    # Good by the skew alone: for this moment, so that it is judged again with the next request.
    assert late.until == NOW + 10


# -- for whom -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("audience", "claims", "accepted"),
    [
        ([], {}, True),
        ([], {"aud": "api"}, False),
        ([], {"aud": []}, False),
        (["api"], {"aud": "api"}, True),
        (["api"], {"aud": ["other", "api"]}, True),
        (["api", "web"], {"aud": "web"}, True),
        (["api"], {}, False),
        (["api"], {"aud": []}, False),
        (["api"], {"aud": "API"}, False),
        (["api"], {"aud": "api "}, False),
        (["api"], {"aud": "ap"}, False),
        (["api"], {"aud": {"api": 1}}, False),
        (["api"], {"aud": ["api", 1]}, False),
        (["api"], {"aud": None}, False),
        ([""], {}, False),
        (["*"], {}, True),
        (["*"], {"aud": "whatever"}, True),
        (["*"], {"aud": 1}, False),
    ],
)
def test_audience(audience: list[str], claims: dict[str, Any], accepted: bool) -> None:
    said = reason(judge(claims, audience=audience))
    assert (said == "") is accepted
    assert accepted or "aud" in said


@pytest.mark.parametrize(
    ("typ", "header", "accepted"),
    [
        ([], {}, True),
        ([], {"typ": "anything"}, True),
        (["at+jwt"], {"typ": "at+jwt"}, True),
        (["at+jwt"], {"typ": "AT+JWT"}, True),
        (["at+jwt"], {"typ": "application/at+jwt"}, True),
        (["application/at+jwt"], {"typ": "at+jwt"}, True),
        (["at+jwt", "JWT"], {"typ": "JWT"}, True),
        (["at+jwt"], {"typ": "JWT"}, False),
        (["at+jwt"], {}, False),
        # RFC 7515 section 4.1.9: only what has no other slash may leave application/ out.
        (["a/b"], {"typ": "application/a/b"}, False),
    ],
)
def test_typ(typ: list[str], header: dict[str, Any], accepted: bool) -> None:
    said = reason(judge(header=header, typ=typ))
    assert said == ("" if accepted else "the header typ is none of those in `typ`")


def test_claims_that_are_demanded() -> None:
    assert reason(judge({"jti": "x", "org": {"id": 1}}, require=["jti", "org.id"])) == ""
    assert reason(judge({"jti": None}, require=["jti"])) == "the claim jti is missing"
    assert reason(judge(require=["org.id"])) == "the claim org.id is missing"


@pytest.mark.parametrize(
    ("claims", "good"),
    [
        ({}, True),
        ({"use": "access", "user": {"active": True}}, True),
        ({"use": "ACCESS"}, True),
        ({"use": None}, True),
        ({"use": "refresh"}, False),
        ({"use": ["access"]}, False),
        ({"user": {"active": False}}, False),
        ({"user": {"active": "yes"}}, False),
    ],
)
def test_what_is_expected_of_claims_that_are_there(claims: dict[str, Any], good: bool) -> None:
    found = reason(judge(claims, expect={"use": ["access", "api"], "user.active": ["true"]}))
    assert found.endswith("is none of those in `expect`") is not good
    assert (found == "") is good


# -- by whom ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shown", [None, "https://b.example", "https://a.example/", "HTTPS://A.EXAMPLE", 7, ["x"], {}])
def test_another_issuer_is_refused_to_the_letter(shown: object) -> None:
    claims = {} if shown is None else {"iss": shown}
    expected = "the token's iss is that of no issuer that uses its algorithm"
    assert reason(judge(claims, issuer="https://a.example")) == expected
    assert reason(judge({"iss": "https://a.example"}, issuer="https://a.example")) == ""
    assert reason(judge(claims)) == ""


def test_of_several_issuers_each_has_its_own_keys() -> None:
    a = JwtIssuer(name="a", issuer="https://a.example", secret=SECRET)
    b = JwtIssuer(name="b", issuer="https://b.example", secret=OTHER, kind="service")
    method = method_of(a, b)
    for issuer, secret in (a, SECRET), (b, OTHER):
        good = method.judge(token({"iss": issuer.issuer}, key=secret), NOW)
        assert isinstance(good, Known)
        assert (good.identity.method, good.identity.kind) == (issuer.name, issuer.kind)
    assert reason(method.judge(token({"iss": b.issuer}), NOW)) == "b: the signature is wrong"
    assert reason(method.judge(token({"iss": "https://c.example"}), NOW)).startswith("the token's iss")


def test_issuers_that_do_not_say_who_they_are_are_tried_in_turn() -> None:
    a, b = JwtIssuer(name="a", secret=SECRET), JwtIssuer(name="b", secret=OTHER)
    method = method_of(a, b)
    judged = method.judge(token(key=OTHER), NOW)
    assert isinstance(judged, Known)
    assert judged.identity.method == "b"
    # What is wrong with a signed one says more than that another did not sign it.
    assert reason(method.judge(token({"exp": 0}), NOW)) == "expired: a: the token has expired"
    assert reason(method.judge(token({"exp": 0}, key=OTHER), NOW)) == "expired: b: the token has expired"
    assert reason(method.judge(token(key="x" * 32), NOW)) == "a: the signature is wrong"


def test_one_secret_with_two_audiences() -> None:
    a = JwtIssuer(name="a", secret=SECRET, audience=["a"])
    b = JwtIssuer(name="b", secret=SECRET, audience=["b"])
    judged = method_of(a, b).judge(token({"aud": "b"}), NOW)
    assert isinstance(judged, Known)
    assert judged.identity.method == "b"
    assert reason(method_of(a, b).judge(token({"aud": "c"}), NOW)) == "a: the claim aud holds none of `audience`"


def test_keys_that_have_not_come_or_are_not_known_are_asked_for() -> None:
    issuer = JwtIssuer(name="idp", key_set=FETCHED)
    ring = KeyRing()
    method = method_of(issuer, idp=ring)
    first = token(key=private_key("RSA"), algorithm="RS256", kid="1")
    second = token(key=private_key("other RSA"), algorithm="RS256", kid="2")
    assert method.judge(first, NOW) == NeedKeys("idp")
    ring.take(read_key_set(json.dumps({"keys": [public_jwk("RSA", kid="1")]}).encode())[0], 1)
    assert reason(method.judge(first, NOW)) == ""
    assert method.judge(second, NOW) == NeedKeys("idp")
    ring.take(read_key_set(json.dumps({"keys": [public_jwk("other RSA", kid="2")]}).encode())[0], 2)
    assert method.judge(first, NOW) == NeedKeys("idp")
    assert reason(method.judge(second, NOW)) == ""
    # A known key that did not sign it is no reason to ask.
    forged = token(key=private_key("RSA"), algorithm="RS256", kid="2")
    assert reason(method.judge(forged, NOW)) == "the signature is wrong"
    assert reason(method.judge(token(key=private_key("RSA"), algorithm="RS256"), NOW)) == "the signature is wrong"


def test_keys_are_asked_for_of_the_issuer_that_may_have_signed() -> None:
    issuers = [
        JwtIssuer(name="a", issuer="https://a.example", key_set=FETCHED),
        JwtIssuer(name="b", issuer="https://b.example", key_set=FETCHED),
    ]
    method = method_of(*issuers)
    for issuer in issuers:
        shown = token({"iss": issuer.issuer}, key=private_key("RSA"), algorithm="RS256", kid="k")
        assert method.judge(shown, NOW) == NeedKeys(issuer.name)
    nobody = token({"iss": "https://c.example"}, key=private_key("RSA"), algorithm="RS256", kid="k")
    assert isinstance(method.judge(nobody, NOW), Refused)
    assert isinstance(method.judge(token({"iss": "https://a.example"}, kid="k"), NOW), Refused)


def test_keys_from_a_file_are_all_there_are() -> None:
    method = method_of(JwtIssuer(name="f", public_key="keys"), files={"keys": json.dumps(public_jwk("RSA", kid="1"))})
    assert reason(method.judge(token(key=private_key("RSA"), algorithm="RS256", kid="1"), NOW)) == ""
    expected = "there is no key for the token's kid and algorithm"
    assert reason(method.judge(token(key=private_key("RSA"), algorithm="RS256", kid="2"), NOW)) == expected


@pytest.mark.parametrize(
    ("kind", "algorithm"),
    [("RSA", "RS512"), ("RSA", "PS256"), ("P-256", "ES256"), ("P-384", "ES384"), ("P-521", "ES512"),
     ("Ed25519", "EdDSA"), ("Ed448", "EdDSA")],
)  # fmt: skip
def test_every_kind_of_key(kind: str, algorithm: Any) -> None:
    method = method_of(JwtIssuer(public_key="pem", algorithms=[algorithm]), files={"pem": public_pem(kind)})
    good = token(key=private_key(kind), algorithm=algorithm)
    assert reason(method.judge(good, NOW)) == ""
    assert reason(method.judge(token(key=private_key(f"other {kind}"), algorithm=algorithm), NOW)).endswith("is wrong")
    assert reason(method.judge(good, NOW + HOUR)) == "expired: the token has expired"


def test_algorithms_by_default() -> None:
    files = {"rsa": public_pem("RSA")}
    shown = token(key=private_key("RSA"), algorithm="PS256")
    nobody = "the token's algorithm is accepted of nobody"
    assert reason(method_of(JwtIssuer(public_key="rsa"), files=files).judge(shown, NOW)) == nobody
    assert reason(one().judge(token(key=SECRET * 2, algorithm="HS512"), NOW)) == nobody


# -- ways around it -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ["none", "None", "NONE", "nOnE", "", "HS256 ", "hs256", "HS1", "RS256"])
def test_the_algorithm_is_not_the_tokens_to_choose(algorithm: str) -> None:
    header = json.dumps({"alg": algorithm, "typ": "JWT"}).encode()
    good = signed(header, json.dumps({"sub": "ann", "exp": NOW + 60}).encode())
    unsigned = good.rpartition(b".")[0]
    for shown in (good, unsigned + b".", unsigned + b".AA", unsigned):
        assert isinstance(one().judge(shown, NOW), Refused)


def test_a_public_key_is_no_secret() -> None:
    pem = public_pem("RSA")
    method = method_of(JwtIssuer(public_key="pem", algorithms=["RS256", "HS256"]), files={"pem": pem})
    message = part(b'{"alg":"HS256"}') + b"." + part(json.dumps({"sub": "ann", "exp": NOW + 60}).encode())
    for secret in (pem.encode(), pem.strip().encode()):
        forged = message + b"." + part(hmac.digest(secret, message, "sha256"))
        assert isinstance(method.judge(forged, NOW), Refused)
    assert reason(method.judge(token(key=private_key("RSA"), algorithm="RS256"), NOW)) == ""


def test_keys_that_a_token_brings_along_are_not_looked_at() -> None:
    method = method_of(JwtIssuer(public_key="pem"), files={"pem": public_pem("RSA")})
    mine = private_key("other RSA")
    brought: dict[str, Any] = {
        "jwk": public_jwk("other RSA"),
        "jku": "http://127.0.0.1:1/keys",
        "x5u": "http://127.0.0.1:1/certificate",
        "x5c": ["AAAA"],
    }
    forged = token(key=mine, algorithm="RS256", **brought)
    assert reason(method.judge(forged, NOW)) == "the signature is wrong"
    assert reason(method.judge(token(key=private_key("RSA"), algorithm="RS256", **brought), NOW)) == ""


@pytest.mark.parametrize(
    "kid",
    ["../../../dev/null", "/dev/null", "x' UNION SELECT 'key", "http://127.0.0.1:1/", "|cat /etc/passwd", "", "\x00"],
)
def test_kid_leads_nowhere(kid: str) -> None:
    jwk = json.dumps(public_jwk("RSA", kid="1"))
    method = method_of(JwtIssuer(public_key="jwk"), files={"jwk": jwk})
    shown = token(key=private_key("RSA"), algorithm="RS256", kid=kid)
    assert reason(method.judge(shown, NOW)) == "there is no key for the token's kid and algorithm"
    # With an empty key, as an injected kid would have it.
    message = shown.rpartition(b".")[0]
    assert isinstance(method.judge(message + b"." + part(b""), NOW), Refused)
    assert reason(judge(header={"kid": kid})) == ""


def test_two_tokens_that_begin_alike_are_two() -> None:
    def about(name: str, key: str) -> bytes:
        return token(json.dumps({"filler": "x" * 300, "sub": name, "exp": NOW + 60}).encode(), key=key)

    good, bad, other = about("ann", SECRET), about("bob", OTHER), about("bob", SECRET)
    assert good[:200] == bad[:200] == other[:200]
    method = one()
    assert isinstance(method.judge(good, NOW), Known)
    assert isinstance(method.judge(bad, NOW), Refused)
    second = method.judge(other, NOW)
    assert isinstance(second, Known)
    assert second.identity.id == "bob"


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"[]",
        b'"text"',
        b"null",
        b'{"sub": "ann", "exp": 9999999999, "exp": 1}',
        b'{"sub": "ann", "sub": "root", "exp": 9999999999}',
        b'{"sub": "ann", "exp": NaN}',
        b'{"sub": "ann", "exp": Infinity}',
        b'{"sub": "ann", "exp": 1e999}',
        b'{"sub": "\xff", "exp": 9999999999}',
        b'{"sub": "\\ud800", "exp": 9999999999}',
        b'{"exp": 9999999999, "x": ' + b"[" * 3000 + b"]" * 3000 + b"}",
        b'{"exp": 9999999999',
    ],
    ids=lambda value: repr(value)[:40],
)
def test_claims_are_read_strictly(payload: bytes) -> None:
    assert reason(judge(payload)).startswith("the token's claims cannot be read: ")


def test_a_token_beyond_8_kib_is_refused_unread() -> None:
    assert reason(judge({"x": "x" * 8192})) == "the token is longer than 8192 bytes"
    assert reason(judge({"x": "x" * 5800})) == ""


@given(
    st.binary(max_size=400)
    | st.tuples(st.binary(), st.binary(), st.binary()).map(lambda parts: b".".join(map(part, parts)))
)
def test_any_bytes_are_refused(shown: bytes) -> None:
    method = method_of(JwtIssuer(name="a", secret=SECRET), JwtIssuer(name="b", key_set=FETCHED))
    judged = method.judge(shown, NOW)
    assert isinstance(judged, Refused)
    assert judged.reason == "invalid_token"


JSON = st.recursive(st.none() | st.booleans() | st.floats() | st.integers() | st.text(), st.lists, max_leaves=5)


@given(
    st.dictionaries(st.sampled_from(["alg", "kid", "typ", "crit", "jwk", "jku"]), JSON | st.just("HS256")),
    st.dictionaries(
        st.sampled_from(["sub", "exp", "nbf", "iat", "aud", "iss", "roles", "scope", "tenant", "tier"]), JSON
    ),
)
def test_any_header_and_claims_that_the_issuer_signed_have_a_verdict(header: Any, claims: Any) -> None:
    shown = signed(json.dumps(header).encode(), json.dumps(claims).encode())
    for method in (one(), one(audience=["x"], max_age=10.0, typ=["JWT"], require=["jti"])):
        assert isinstance(method.judge(shown, NOW), Known | Refused)


@pytest.mark.parametrize(
    ("algorithm", "kind"), [("HS256", ""), ("ES256", "P-256"), ("RS256", "RSA"), ("EdDSA", "Ed25519")]
)
@settings(max_examples=300)
@given(data=st.data())
def test_no_byte_of_a_token_can_be_changed(algorithm: Any, kind: str, data: st.DataObject) -> None:
    method, good = _good(algorithm, kind)
    assert isinstance(method.judge(good, NOW), Known)
    place = data.draw(st.integers(0, len(good) - 1))
    other = data.draw(st.integers(0, 255).filter(lambda byte: byte != good[place]))
    assert isinstance(method.judge(good[:place] + bytes([other]) + good[place + 1 :], NOW), Refused)
    # Nor taken away, nor added.
    assert isinstance(method.judge(good[:place] + good[place + 1 :], NOW), Refused)
    assert isinstance(method.judge(good[:place] + bytes([other]) + good[place:], NOW), Refused)


def _good(algorithm: Any, kind: str) -> tuple[JwtMethod, bytes]:
    if not kind:
        return one(), token()
    issuer = JwtIssuer(public_key="pem", algorithms=[algorithm])
    return method_of(issuer, files={"pem": public_pem(kind)}), token(key=private_key(kind), algorithm=algorithm)


def test_nothing_that_came_is_told() -> None:
    canary = "canary-5f2b"
    shown = [
        token({"sub": canary}, key=OTHER),
        token({"exp": 0, "sub": canary}),
        token({"iss": canary, "aud": canary}),
        token(kid=canary, typ=canary, crit=[canary]),
        token({"exp": canary}),
        token({"sub": [canary]}),
        token(canary.encode()),
        canary.encode(),
        f"{canary}.{canary}.{canary}".encode(),
    ]
    for each in shown:
        said = one(issuer="https://a.example").judge(each, NOW), one().judge(each, NOW)
        assert canary not in repr([judged for judged in said if not isinstance(judged, Known)])


# -- where it stands ----------------------------------------------------------------------------------------------


def test_a_bearer_that_is_no_signed_token_is_somebody_elses() -> None:
    method = one()
    for value in (b"Bearer hg_0123456789", b"Bearer opaque", b"Bearer a.b.c.d.e", b"Basic YTpi", b"Bearer"):
        assert method.find(head((b"Authorization", value))) is None
    assert method.find(head((b"Authorization", b"Bearer a.b.c"))) == b"a.b.c"
    assert method.find(head()) is None


def test_a_token_is_found_in_the_places_of_all_issuers() -> None:
    method = method_of(
        JwtIssuer(name="a", secret=SECRET), JwtIssuer(name="b", secret=OTHER, sources=["cookie:session", "query:token"])
    )
    assert method.find(head((b"Cookie", b"session=a.b.c"))) == b"a.b.c"
    assert method.find(head(query=b"token=a.b.c")) == b"a.b.c"
    both = head((b"Authorization", b"Bearer a.b.c"), (b"Cookie", b"session=d.e.f; other=1"), query=b"token=g.h.i")
    assert method.find(both) == b"a.b.c"
    method.hide(both)
    assert (both.fields, both.query) == ([(b"Cookie", b"other=1")], None)


def test_two_authorizations_are_no_token() -> None:
    good = token()
    method = one()
    two = head((b"Authorization", b"Bearer " + good), (b"Authorization", b"Bearer hg_key"))
    found = method.find(two)
    assert found is not None
    assert isinstance(method.judge(found, NOW), Refused)


def test_what_is_shown_elsewhere_stays() -> None:
    opaque = head((b"Authorization", b"Bearer opaque"))
    one().hide(opaque)
    assert opaque.fields == [(b"Authorization", b"Bearer opaque")]


def test_new_keys_count_at_once() -> None:
    ring = KeyRing(keys_of_file(public_pem("RSA")), 1)
    method = method_of(JwtIssuer(key_set=FETCHED), jwt=ring)
    shown = token(key=private_key("RSA"), algorithm="RS256")
    assert reason(method.judge(shown, NOW)) == ""
    ring.take([], 2)
    assert reason(method.judge(shown, NOW)) == "needs jwt"
