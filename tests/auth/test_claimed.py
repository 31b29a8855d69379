"""Callers from claims."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.auth.claimed import ClaimedIdentity
from headgate.auth.settings import ClaimNames
from headgate.core.identity import Identity


def caller(claims: dict[str, Any], **names: list[str]) -> Identity:
    return ClaimedIdentity(ClaimNames(**names), "user", "idp").of(claims)


def test_all_that_claims_tell() -> None:
    claims = {
        "sub": "ann",
        "org_id": 7,
        "roles": ["admin", "two words"],
        "scope": "read  write",
        "tier": "gold",
        "x": 1,
    }
    assert caller(claims) == Identity(
        "user", "ann", "7", frozenset({"admin", "two words"}), "gold", frozenset({"read", "write"}), claims, "idp"
    )


def test_nothing_is_told() -> None:
    assert caller({}) == Identity("user", tier="", method="idp")


def test_the_first_name_that_is_present_counts_and_null_and_empty_text_are_absent() -> None:
    claims = {"a": None, "a2": "", "b": "second", "c": "third", "role": "guest", "roles": None}
    found = caller(claims, id=["a", "a2", "b", "c"])
    assert (found.id, found.roles) == ("second", frozenset({"guest"}))


def test_a_name_with_dots_goes_inside() -> None:
    claims = {"realm_access": {"roles": ["admin"]}, "https://a.example/tenant": "x"}
    found = caller(claims, roles=["realm_access.roles"], tenant=["https://a.example/tenant"])
    assert (found.roles, found.tenant) == (frozenset({"admin"}), "x")


def test_every_name_may_be_another() -> None:
    claims = {
        "who": "ann",
        "org": "acme",
        "groups": ["a"],
        "may": "read write",
        "plan": "gold",
        "sub": "no",
        "tier": "no",
    }
    found = caller(claims, id=["who"], tenant=["org"], roles=["groups"], scopes=["may"], tier=["plan"])
    assert (found.id, found.tenant, found.tier) == ("ann", "acme", "gold")
    assert (found.roles, found.scopes) == (frozenset({"a"}), frozenset({"read", "write"}))


@pytest.mark.parametrize(
    "claims",
    [
        {"sub": True},
        {"sub": 1.5},
        {"sub": ["ann"]},
        {"sub": {"name": "ann"}},
        {"sub": "a" * 257},
        {"sub": "ann\r\nX-Role: admin"},
        {"sub": "ann\x00"},
        {"tenant": []},
        {"tier": False},
        {"roles": {"admin": True}},
        {"roles": ["admin", 1]},
        {"roles": 1},
        {"scope": [["read"]]},
        {"scope": True},
    ],
)
def test_what_a_claim_cannot_be_is_refused_and_not_shown(claims: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"the claim {next(iter(claims))} is n") as raised:
        caller(claims)
    assert "ann" not in str(raised.value)
