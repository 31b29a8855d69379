"""What callers may do: roles, scopes, permissions and tenants by route and method, the tenants' isolation, addresses.

Laws: pure, and compiled once; whatever is asked and not shown is a refusal, never the other way round. What is
returned names what is missing, for the operator's log alone. A rule for GET holds for HEAD, which is a GET without its
content (RFC 9110 section 9.3.2). What is remembered is bounded.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Final
from urllib.parse import unquote, unquote_plus

from headgate.auth.settings import AccessRule, Auth, IdentitySettings, Isolation
from headgate.core.field_names import read_as
from headgate.core.identity import Identity
from headgate.core.message import Fields
from headgate.core.networks import Networks

_REMEMBERED = 4096
# Scopes that begin so say where a credential counts at all.
BINDING: Final = ("route:", "service:")
_BLANKS: Final = str.maketrans(" .", "__")
TENANT_SOURCES: Final = ("params.", "header:", "query:")

_Question = Callable[[Identity], str | None]


class Access:
    """All that `auth` asks of a caller of one route, beyond being known."""

    __slots__ = ("_everywhere", "_here", "_of_method")

    def __init__(self, auth: Auth, identity: IdentitySettings, route: str = "", service: str = "") -> None:
        """Compile; `route` and `service` are the names that a credential may be bound to by its scopes."""
        self._here = frozenset((f"route:{route}", f"service:{service}"))
        base = AccessRule(roles=auth.roles, scopes=auth.scopes, permissions=auth.permissions, tenants=auth.tenants)
        written = [base, *auth.rules]
        methods = {name for rule in written for name in _methods(rule)}
        self._everywhere = self._compiled((rule for rule in written if not rule.method), identity)
        self._of_method = {
            method: self._compiled((rule for rule in written if not rule.method or method in _methods(rule)), identity)
            for method in methods
        }

    @staticmethod
    def _compiled(rules: Iterable[AccessRule], identity: IdentitySettings) -> tuple[_Question, ...]:
        return tuple(question for rule in rules for question in _questions(rule, identity.permissions))

    def judge(self, identity: Identity, method: str) -> str | None:
        """Return None for a caller who may use this method here, else what is missing."""
        scopes = identity.scopes
        if scopes and (bound := _bindings(scopes)) and bound.isdisjoint(self._here):
            return f"the credential is bound to {_listed(bound)}"
        for question in self._of_method.get(method, self._everywhere):
            missing = question(identity)
            if missing is not None:
                return missing
        return None


def _questions(rule: AccessRule, permissions: Mapping[str, list[str]]) -> Iterator[_Question]:
    """Compile a rule: one question for each thing it asks, answered by what is missing, or None."""
    if rule.roles:
        yield _one_role(frozenset(rule.roles), f"needs {_one_of('role', rule.roles)}")
    if rule.scopes:
        scopes = frozenset(rule.scopes)
        yield lambda who: None if scopes <= who.scopes else f"needs the scope {_listed(scopes - who.scopes)}"
    for permission in rule.permissions:
        # The roles that give it: nothing of its form is left for a request to look at.
        roles = givers(permission, permissions)
        by = f"which {_one_of('role', roles)} gives" if roles else "which no role gives"
        yield _one_role(roles, f"needs the permission {permission}, {by}")
    if rule.tenants:
        tenants, no_tenant = frozenset(rule.tenants), f"needs {_one_of('tenant', rule.tenants)}"
        yield lambda who: None if who.tenant in tenants else no_tenant
    if rule.kinds:
        kinds, no_kind = frozenset[str](rule.kinds), f"needs {_one_of('kind', rule.kinds)}"
        yield lambda who: None if who.kind in kinds else no_kind
    if rule.not_roles:
        barred, more = frozenset(rule.not_roles), f"needs more than {_one_of('role', rule.not_roles)}"
        yield lambda who: more if who.roles and barred.issuperset(who.roles) else None


def _one_role(roles: frozenset[str], missing: str) -> _Question:
    return lambda who: missing if roles.isdisjoint(who.roles) else None


def _methods(rule: AccessRule) -> set[str]:
    named = {method.upper() for method in rule.method}
    return named | {"HEAD"} if "GET" in named else named


@lru_cache(_REMEMBERED)
def _bindings(scopes: frozenset[str]) -> frozenset[str]:
    return frozenset(scope for scope in scopes if scope.startswith(BINDING))


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names))


def _one_of(what: str, names: Collection[str]) -> str:
    return f"the {what} {_listed(names)}" if len(names) == 1 else f"one of the {what}s {_listed(names)}"


# -- permissions ---------------------------------------------------------------------------------------------------


def gives(granted: str, asked: str) -> bool:
    """Tell whether a permission that a role has, with * in it or without, gives the one asked.

    Parts are parted by ":" or ".". A * alone gives all; at the end it stands for all parts that follow, of which there
    must be one: leads:* gives leads:read and leads:notes:read, not leads; elsewhere it stands for one part.
    """
    return _permission(granted).fullmatch(asked) is not None


@lru_cache(_REMEMBERED)
def _permission(granted: str) -> re.Pattern[str]:
    parts = re.split(r"([:.])", granted)
    forms = [r"[^:.]+" if part == "*" else re.escape(part) for part in parts]
    if parts[-1] == "*":
        forms[-1] = ".+"
    return re.compile("".join(forms), re.DOTALL)


def givers(asked: str, permissions: Mapping[str, list[str]]) -> frozenset[str]:
    """Return the roles that give a permission."""
    return frozenset(role for role, granted in permissions.items() if any(gives(each, asked) for each in granted))


# -- tenants apart -------------------------------------------------------------------------------------------------


class TenantIsolation:
    """Hold what a request is about against its caller's tenant.

    A request that names no tenant where it should is refused, and so is one that names several: which of them the
    upstream reads is not known here. What some servers take for the parameter of a query counts among these: `;` parts
    parameters too (Rack), names in any case (ASP.NET), with a blank or a dot for _ (PHP), and with [] behind.
    """

    __slots__ = ("_alike", "_crossing", "_header", "_param", "_query", "_where")

    def __init__(self, isolation: Isolation) -> None:
        """Compile.

        Raises:
            ValueError: if the source of the tenant is none.
        """
        source = isolation.tenant
        prefix = next((each for each in TENANT_SOURCES if source.startswith(each) and len(source) > len(each)), None)
        if prefix is None:
            raise ValueError(f"{source!r} names no tenant: write params.NAME, header:NAME or query:NAME")
        name = source.removeprefix(prefix)
        self._where = source
        self._param = name if prefix == "params." else ""
        self._header = read_as(name.encode()) if prefix == "header:" else b""
        self._query = name if prefix == "query:" else ""
        self._alike = _loosely(name)
        self._crossing = frozenset(isolation.crossing)

    def judge(self, identity: Identity, params: Mapping[str, str], fields: Fields, query: bytes | None) -> str | None:
        """Return None when the request is about its caller's own tenant, or the caller may cross; else why not."""
        if not self._crossing.isdisjoint(identity.roles):
            return None
        own = identity.tenant
        if not own:
            return f"the caller has no tenant, and {self._where} asks for one"
        named = self._named(params, fields, query)
        if not named:
            return f"{self._where} names no tenant"
        if any(each != own for each in named):
            return f"{self._where} names another tenant than {own}"
        return None

    def _named(self, params: Mapping[str, str], fields: Fields, query: bytes | None) -> list[str]:
        if self._param:
            value = params.get(self._param)
            return [unquote(value)] if value else []
        if self._header:
            wanted = self._header
            return [value.decode("utf-8", "replace") for name, value in fields if read_as(name) == wanted]
        text = (query or b"").decode("latin-1")
        pairs = [_pair(part) for part in text.split("&") if part]
        if not any(name == self._query for name, _ in pairs):
            return []
        if ";" in text:
            pairs += [_pair(part) for part in text.replace(";", "&").split("&") if part]
        return [value for name, value in pairs if self._may_be(_loosely(name))]

    def _may_be(self, name: str) -> bool:
        return name == self._alike or name.startswith(f"{self._alike}[")


