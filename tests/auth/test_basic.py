"""HTTP Basic: what is a user name with a password, who is known, and what a refusal takes."""

from __future__ import annotations

import base64
import math
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.auth import basic
from headgate.auth.basic import BasicMethod, hash_password, read_hash
from headgate.auth.method import Known, NeedWork, Refused
from headgate.auth.settings import Basic, BasicUser
from headgate.core.message import RequestHead
from tests.auth import heads

SALT = bytes(range(16))
# The least that is accepted: what it takes says nothing here.
CHEAP = (1024, 1, 1)


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in zip(("_N", "_R", "_P"), CHEAP, strict=True):
        monkeypatch.setattr(basic, name, value)
    yield


def method(**passwords: str) -> BasicMethod:
    users = [
        BasicUser(
            name=name,
            hash=hash_password(password, SALT),
            tenant="acme",
            roles=["reader"],
            scopes=["a", "b"],
            tier="gold",
        )
        for name, password in passwords.items()
    ]
    return BasicMethod(Basic(users=users, name="legacy"))


def head(*values: bytes, name: bytes = b"Authorization") -> RequestHead:
    return heads.head((b"Accept", b"*/*"), *((name, value) for value in values))


def shown(text: str) -> bytes:
    return base64.b64encode(text.encode())


def verdict(way: BasicMethod, credential: bytes) -> Known | Refused:
    judged = way.judge(credential, 0.0)
    if isinstance(judged, NeedWork):
        return judged.work()
    assert isinstance(judged, Refused)
    return judged


def test_a_known_user_is_shown_with_all_that_the_configuration_says() -> None:
    known = verdict(method(ann="secret"), shown("ann:secret"))
    assert isinstance(known, Known)
    who = known.identity
    assert (who.kind, who.id, who.tenant, who.tier, who.method) == ("user", "ann", "acme", "gold", "legacy")
    assert (who.roles, who.scopes) == (frozenset(("reader",)), frozenset(("a", "b")))
    assert known.until == math.inf


@pytest.mark.parametrize(
    ("kept", "sent", "right"),
    [
        ("secret", "ann:secret", True),
        ("secret", "ann:secreT", False),
        ("secret", "ann:secret ", False),
        ("secret", "ann: secret", False),
        ("secret", "Ann:secret", False),
        ("secret", "ann:", False),
        ("secret", "bob:secret", False),
        ("", "ann:", True),
        # RFC 7617 section 2: only the first colon divides.
        ("se:cr:et", "ann:se:cr:et", True),
        (":", "ann::", True),
        # An accent as one character or as two.
        ("caf\u00e9", "ann:cafe\u0301", True),
        ("cafe\u0301", "ann:caf\u00e9", True),
        ("\u00a3", "ann:\u00a3", True),
    ],
)
def test_a_password_is_right_or_wrong(kept: str, sent: str, right: bool) -> None:
    assert isinstance(verdict(method(ann=kept), shown(sent)), Known) is right


def test_nothing_tells_an_unknown_user_from_a_wrong_password() -> None:
    way = method(ann="secret")
    assert verdict(way, shown("ann:x")) == verdict(way, shown("nobody:x"))
    assert verdict(way, shown("ann:x")) == Refused("invalid_credentials", "unknown user or wrong password")


def test_an_unknown_user_takes_the_work_of_the_dearest_one(monkeypatch: pytest.MonkeyPatch) -> None:
    derived: list[tuple[int, int, int]] = []

    def scrypt(_: bytes, *, salt: bytes, n: int, r: int, p: int, maxmem: int, dklen: int) -> bytes:
        derived.append((n, r, p))
        assert maxmem >= 128 * n * r
        return bytes(dklen)

    dear = hash_password("secret", SALT).replace(":1024:1:1:", ":4096:2:3:")
    way = BasicMethod(
        Basic(users=[BasicUser(name="ann", hash=hash_password("x", SALT)), BasicUser(name="bob", hash=dear)])
    )
    monkeypatch.setattr("headgate.auth.basic.hashlib.scrypt", scrypt)
    # All zeros are nobody's, even if that is what comes out.
    assert isinstance(verdict(way, shown("nobody:x")), Refused)
    assert derived == [(4096, 2, 3)]


@pytest.mark.parametrize(
    ("credential", "detail"),
    [
        (b"", "no user name"),
        (b"=", "not base64"),
        (b"YW5uOnNlY3JldA=", "not base64"),
        (b"YW5uOnNlY3JldA", "not base64"),
        (b"YW5u OnNlY3JldA==", "not base64"),
        (b"YW5uOnNlY3JldA==\n", "not base64"),
        (b"YW5uOnNlY3JldA==,", "not base64"),
        (b"YW5uOnNlY3JldA==, Basic YW5uOnNlY3JldA==", "not base64"),
        (b"\xe4\xf6\xfc=", "not base64"),
        (base64.b64encode(b"ann:\xff"), "not base64 of UTF-8"),
        (base64.b64encode(b"ann:\xed\xa0\x80"), "not base64 of UTF-8"),
        (base64.b64encode(b"ann:\xc0\xaf"), "not base64 of UTF-8"),
        (shown("ann"), "no user name with a colon"),
        (shown(":secret"), "no user name with a colon"),
        (shown("ann:sec\0ret"), "control character"),
        (shown("a\r\nb:secret"), "control character"),
        (shown("ann:secret\x7f"), "control character"),
        (shown("ann:" + "x" * 2000), "longer than"),
        (b"A" * 1_000_000, "longer than"),
    ],
)
def test_what_is_no_user_name_with_a_password_takes_no_work(credential: bytes, detail: str) -> None:
    judged = method(ann="secret").judge(credential, 0.0)
    assert isinstance(judged, Refused)
    assert judged.reason == "invalid_credentials"
    assert detail in judged.detail
    assert "secret" not in judged.detail


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.binary(max_size=3000), st.text(max_size=300).map(lambda text: base64.b64encode(text.encode()))))
def test_any_bytes_are_refused_and_nothing_else_happens(credential: bytes) -> None:
    way = method(ann="secret")
    found = way.find(head(b"Basic " + credential))
    assert found is not None
    refused = verdict(way, found)
    assert isinstance(refused, Refused)
    assert refused.reason == "invalid_credentials"


