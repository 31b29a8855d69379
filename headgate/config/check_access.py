"""Checks of what callers may do and of what follows from who they are: auth, addresses, tenants, forwarded fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from headgate.auth.access import TENANT_SOURCES, givers
from headgate.auth.forward import IdentityFields
from headgate.auth.settings import AccessRule, Addresses, Auth, ExternalAuth, IdentitySettings, Tenant
from headgate.catalog import AUTH
from headgate.config.check_values import Finding, methods
from headgate.config.check_wire import check_networks, check_resource
from headgate.config.field_kinds import credential_fields, request_field_kinds
from headgate.config.problems import Path, did_you_mean, printable
from headgate.config.schema import Config, Route, Service
from headgate.core.field_names import field_name_objection, read_as
from headgate.policy.pattern import PathPattern
from headgate.wire import http1


def check_access(config: Config) -> Iterator[Finding]:
    """Check all of it, on all levels."""
    yield from _identity(config)
    ways = kinds_of_ways(config.identity)
    yield from _addresses(config.addresses, ("addresses",))
    if config.auth is not None:
        yield from _auth(config.auth, ("auth",), config, ways)
        yield from _isolated(config.auth, ("auth",), config, _inheriting(config.services))
    for place, service in enumerate(config.services):
        path: Path = ("services", place)
        yield from _addresses(service.addresses, (*path, "addresses"))
        if service.auth is not None:
            yield from _auth(service.auth, (*path, "auth"), config, ways)
            yield from _isolated(service.auth, (*path, "auth"), config, [r for r in service.routes if r.auth is None])
        for number, route in enumerate(service.routes):
            at = (*path, "routes", number)
            yield from _addresses(route.addresses, (*at, "addresses"))
            if route.auth is not None:
                yield from _auth(route.auth, (*at, "auth"), config, ways)
                yield from _isolated(route.auth, (*at, "auth"), config, [route])


def kinds_of_ways(identity: IdentitySettings) -> dict[str, str]:
    """Return what kind of callers each configured way knows, by its name."""
    ways = [(each, entry.callers) for entry in AUTH.values() for each in entry.configured(identity)]
    return {each.name: callers or each.kind for each, callers in ways}


def _inheriting(services: Sequence[Service]) -> list[Route]:
    """List the routes for which the gateway's own auth holds."""
    return [route for service in services if service.auth is None for route in service.routes if route.auth is None]


# -- who can be known where ----------------------------------------------------------------------------------------


def known_sources(config: Config, levels: Sequence[Sequence[Auth | None]]) -> frozenset[str]:
    """Return which of user, api_key, identity and tenant, as parts of a limit's key, some caller has on some route.

    `levels` are the `auth` of each route: its own, its service's and the gateway's.
    """
    ways, found = kinds_of_ways(config.identity), set[str]()
    tenant = config.identity.tenant
    if tenant.header and tenant.anonymous:
        found.add("tenant")
    for level in levels:
        auth = next((each for each in level if each is not None), None)
        named = auth.methods if auth is not None else []
        looked = auth is None or auth.mode != "none"
        kinds = {kind for name, kind in ways.items() if looked and (not named or name in named)}
        found.update(kinds, ("identity", "tenant") if kinds else ())
    return frozenset(found)


# -- identity ------------------------------------------------------------------------------------------------------


def _identity(config: Config) -> Iterator[Finding]:
    identity, path = config.identity, ("identity",)
    yield from _forward(identity, config)
    yield from _tenants(identity.tenants, (*path, "tenants"))
    if identity.unknown_tenants == "refuse" and not identity.tenants:
        message = "no tenant is listed, so every caller who has one is refused"
        yield Finding((*path, "unknown_tenants"), message, "list them in identity.tenants", "warning")
    rule = identity.tenant
    if rule.header is not None:
        yield from _seen(rule.header, (*path, "tenant", "header"), config)
    elif rule.choosers or rule.anonymous:
        key = "choosers" if rule.choosers else "anonymous"
        yield Finding((*path, "tenant", key), "nothing is chosen: no header names a tenant", "write header, too")
    for role, granted in identity.permissions.items():
        for place, each in enumerate(granted):
            if "*" in each and any("*" in part and part != "*" for part in each.replace(".", ":").split(":")):
                message = f'the * of "{printable(each)}" stands for itself only: it must be all of a part'
                yield Finding((*path, "permissions", role, place), message, "such as leads:*")


def _forward(identity: IdentitySettings, config: Config) -> Iterator[Finding]:
    credentials = {b"authorization", b"cookie", *credential_fields(identity)}
    plain = http1.request_kinds(config.request_id.headers, config.http.underscores)
    first: dict[str, str] = {}
    for name, source in identity.forward.items():
        at: Path = ("identity", "forward", name)
        objection = field_name_objection(name, "request")
        if objection is None and name.lower().encode() in credentials:
            objection = f"{name} brings credentials, and what clients send under this name is taken off"
        elif objection is None and "_" in name:
            objection = f"to many servers {name} is {name.replace('_', '-')}: write that"
        elif objection is None and plain[name.encode()] != http1.PLAIN:
            objection = f"{name} has another purpose: choose another name"
        if objection is not None:
            yield Finding(at, objection)
        other = first.setdefault(name.lower(), name)
        if other != name:
            yield Finding(at, f"this is the same field as {other}", "write one of them")
        try:
            IdentityFields({name: source})
        except ValueError as error:
            yield Finding(at, str(error))


