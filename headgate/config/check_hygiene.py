"""Checks of CORS, trusted hosts and header filters: what browsers would not understand, and what would never act."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from headgate.config.check_security_headers import check_security_headers
from headgate.config.check_values import Finding, method
from headgate.config.field_kinds import request_field_kinds
from headgate.config.problems import Path, printable
from headgate.config.schema import Config, Route, Service
from headgate.core.field_names import TOKEN
from headgate.core.uri import BadTarget, normalize_host
from headgate.policy.cors import ANY, OPAQUE, OWNED, check_origin
from headgate.policy.hosts import TrustedHosts, check_host
from headgate.policy.hygiene_settings import Cors, HeaderLists, SecurityHeaders
from headgate.policy.limit.settings import Limit
from headgate.policy.rewrite import HeaderEdits
from headgate.wire import http1

_OWNED = frozenset(name.lower() for name in OWNED)
# Fetch standard, "normalize a method": browsers write these in upper case, and all others as the page does.
_NORMALIZED = frozenset(("delete", "get", "head", "options", "post", "put"))


def check_hygiene(config: Config) -> Iterator[Finding]:
    """Check all of it, on all levels."""
    for level in _levels(config):
        if level.cors is not None:
            yield from _cors(level.cors, (*level.path, "cors"))
        if level.security is not None:
            yield from check_security_headers(level.security, (*level.path, "security_headers"), config)
    yield from _written_twice(config)
    yield from _hosts(config)
    yield from _filter(config)


class _Level(NamedTuple):
    path: Path
    cors: Cors | None
    security: SecurityHeaders | None


def _levels(config: Config) -> Iterator[_Level]:
    yield _Level((), config.cors, config.security_headers)
    for path, service in _services(config):
        yield _Level(path, service.cors, service.security_headers)
        for at, route in _routes(path, service):
            yield _Level(at, route.cors, route.security_headers)


def _services(config: Config) -> Iterator[tuple[Path, Service]]:
    for place, service in enumerate(config.services):
        yield ("services", place), service


def _routes(path: Path, service: Service) -> Iterator[tuple[Path, Route]]:
    for place, route in enumerate(service.routes):
        yield (*path, "routes", place), route


# -- CORS ---------------------------------------------------------------------------------------------------------


def _cors(cors: Cors, path: Path) -> Iterator[Finding]:
    for place, origin in enumerate(cors.origins):
        said = check_origin(origin)
        if said is not None:
            yield Finding((*path, "origins", place), f'"{_shown(origin)}" is no origin: {said}')
    if cors.enabled and not cors.origins:
        message = "no origin is named, so no page may read an answer"
        yield Finding(path, message, "write origins, or leave cors out to pass an upstream's own fields on", "warning")
    for key, names, what in (
        ("methods", cors.methods, "a method"),
        ("headers", cors.headers, "a header field"),
        ("expose", cors.expose, "a header field"),
    ):
        for place, name in enumerate(names):
            if not TOKEN.fullmatch(name):
                yield Finding((*path, key, place), f'"{printable(name)}" is not the name of {what}')
            elif key == "methods" and name != name.upper():
                hint = f"write {name.upper()}"
                certain = name.lower() in _NORMALIZED
                message = f"browsers {'write' if certain else 'compare'} methods {'in upper' if certain else 'by'} case"
                yield Finding((*path, key, place), message, hint, "warning")
            elif key == "methods" and name != ANY:
                yield from method(name, (*path, key, place))
    if cors.credentials:
        yield from _credentials(cors, path)


def _shown(text: str) -> str:
    """Return an origin or a host without what stands before an @, which may be a password, URL or not."""
    _, at, rest = text.rpartition("@")
    return printable(f"***@{rest}" if at else text)


def _credentials(cors: Cors, path: Path) -> Iterator[Finding]:
    if ANY in cors.origins:
        message = "browsers take no credentials along for *: pages that only * allows go without"
        yield Finding((*path, "credentials"), message, "name the origins that need them", "warning")
    if OPAQUE in cors.origins:
        message = "null is what a sandboxed frame of any site sends: all of them may ask with credentials"
        hint = "leave null out, or credentials"
        yield Finding((*path, "origins", cors.origins.index(OPAQUE)), message, hint, "warning")
    if ANY in cors.expose:
        message = "with credentials * is no wildcard here, but a field of that name"
        yield Finding((*path, "expose", cors.expose.index(ANY)), message, "name the fields", "warning")


def _written_twice(config: Config) -> Iterator[Finding]:
    """Find fields of CORS that somebody else would write, too; and preflights that cannot find their route."""
    told: set[Path] = set()
    for path, service in _services(config):
        for at, route in _routes(path, service):
            own = route.cors
            cors = own or service.cors or config.cors
            if cors is None or not cors.enabled:
                continue
            if own is not None and route.match.headers:
                names = " and ".join(route.match.headers)
                message = f"preflights carry no {names}, so they never come to this route's cors"
                yield Finding((*at, "cors"), message, "write it at the service or the gateway", "warning")
            edits: tuple[tuple[Path, HeaderEdits | None], ...] = (
                (at, route.headers),
                (path, service.headers),
                ((), config.headers),
            )
            where, headers = next((each for each in edits if each[1] is not None), ((), None))
            for finding in _edited(headers, (*where, "headers", "response")) if headers is not None else ():
                if finding.path not in told:
                    told.add(finding.path)
                    yield finding
            for name in route.respond.headers if route.respond is not None else ():
                if name.lower() in _OWNED:
                    yield _twice(name, (*at, "respond", "headers", name))


def _edited(headers: HeaderEdits, path: Path) -> Iterator[Finding]:
    for key, names in (("set", headers.response.set), ("add", headers.response.add)):
        for name in names:
            if name.lower() in _OWNED:
                yield _twice(name, (*path, key, name))


def _twice(name: str, path: Path) -> Finding:
    return Finding(path, f"cors writes {name} already, and pages read only one", "leave it out here")


# -- hosts --------------------------------------------------------------------------------------------------------


def _hosts(config: Config) -> Iterator[Finding]:
    patterns, sound = config.trusted_hosts, True
    for place, pattern in enumerate(patterns):
        said = check_host(pattern)
        if said is not None:
            sound = False
            yield Finding(("trusted_hosts", place), f'"{_shown(pattern)}" names no host: {said}')
    if not patterns or not sound:
        return
    if ANY in patterns:
        if len(patterns) > 1:
            yield Finding(("trusted_hosts",), "* trusts every host, the others add nothing", "", "warning")
        return
    trusted = TrustedHosts(patterns)
    for path, service in _services(config):
        for at, route in _routes(path, service):
            for place, host in enumerate(route.match.host):
                if not _may_come(trusted, patterns, host):
                    message = f"no request for {printable(host)} gets in: trusted_hosts does not name it"
                    yield Finding((*at, "match", "host", place), message, f"add {host} to trusted_hosts", "warning")


def _may_come(trusted: TrustedHosts, patterns: list[str], host: str) -> bool:
    """Tell whether any request for a host of a match may come; what is no host is somebody else's finding."""
    try:
        name = normalize_host(host.removeprefix("*."))
    except BadTarget:
        return True
    if not host.startswith("*."):
        return trusted.trusts(name)
    below = f".{name}"
    domains = [each.lower().removeprefix("*.").removesuffix(".") for each in patterns]
    return trusted.trusts(f"x{below}") or any(f".{each}".endswith(below) for each in domains)