# -- where it stands -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (b"Basic YTpi", b"YTpi"),
        (b"basic YTpi", b"YTpi"),
        (b"BASIC   YTpi", b"YTpi"),
        (b"Basic", b""),
        (b"Basic ", b""),
        (b"Bearer YTpi", None),
        (b"BasicYTpi", None),
        (b"Basic\tYTpi", None),
        (b"Basi", None),
        (b"", None),
        (b"YTpi", None),
    ],
)
def test_the_scheme_decides_whether_there_is_one(value: bytes, found: bytes | None) -> None:
    assert method().find(head(value)) == found


def test_it_is_looked_for_in_authorization_alone_and_hidden_there() -> None:
    way = method()
    assert way.find(head(b"Basic YTpi", name=b"Proxy-Authorization")) is None
    assert way.find(head()) is None
    shown_once = head(b"Basic YTpi", name=b"AUTHORIZATION")
    assert way.find(shown_once) == b"YTpi"
    way.hide(shown_once)
    assert shown_once.fields == [(b"Accept", b"*/*")]


def test_two_credentials_are_none_of_them() -> None:
    way = method(ann="secret")
    for other in (b"Basic " + shown("ann:x"), b"Bearer x", b""):
        found = way.find(head(b"Basic " + shown("ann:secret"), other))
        assert found is not None
        assert isinstance(verdict(way, found), Refused)
    assert way.find(head(b"Bearer x", b"Basic " + shown("ann:secret"))) is None
    assert way.find(head(b"Basic YTpi", b"Basic YTpi")) == b"YTpi"


# -- hashes --------------------------------------------------------------------------------------------------------


def test_what_is_kept_of_a_password() -> None:
    kept = hash_password("secret", SALT)
    assert kept.startswith(f"scrypt:1024:1:1:{SALT.hex()}:")
    assert hash_password("secret", SALT) == kept
    assert hash_password("secret", SALT[::-1])[-64:] != kept[-64:]
    assert read_hash(kept).fits("secret")
    assert not read_hash(kept).fits("Secret")


def test_the_known_answer_of_the_standard() -> None:
    # RFC 7914 section 12: the first 32 bytes of scrypt("pleaseletmein", "SodiumChloride", N=16384, r=8, p=1, 64).
    expected = "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
    text = f"scrypt:16384:8:1:{b'SodiumChloride'.hex()}:{expected}"
    assert read_hash(text).fits("pleaseletmein")


@pytest.mark.parametrize("password", ["a\nb", "\0", "x" * 1025])
def test_a_password_that_no_client_could_send_is_not_hashed(password: str) -> None:
    with pytest.raises(ValueError, match="at most 1024 bytes"):
        hash_password(password, SALT)


@pytest.mark.parametrize("salt", [b"", b"short", bytes(65)])
def test_a_salt_has_a_length(salt: bytes) -> None:
    with pytest.raises(ValueError, match="8 to 64"):
        hash_password("x", salt)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("scrypt", "bcrypt"), "expected scrypt"),
        ((":1024:1:1:", ":1000:1:1:"), "power of two"),
        ((":1024:1:1:", ":512:1:1:"), "power of two"),
        ((":1024:1:1:", ":0:1:1:"), "power of two"),
        ((":1024:1:1:", ":1024:0:1:"), "P from 1"),
        ((":1024:1:1:", ":1024:1:0:"), "P from 1"),
        ((":1024:1:1:", ":1024:1:17:"), "P from 1"),
        # 128 MiB, and far more: whoever wrote the file may not stop the machine by it.
        ((":1024:1:1:", ":131072:8:1:"), "64 MiB"),
        ((":1024:1:1:", ":524288:99:1:"), "64 MiB"),
        ((":1024:1:1:", ":10240000000:1:1:"), "expected scrypt"),
        ((":1024:1:1:", ":\u0661024:1:1:"), "expected scrypt"),
        ((":000102", ":0001"), None),
        ((":000102", ":00010"), "expected scrypt"),
        ((SALT.hex(), "00" * 7), "expected scrypt"),
        ((SALT.hex(), "00" * 65), "expected scrypt"),
    ],
)
def test_a_hash_is_judged_before_it_costs_anything(change: tuple[str, str], message: str | None) -> None:
    text = hash_password("secret", SALT).replace(*change)
    if message is None:
        read_hash(text)
        return
    with pytest.raises(ValueError, match=message) as refused:
        read_hash(text)
    assert text[-20:] not in str(refused.value)


@given(st.text(max_size=200))
def test_any_text_is_a_hash_or_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_hash(text)


def test_a_hash_that_cannot_be_read_makes_no_method() -> None:
    with pytest.raises(ValueError, match="expected scrypt"):
        BasicMethod(Basic(users=[BasicUser(name="ann", hash="plain")]))


def test_comparison_is_of_bytes_in_constant_time(monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[Any] = []
    monkeypatch.setattr("headgate.auth.basic.hmac.compare_digest", lambda *both: compared.append(both))
    method(ann="secret").judge(shown("ann:x"), 0.0).work()  # type: ignore[union-attr]
    assert [len(each) for each in compared[0]] == [32, 32]
