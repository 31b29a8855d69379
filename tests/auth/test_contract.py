"""What holds for every kind of way in the catalog, whatever it is shown."""

from __future__ import annotations

import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.auth.method import Known, Method, NeedKeys, Refused
from headgate.auth.settings import IdentitySettings
from headgate.catalog import AUTH
from headgate.config.field_kinds import credential_fields
from headgate.core.failure import REASONS
from headgate.core.message import RequestHead
from headgate.proxy.methods import build_methods
from tests.auth import ways
from tests.auth.heads import head
from tests.auth.tokens import NOW, part, token
from tests.auth.ways import CASES, methods_of, outcome

# What is nowhere but in a credential; none of its parts of this length may stand in what the operator is told.
PLANTED = "hunter2Zq7planted"
WINDOW = 6

MADE = {kind: methods_of(kind) for kind in AUTH}
ALL = [method for methods in MADE.values() for method in methods]
_CERTIFICATE = CASES["certificate"].shown[0][2]
GOOD = [shown for case in CASES.values() for shown in case.shown]
NAMES = [b"Authorization", b"authorization", b"X-API-Key", b"x-key", b"X-Token", b"Cookie", b"X-Other"]

every_kind = pytest.mark.parametrize("kind", AUTH)

_good_values = st.sampled_from([value for fields, _, _ in GOOD for _, value in fields])
_values = st.one_of(
    st.binary(max_size=60),
    _good_values,
    st.tuples(_good_values, st.integers(0, 200), st.binary(max_size=3)).map(lambda cut: cut[0][: cut[1]] + cut[2]),
    st.tuples(
        st.sampled_from([b"Bearer ", b"bEARER  ", b"Basic ", b"voc_", b"Bearer voc_", b"Bearer op_", b"session="]),
        st.binary(max_size=40) | st.binary(max_size=30).map(urlsafe_b64encode),
    ).map(b"".join),
)
_queries = st.none() | st.sampled_from([query for _, query, _ in GOOD]) | st.binary(max_size=40).map(b"token=".__add__)
_certificates = st.sampled_from([b"", *(each for _, _, each in GOOD)]) | st.binary(max_size=60)
_fields = st.lists(st.tuples(st.sampled_from(NAMES), _values), max_size=4)
requests = st.builds(
    lambda fields, query, certificate: head(*fields, query=query, certificate=certificate),
    _fields,
    _queries,
    _certificates,
)
answers = st.sampled_from([ways.ANSWER, b"", b"{}", b"null", b'{"active": false}', b'{"active": true, "exp": "x"}'])
_json = st.recursive(st.none() | st.floats() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=3))
_names = ("expires", "fingerprint", "subject", "names", "sub", "exp", "nbf", "iat", "aud", "iss", "roles", "tenant")
_objects = st.dictionaries(st.sampled_from(_names), _json)
# Whatever it is of, every kind is shown it.
credentials = st.one_of(
    st.binary(max_size=100),
    _values,
    _certificates,
    _objects.map(token),
    _objects.map(lambda each: json.dumps(json.loads(_CERTIFICATE) | each).encode()),
    _objects.map(lambda each: json.dumps(each).encode()),
)


def state(request: RequestHead) -> tuple[object, ...]:
    return list(request.fields), request.query, request.certificate, request.shown


def test_there_is_a_case_for_every_kind_and_all_are_looked_for_by_default() -> None:
    assert set(CASES) == set(AUTH)
    assert IdentitySettings().order == list(AUTH)


@every_kind
def test_the_entry_is_that_of_its_settings_and_methods(kind: str) -> None:
    entry, identity = AUTH[kind], CASES[kind].identity
    assert all(isinstance(each, entry.settings) for each in entry.configured(identity))
    assert entry.configured(IdentitySettings()) == []
    for method in MADE[kind]:
        assert method.kind == kind
        assert type(method.in_headers) is bool
        assert method.challenge == "" or method.challenge.isalpha()
        assert "__dict__" not in dir(method), "made slotted: it is asked with every request"
    names = [each.name for each in entry.configured(identity)]
    built = [method.name for method in build_methods(identity, [], ways.given())]
    # One method may stand for all of a kind, and then bears its name.
    assert built in (names, [kind])
    for name in names:
        assert [method.name for method in build_methods(identity, [name], ways.given())] == [name]