# -- header filter ------------------------------------------------------------------------------------------------


def _filter(config: Config) -> Iterator[Finding]:
    header_filter = config.header_filter
    # Underscores are a matter of their own, and what is filtered is what is asked here.
    ids, owned = config.request_id.headers, config.identity.forward
    yield from _lists(
        header_filter.request,
        ("header_filter", "request"),
        http1.request_kinds(ids, "allow", owned),
    )
    yield from _lists(header_filter.response, ("header_filter", "response"), http1.response_kinds(ids))
    if header_filter.refuse and not (header_filter.request.allow or header_filter.request.deny):
        message = "nothing is refused: no field of requests is denied"
        yield Finding(("header_filter", "refuse"), message, "write header_filter.request", "warning")
    yield from _unseen(config)


def _lists(lists: HeaderLists, path: Path, kinds: http1.FieldKinds) -> Iterator[Finding]:
    for key, names in (("allow", lists.allow), ("deny", lists.deny)):
        for place, name in enumerate(names):
            at = (*path, key, place)
            bare = name.removesuffix("*")
            if name != "*" and not (TOKEN.fullmatch(bare) and "*" not in bare):
                hint = "a * stands at the end only, as in X-Internal-*"
                yield Finding(at, f'"{printable(name)}" is not the name of a header field', hint)
            elif name == "*":
                instead = "leave the list out" if key == "allow" else "write allow, with those that may pass"
                yield Finding(at, f"* {'allows' if key == 'allow' else 'denies'} every field", instead)
            elif key == "deny" and not name.endswith("*"):
                why = _why_not(kinds[name.encode()])
                if why:
                    yield Finding(at, f"{name} is not filtered: {why[0]}", why[1])


