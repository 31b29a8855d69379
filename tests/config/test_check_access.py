"""What is said about auth, addresses, tenants, tiers and forwarded fields."""

from __future__ import annotations

import pytest

from headgate.auth.settings import ApiKeys, Basic, Certificates, IdentitySettings, Introspection, JwtIssuer
from headgate.config.check_access import kinds_of_ways
from tests.config.golden import Case, cases, check_case


@pytest.mark.parametrize("case", cases("check_access"), ids=lambda case: case.title)
def test_says_what_is_wrong(case: Case) -> None:
    check_case(case)


def test_knows_the_ways_that_are_built() -> None:
    identity = IdentitySettings(
        jwt=[JwtIssuer(name="a"), JwtIssuer(name="b", kind="service")],
        introspection=[Introspection(name="c", url=["http://127.0.0.1:1/"])],
        api_keys=ApiKeys(name="d"),
        basic=Basic(name="e", users=[]),
        certificates=Certificates(name="f"),
    )
    kinds = {"a": "user", "b": "service", "c": "user", "d": "api_key", "e": "user", "f": "service"}
    assert kinds_of_ways(identity) == kinds
    assert kinds_of_ways(IdentitySettings()) == {}


def test_a_way_that_is_off_is_none() -> None:
    identity = IdentitySettings(api_keys=ApiKeys(enabled=False))
    assert kinds_of_ways(identity) == {}