@every_kind
def test_whoever_shows_what_is_good_is_known_by_the_name_and_kind_that_are_configured(kind: str) -> None:
    configured = {each.name: AUTH[kind].callers or each.kind for each in AUTH[kind].configured(CASES[kind].identity)}
    known = 0
    for fields, query, certificate in CASES[kind].shown:
        asked = head(*fields, query=query, certificate=certificate)
        found = [(method, credential) for method in MADE[kind] if (credential := method.find(asked))]
        method, credential = found[0]
        verdict = outcome(method.judge(credential, NOW))
        if isinstance(verdict, NeedKeys):
            assert verdict.issuer == ways.AWAITED
            continue
        assert isinstance(verdict, Known), verdict
        assert configured[verdict.identity.method] == verdict.identity.kind
        known += 1
    assert known


@pytest.mark.parametrize("order", [list(AUTH), list(AUTH)[::-1], ["basic", "jwt"], []])
def test_ways_are_looked_for_in_the_order_that_is_configured(order: list[str]) -> None:
    every = {entry.key: getattr(CASES[kind].identity, entry.key) for kind, entry in AUTH.items()}
    built = build_methods(IdentitySettings(order=order, **every), [], ways.given())
    assert list(dict.fromkeys(method.kind for method in built)) == list(dict.fromkeys([*order, *AUTH]))


# -- any bytes -----------------------------------------------------------------------------------------------------


def judged(credential: bytes, now: float, status: int, answer: bytes) -> Iterator[tuple[Method, object]]:
    for method in ALL:
        yield method, outcome(method.judge(credential, now), status, answer)


@settings(max_examples=400)
@given(
    credential=credentials,
    now=st.sampled_from([0.0, NOW, NOW + 59.5, NOW + 75, 4e9]),
    status=st.sampled_from([200, 204, 302, 401, 404, 503]),
    answer=answers | st.binary(max_size=60),
)
def test_any_bytes_have_one_verdict_which_is_no_exception(
    credential: bytes, now: float, status: int, answer: bytes
) -> None:
    first, again = (list(judged(credential, now, status, answer)) for _ in range(2))
    assert first == again
    for method, verdict in first:
        match verdict:
            case Known():
                # The answer of a server is read at NOW, whenever it was asked.
                assert verdict.until >= (NOW if method.kind == "introspection" else now)
                assert verdict.identity.method
            case Refused():
                assert REASONS[verdict.reason].status in (401, 503)
                assert verdict.detail.isprintable()
            case _:
                assert verdict == NeedKeys(ways.AWAITED)


@settings(max_examples=400)
@given(request=requests)
def test_looking_for_a_credential_changes_nothing_and_finds_the_same_again(request: RequestHead) -> None:
    before = state(request)
    found = [method.find(request) for method in ALL]
    assert state(request) == before
    assert [method.find(request) for method in ALL] == found
    fresh = [method for kind in AUTH for method in methods_of(kind)]
    assert [method.find(request) for method in fresh] == found
    assert all(credential is None or isinstance(credential, bytes) for credential in found)


@settings(max_examples=400)
@given(request=requests)
def test_what_is_found_is_hidden_and_nothing_else(request: RequestHead) -> None:
    for method in ALL:
        hidden = head(*request.fields, query=request.query, certificate=request.certificate)
        found = method.find(request)
        method.hide(hidden)
        if found is None:
            assert state(hidden) == state(request)
        if method.kind == "certificate":
            # It belongs to the connection.
            assert state(hidden) == state(request)
            continue
        assert method.find(hidden) is None
        names = _read_by(method)
        others = [field for field in request.fields if field[0].lower() not in names]
        assert [field for field in hidden.fields if field[0].lower() not in names] == others
        assert hidden.query == request.query or b"token" in (request.query or b"")
        assert hidden.certificate == request.certificate