def _pair(part: str) -> tuple[str, str]:
    name, _, value = part.partition("=")
    return unquote_plus(name), unquote_plus(value)


def _loosely(name: str) -> str:
    """Return one spelling for all names of parameters that a server may take for one."""
    return name.partition("\0")[0].strip().lower().translate(_BLANKS)


# -- addresses -----------------------------------------------------------------------------------------------------


class AddressRules:
    """Judge addresses by two lists: deny wins; an empty `allow` stands for any address.

    A client without an address, which came by a Unix socket, is in no network: it passes where `allow` is empty.
    """

    __slots__ = ("_allow", "_deny", "allows")

    def __init__(self, allow: Iterable[str] = (), deny: Iterable[str] = ()) -> None:
        """Take addresses and CIDRs.

        Raises:
            ValueError: for one that is none; the message names it.
        """
        self._allow = Networks(allow)
        self._deny = Networks(deny)
        # The same clients come again and again.
        self.allows = lru_cache(maxsize=_REMEMBERED)(self._allows)

    def __bool__(self) -> bool:
        return bool(self._allow or self._deny)

    def _allows(self, address: str) -> bool:
        """Tell whether requests from an address (text of an IP address; empty: none is known) may pass."""
        return address not in self._deny and (not self._allow or address in self._allow)


def key_refusal(identity: Identity, address: str) -> str | None:
    """Say why an API key that is bound to networks (the claim `addresses`) may not come from here; None when it may."""
    bound = identity.claims.get("addresses") if identity.kind == "api_key" else None
    if not bound or _comes_from(tuple(map(str, bound if isinstance(bound, list | tuple) else (bound,))), address):
        return None
    return "the key is bound to other addresses"


@lru_cache(_REMEMBERED)
def _comes_from(networks: tuple[str, ...], address: str) -> bool:
    try:
        return address in Networks(networks)
    except ValueError:
        # What another server says of a key need not be networks: nobody is in there.
        return False
