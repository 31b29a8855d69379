"""The gates before and behind authentication: from where one may ask, for which tenant, and what.

Law: what is missing stands in the operator's log; the client is told no more than that it may not (a credential, if it
has shown none).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from headgate.auth.access import Access, AddressRules, TenantIsolation, key_refusal
from headgate.auth.method import Refused
from headgate.auth.settings import Auth
from headgate.config.resolve import ResolvedRoute
from headgate.core.failure import Failure
from headgate.core.identity import ANONYMOUS
from headgate.proxy.authentication import Ways

if TYPE_CHECKING:
    from headgate.proxy.exchange import Exchange


class AddressGate:
    """Let clients in by their address."""

    name = "addresses"
    __slots__ = ("_rules",)

    def __init__(self, rules: AddressRules) -> None:
        self._rules = rules

    def enter(self, exchange: Exchange) -> None:
        """Judge the client's address.

        Raises:
            Failure: address_forbidden.
        """
        if not self._rules.allows(exchange.client):
            raise Failure("address_forbidden", f"{exchange.client or 'a Unix socket'} is not let in here")


class AccessGate:
    """Let callers in by what they are: their tenant, what their credential is bound to, what `auth` asks."""

    name = "access"
    __slots__ = ("_access", "_fields", "_isolation", "_kinds", "_of_nobody", "_rules")

    def __init__(self, route: ResolvedRoute, ways: Ways) -> None:
        """Compile what stands before one route; `auth: none` asks nothing, but a header may choose a tenant.

        Raises:
            ValueError: with a sentence, if the isolation of tenants cannot be made.
        """
        none = route.auth.mode == "none"
        auth = Auth() if none else route.auth
        self._access = Access(auth, ways.identity, route.name, route.service)
        self._isolation = TenantIsolation(auth.isolation) if auth.isolation is not None else None
        self._rules = ways.rules
        self._fields = ways.fields
        self._of_nobody = self._fields.of(ANONYMOUS)
        self._kinds = ways.kinds

    def enter(self, exchange: Exchange) -> None:
        """Judge the caller; a header may choose its tenant.

        Raises:
            Failure: forbidden, tenant_forbidden, address_forbidden; missing_credentials for who is not known.
        """
        identity, rules = exchange.identity, self._rules
        if rules.header:
            found = rules.of_request(identity, exchange.stream.head.fields)
            if isinstance(found, Refused):
                # It is a request of this caller's all the same, and counts as one.
                exchange.identity = rules.with_tier(identity)
                self._refuse(exchange, found.reason, found.detail)
            exchange.identity = identity = found
            exchange.forwarded = self._fields.of(identity)
        elif identity is ANONYMOUS:
            exchange.forwarded = self._of_nobody
        if not rules.admits_all:
            refused = rules.admits(identity, exchange.client)
            if refused is not None:
                self._refuse(exchange, refused.reason, refused.detail)
        if identity.kind == "api_key" and (bound := key_refusal(identity, exchange.client)) is not None:
            self._refuse(exchange, "address_forbidden", bound)
        missing = self._access.judge(identity, exchange.method)
        if missing is not None:
            self._refuse(exchange, "missing_credentials" if identity.kind == "anonymous" else "forbidden", missing)
        if self._isolation is not None:
            head = exchange.stream.head
            said = self._isolation.judge(identity, exchange.params, head.fields, head.query)
            if said is not None:
                anonymous = identity.kind == "anonymous" and not identity.tenant
                self._refuse(exchange, "missing_credentials" if anonymous else "tenant_forbidden", said)

    def _refuse(self, exchange: Exchange, reason: str, detail: str) -> NoReturn:
        exchange.gateway.metrics.auth_failed(reason, self._kinds.get(exchange.identity.method, "none"))
        raise Failure(reason, detail)
