"""What `headgate explain` says of who asks: the credential a request shows, the caller it makes, and what that may.

Laws: nothing is decided here: ways, rules and access of a worker are asked in its order. Nothing is sent to anybody but
the database of keys, and nothing is made in it; what only a running gateway can tell is said to be so. A credential is
never printed, nor a part of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote_to_bytes

from headgate.auth.access import Access, AddressRules, TenantIsolation, key_refusal
from headgate.auth.api_key import KeysUnavailable
from headgate.auth.forward import IdentityFields
from headgate.auth.key_ring import ring_of
from headgate.auth.method import Given, Known, Method, NeedCall, NeedKeys, NeedWork, Refused
from headgate.auth.rules import IdentityRules
from headgate.auth.settings import Auth, IdentitySettings
from headgate.cli.explain_traffic import Asked
from headgate.config.field_kinds import token_names
from headgate.config.resolve import ResolvedConfig, ResolvedRoute
from headgate.core.clock import wall
from headgate.core.failure import Failure
from headgate.core.identity import ANONYMOUS, Identity
from headgate.core.message import Fields, RequestHead
from headgate.proxy.gates import stands_elsewhere, without_credential
from headgate.proxy.methods import build_methods
from headgate.proxy.way import UNAVAILABLE

_ASPECTS = ("roles", "scopes", "permissions", "tenants")
_HIDDEN = b"***"
_BY_ADDRESS = "depends on the client's address, which --address says"


class Caller(NamedTuple):
    """Who would be asking. `said` is for people.

    `identity` is None and `unsure` says why, when only a running gateway can tell; `refusal`: why the request ends.
    """

    identity: Identity | None
    refusal: Failure | None
    unsure: str
    said: dict[str, Any]


class _Rules:
    """What each rule says, in order; the first refusal ends the request."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.refusal: Failure | None = None

    def take(self, what: str, reason: str, missing: str | None) -> None:
        """Note what a rule says; `missing` is why it refuses, None when it does not."""
        self.lines.append(f"{what}: {'holds' if missing is None else f'{missing} ({reason})'}")
        if missing is not None:
            self.end(Failure(reason, missing))

    def end(self, refusal: Failure | None) -> None:
        """Note why the request ends, if nothing has ended it before."""
        self.refusal = self.refusal or refusal


def who_asks(
    config: ResolvedConfig, route: ResolvedRoute, params: Mapping[str, str], asked: Asked, given: Given, address: str
) -> Caller:
    """Say who would be asking on a route, and whether they may; an empty `address` is not known."""
    auth, identity, unsure = route.auth, ANONYMOUS, ""
    rules = _Rules()
    said: dict[str, Any] = {"auth": _mode(auth)}
    head = _head(asked)
    _by_address(route, address, rules)
    if auth.mode != "none":
        found = _shown(config, auth, head, given)
        said["credential"] = found.lines
        rules.end(found.refusal)
        identity, unsure = found.identity, found.unsure
    if unsure or (rules.refusal is not None and identity is ANONYMOUS):
        return Caller(None if unsure else identity, rules.refusal, unsure, {**said, "rules": rules.lines})
    told: Fields = []
    if auth.mode != "none" or (config.identity.tenant.header and config.identity.tenant.anonymous):
        identity = _permitted(config, route, params, asked, identity, address, rules)
        told = IdentityFields(config.identity.forward).of(identity)
    if auth.external is not None:
        rules.lines.append(f"external: {auth.external.url} would be asked, and may refuse")
    forwarded = [f"{name.decode()}: {value.decode()}" for name, value in told]
    return Caller(
        identity, rules.refusal, "", {**said, **_words(identity), "rules": rules.lines, "upstream_is_told": forwarded}
    )


def _mode(auth: Auth) -> str:
    if auth.mode == "none":
        return "none: nobody looks who asks"
    return f"{auth.mode}, by {' or '.join(auth.methods)}" if auth.methods else auth.mode


def _words(identity: Identity) -> dict[str, Any]:
    return {
        "kind": identity.kind,
        "id": identity.id or None,
        "method": identity.method or None,
        "tenant": identity.tenant or None,
        "tier": identity.tier,
        "roles": sorted(identity.roles),
        "scopes": sorted(identity.scopes),
    }


