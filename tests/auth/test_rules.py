"""What follows from a credential: tiers, tenants, and who lets whom in."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.auth.method import Refused
from headgate.auth.rules import IdentityRules
from headgate.auth.settings import IdentitySettings, Tenant, TenantRule, TierRule
from headgate.core.identity import ANONYMOUS, Identity
from headgate.core.message import Fields


def rules(**settings: Any) -> IdentityRules:
    return IdentityRules(IdentitySettings(**settings))


def user(tenant: str = "", roles: str = "", tier: str = "", **more: Any) -> Identity:
    more.setdefault("kind", "user")
    return Identity(id="ada", tenant=tenant, roles=frozenset(roles.split()), tier=tier, **more)


# -- tiers ---------------------------------------------------------------------------------------------------------

TIERS = [
    TierRule(tier="vip", roles=["boss"]),
    TierRule(tier="bots", kind=["service", "api_key"], tenants=["acme"]),
    TierRule(tier="premium", claim="plan", values=["pro", "3"]),
    TierRule(tier="known", claim="customer.since"),
]
TENANTS = [Tenant(name="acme", tier="silver"), Tenant(name="globex")]


@pytest.mark.parametrize(
    ("identity", "tier"),
    [
        (user(), "user"),
        (user(kind="api_key"), "api_key"),
        (user(kind="service"), "service"),
        (user(tier="own"), "own"),
        (user("acme"), "silver"),
        (user("acme", tier="own"), "own"),
        (user("globex"), "user"),
        (user("nowhere"), "user"),
        (user("acme", "boss", "own"), "vip"),
        (user("acme", kind="api_key"), "bots"),
        (user("globex", kind="api_key"), "api_key"),
        (user(claims={"plan": "pro"}), "premium"),
        (user(claims={"plan": 3}), "premium"),
        (user(claims={"plan": ["free", "pro"]}), "premium"),
        (user(claims={"plan": "free"}), "user"),
        (user(claims={"customer": {"since": False}}), "known"),
        (user(claims={"customer": {"since": None}}), "user"),
        (ANONYMOUS, "anonymous"),
    ],
)
def test_the_tier_is_the_first_that_is_known(identity: Identity, tier: str) -> None:
    assert rules(tiers=TIERS, tenants=TENANTS).settle(identity) == identity._replace(tier=tier)


def test_what_needs_no_change_is_not_copied() -> None:
    assert rules().settle(ANONYMOUS) is ANONYMOUS


# -- the tenant by header ------------------------------------------------------------------------------------------

HEADER = TenantRule(header="X-Tenant", choosers=["support"])


def chosen(identity: Identity, *named: bytes, **settings: Any) -> Identity | Refused:
    made = rules(**{"tenant": HEADER, "tenants": TENANTS, "tiers": TIERS} | settings)
    fields: Fields = [(b"Accept", b"*/*"), *((b"x-tenant", value) for value in named)]
    return made.of_request(made.settle(identity), fields)


@pytest.mark.parametrize(
    ("identity", "named", "tenant", "tier"),
    [
        (user(), [], "", "user"),
        (user(), [b""], "", "user"),
        (user(), [b"acme"], "acme", "silver"),
        (user(), [b"acme", b"acme"], "acme", "silver"),
        (user(tier="own"), [b"acme"], "acme", "own"),
        (user("acme"), [], "acme", "silver"),
        (user("acme"), [b"acme"], "acme", "silver"),
        (user("acme", "support"), [b"globex"], "globex", "user"),
        (user("globex", "support"), [b"acme"], "acme", "silver"),
        (user(kind="service"), [b"acme"], "acme", "bots"),
        (user(), ["zürich".encode()], "zürich", "user"),
        (ANONYMOUS, [], "", "anonymous"),
    ],
)
def test_a_header_chooses_for_who_may_choose(identity: Identity, named: list[bytes], tenant: str, tier: str) -> None:
    assert chosen(identity, *named) == identity._replace(tenant=tenant, tier=tier)


def test_a_header_may_choose_for_choosers_alone() -> None:
    alone = {"tenant": TenantRule(header="X-Tenant", choosers=["support"], only_choosers=True)}
    assert chosen(user(), b"acme", **alone) == Refused(
        "tenant_forbidden", "the header names a tenant, and the credential none"
    )
    assert chosen(user(), **alone) == user()._replace(tier="user")
    for identity in (user("acme"), user("", "support"), user("globex", "support")):
        assert chosen(identity, b"acme", **alone) == identity._replace(tenant="acme", tier="silver")


@pytest.mark.parametrize(
    ("identity", "named", "detail"),
    [
        (user("acme"), [b"globex"], "the header names another tenant than acme"),
        (user("acme"), [b"Acme"], "the header names another tenant than acme"),
        (user("acme"), [b"acme", b"globex"], "the header names several tenants"),
        (user(), [b"acme", b"globex"], "the header names several tenants"),
        (user(), [b"\xff"], "the header names a tenant in bytes that are no UTF-8"),
        (user(), [b"x" * 201], "the header names a tenant of more than 200 characters"),
        (ANONYMOUS, [b"acme"], "who is not known may choose no tenant"),
    ],
)
def test_all_others_are_refused(identity: Identity, named: list[bytes], detail: str) -> None:
    assert chosen(identity, *named) == Refused("tenant_forbidden", detail)


def test_no_other_spelling_of_the_header_names_another_tenant() -> None:
    made = rules(tenant=HEADER)
    fields = [(b"X-Tenant", b"acme"), (b"X_TENANT", b"globex")]
    assert made.of_request(user(), fields) == Refused("tenant_forbidden", "the header names several tenants")


def test_who_is_not_known_may_choose_where_settings_say_so() -> None:
    rule = TenantRule(header="X-Tenant", anonymous=True)
    assert chosen(ANONYMOUS, b"acme", tenant=rule) == ANONYMOUS._replace(tenant="acme", tier="silver")


@given(st.sampled_from(["", "acme", "globex"]), st.lists(st.binary(max_size=6) | st.just(b"acme"), max_size=3))
def test_nobody_leaves_their_own_tenant(own: str, named: list[bytes]) -> None:
    found = chosen(user(own), *named)
    assert isinstance(found, Refused) or not own or found.tenant == own


# -- what tenants allow --------------------------------------------------------------------------------------------


def test_tenants_let_their_callers_in_or_not() -> None:
    listed = rules(
        tenants=[
            Tenant(name="off", enabled=False),
            Tenant(name="near", allow=["10.0.0.0/8"], deny=["10.6.6.6"]),
            Tenant(name="open"),
        ]
    )
    assert not listed.admits_all
    assert listed.admits(user("off"), "10.0.0.1") == Refused("forbidden", "the tenant off is disabled")
    assert listed.admits(user("near"), "10.0.0.1") is None
    away = Refused("address_forbidden", "the tenant near does not take its callers from there")
    assert listed.admits(user("near"), "10.6.6.6") == away
    assert listed.admits(user("near"), "192.0.2.1") == away
    assert listed.admits(user("near"), "") == away
    assert listed.admits(user("open"), "") is None
    assert listed.admits(user("unheard"), "") is None
    assert listed.admits(user(), "") is None
    assert listed.admits(ANONYMOUS, "") is None


def test_unknown_tenants_can_be_kept_out() -> None:
    listed = rules(tenants=[Tenant(name="acme")], unknown_tenants="refuse")
    assert not listed.admits_all
    assert listed.admits(user("acme"), "") is None
    assert listed.admits(user("Acme"), "") == Refused("forbidden", "the tenant Acme is not listed")
    # Who has no tenant is no caller of an unknown one.
    assert listed.admits(user(), "") is None


def test_nothing_is_looked_at_where_nothing_is_said() -> None:
    assert rules().admits_all
    assert rules(tenants=TENANTS).admits_all
    assert not rules().header
