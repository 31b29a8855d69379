"""Opaque tokens: what is asked, and what each answer is worth."""

from __future__ import annotations

import json
from base64 import b64decode
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qs, unquote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.auth.introspection import IntrospectionMethod
from headgate.auth.method import Known, NeedCall, Refused
from headgate.auth.settings import ClaimNames, Introspection
from tests.auth.heads import head

NOW = 1_800_000_000.0
URL = "https://idp.example/introspect"
SECRET = "canary-token-31337"


def method(**settings: Any) -> IntrospectionMethod:
    return IntrospectionMethod(Introspection(url=[URL], **settings))


def question(way: IntrospectionMethod, token: str = SECRET) -> NeedCall:
    judged = way.judge(token.encode(), NOW)
    assert isinstance(judged, NeedCall)
    return judged


def verdict(answer: Any, status: int = 200, **settings: Any) -> Known | Refused:
    body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
    found = question(method(**settings)).read(status, body, NOW)
    if isinstance(found, Refused):
        assert SECRET not in found.detail
    return found


def reason(answer: Any, status: int = 200, **settings: Any) -> str:
    found = verdict(answer, status, **settings)
    assert isinstance(found, Refused), found
    return found.reason


def known(answer: Any, status: int = 200, **settings: Any) -> Known:
    found = verdict(answer, status, **settings)
    assert isinstance(found, Known), found
    return found


# -- finding -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "found"),
    [
        ({}, b"opaque"),
        ({"sources": ["cookie:session"]}, b"c1"),
        ({"sources": ["query:access_token"]}, b"q1"),
        ({"sources": ["header:X-Token"]}, b"h1"),
        ({"sources": ["header:X-Token", "header:Authorization"], "prefix": "op"}, b"opaque"),
        ({"prefix": "tok_"}, None),
        ({"sources": ["header:X-Other"]}, None),
    ],
)
def test_where_a_token_is_looked_for(settings: dict[str, Any], found: bytes | None) -> None:
    shown = head(
        (b"Authorization", b"Bearer opaque"),
        (b"Cookie", b"a=b; session=c1"),
        (b"X-Token", b"h1"),
        query=b"x=y&access_token=q1",
    )
    assert method(**settings).find(shown) == found


def test_signed_tokens_are_left_to_those_who_can_read_them_unless_the_prefix_says_otherwise() -> None:
    shown = head((b"Authorization", b"Bearer eyJh.eyJz.c2ln"))
    assert method().find(shown) is None
    assert method(prefix="ey").find(shown) == b"eyJh.eyJz.c2ln"


def test_another_scheme_is_no_token() -> None:
    assert method().find(head((b"Authorization", b"Basic YTpi"))) is None


def test_the_token_that_was_used_is_taken_off() -> None:
    shown = head((b"Authorization", b"Bearer opaque"), (b"Accept", b"*/*"))
    method().hide(shown)
    assert shown.fields == [(b"Accept", b"*/*")]


# -- asking --------------------------------------------------------------------------------------------------------


def test_the_question_of_the_standard() -> None:
    asked = question(method(client_id="gate way", client_secret="s:%é"), "a+b/c=&d")
    assert parse_qs(asked.body.decode()) == {"token": ["a+b/c=&d"], "token_type_hint": ["access_token"]}
    fields = dict(asked.fields)
    assert fields[b"Content-Type"] == b"application/x-www-form-urlencoded"
    assert fields[b"Accept"] == b"application/json"
    scheme, _, pair = fields[b"Authorization"].partition(b" ")
    name, password = b64decode(pair).decode().split(":")
    assert (scheme, unquote_plus(name), unquote_plus(password)) == (b"Basic", "gate way", "s:%é")


def test_the_question_of_another_service() -> None:
    asked = question(method(form="json", field="key"), 'a"b')
    assert json.loads(asked.body) == {"key": 'a"b'}
    assert dict(asked.fields) == {b"Content-Type": b"application/json", b"Accept": b"application/json"}


@pytest.mark.parametrize("credential", [b"", b"a b", b"a, b", b"\xff", b"a\r\nb", b"a\x00", b"x" * 8193])
def test_what_cannot_be_a_token_is_asked_of_nobody(credential: bytes) -> None:
    judged = method().judge(credential, NOW)
    assert isinstance(judged, Refused)
    assert judged.reason == "invalid_token"


# -- the answer ----------------------------------------------------------------------------------------------------


def test_an_active_token() -> None:
    answer = {"active": True, "sub": "ann", "scope": "read write", "username": "Ann", "org": "acme"}
    found = known(answer, claims=ClaimNames(tenant=["org"]), kind="service", name="idp")
    identity = found.identity
    assert (identity.id, identity.tenant, identity.kind, identity.method) == ("ann", "acme", "service", "idp")
    assert identity.scopes == {"read", "write"}
    assert identity.claims == answer
    assert (found.until, found.stale_until) == (NOW + 30, NOW + 30)


