"""Checks of routes: what they match, where they go, and which of them can never be reached."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator

from headgate.config.check_values import Finding, field_problem, is_token, path_problem
from headgate.config.problems import Path, did_you_mean
from headgate.config.schema import Config, Route
from headgate.core.uri import BadTarget, is_under, normalize_host
from headgate.policy.overlap import lint
from headgate.policy.pattern import PathPattern, check_match
from headgate.policy.rewrite import FieldEdits, HeaderEdits, Redirect, Respond, Rewrite
from headgate.policy.route import RouteRule

_REDIRECTS = (301, 302, 303, 307, 308)
_NO_BODY = (204, 205, 304)
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")


def check_routes(config: Config, known: frozenset[str]) -> Iterator[Finding]:
    """Check all routes of all services; `known` are the names of services."""
    yield from _header_edits(config.headers, ("headers",))
    owners: dict[str, str] = {}
    sound = True
    for place, service in enumerate(config.services):
        yield from _header_edits(service.headers, ("services", place, "headers"))
        names: set[str] = set()
        for number, route in enumerate(service.routes):
            path: Path = ("services", place, "routes", number)
            if route.name in names:
                sound = False
                yield Finding((*path, "name"), f'the route "{route.name}" stands here twice', "give each its own name")
            elif owners.setdefault(route.name, service.name) != service.name:
                message = f'the service "{owners[route.name]}" has a route "{route.name}" too'
                hint = "metrics and logs are easier to read with one name each"
                yield Finding((*path, "name"), message, hint, "warning")
            names.add(route.name)
            for finding in _route(route, path, known):
                sound = sound and finding.severity == "warning"
                yield finding
    if sound:
        yield from _overlaps(config)


def _overlaps(config: Config) -> Iterator[Finding]:
    count = Counter(route.name for service in config.services for route in service.routes)
    rules: list[RouteRule[Path]] = []
    for place, service in enumerate(config.services):
        for number, route in enumerate(service.routes):
            # The report speaks by name, and routes of two services may share theirs.
            name = route.name if count[route.name] == 1 else f"{service.name}/{route.name}"
            rules.append(RouteRule(name, route.match, ("services", place, "routes", number, "match"), len(rules)))
    places = {rule.name: rule.payload for rule in rules}
    for overlap in lint(rules, config.route_order):
        yield Finding(places[overlap.route], overlap.message, "", "warning")


def _route(route: Route, path: Path, known: frozenset[str]) -> Iterator[Finding]:
    yield from _match(route, (*path, "match"))
    yield from _destinations(route, path, known)
    if route.sticky is not None:
        yield from _sticky(route, (*path, "sticky"))
    if route.rewrite is not None:
        yield from _rewrite(route.rewrite, route, (*path, "rewrite"))
    yield from _header_edits(route.headers, (*path, "headers"))
    if route.redirect is not None and route.respond is not None:
        message = "redirect and respond both answer the request"
        yield Finding((*path, "redirect"), message, "write one of them")
    if route.redirect is not None:
        yield from _redirect(route.redirect, route, (*path, "redirect"))
    if route.respond is not None:
        yield from _respond(route.respond, (*path, "respond"))
    for place, protocol in enumerate(route.upgrade):
        if not all(is_token(part) for part in protocol.split("/")):
            yield Finding((*path, "upgrade", place), "expected the name of a protocol", "such as websocket")


def _match(route: Route, path: Path) -> Iterator[Finding]:
    match = route.match
    wrong = check_match(match)
    for problem in wrong:
        yield Finding((*path, *problem.at), problem.message)
    if match.path is not None and not any(problem.at[:1] == ("path",) for problem in wrong):
        for form in ("prefix", "exact"):
            text = getattr(match.path, form)
            if text is not None:
                yield from path_problem((*path, "path", form), text)


def _destinations(route: Route, path: Path, known: frozenset[str]) -> Iterator[Finding]:
    seen: set[str] = set()
    for place, destination in enumerate(route.destinations):
        at = (*path, "destinations", place, "service_name")
        yield from _reference(destination.service_name, at, known)
        if destination.service_name in seen:
            message = f'the service "{destination.service_name}" stands here twice'
            yield Finding(at, message, "give one of them the weight of both")
        seen.add(destination.service_name)
    if route.destinations and all(each.weight == 0 for each in route.destinations):
        message = "all destinations have weight 0, so none would ever be chosen"
        yield Finding((*path, "destinations"), message, "give at least one a weight of 1 or more")
    if route.mirror is not None:
        yield from _reference(route.mirror.service_name, (*path, "mirror", "service_name"), known)


def _reference(name: str, path: Path, known: Iterable[str]) -> Iterator[Finding]:
    if name not in known:
        yield Finding(path, f'there is no service "{name}"', did_you_mean(name, known) or "no services are configured")


def _sticky(route: Route, path: Path) -> Iterator[Finding]:
    sticky = route.sticky
    if sticky is None:
        return
    if (sticky.header is None) == (sticky.cookie is None):
        count = "none" if sticky.header is None else "both"
        yield Finding(path, f"write exactly one of header, cookie; here are {count}")
    for key, name in (("header", sticky.header), ("cookie", sticky.cookie)):
        if name is not None and not is_token(name):
            yield Finding((*path, key), f"expected the name of a {key}: letters, digits and hyphens")


def _rewrite(rewrite: Rewrite, route: Route, path: Path) -> Iterator[Finding]:
    if rewrite.path is not None and (rewrite.strip_prefix is not None or rewrite.add_prefix is not None):
        message = "path makes the whole path, so strip_prefix and add_prefix cannot stand beside it"
        yield Finding((*path, "path"), message, "write one or the other")
    for key in ("strip_prefix", "add_prefix"):
        text = getattr(rewrite, key)
        if text is not None:
            yield from path_problem((*path, key), text)
    if rewrite.path is not None:
        if not rewrite.path.startswith("/"):
            yield Finding((*path, "path"), 'the path must begin with "/"', f"write /{rewrite.path}")
        yield from _placeholders(rewrite.path, route, (*path, "path"), ())
    prefix = route.match.path.prefix if route.match.path is not None else None
    strip = rewrite.strip_prefix
    if prefix and strip and prefix[0] == strip[0] == "/" and not (is_under(prefix, strip) or is_under(strip, prefix)):
        message = f"no path under {prefix} begins with {strip}, so nothing is ever stripped"
        yield Finding((*path, "strip_prefix"), message, f"write {prefix} or a part of it", "warning")
    if rewrite.host is not None and rewrite.host != "preserve":
        try:
            normalize_host(rewrite.host.rpartition(":")[0] if re.search(":[0-9]{1,5}$", rewrite.host) else rewrite.host)
        except BadTarget as error:
            yield Finding((*path, "host"), f"expected a host name, or preserve: {error}")


def _placeholders(text: str, route: Route, path: Path, own: tuple[str, ...]) -> Iterator[Finding]:
    try:
        known = (*own, *PathPattern(route.match.path).names)
    except ValueError:
        return
    for name in _PLACEHOLDER.findall(text):
        if name not in known:
            hint = did_you_mean(name, known) or "the match has no named parts: use a template such as /v1/{name}"
            yield Finding(path, f"unknown placeholder {{{name}}}", hint)


def _redirect(redirect: Redirect, route: Route, path: Path) -> Iterator[Finding]:
    if redirect.status not in _REDIRECTS:
        yield Finding((*path, "status"), "expected one of 301, 302, 303, 307, 308")
    yield from field_problem((*path, "url"), "Location", redirect.url)
    if not redirect.url:
        yield Finding((*path, "url"), "the URL is empty", "such as https://example.com{path}")
    yield from _placeholders(redirect.url, route, (*path, "url"), ("path", "query", "host"))


def _respond(respond: Respond, path: Path) -> Iterator[Finding]:
    if respond.body and respond.status in _NO_BODY:
        yield Finding((*path, "body"), f"an answer with status {respond.status} has no body", "leave the body out")
    yield from field_problem((*path, "content_type"), "Content-Type", respond.content_type)
    for name, value in respond.headers.items():
        yield from field_problem((*path, "headers", name), name, value)


def _header_edits(edits: HeaderEdits | None, path: Path) -> Iterator[Finding]:
    if edits is None:
        return
    for direction in ("request", "response"):
        fields: FieldEdits = getattr(edits, direction)
        at = (*path, direction)
        for place, name in enumerate(fields.remove):
            yield from field_problem((*at, "remove", place), name, "")
        for key, values in (("set", fields.set), ("add", fields.add)):
            for name, value in values.items():
                yield from field_problem((*at, key, name), name, value)
                if name.lower() == "host":
                    message = "the host sent upstream is set with rewrite.host"
                    yield Finding((*at, key, name), message, "write rewrite: {host: ...}")
