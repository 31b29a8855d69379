"""Client certificates: whose they are, what follows from them, and when that ends."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headgate.auth.certificate import CertificateMethod, matches
from headgate.auth.method import Known, Refused
from headgate.auth.settings import CertificateRule, Certificates
from headgate.core.message import RequestHead

ENDS = 1_900_000_000.0
NOW = ENDS - 60.0
SUBJECT = [
    [["countryName", "DE"]],
    [["organizationName", "Acme, Inc."]],
    [["organizationalUnitName", "billing"]],
    [["commonName", "svc-a"]],
]
NAMES = [
    ["IP Address", "127.0.0.1"],
    ["DNS", "a.example.com"],
    ["DNS", "b.example.com"],
    ["URI", "spiffe://acme/a"],
    ["email", "a@example.com"],
]


def shown(**changes: Any) -> bytes:
    said = {"expires": ENDS, "fingerprint": "ab" * 32, "names": NAMES, "subject": SUBJECT}
    return json.dumps(said | changes).encode()


def judge(credential: bytes, now: float = NOW, **settings: Any) -> Any:
    return CertificateMethod(Certificates(**settings)).judge(credential, now)


def detail(credential: bytes, **settings: Any) -> str:
    refused = judge(credential, **settings)
    assert isinstance(refused, Refused)
    assert refused.reason == "invalid_credentials"
    return refused.detail


@pytest.mark.parametrize(
    ("by", "who"),
    [
        ("common_name", "svc-a"),
        ("dns", "a.example.com"),
        ("uri", "spiffe://acme/a"),
        ("email", "a@example.com"),
        ("subject", r"CN=svc-a,OU=billing,O=Acme\, Inc.,C=DE"),
    ],
)
def test_the_id_is_what_the_configuration_says(by: str, who: str) -> None:
    known = judge(shown(), id=by)
    assert isinstance(known, Known)
    assert (known.identity.kind, known.identity.id, known.identity.method) == ("service", who, "certificate")
    assert known.until == ENDS


def test_upstreams_can_be_told_more_of_it() -> None:
    claims = judge(shown()).identity.claims
    assert claims["fingerprint"] == "ab" * 32
    assert claims["subject"].startswith("CN=svc-a,")
    assert claims["dns"] == ["a.example.com", "b.example.com"]
    assert (claims["uri"], claims["email"]) == (["spiffe://acme/a"], ["a@example.com"])


@pytest.mark.parametrize(
    ("by", "tenant"), [("organization", "Acme, Inc."), ("organizational_unit", "billing"), ("none", "")]
)
def test_the_tenant_is_what_the_configuration_says(by: str, tenant: str) -> None:
    assert judge(shown(), tenant=by).identity.tenant == tenant


def test_without_an_organization_there_is_no_tenant() -> None:
    assert judge(shown(subject=[[["commonName", "a"]]])).identity.tenant == ""


def test_the_caller_is_known_by_the_name_of_the_way() -> None:
    assert judge(shown()).identity.method == "certificate"
    assert judge(shown(), name="mesh").identity.method == "mesh"


def test_the_first_rule_that_matches_says_the_rest() -> None:
    rules = [
        CertificateRule(match="svc-b", roles=["b"]),
        CertificateRule(match="svc-*", roles=["a", "c"], scopes=["read"], tenant="own", tier="gold"),
        CertificateRule(match="*", roles=["all"]),
    ]
    who = judge(shown(), rules=rules).identity
    assert (who.tenant, who.tier) == ("own", "gold")
    assert (sorted(who.roles), sorted(who.scopes)) == (["a", "c"], ["read"])
    other = judge(shown(subject=[[["commonName", "other"]], [["organizationName", "o"]]]), rules=rules).identity
    assert (other.tenant, sorted(other.roles)) == ("o", ["all"])
    nobody = judge(shown(), rules=rules[:1]).identity
    assert (nobody.roles, nobody.scopes, nobody.tier) == (frozenset(), frozenset(), "")


@pytest.mark.parametrize(
    ("pattern", "text", "met"),
    [
        ("*", "", True),
        ("*", "anything", True),
        ("a", "a", True),
        ("a", "A", False),
        ("a", "ab", False),
        ("a*", "a", True),
        ("a*", "ab", True),
        ("a*", "ba", False),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("*.example.com", "a.example.com.evil", False),
        ("*b*", "abc", True),
        ("*b*", "ac", False),
        ("a*c", "abc", False),
        ("a.c", "abc", False),
    ],
)
def test_a_star_at_an_end_stands_for_any_text(pattern: str, text: str, met: bool) -> None:
    assert matches(pattern, text) is met


def test_a_certificate_ends_whatever_its_connection_does() -> None:
    assert isinstance(judge(shown(), ENDS - 0.001), Known)
    refused = judge(shown(), ENDS)
    assert refused == Refused("invalid_credentials", "the certificate has expired since it was shown")
    assert isinstance(judge(shown(expires=float("nan"))), Refused)


def test_what_is_not_clear_is_nobody() -> None:
    two = [[["commonName", "a"]], [["commonName", "b"]]]
    assert detail(shown(subject=two)) == "the certificate has 2 common names"
    assert detail(shown(subject=[[["commonName", "a"], ["commonName", "b"]]])) == "the certificate has 2 common names"
    organizations = [*SUBJECT, [["organizationName", "other"]]]
    assert detail(shown(subject=organizations)) == "the certificate has 2 values of the organization"
    assert isinstance(judge(shown(subject=organizations), tenant="none"), Known)


@pytest.mark.parametrize(
    ("by", "missing"),
    [
        ("common_name", "common name"),
        ("dns", "alternative name of the kind dns"),
        ("uri", "alternative name of the kind uri"),
        ("email", "alternative name of the kind email"),
        ("subject", "subject"),
    ],
)
def test_what_is_not_there_is_nobody(by: str, missing: str) -> None:
    assert detail(shown(subject=[], names=[]), id=by) == f"the certificate has no {missing}"


@pytest.mark.parametrize("name", ["a\nb", "a\0.evil", "\x7f", "\x85", "x" * 1025])
def test_a_name_that_would_break_a_log_or_a_header_is_nobody(name: str) -> None:
    assert "control characters" in detail(shown(subject=[[["commonName", name]]]))
    assert "control characters" in detail(shown(names=[["URI", name]]), id="uri")
    named = [[["commonName", "a"]], [["organizationName", name]]]
    assert "control characters" in detail(shown(subject=named))


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("a+b", r"CN=a\+b"),
        (" a ", "CN=\\ a\\ "),
        ("#a#", r"CN=\#a#"),
        ('"\\<>;', r"CN=\"\\\<\>\;"),
        ("\u00e4", "CN=\u00e4"),
    ],
)
def test_a_subject_cannot_pretend_to_have_more_parts(value: str, written: str) -> None:
    assert judge(shown(subject=[[["commonName", value]]]), id="subject").identity.id == written


def test_parts_of_a_subject_that_have_no_short_name_keep_their_long_one() -> None:
    subject = [[["1.2.3.4", "x"], ["userId", "u"]], [["serialNumber", "7"]]]
    assert judge(shown(subject=subject), id="subject").identity.id == "serialNumber=7,1.2.3.4=x+UID=u"


def test_it_is_found_where_the_wire_puts_it() -> None:
    way = CertificateMethod(Certificates())
    head = RequestHead("GET", b"/", "https")
    head.fields = [(b"X-Client-Cert", b"x"), (b"X-Forwarded-Client-Cert", b"x")]
    assert way.find(head) is None
    head.certificate = b"{}"
    assert way.find(head) == b"{}"
    way.hide(head)
    assert len(head.fields) == 2
    assert (way.kind, way.challenge) == ("certificate", "")


_json: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=200)
    | _json.map(lambda value: json.dumps(value).encode())
    | st.fixed_dictionaries({"expires": _json, "fingerprint": _json, "names": _json, "subject": _json}).map(
        lambda value: json.dumps(value).encode()
    ),
    st.sampled_from(["common_name", "dns", "uri", "email", "subject"]),
)
@example(b'{"expires": 1899999941, "fingerprint": "", "names": [], "subject": [[], []]}', "subject")
def test_any_bytes_are_refused_and_nothing_else_happens(credential: bytes, by: str) -> None:
    assert isinstance(judge(credential, id=by), Refused)


@pytest.mark.parametrize("credential", [b"", b"[" * 100_000, b'{"a":' * 100_000, b"\xff", b"[]", b"1"])
def test_what_the_wire_never_says_is_refused(credential: bytes) -> None:
    assert "cannot be read" in detail(credential)