def test_no_verdict_outlives_the_token() -> None:
    found = known({"active": True, "exp": NOW + 10}, cache=60, max_stale=600)
    assert (found.until, found.stale_until) == (NOW + 10, NOW + 10)
    found = known({"active": True, "exp": NOW + 100}, cache=60, max_stale=600)
    assert (found.until, found.stale_until) == (NOW + 60, NOW + 100)
    found = known({"active": True}, cache=60, max_stale=600)
    assert (found.until, found.stale_until) == (NOW + 60, NOW + 660)
    assert known({"active": True}, cache=0).until == NOW


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"active": False}, "invalid_token"),
        ({"active": False, "sub": "ann", "exp": "?"}, "invalid_token"),
        ({"active": True, "exp": NOW}, "expired_token"),
        ({"active": True, "exp": NOW - 1}, "expired_token"),
        ({"active": True, "nbf": NOW + 31}, "invalid_token"),
        ({"active": True, "iss": "https://other"}, "invalid_token"),
        ({"active": True, "iss": ["https://idp.example"]}, "invalid_token"),
        ({"active": True, "aud": "b"}, "invalid_token"),
        ({"active": True, "aud": ["b", {}]}, "invalid_token"),
        ({"active": True, "aud": {}}, "invalid_token"),
        ({"active": True, "sub": {"x": 1}}, "invalid_token"),
    ],
)
def test_a_token_that_is_not_good_here(answer: dict[str, Any], expected: str) -> None:
    assert reason(answer, issuer="https://idp.example", audience=["a"]) == expected


@pytest.mark.parametrize(
    "answer",
    [
        {"active": True, "iss": "https://idp.example", "aud": ["b", "a"], "nbf": NOW + 29, "exp": NOW + 1},
        {"active": True, "aud": "a"},
        {"active": True, "exp": None, "nbf": None, "aud": None, "iss": None},
    ],
)
def test_a_token_that_is_good_here(answer: dict[str, Any]) -> None:
    known(answer, issuer="https://idp.example", audience=["a"])


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (200, b""),
        (200, b"<html>"),
        (200, b"[true]"),
        (200, b'{"active": true, "active": false}'),
        (200, b'{"active": true, "x": NaN}'),
        (200, b'{"active": true} '[:-2]),
        (200, b'{"active": true, "x": "' + b"x" * 16_384 + b'"}'),
        (200, {}),
        (200, {"active": "true"}),
        (200, {"active": 1}),
        (200, {"active": ""}),
        (200, {"active": True, "exp": "soon"}),
        (200, {"active": True, "exp": True}),
        (200, {"active": True, "exp": 10**300}),
        (200, {"active": True, "nbf": [1]}),
        (201, {"active": True}),
        (204, b""),
        (302, {"active": True}),
        (400, {"active": True}),
        (401, {"active": False}),
        (403, {"active": True}),
        (404, {"active": True}),
        (429, b""),
        (500, {"active": True}),
        (503, b""),
    ],
)
def test_what_is_no_answer_is_no_verdict(status: int, answer: Any) -> None:
    assert reason(answer, status) == "identity_unavailable"
    assert reason(answer, status, client_id="gate", client_secret="s") == "identity_unavailable"


@pytest.mark.parametrize(
    ("status", "own", "expected"),
    [
        (400, False, "invalid_token"),
        (401, False, "invalid_token"),
        (403, False, "invalid_token"),
        (404, False, "invalid_token"),
        (404, True, "invalid_token"),
        (401, True, "identity_unavailable"),
        (403, True, "identity_unavailable"),
        (408, False, "identity_unavailable"),
        (429, False, "identity_unavailable"),
        (302, False, "identity_unavailable"),
        (500, False, "identity_unavailable"),
    ],
)
def test_a_server_that_says_it_by_its_status(status: int, own: bool, expected: str) -> None:
    more: dict[str, Any] = {"client_id": "gate"} if own else {}
    assert reason(b"", status, active="", **more) == expected
    # Whom nobody names is the same one with the same token, and another one with another.
    assert known(b"", active="", **more).identity.id == sha256(SECRET.encode()).hexdigest()[:16]
    assert known({"sub": "ann", "active": False}, active="", **more).identity.id == "ann"
    assert reason(b"<html>", active="", **more) == "identity_unavailable"


@pytest.mark.parametrize("answer", [{"status": "Revoked"}, {"valid": False}, {"status": "active", "valid": "false"}])
def test_what_an_answer_may_say_that_means_no(answer: dict[str, Any]) -> None:
    settings: dict[str, Any] = {"active": "", "refuse": {"status": ["revoked", "expired"], "valid": ["false"]}}
    assert reason(answer, **settings) == "invalid_token"
    assert reason(answer, **settings, kind="api_key") == "invalid_api_key"
    assert known({"status": "active", "valid": True}, **settings)


def test_another_field_says_it() -> None:
    assert known({"valid": True, "user_id": 7}, active="valid", claims=ClaimNames(id=["user_id"])).identity.id == "7"
    assert reason({"valid": False}, active="valid") == "invalid_token"
    assert reason({"active": True}, active="valid") == "identity_unavailable"


@given(st.integers(100, 599), st.binary(max_size=60))
def test_no_bytes_let_anybody_in(status: int, body: bytes) -> None:
    found = question(method()).read(status, body, NOW)
    if isinstance(found, Known):
        assert status == 200
        assert json.loads(body)["active"] is True


@given(st.binary(max_size=200))
def test_any_credential_is_judged(credential: bytes) -> None:
    judged = method().judge(credential, NOW)
    assert not isinstance(judged, Known)
