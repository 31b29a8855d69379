"""What follows from a credential: the caller's tenant and tier, and whether the tenant lets its callers in.

    settle (once for a verified credential) -> of_request (each request, where a header may name the tenant) -> admits

Laws: pure; every look-up is made ready before the first request. The tier is that of the first rule that matches, else
the credential's own, else the tenant's, else the name of the caller's kind. A header chooses a tenant only for who has
none or may choose; any other tenant there than the caller's own is a refusal, whoever sends it.
"""

from __future__ import annotations

from typing import Any

from headgate.auth.access import AddressRules
from headgate.auth.claims import claim, words
from headgate.auth.method import Refused
from headgate.auth.settings import IdentitySettings, Tenant, TierRule
from headgate.core.field_names import read_as
from headgate.core.identity import ANONYMOUS, Identity
from headgate.core.message import Fields

# The longest name of a tenant that settings can hold, too.
_LONGEST = 200


class IdentityRules:
    """The rules of `identity` at work.

    `header`: the field that may choose the tenant, spelt as core.field_names.read_as has it; empty when none does, and
    then `of_request` has nothing to do. `admits_all`: no tenant keeps anybody out, and `admits` has nothing to do.
    """

    __slots__ = (
        "_anonymous",
        "_choosers",
        "_only_choosers",
        "_refuse_unknown",
        "_tenants",
        "_tiers",
        "admits_all",
        "header",
    )

    def __init__(self, settings: IdentitySettings) -> None:
        """Compile.

        Raises:
            ValueError: for a CIDR that is none.
        """
        rule = settings.tenant
        self.header = read_as((rule.header or "").encode())
        self._choosers = frozenset(rule.choosers)
        self._only_choosers = rule.only_choosers
        self._anonymous = rule.anonymous
        self._tiers = tuple(_TierRule(each) for each in settings.tiers)
        self._tenants = {tenant.name: _Tenant(tenant) for tenant in settings.tenants}
        self._refuse_unknown = settings.unknown_tenants == "refuse"
        self.admits_all = not self._refuse_unknown and not any(map(bool, self._tenants.values()))

    def settle(self, identity: Identity) -> Identity:
        """Return the caller with what follows from the credential alone.

        Where a header may choose the tenant that is nothing yet, for the tier depends on the tenant.
        """
        return identity if self.header else self.with_tier(identity)

    def of_request(self, identity: Identity, fields: Fields) -> Identity | Refused:
        """Return the caller as of one request, whose header may name the tenant; `identity` is a settled one."""
        wanted = self.header
        named = [value for name, value in fields if read_as(name) == wanted]
        if named:
            chosen = self._chosen(identity, named)
            if isinstance(chosen, Refused):
                return chosen
            if chosen and chosen != identity.tenant:
                identity = identity._replace(tenant=chosen)
        return self.with_tier(identity)

    def with_tier(self, identity: Identity) -> Identity:
        """Return the caller with the tier that follows from its credential and tenant."""
        tier = self._tier(identity)
        return identity if tier == identity.tier else identity._replace(tier=tier)

    def _chosen(self, identity: Identity, named: list[bytes]) -> str | Refused:
        """Return the tenant that the header names for this caller, empty when it names none."""
        try:
            tenants = {value.decode("utf-8") for value in named} - {""}
        except UnicodeDecodeError:
            return Refused("tenant_forbidden", "the header names a tenant in bytes that are no UTF-8")
        if not tenants or tenants == {identity.tenant}:
            return ""
        # The upstream may read another of several than we do.
        if len(tenants) > 1:
            return Refused("tenant_forbidden", "the header names several tenants")
        tenant = tenants.pop()
        if len(tenant) > _LONGEST:
            return Refused("tenant_forbidden", f"the header names a tenant of more than {_LONGEST} characters")
        if identity.kind == "anonymous":
            return tenant if self._anonymous else Refused("tenant_forbidden", "who is not known may choose no tenant")
        if not self._choosers.isdisjoint(identity.roles) or not (identity.tenant or self._only_choosers):
            return tenant
        if not identity.tenant:
            return Refused("tenant_forbidden", "the header names a tenant, and the credential none")
        return Refused("tenant_forbidden", f"the header names another tenant than {identity.tenant}")

    def admits(self, identity: Identity, address: str) -> Refused | None:
        """Return None when the caller's tenant lets it in from this address (text; empty: none is known)."""
        name = identity.tenant
        if not name:
            return None
        tenant = self._tenants.get(name)
        if tenant is None:
            return Refused("forbidden", f"the tenant {name} is not listed") if self._refuse_unknown else None
        if not tenant.enabled:
            return Refused("forbidden", f"the tenant {name} is disabled")
        if tenant.addresses and not tenant.addresses.allows(address):
            return Refused("address_forbidden", f"the tenant {name} does not take its callers from there")
        return None

    def _tier(self, identity: Identity) -> str:
        for rule in self._tiers:
            if rule.matches(identity):
                return rule.tier
        # Nobody's tier is but the word for nobody.
        own = identity.tier if identity.kind != ANONYMOUS.kind else ""
        if own:
            return own
        tenant = self._tenants.get(identity.tenant)
        return (tenant.tier if tenant is not None else "") or identity.kind


class _Tenant:
    """One tenant; false when it lets everybody in."""

    __slots__ = ("addresses", "enabled", "tier")

    def __init__(self, tenant: Tenant) -> None:
        self.enabled = tenant.enabled
        self.tier = tenant.tier
        self.addresses = AddressRules(tenant.allow, tenant.deny)

    def __bool__(self) -> bool:
        return not self.enabled or bool(self.addresses)


class _TierRule:
    __slots__ = ("_claim", "_kinds", "_roles", "_tenants", "_values", "tier")

    def __init__(self, rule: TierRule) -> None:
        self.tier = rule.tier
        self._kinds = frozenset(rule.kind)
        self._claim = rule.claim
        self._values = frozenset(rule.values)
        self._roles = frozenset(rule.roles)
        self._tenants = frozenset(rule.tenants)

    def matches(self, identity: Identity) -> bool:
        if self._kinds and identity.kind not in self._kinds:
            return False
        if self._roles and self._roles.isdisjoint(identity.roles):
            return False
        if self._tenants and identity.tenant not in self._tenants:
            return False
        return self._claim is None or self._said(claim(identity.claims, self._claim))

    def _said(self, value: Any) -> bool:
        found = words(value)
        return bool(found) and (not self._values or not self._values.isdisjoint(found))
