"""What upstreams are told of callers: what was verified, and nothing that reads as something else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.auth.forward import SOURCES, IdentityFields
from headgate.core.identity import ANONYMOUS, Identity

ADA = Identity(
    kind="user",
    id="ada",
    tenant="acme",
    roles=frozenset(("b", "a")),
    tier="gold",
    scopes=frozenset(("write", "read")),
    claims={"mail": "ada@example.com", "n": 3, "ok": True, "groups": ["x", 7], "a": {"b": {"c": 1.5}}, "x.y": "whole"},
    method="login",
)


def told(source: str, identity: Identity = ADA) -> bytes | None:
    fields = IdentityFields({"X-It": source}).of(identity)
    assert [name for name, _ in fields] == [b"X-It"] * len(fields)
    return fields[0][1] if fields else None


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("id", b"ada"),
        ("kind", b"user"),
        ("tenant", b"acme"),
        ("roles", b"a,b"),
        ("scopes", b"read write"),
        ("tier", b"gold"),
        ("method", b"login"),
        ("claims.mail", b"ada@example.com"),
        ("claims.n", b"3"),
        ("claims.ok", b"true"),
        ("claims.groups", b"x,7"),
        ("claims.a", b'{"b":{"c":1.5}}'),
        ("claims.a.b.c", b"1.5"),
        ("claims.x.y", b"whole"),
        ("claims.a.nothing.c", None),
        ("claims.mail.x", None),
        ("claims.nothing", None),
    ],
)
def test_says_what_is_known(source: str, value: bytes | None) -> None:
    assert told(source) == value


def test_what_nobody_knows_has_no_field() -> None:
    fields = IdentityFields({f"X-{source}": source for source in SOURCES}).of(ANONYMOUS)
    assert fields == [(b"X-kind", b"anonymous"), (b"X-tier", b"anonymous")]


def test_the_names_are_known_in_lower_case() -> None:
    assert IdentityFields({"X-User": "id"}).names == {b"x-user"}
    assert not IdentityFields({})


@pytest.mark.parametrize(
    ("source", "identity"),
    [
        ("id", Identity(id="a\r\nX-Admin: 1")),
        ("id", Identity(id="a\x00")),
        ("id", Identity(id="\ud800")),
        ("id", Identity(id="  ")),
        ("roles", Identity(roles=frozenset(("user", "x,admin")))),
        ("roles", Identity(roles=frozenset(("user", " admin")))),
        ("roles", Identity(roles=frozenset(("user", "")))),
        ("scopes", Identity(scopes=frozenset(("read write",)))),
        ("claims.groups", Identity(claims={"groups": ["user", "x,admin"]})),
        ("claims.groups", Identity(claims={"groups": []})),
    ],
)
def test_what_would_read_as_something_else_is_not_told(source: str, identity: Identity) -> None:
    assert told(source, identity) is None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


@given(VALUES, st.text(), st.frozensets(st.text()))
def test_no_value_carries_a_control_character(value: Any, text: str, texts: frozenset[str]) -> None:
    identity = Identity(id=text, roles=texts, scopes=texts, claims={"it": value})
    sources = ("id", "roles", "scopes", "claims.it")
    for _, made in IdentityFields({f"X-{source}": source for source in sources}).of(identity):
        assert made
        assert not any((byte < 0x20 and byte != 0x09) or byte == 0x7F for byte in made)


@given(st.frozensets(st.text(st.characters(exclude_categories=["Cc", "Cs"]), max_size=3), max_size=3))
def test_a_joined_list_is_read_as_the_same_roles(roles: frozenset[str]) -> None:
    value = told("roles", Identity(roles=roles))
    if value is not None:
        assert {each.strip() for each in value.decode().split(",")} == roles


@pytest.mark.parametrize("source", ["", "claims", "claims.", "name", "header:X"])
def test_a_source_that_is_none_is_not_taken(source: str) -> None:
    with pytest.raises(ValueError, match="is not known of a caller"):
        IdentityFields({"X-It": source})