def _head(asked: Asked) -> RequestHead:
    head = RequestHead(asked.method, b"", "https")
    head.host, head.port, head.path, head.query = asked.host, asked.port, asked.path, asked.query
    head.fields = list(asked.fields)
    return head


# -- the credential ------------------------------------------------------------------------------------------------


class _Found(NamedTuple):
    """What the ways say of a request."""

    identity: Identity
    refusal: Failure | None
    unsure: str
    lines: list[str]


def _shown(config: ResolvedConfig, auth: Auth, head: RequestHead, given: Given) -> _Found:
    """Look for a credential in the order of the ways; the first that is there decides."""
    methods = build_methods(config.identity, auth.methods, given)
    challenged = any(method.challenge for method in methods)
    lines: list[str] = []
    for method in methods:
        credential = method.find(head)
        if credential is None:
            where = "is shown in the handshake, so never here" if method.kind == "certificate" else "shows none"
            lines.append(f"{method.name}: {where}")
            continue
        if config.identity.strict and challenged and stands_elsewhere(head, credential):
            lines.append(f"{method.name}: shows one, but Authorization holds none that is taken here")
            break
        return _judged(config.identity, method, credential, lines)
    refusal = without_credential(head, challenged, auth.mode == "required")
    return _Found(ANONYMOUS, refusal, "", lines)


def _judged(identity: IdentitySettings, method: Method, credential: bytes, lines: list[str]) -> _Found:
    judged = method.judge(credential, wall())
    if isinstance(judged, NeedWork):
        judged = judged.work()
    name = method.name
    match judged:
        case Known(caller, until):
            lines.append(f"{name}: accepted{'' if until == math.inf else f' until {_moment(until)}'}")
            return _Found(IdentityRules(identity).settle(caller), None, "", lines)
        case Refused(reason, detail) if reason != UNAVAILABLE:
            lines.append(f"{name}: not accepted: {detail} ({reason})")
            return _Found(ANONYMOUS, Failure(reason, f"{name}: {detail}"), "", lines)
        case Refused(_, detail):
            unsure = detail
        case NeedKeys(issuer):
            unsure = f"the keys of {issuer} are fetched by the running gateway; not checked here"
        case NeedCall():
            server = next(each for each in identity.introspection if each.name == name)
            url = server.url[0] + server.path
            unsure = f"would ask {url}; not asked here"
    lines.append(f"{name}: {unsure}")
    return _Found(ANONYMOUS, None, f"{name}: {unsure}", lines)