def _read_by(method: Method) -> frozenset[bytes]:
    names = credential_fields(CASES[method.kind].identity)
    return names if method.in_headers else names | {b"cookie"}


@settings(max_examples=400)
@given(request=requests)
def test_ways_in_headers_look_at_nothing_but_the_fields_that_the_wire_notes(request: RequestHead) -> None:
    for method in ALL:
        if not method.in_headers:
            continue
        noted = credential_fields(CASES[method.kind].identity)
        shown = head(*(field for field in request.fields if field[0].lower() in noted))
        assert method.find(shown) == method.find(request)


def test_both_kinds_of_ways_are_there() -> None:
    assert {method.in_headers for method in ALL} == {True, False}


# -- what the operator is told -------------------------------------------------------------------------------------


def planted() -> list[bytes]:
    """Make wrong credentials with the planted text in every part that there is."""
    text = PLANTED.encode()
    claims: list[dict[str, object]] = [
        {"sub": PLANTED, "exp": 1},
        {PLANTED: 1, "sub": ["x"]},
        {"sub": PLANTED, "iss": PLANTED},
        {"sub": PLANTED, "aud": PLANTED},
        {"sub": PLANTED, "nbf": PLANTED},
        {"sub": PLANTED, "exp": PLANTED},
        {"sub": PLANTED, "roles": {PLANTED: 1}},
        {"sub": PLANTED + chr(10), "tenant": [PLANTED]},
    ]
    return [
        text,
        b"voc_" + text,
        b"op_" + text + b" x",
        text * 1000,
        b"voc_" + text * 1000,
        text + b"\xff\n",
        b64encode(text),
        b64encode(text + b":" + text),
        b64encode(b"ann:" + text),
        b64encode(text + b":\n"),
        *(token(each) for each in claims),
        *(token(each, key="x" * 32) for each in claims),
        token({"sub": PLANTED}, typ=PLANTED, kid=PLANTED, crit=[PLANTED]),
        part(json.dumps({"alg": PLANTED, "kid": PLANTED}).encode()) + b".e30." + part(text),
        part(text) + b"." + part(text) + b"." + part(text),
        b".".join([text] * 3),
        text + b".." + text,
        *(json.dumps(each).encode() for each in _bad_certificates()),
        json.dumps([PLANTED]).encode(),
    ]


def _bad_certificates() -> Iterator[dict[str, object]]:
    good = {"expires": NOW + 60, "fingerprint": PLANTED, "names": [["DNS", PLANTED]]}
    for values in ([PLANTED, PLANTED], [], [PLANTED + chr(27)], [PLANTED * 100]):
        yield {**good, "subject": [[["commonName", value]] for value in values]}
    yield {**good, "subject": [[["commonName", PLANTED], ["organizationName", PLANTED + chr(7)]]]}
    yield {**good, "subject": [[["commonName", PLANTED]]], "expires": 1}
    yield {**good, "subject": PLANTED, "expires": PLANTED}


@pytest.mark.parametrize("credential", planted(), ids=lambda each: repr(each[:24]))
def test_no_part_of_a_credential_is_told(credential: bytes) -> None:
    # The words of a certificate's JSON are those of sentences, too.
    whole = "" if credential.startswith(b"{") else credential[:200].decode("latin-1")
    said = [PLANTED, b64encode(PLANTED.encode()).decode(), whole]
    parts = {each[at : at + WINDOW] for each in said for at in range(len(each) - WINDOW + 1)}
    told = 0
    bodies = (ways.ANSWER, json.dumps({"active": PLANTED, "exp": PLANTED, "sub": [PLANTED]}).encode(), credential)
    for method in ALL:
        for body in bodies:
            verdict = outcome(method.judge(credential, NOW), 200, body)
            if isinstance(verdict, Refused):
                told += 1
                assert not [each for each in parts if each in verdict.detail], verdict
    assert told