def _why_not(kind: int) -> tuple[str, str] | None:
    if kind == http1.PLAIN:
        return None
    if kind == http1.FORWARDING:
        return "it tells of the client, and passes from trusted proxies only", "see forwarding.trust"
    if kind == http1.REQUEST_ID:
        return "it carries the request id", "to take none from clients, set request_id.accept to false"
    if kind == http1.DROP:
        return "it is taken off anyway", "leave it out"
    return "the gateway reads it to frame or route the message, and writes it itself", "leave it out"


def _unseen(config: Config) -> Iterator[Finding]:
    """Find what the gateway itself would look for in fields that the filter takes off before anybody looks."""
    if not (config.header_filter.request.allow or config.header_filter.request.deny):
        return
    kinds, unfiltered = request_field_kinds(config), http1.request_kinds(config.request_id.headers, "allow")
    key = "allow" if config.header_filter.request.allow else "deny"
    for name, purpose in _read(config):
        raw = name.encode()
        if kinds[raw] in (http1.DROP, http1.DENIED) and unfiltered[raw] == http1.PLAIN:
            message = f"{name} does not pass, and {purpose}"
            hint = f"add {name}" if key == "allow" else f"take {name} off"
            yield Finding(("header_filter", "request", key), message, hint, "warning")


def _read(config: Config) -> Iterator[tuple[str, str]]:
    identity = config.identity
    names: dict[str, None] = {}
    sources = [each.sources for each in identity.jwt] + [each.sources for each in identity.introspection]
    for source in chain.from_iterable(sources):
        kind, _, name = source.partition(":")
        names.update({name: None} if kind == "header" else {"Cookie": None} if kind == "cookie" else {})
    keys = identity.api_keys
    if keys is not None and keys.enabled:
        names.update(dict.fromkeys([*keys.headers, *(["Authorization"] if keys.bearer else [])]))
    if identity.basic is not None:
        names["Authorization"] = None
    for name in names:
        yield name, "identity looks for credentials there"
    if any(level.cors is not None and level.cors.enabled for level in _levels(config)):
        yield "Origin", "cors goes by it"
    for limit in _limits(config):
        for source in limit.key:
            if source.startswith("header:"):
                yield source.removeprefix("header:"), f"the limit {limit.name} counts by it"


def _limits(config: Config) -> Iterator[Limit]:
    yield from config.limits
    for path, service in _services(config):
        yield from service.limits
        for _, route in _routes(path, service):
            yield from route.limits