def _moment(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (OverflowError, ValueError, OSError):
        return "a day beyond the calendar"


# -- what the caller may -------------------------------------------------------------------------------------------


def _by_address(route: ResolvedRoute, address: str, rules: _Rules) -> None:
    addresses = route.addresses
    if addresses is None or not (addresses.allow or addresses.deny):
        return
    if not address:
        rules.lines.append(f"addresses: {_BY_ADDRESS}")
        return
    allowed = AddressRules(addresses.allow, addresses.deny).allows(address)
    rules.take("addresses", "address_forbidden", None if allowed else f"{address} is not let in here")


def _permitted(
    config: ResolvedConfig,
    route: ResolvedRoute,
    params: Mapping[str, str],
    asked: Asked,
    identity: Identity,
    address: str,
    rules: _Rules,
) -> Identity:
    """Say what every rule holds against a caller, in the order of proxy.permission; return it with its tenant."""
    settings, auth = config.identity, route.auth
    by_tenant = IdentityRules(settings)
    if by_tenant.header:
        chosen = by_tenant.of_request(identity, asked.fields)
        refused = chosen if isinstance(chosen, Refused) else None
        rules.take(f"tenant by {settings.tenant.header}", *_said(refused))
        identity = chosen if isinstance(chosen, Identity) else identity
    refused = by_tenant.admits(identity, address)
    if refused is not None and refused.reason == "address_forbidden" and not address:
        rules.lines.append(f"tenant {identity.tenant}: {_BY_ADDRESS}")
    elif identity.tenant and not by_tenant.admits_all:
        rules.take(f"tenant {identity.tenant}", *_said(refused))
    bound = key_refusal(identity, address)
    if bound is not None and not address:
        rules.lines.append(f"key: {_BY_ADDRESS}")
    elif identity.claims.get("addresses") and identity.kind == "api_key":
        rules.take("key", "address_forbidden", bound)
    if auth.mode != "none":
        _access(route, settings, identity, asked.method, rules)
        _isolation(auth, params, asked, identity, rules)
    return identity


def _said(refused: Refused | None) -> tuple[str, str | None]:
    return ("", None) if refused is None else (refused.reason, refused.detail)


def _access(route: ResolvedRoute, settings: IdentitySettings, identity: Identity, method: str, rules: _Rules) -> None:
    auth = route.auth
    reason = "missing_credentials" if identity.kind == "anonymous" else "forbidden"

    def missing(only: Auth) -> str | None:
        return Access(only, settings, route.name, route.service).judge(identity, method)

    bound = missing(Auth())
    if bound is not None:
        # Every rule would say it again.
        rules.take("binding", reason, bound)
        return
    for aspect in _ASPECTS:
        wanted = getattr(auth, aspect)
        if wanted:
            rules.take(f"{aspect} {', '.join(wanted)}", reason, missing(Auth(**{aspect: wanted})))
    for place, rule in enumerate(auth.rules):
        where = f"rules[{place}]{f' for {chr(44).join(rule.method)}' if rule.method else ''}"
        rules.take(where, reason, missing(Auth(rules=[rule])))


def _isolation(auth: Auth, params: Mapping[str, str], asked: Asked, identity: Identity, rules: _Rules) -> None:
    if auth.isolation is None:
        return
    said = TenantIsolation(auth.isolation).judge(identity, params, asked.fields, asked.query)
    unknown = identity.kind == "anonymous" and not identity.tenant
    rules.take(f"isolation by {auth.isolation.tenant}", "missing_credentials" if unknown else "tenant_forbidden", said)


# -- what a command knows by itself --------------------------------------------------------------------------------


def masked(identity: IdentitySettings, query: bytes | None) -> bytes | None:
    """Return a query as it may be printed: without the tokens that may stand in it."""
    names = {name.encode() for name in token_names(identity, "query")}
    if query is None or not names:
        return query
    pairs = [pair.partition(b"=") for pair in query.split(b"&")]
    return b"&".join(
        name + equals + (_HIDDEN if equals and unquote_to_bytes(name) in names else value)
        for name, equals, value in pairs
    )


def given_here(config: ResolvedConfig, environ: Mapping[str, str]) -> Given:
    """Return what ways are handed: keys that stand in files, and API keys as the database has them.

    Raises:
        ValueError: with a sentence, for a file of keys that cannot be used.
    """
    pepper, look_up = _api_keys(config, environ)
    rings = {issuer.name: ring_of(issuer, lambda path: Path(path).read_text()) for issuer in config.identity.jwt}
    return Given(rings, look_up, pepper)


def _api_keys(config: ResolvedConfig, environ: Mapping[str, str]) -> tuple[bytes, Callable[[bytes], bytes | None]]:
    settings = config.identity.api_keys
    if settings is None or not settings.enabled or not settings.database:
        return b"", lambda digest: None
    from headgate.control.database import connect, find_url
    from headgate.control.keys.key_store import KeyStore
    from headgate.control.state import find_pepper, state_path

    try:
        state = state_path(config.state_dir, environ)
        url = find_url(config.database.url, environ, state)
        if url.get_backend_name() == "sqlite" and not Path(url.database or "").exists():
            # No key was ever made, and asking shall not make the database.
            return b"", lambda digest: None
        pepper = find_pepper(settings.pepper, environ, state, make=False)
    except ValueError as error:
        return b"", _unavailable(str(error))

    def look_up(digest: bytes) -> bytes | None:
        store = KeyStore(url, connect(url), pepper, "", wall)
        try:
            return store.record(digest)
        except ValueError as error:
            raise KeysUnavailable(str(error)) from None
        finally:
            store.close()

    return pepper, look_up


def _unavailable(sentence: str) -> Callable[[bytes], bytes | None]:
    def look_up(digest: bytes) -> bytes | None:
        raise KeysUnavailable(sentence)

    return look_up