def _tenants(tenants: list[Tenant], path: Path) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for place, tenant in enumerate(tenants):
        if first.setdefault(tenant.name, place) != place:
            message = f'the tenant "{printable(tenant.name)}" stands here twice'
            yield Finding((*path, place, "name"), message, "write all of it in one place")
        yield from check_networks(tenant.allow, (*path, place, "allow"))
        yield from check_networks(tenant.deny, (*path, place, "deny"))


def _addresses(addresses: Addresses | None, path: Path) -> Iterator[Finding]:
    if addresses is not None:
        yield from check_networks(addresses.allow, (*path, "allow"))
        yield from check_networks(addresses.deny, (*path, "deny"))


def _seen(name: str, path: Path, config: Config) -> Iterator[Finding]:
    """Find the name of a field that the wire takes off before anybody reads it."""
    objection = field_name_objection(name, "request")
    if objection is not None:
        yield Finding(path, objection)
    elif request_field_kinds(config)[name.encode()] not in (http1.PLAIN, http1.CONTENT_TYPE):
        message = f"nobody here ever sees {name}: it is taken off what clients send"
        yield Finding(path, message, "name another field")


# -- auth ----------------------------------------------------------------------------------------------------------


def _auth(auth: Auth, path: Path, config: Config, ways: Mapping[str, str]) -> Iterator[Finding]:
    asked = [key for key in ("roles", "scopes", "permissions", "tenants", "rules", "isolation") if getattr(auth, key)]
    if auth.mode == "none":
        for key in (*(("methods",) if auth.methods else ()), *asked):
            yield Finding((*path, key), "nobody looks who asks: mode is none", "leave it out, or write mode: required")
    elif not ways:
        message = f"auth is {auth.mode} but identity has no way to show who one is"
        hint = "configure identity.jwt, identity.api_keys or another way, or write mode: none"
        if auth.mode == "required" or asked:
            yield Finding(path, message, hint)
        else:
            yield Finding(path, message, hint, "warning")
    for place, name in enumerate(auth.methods):
        if ways and name not in ways:
            hint = did_you_mean(name, ways) or f"write {', '.join(ways)}"
            yield Finding((*path, "methods", place), f'identity has no way called "{printable(name)}"', hint)
    if auth.mode != "none":
        yield from _permissions(auth.permissions, (*path, "permissions"), config.identity)
    for place, rule in enumerate(auth.rules):
        yield from _rule(rule, (*path, "rules", place), config.identity)
    if auth.external is not None:
        yield from _external(auth.external, (*path, "external"), config)


def _rule(rule: AccessRule, path: Path, identity: IdentitySettings) -> Iterator[Finding]:
    yield from methods(rule.method, (*path, "method"))
    if not (rule.roles or rule.scopes or rule.permissions or rule.tenants or rule.kinds or rule.not_roles):
        hint = "write roles, scopes, permissions, tenants, kinds or not_roles"
        yield Finding(path, "this rule asks nothing", hint, "warning")
    yield from _permissions(rule.permissions, (*path, "permissions"), identity)


def _permissions(permissions: list[str], path: Path, identity: IdentitySettings) -> Iterator[Finding]:
    for place, permission in enumerate(permissions):
        if not givers(permission, identity.permissions):
            message = f'no role gives the permission "{printable(permission)}", so nobody gets in'
            yield Finding((*path, place), message, "name it for a role in identity.permissions", "warning")


def _isolated(auth: Auth, path: Path, config: Config, routes: Sequence[Route]) -> Iterator[Finding]:
    """Check where requests name their tenant; `routes` are those for which this auth holds."""
    if auth.isolation is None:
        return
    at, source = (*path, "isolation", "tenant"), auth.isolation.tenant
    prefix = next((each for each in TENANT_SOURCES if source.startswith(each) and source != each), None)
    if prefix is None:
        message = f'"{printable(source)}" does not say where a request names its tenant'
        yield Finding(at, message, "write params.NAME, header:NAME or query:NAME")
        return
    name = source.removeprefix(prefix)
    if prefix == "header:":
        yield from _seen(name, at, config)
    if prefix == "params.":
        lacking = [route.name for route in routes if name not in _parts(route)]
        if lacking:
            more = f" (of {len(lacking) - 1} more routes, too)" if len(lacking) > 1 else ""
            message = f'the path of the route "{printable(lacking[0])}"{more} has no part {name}, so all get 403'
            yield Finding(at, message, f"match it with template: /.../{{{name}}}/...")


def _parts(route: Route) -> Sequence[str]:
    try:
        return tuple(PathPattern(route.match.path).names)
    except ValueError:
        # Said by check_match.
        return ()


def _external(external: ExternalAuth, path: Path, config: Config) -> Iterator[Finding]:
    yield from check_resource(external.url, external.ca, path)
    for key, names in (("send", external.send), ("take", external.take)):
        for place, name in enumerate(names):
            objection = field_name_objection(name, "request")
            if objection is not None:
                yield Finding((*path, key, place), objection)
    forwarded = {name.lower() for name in config.identity.forward}
    trailers = {read_as(name.encode()) for name in config.http.trailers}
    for place, name in enumerate(external.take):
        if read_as(name.encode()) in trailers:
            message = f"{printable(name)} stands in http.trailers, so a client could say it behind its body"
            yield Finding((*path, "take", place), message, "take it out of http.trailers")
        if name.lower() in forwarded:
            message = f"{printable(name)} stands in identity.forward, too, and would be sent twice"
            yield Finding((*path, "take", place), message, "write one of them")
