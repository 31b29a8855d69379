"""Who may do what: whatever is asked and not shown is a refusal."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.auth.access import Access, AddressRules, TenantIsolation, gives, key_refusal
from headgate.auth.settings import AccessRule, Auth, IdentitySettings, Isolation
from headgate.core.identity import ANONYMOUS, Identity
from tests.core.test_networks import holds, network

PERMISSIONS = {"admin": ["*"], "agent": ["calls:read", "leads:*"], "reader": ["*:read"]}
IDENTITY = IdentitySettings(permissions=PERMISSIONS)
LOOKERS = AccessRule(not_roles=["viewer", "guest"])
NAMES = st.sampled_from(["admin", "agent", "reader", "", "Admin", "admin ", "x"])
SETS = st.frozensets(NAMES)


def who(roles: str = "", scopes: str = "", tenant: str = "", **more: Any) -> Identity:
    more.setdefault("kind", "user")
    return Identity(roles=frozenset(roles.split()), scopes=frozenset(scopes.split()), tenant=tenant, **more)


def judge(auth: Auth, identity: Identity, method: str = "GET") -> str | None:
    return Access(auth, IDENTITY, "chat-route", "chat").judge(identity, method)


# -- what is asked -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("auth", "identity", "missing"),
    [
        (Auth(), who(), None),
        (Auth(roles=["admin", "agent"]), who("agent"), None),
        (Auth(roles=["admin", "agent"]), who("Admin x"), "needs one of the roles admin, agent"),
        (Auth(roles=["admin"]), who(), "needs the role admin"),
        (Auth(scopes=["a", "b", "c"]), who(scopes="a b c d"), None),
        (Auth(scopes=["a", "b", "c"]), who(scopes="b"), "needs the scope a, c"),
        (Auth(permissions=["calls:read", "leads:write"]), who("agent"), None),
        (Auth(permissions=["calls:read"]), who("x reader"), None),
        (
            Auth(permissions=["calls:write"]),
            who("agent reader"),
            "needs the permission calls:write, which the role admin gives",
        ),
        (
            Auth(permissions=["calls:read"]),
            who(),
            "needs the permission calls:read, which one of the roles admin, agent, reader gives",
        ),
        (Auth(tenants=["acme", "globex"]), who(tenant="globex"), None),
        (Auth(tenants=["acme", "globex"]), who(), "needs one of the tenants acme, globex"),
        (Auth(rules=[AccessRule(kinds=["service"])]), who(kind="service"), None),
        (Auth(rules=[AccessRule(kinds=["service"])]), who(), "needs the kind service"),
        (Auth(rules=[LOOKERS]), who(), None),
        (Auth(rules=[LOOKERS]), who("guest boss"), None),
        (Auth(rules=[LOOKERS]), who("guest"), "needs more than one of the roles guest, viewer"),
        (Auth(rules=[LOOKERS]), who("viewer guest"), "needs more than one of the roles guest, viewer"),
    ],
)
def test_says_what_is_missing(auth: Auth, identity: Identity, missing: str | None) -> None:
    assert judge(auth, identity) == missing


def test_a_permission_that_no_role_gives_is_nobodys() -> None:
    access = Access(Auth(permissions=["calls:read"]), IdentitySettings())
    assert access.judge(who("admin"), "GET") == "needs the permission calls:read, which no role gives"


def test_all_rules_that_apply_to_a_method_must_hold() -> None:
    auth = Auth(
        roles=["agent"],
        rules=[AccessRule(method=["post", "PUT"], scopes=["write"]), AccessRule(method=["POST"], roles=["boss"])],
    )
    assert judge(auth, who("agent"), "GET") is None
    assert judge(auth, who("boss", "write"), "POST") == "needs the role agent"
    assert judge(auth, who("agent", "write"), "PUT") is None
    assert judge(auth, who("agent", "write"), "POST") == "needs the role boss"
    assert judge(auth, who("agent boss", "write"), "POST") is None


def test_a_rule_for_get_holds_for_head() -> None:
    auth = Auth(rules=[AccessRule(method=["GET"], roles=["agent"])])
    assert judge(auth, who(), "HEAD") == "needs the role agent"
    assert judge(auth, who(), "DELETE") is None


@given(SETS.filter(bool), SETS, st.sampled_from(["GET", "POST", "HEAD", "PATCH", "odd"]), SETS)
def test_nobody_without_a_listed_role_passes(
    listed: frozenset[str], has: frozenset[str], method: str, scopes: frozenset[str]
) -> None:
    rules = [AccessRule(method=["POST"], scopes=["admin"])]
    access = Access(Auth(roles=sorted(listed), rules=rules), IDENTITY)
    identity = Identity(kind="user", roles=has, scopes=scopes)
    passes = access.judge(identity, method) is None
    assert passes is bool(listed & has and (method != "POST" or "admin" in scopes))


def test_a_credential_that_is_bound_counts_there_only() -> None:
    assert judge(Auth(), who(scopes="route:chat-route")) is None
    assert judge(Auth(), who(scopes="service:chat route:other")) is None
    assert judge(Auth(), who(scopes="service:other read")) == "the credential is bound to service:other"
    assert judge(Auth(), who(scopes="route:chat")) == "the credential is bound to route:chat"
    assert judge(Auth(roles=["agent"]), who("agent", "service:")) == "the credential is bound to service:"


# -- permissions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("granted", "asked", "given_"),
    [
        ("*", "calls:read", True),
        ("*", "calls", True),
        ("leads:*", "leads:read", True),
        ("leads:*", "leads:notes:read", True),
        ("leads:*", "leads", False),
        ("leads:*", "leads:", False),
        ("leads:*", "leads.read", False),
        ("leads.*", "leads.read", True),
        ("*:read", "leads:read", True),
        ("*:read", "leads:notes:read", False),
        ("*:*:read", "leads:notes:read", True),
        ("leads.*.read", "leads.notes.read", True),
        ("leads:rea*", "leads:read", False),
        ("calls:read", "calls:read", True),
        ("calls:read", "calls:read2", False),
        ("calls.read", "callsxread", False),
        ("calls:read", "Calls:read", False),
        ("calls:read", "calls:*", False),
    ],
)
def test_what_a_permission_gives(granted: str, asked: str, given_: bool) -> None:
    assert gives(granted, asked) is given_


# -- tenants apart -------------------------------------------------------------------------------------------------


def isolated(source: str, identity: Identity, **request: Any) -> str | None:
    isolation = TenantIsolation(Isolation(tenant=source, crossing=["support"]))
    return isolation.judge(identity, request.get("params", {}), request.get("fields", []), request.get("query"))


ACME = who(tenant="acme inc")


@pytest.mark.parametrize(
    ("source", "request_", "said"),
    [
        ("params.org", {"params": {"org": "acme%20inc"}}, None),
        ("params.org", {"params": {"org": "acme"}}, "params.org names another tenant than acme inc"),
        ("params.org", {"params": {"other": "acme inc"}}, "params.org names no tenant"),
        ("params.org", {"params": {"org": ""}}, "params.org names no tenant"),
        ("header:X-Org", {"fields": [(b"x-ORG", b"acme inc")]}, None),
        ("header:X-Org", {"fields": [(b"X-Org", b"globex")]}, "header:X-Org names another tenant than acme inc"),
        ("header:X-Org", {}, "header:X-Org names no tenant"),
        (
            "header:X-Org",
            {"fields": [(b"X-Org", b"acme inc"), (b"X-Org", b"globex")]},
            "header:X-Org names another tenant than acme inc",
        ),
        ("header:X-Org", {"fields": [(b"X-Org", b"acme inc\xff")]}, "header:X-Org names another tenant than acme inc"),
        (
            "header:X-Org",
            {"fields": [(b"X-Org", b"acme inc"), (b"X_Org", b"globex")]},
            "header:X-Org names another tenant than acme inc",
        ),
        ("query:org", {"query": b"a=1&org=acme+inc"}, None),
        ("query:org", {"query": b"%6frg=acme%20inc"}, None),
        ("query:org", {"query": b"org=acme+inc&org=globex"}, "query:org names another tenant than acme inc"),
        ("query:org", {"query": b"org"}, "query:org names another tenant than acme inc"),
        ("query:org", {"query": b"organ=acme+inc"}, "query:org names no tenant"),
        ("query:org", {}, "query:org names no tenant"),
        # What one server or another takes for the same parameter.
        *(
            ("query:org", {"query": b"org=acme+inc&" + other}, "query:org names another tenant than acme inc")
            for other in (
                b"a=1;org=globex",
                b"Org=globex",
                b"%4Frg=globex",
                b"org[]=globex",
                b"org%5B0%5D=globex",
                b"org[a][b]=globex",
                b"+org=globex",
                b"org%20=globex",
                b"org%00x=globex",
                b"&;;org=globex",
            )
        ),
        ("query:org", {"query": b"org=acme+inc;x"}, "query:org names another tenant than acme inc"),
        ("query:org", {"query": b"org=acme+inc;b=1"}, "query:org names another tenant than acme inc"),
        ("query:org", {"query": b"a=1;org=acme+inc"}, "query:org names no tenant"),
        ("query:org", {"query": b"ORG=acme+inc"}, "query:org names no tenant"),
        ("query:org", {"query": b"a=1;b=2&org=acme+inc&organ=globex&xorg=globex"}, None),
        (
            "query:the_org",
            {"query": b"the_org=acme+inc&the.org=globex"},
            "query:the_org names another tenant than acme inc",
        ),
        ("query:f[org]", {"query": b"f[org]=acme+inc&f[state]=open&f=1"}, None),
        (
            "query:f[org]",
            {"query": b"f[org]=acme+inc&F[Org][]=globex"},
            "query:f[org] names another tenant than acme inc",
        ),
    ],
)
def test_keeps_tenants_apart(source: str, request_: dict[str, Any], said: str | None) -> None:
    assert isolated(source, ACME, **request_) == said


def test_some_roles_may_cross() -> None:
    assert isolated("params.org", who("support"), params={"org": "globex"}) is None
    assert isolated("params.org", who("Support"), params={"org": "globex"}) is not None


@pytest.mark.parametrize("named", ["", "acme"])
def test_who_has_no_tenant_is_in_none(named: str) -> None:
    assert (
        isolated("params.org", who(), params={"org": named}) == "the caller has no tenant, and params.org asks for one"
    )
    assert isolated("query:org", ANONYMOUS, query=b"org=") == "the caller has no tenant, and query:org asks for one"


@pytest.mark.parametrize("source", ["", "org", "params.", "header:", "cookie:org"])
def test_a_source_that_is_none_is_not_taken(source: str) -> None:
    with pytest.raises(ValueError, match="names no tenant: write params"):
        TenantIsolation(Isolation(tenant=source))


# -- addresses -----------------------------------------------------------------------------------------------------

NETWORKS = st.tuples(st.ip_addresses(), st.integers(0, 128)).map(lambda each: network(*each))


@given(st.lists(NETWORKS, max_size=3), st.lists(NETWORKS, max_size=3), st.ip_addresses())
def test_deny_wins_and_an_empty_allow_is_any(allow: list[str], deny: list[str], address: Any) -> None:
    denied = any(holds(each, address) for each in deny)
    allowed = not allow or any(holds(each, address) for each in allow)
    rules = AddressRules(allow, deny)
    assert rules.allows(str(address)) is (allowed and not denied)
    assert rules.allows(str(address)) is (allowed and not denied)


def test_a_client_without_an_address_passes_where_none_is_asked() -> None:
    assert AddressRules(deny=["0.0.0.0/0"]).allows("")
    assert not AddressRules(allow=["0.0.0.0/0", "::/0"]).allows("")


def test_what_is_remembered_of_addresses_is_bounded() -> None:
    rules = AddressRules(deny=["10.0.0.0/8"])
    for number in range(10_000):
        rules.allows(str(ip_address(number)))
    assert rules.allows.cache_info().currsize <= 4096


@pytest.mark.parametrize(
    ("claims", "address", "passes"),
    [
        ({}, "192.0.2.1", True),
        ({"addresses": []}, "192.0.2.1", True),
        ({"addresses": ["192.0.2.0/24", "fd00::/8"]}, "192.0.2.1", True),
        ({"addresses": ("192.0.2.0/24",)}, "198.51.100.1", False),
        ({"addresses": "192.0.2.0/24"}, "192.0.2.1", True),
        ({"addresses": ["192.0.2.0/24"]}, "", False),
        ({"addresses": ["Main Street 1"]}, "192.0.2.1", False),
        ({"addresses": [{"street": "Main"}]}, "192.0.2.1", False),
        ({"addresses": {"street": "Main"}}, "192.0.2.1", False),
    ],
)
def test_a_key_may_be_bound_to_addresses(claims: dict[str, Any], address: str, passes: bool) -> None:
    said = key_refusal(who(kind="api_key", claims=claims), address)
    assert (said is None) is passes
    assert said in (None, "the key is bound to other addresses")


def test_addresses_in_a_users_token_are_where_it_lives() -> None:
    assert key_refusal(who(claims={"addresses": ["Main Street 1"]}), "192.0.2.1") is None
