"""Checks of routes: what they match, where they go, and which of them can never be reached."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterator
from itertools import chain

from headgate.config.check_values import Finding, found_by, methods, normal_form
from headgate.config.field_kinds import request_field_kinds
from headgate.config.problems import Path, did_you_mean, printable
from headgate.config.schema import Config, Route
from headgate.policy.answer import check_redirect, check_respond
from headgate.policy.edits import check_edits, check_rewrite
from headgate.policy.overlap import lint
from headgate.policy.pattern import TOKEN, PathPattern, check_match
from headgate.policy.rewrite import HeaderEdits
from headgate.policy.route import RouteRule
from headgate.policy.split import check_split
from headgate.wire import http1

_PLACEHOLDER = re.compile(r"\{[A-Za-z_][A-Za-z0-9_]*\}")
_FORMS = {"prefix": "a prefix", "exact": "an exact path", "template": "a template"}
# Looking for the nearest of many names takes milliseconds; a file of services left out must not make it minutes.
_MAX_SUGGESTIONS = 50


class _Services:
    """The names of all services, and what is suggested for names that are none."""

    __slots__ = ("_hints", "_names")

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names
        self._hints: dict[str, str] = {}

    def reference(self, name: str, path: Path) -> Iterator[Finding]:
        """Find a name that no service has."""
        if name in self._names:
            return
        if name not in self._hints and len(self._hints) < _MAX_SUGGESTIONS:
            self._hints[name] = did_you_mean(name, self._names) or "no services are configured" * (not self._names)
        yield Finding(path, f'there is no service "{printable(name)}"', self._hints.get(name, ""))


def check_routes(config: Config, known: frozenset[str]) -> Iterator[Finding]:
    """Check all routes of all services; `known` are the names of services."""
    services = _Services(known)
    kinds = request_field_kinds(config)
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
            for finding in chain(_route(route, path, services), _unseen_fields(route, path, kinds)):
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


def _route(route: Route, path: Path, services: _Services) -> Iterator[Finding]:
    try:
        parts = PathPattern(route.match.path).names
    except ValueError:
        # Said by check_match; which placeholders there are is not known then.
        parts = None
    yield from _match(route, (*path, "match"))
    yield from found_by(check_split(route.destinations or (), route.sticky), path)
    if route.destinations is not None and not any(each.weight for each in route.destinations):
        message = "no destination has weight: every request is refused (no_destination)"
        yield Finding((*path, "destinations"), message, "give one a weight, or leave destinations out", "warning")
    for place, destination in enumerate(route.destinations or ()):
        yield from services.reference(destination.service_name, (*path, "destinations", place, "service_name"))
    if route.mirror is not None:
        yield from services.reference(route.mirror.service_name, (*path, "mirror", "service_name"))
    if route.rewrite is not None:
        yield from found_by(check_rewrite(route.rewrite, route.match), (*path, "rewrite"))
    yield from _header_edits(route.headers, (*path, "headers"), parts)
    if route.redirect is not None and route.respond is not None:
        message = "redirect and respond both answer the request"
        yield Finding((*path, "redirect"), message, "write one of them")
    if route.redirect is not None and parts is not None:
        yield from found_by(check_redirect(route.redirect, parts), (*path, "redirect"))
    if route.respond is not None:
        yield from found_by(check_respond(route.respond), (*path, "respond"))
    for place, protocol in enumerate(route.upgrade):
        if not all(TOKEN.fullmatch(part) for part in protocol.split("/")):
            yield Finding((*path, "upgrade", place), "expected the name of a protocol", "such as websocket")


def _match(route: Route, path: Path) -> Iterator[Finding]:
    objections = check_match(route.match)
    yield from found_by(objections, path)
    if not any(objection.at == ("method",) for objection in objections):
        yield from methods(route.match.method, (*path, "method"))
    if route.match.path is not None and not any(objection.at[:1] == ("path",) for objection in objections):
        for form in ("prefix", "exact", "template"):
            text = getattr(route.match.path, form)
            if text is not None:
                yield from _path_text(text, form, (*path, "path", form))


def _path_text(text: str, form: str, path: Path) -> Iterator[Finding]:
    """Find what means something in other gateways' paths, and nothing in ours."""
    if form != "template":
        if _PLACEHOLDER.search(text):
            yield Finding(
                path, f"only a template has named parts, and this is {_FORMS[form]}", f"write template: {text}"
            )
            return
        yield from normal_form(text, path)
    if "*" in text:
        hint = "for parts of a path write a template with a {name}, or a regex"
        if form == "prefix" and text.endswith("/*") and text.count("*") == 1:
            hint = f"write {text[:-2] or '/'}, which takes everything below it too"
        yield Finding(path, f"a * in {_FORMS[form]} stands for itself only", hint, "warning")


def _unseen_fields(route: Route, path: Path, kinds: http1.FieldKinds) -> Iterator[Finding]:
    """Find conditions on fields that the wire takes off before a route is looked for: they could never hold."""
    # Host in a match has its own sentence (policy.pattern).
    headers = [name for name in route.match.headers if name.lower() != "host"]
    named: list[tuple[str, Path]] = [(name, (*path, "match", "headers", name)) for name in headers]
    if route.sticky is not None and route.sticky.header:
        named.append((route.sticky.header, (*path, "sticky", "header")))
    for name, at in named:
        if TOKEN.fullmatch(name):
            why, hint = _why_unseen(name, kinds)
            if why:
                yield Finding(at, f"no route ever sees {name}: {why}", hint)


def _why_unseen(name: str, kinds: http1.FieldKinds) -> tuple[str, str]:
    if kinds[name.encode()] in http1.PASSING:
        return "", ""
    proper = name.replace("_", "-")
    kind = kinds[proper.encode()]
    if kind in http1.PASSING:
        return "http.underscores keeps such names out", f"write {proper}, or set http.underscores to allow"
    instead = "match another field, or path, host, method, query"
    if kind == http1.REQUEST_ID:
        return "it carries the request id (request_id.headers) and is taken off first", instead
    if kind in (http1.FORWARDING, http1.HOST):
        if "host" in proper.lower():
            instead = "write match.host, which is compared with the request's Host"
        return "it is taken off first and written anew for the upstream", instead
    if kind in (http1.DROP, http1.DENIED) and http1.request_kinds((), "allow")[proper.encode()] == http1.PLAIN:
        return "header_filter or identity.forward keeps it out", instead
    return "it frames the message or belongs to one connection, and is taken off first", instead


def _header_edits(edits: HeaderEdits | None, path: Path, parts: Collection[str] | None = None) -> Iterator[Finding]:
    if edits is not None:
        yield from found_by(check_edits(edits.request, "request", parts), (*path, "request"))
        yield from found_by(check_edits(edits.response, "response", parts), (*path, "response"))
