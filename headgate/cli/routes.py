"""`headgate routes`: own endpoints and routes in the order in which they are tried."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from headgate.cli.arguments import Namespace, Parser, add_configuration, add_json
from headgate.cli.configuration import load_valid
from headgate.cli.explain_cache import cached_for
from headgate.cli.terminal import table
from headgate.config.resolve import ResolvedConfig, ResolvedRoute
from headgate.discovery.places import where
from headgate.policy.match import Match, ValueMatch
from headgate.policy.pattern import PathPattern

_HEAD = ("#", "ROUTE", "HOST", "PATH", "METHODS", "CONDITIONS", "GOES TO")
_CACHE = "CACHED FOR"
_PROTOCOLS = {"http2": "HTTP/2", "auto": "HTTP/2 or 1.1"}


def add_arguments(parser: Parser) -> None:
    """Add the options."""
    add_configuration(parser)
    add_json(parser)


def run(arguments: Namespace) -> int:
    """Print the table; return 1 when the configuration has errors."""
    config = load_valid(arguments)
    if config is None:
        return 1
    found_by = {each.name: where(each.discovery, each.name) for each in config.services if each.discovery is not None}
    protocols = {each.name: _PROTOCOLS[each.protocol] for each in config.services if each.protocol in _PROTOCOLS}
    own = own_rows(config)
    routes = [row(number, route, found_by, protocols) for number, route in enumerate(in_order(config), len(own) + 1)]
    rows = own + routes
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return 0
    if rows:
        # A column for those who use it.
        cached = any(each["cache"] for each in rows)
        head = (*_HEAD, _CACHE) if cached else _HEAD
        print(table(head, [[*_cells(each), each["cache"] or "-"][: len(head)] for each in rows]))
    if not routes:
        print(f"There are no routes, so every {'other ' if own else ''}request would be answered 404.")
    return 0


def in_order(config: ResolvedConfig) -> list[ResolvedRoute]:
    """Sort routes by the written rule of policy.route: more specific hosts, then paths, then more criteria."""
    if config.route_order == "file":
        return list(config.routes)
    return sorted(config.routes, key=_rank)


def _rank(route: ResolvedRoute) -> tuple[Any, ...]:
    match = route.settings.match
    hosts = min((_host_rank(host) for host in match.host), default=(2, 0, ""))
    criteria = bool(match.method) + len(match.headers) + len(match.query)
    return hosts, PathPattern(match.path).steps, -criteria, route.order


def _host_rank(host: str) -> tuple[int, int, str]:
    return (1, -len(host), host) if host.startswith("*.") else (0, 0, host)


def own_rows(config: ResolvedConfig) -> list[dict[str, Any]]:
    """Return the gateway's own endpoints (admin.expose and surface) as rows: they are tried before all routes."""
    taken = {item.path for item in config.surface}
    found = [
        (f"own {path}", f"exact {path}", ["GET", "HEAD"], "admin.expose")
        for path in config.admin.expose
        if path not in taken
    ]
    items = sorted(zip(config.own_routes, config.surface, strict=True), key=lambda each: _rank(each[0]))
    for route, item in items:
        match = route.settings.match
        found.append((route.name, PathPattern(match.path).text, list(match.method), f"view {item.view}"))
    return [
        {
            "order": number,
            "route": name,
            "service": None,
            "own": True,
            "hosts": [],
            "path": path,
            "methods": methods,
            "conditions": [],
            "goes_to": [leads],
            "found_by": {},
            "protocols": {},
            "cache": "",
        }
        for number, (name, path, methods, leads) in enumerate(found, 1)
    ]


def row(number: int, route: ResolvedRoute, found_by: Mapping[str, str], protocols: Mapping[str, str]) -> dict[str, Any]:
    """Return one route as plain data.

    `found_by` says of services who tells their endpoints, where somebody does; `protocols` what they are spoken to in,
    where that is not HTTP/1.1.
    """
    match = route.settings.match
    return {
        "order": number,
        "route": route.name,
        "service": route.service,
        "own": False,
        "hosts": list(match.host),
        "path": PathPattern(match.path).text,
        "methods": list(match.method),
        "conditions": conditions(match),
        "goes_to": goes_to(route),
        "found_by": {name: found_by[name] for name in _services(route) if name in found_by},
        "protocols": {name: protocols[name] for name in _services(route) if name in protocols},
        "cache": cached_for(route.cache),
    }


def conditions(match: Match) -> list[str]:
    """Write the conditions on header fields and query parameters, one text each."""
    fields = [f"header {_condition(name, value)}" for name, value in match.headers.items()]
    return fields + [f"query {_condition(name, value)}" for name, value in match.query.items()]


def _condition(name: str, value: ValueMatch) -> str:
    if value.present is not None:
        return f"{name} is {'there' if value.present else 'absent'}"
    return f"{name}={value.exact}" if value.exact is not None else f"{name}~{value.regex}"


def goes_to(route: ResolvedRoute) -> list[str]:
    """Write where requests go: services with their shares, or the answer that is given instead."""
    settings = route.settings
    if settings.redirect is not None:
        return [f"redirect {settings.redirect.status} {settings.redirect.url}"]
    if settings.respond is not None:
        return [f"answer {settings.respond.status}"]
    total = sum(destination.weight for destination in route.destinations)
    if len(route.destinations) == 1 and total:
        return [route.destinations[0].service_name]
    return [f"{each.service_name} {share(each.weight, total)}" for each in route.destinations]


def _services(route: ResolvedRoute) -> list[str]:
    answered = route.settings.redirect is not None or route.settings.respond is not None
    return [] if answered else [each.service_name for each in route.destinations]


def share(weight: int, total: int) -> str:
    """Write a share in percent."""
    return f"{100 * weight / total:.3g}%" if total else "0%"


def _cells(row: dict[str, Any]) -> list[str]:
    lists = [", ".join(row[key]) or "*" for key in ("hosts", "methods")]
    return [
        str(row["order"]),
        row["route"],
        lists[0],
        row["path"],
        lists[1],
        ", ".join(row["conditions"]) or "-",
        f"the gateway itself ({row['goes_to'][0]})"
        if row["own"]
        else ", ".join(_told(each, row["protocols"], row["found_by"]) for each in row["goes_to"]),
    ]


def _told(goes_to: str, protocols: Mapping[str, str], found_by: Mapping[str, str]) -> str:
    """Add to where requests go in which protocol, and who tells the endpoints of the service."""
    name = next((each for each in {**protocols, **found_by} if goes_to == each or goes_to.startswith(f"{each} ")), "")
    source = f"by {found_by[name]}" if name in found_by else ""
    more = ", ".join(filter(None, (protocols.get(name, ""), source)))
    return f"{goes_to} ({more})" if more else goes_to
