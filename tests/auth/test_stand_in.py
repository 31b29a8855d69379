"""The way that stands in for real ones in tests: anything that is shown is one and the same caller."""

from __future__ import annotations

import math

from headgate.auth.settings import StandIn
from headgate.auth.stand_in import StandInMethod
from tests.auth.heads import head

METHOD = StandInMethod(StandIn(name="mock", id="mock-user-id", tenant="acme", roles=["admin"], tier="gold"))


def test_anything_that_is_shown_counts() -> None:
    for value in (b"Bearer x", b"x", b"Basic Og=="):
        assert METHOD.find(head((b"Authorization", value))) == value
    for request in (head(), head((b"Authorization", b"")), head((b"X-API-Key", b"x"))):
        assert METHOD.find(request) is None


def test_it_is_always_the_same_caller() -> None:
    known = METHOD.judge(b"whatever", 0.0)
    assert known == METHOD.judge(b"else", 1e9)
    assert known.until == math.inf
    identity = known.identity
    assert (identity.kind, identity.id, identity.tenant) == ("user", "mock-user-id", "acme")
    assert (identity.roles, identity.tier, identity.method) == (frozenset({"admin"}), "gold", "mock")


def test_what_is_shown_can_be_hidden() -> None:
    request = head((b"authorization", b"x"), (b"X-Other", b"y"))
    METHOD.hide(request)
    assert request.fields == [(b"X-Other", b"y")]
