"""What would happen to a request, as plain data: decided by the same parts that decide in a worker.

Law: nothing is decided here. Path, host, route, rewrite and query come from core.uri and the policies; this module
asks them in the exchange's order and writes down what they said.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple

from headgate.cli.explain_cache import cache_of
from headgate.cli.explain_hygiene import Door, at_the_door, browsers_told
from headgate.cli.explain_identity import Caller, given_here, masked, who_asks
from headgate.cli.explain_own import meant, own_endpoint
from headgate.cli.explain_plugins import consult
from headgate.cli.explain_traffic import Asked, early_limits_of, limits_of, overload_of, policies_of, retries_of
from headgate.cli.routes import conditions, share
from headgate.config.field_kinds import request_field_kinds
from headgate.config.resolve import ResolvedConfig, ResolvedRoute, ResolvedService
from headgate.core.uri import BadTarget, normalize_path, parse_authority, split_target
from headgate.discovery.places import where
from headgate.policy.answer import Redirection
from headgate.policy.edits import PathRewriter, QueryEditor
from headgate.policy.fault import Fault
from headgate.policy.match import Match
from headgate.policy.pattern import PathPattern
from headgate.policy.rewrite import FieldEdits, Rewrite
from headgate.policy.route import Matched, MethodNotAllowed, NotFound, RouteRule, RouteTable
from headgate.proxy.errors import ErrorShapes
from headgate.wire.http1 import PASSING

_PORTS = {"http": 80, "https": 443}
_PROTOCOLS = {"http1": "HTTP/1.1", "http2": "HTTP/2", "auto": "HTTP/2 where its TLS agrees to it, else HTTP/1.1"}


class Question(NamedTuple):
    """The request to explain; `target` is a path with or without query, or a URL, and `fields` are (name, value).

    `address` is the client's, empty when it is not known.
    """

    method: str
    target: str
    host: str | None
    fields: list[tuple[str, str]]
    address: str = ""


def explain(config: ResolvedConfig, question: Question, environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Say what a worker with this configuration would do, from the target to the endpoints.

    Raises:
        ValueError: with a sentence, when a file of keys cannot be used.
    """
    shapes = ErrorShapes(config.errors)
    try:
        asked = _normal(config, question)
    except BadTarget as error:
        reason = "bad_host" if "host" in error.reason or "auth" in error.reason else "bad_path"
        return {"verdict": f"refused with {shapes.status(reason)} ({reason}): {error}", "reason": reason}
    explained: dict[str, Any] = {
        "request": {
            "method": asked.method,
            "host": asked.host,
            "path": asked.path,
            "query": query.decode() if (query := masked(config.identity, asked.query)) is not None else None,
        }
    }
    table = _table(config)
    explained["browsers"] = browsers_told(config, asked)
    door = at_the_door(config, table, asked, question.fields)
    if door is not None:
        return {"verdict": _turned(door, shapes), **explained, "browsers": browsers_told(door.route or config, asked)}
    own = own_endpoint(config, asked.host, asked.path, asked.method, shapes.status("method_not_allowed"))
    if own is not None and own.route is None:
        return {"verdict": own.verdict, **explained}
    if own is not None and own.route is not None:
        caller = who_asks(config, own.route, own.params, asked, given_here(config, environ), question.address)
        explained["identity"] = caller.said
        return {"verdict": _judged(own.verdict, caller, own.route, shapes), **explained}
    found = table.explain(asked.host, asked.path, asked.method, asked.fields, asked.query or b"")
    explained["considered"] = [{"route": step.route, "taken": step.taken, "why": step.why} for step in found.steps]
    if not isinstance(found.result, Matched):
        verdict = _unrouted(found.result, config, shapes)
        return {"verdict": verdict, **explained, "limits": early_limits_of(config, asked)}
    other = table.bare(found.result, asked.host, asked.path, asked.method, asked.fields, asked.query or b"")
    if other is not None:
        verdict = f"refused with {shapes.status('bad_path')}: without its parameters (;) it is a path of {other.route}"
        return {"verdict": verdict, **explained, "limits": early_limits_of(config, asked)}
    route, params = found.result.payload, found.result.params
    explained["browsers"] = browsers_told(route, asked)
    caller = who_asks(config, route, params, asked, given_here(config, environ), question.address)
    explained["identity"] = caller.said
    routed = _routed(config, route, params, asked, caller, explained)
    if caller.refusal is None and route.plugins:
        routed["plugins"], verdict = consult(config, route, params, asked, caller.identity, question.address)
        routed["verdict"] = verdict or routed["verdict"]
    return {**routed, "verdict": _judged(routed["verdict"], caller, route, _shapes_of(config, route))}


def _shapes_of(config: ResolvedConfig, route: ResolvedRoute) -> ErrorShapes:
    return ErrorShapes(config.errors, route.settings.errors)


def _unrouted(result: NotFound | MethodNotAllowed, config: ResolvedConfig, shapes: ErrorShapes) -> str:
    if isinstance(result, NotFound):
        asks = config.unrouted is not None and config.unrouted.mode == "required"
        strangers = f" ({shapes.status('missing_credentials')} for strangers)" if asks else ""
        return f"refused with {shapes.status('route_not_found')}{strangers}: no route matches"
    return f"refused with {shapes.status(config.method_mismatch)}: this path answers {', '.join(result.allow)} only"


def _turned(door: Door, shapes: ErrorShapes) -> str:
    return f"refused with {shapes.status(door.reason)} ({door.reason}): {door.why}" if door.reason else door.why


def _judged(verdict: str, caller: Caller, route: ResolvedRoute, shapes: ErrorShapes) -> str:
    """Return the verdict on the request when the caller is judged first."""
    refusal = caller.refusal
    if refusal is not None:
        why = f": {refusal.detail}" if refusal.detail else ""
        return f"refused with {shapes.status(refusal.reason)} ({refusal.reason}) by route {route.name}{why}"
    return f"{verdict}, if its credential is good: {caller.unsure}" if caller.unsure else verdict


def _normal(config: ResolvedConfig, question: Question) -> Asked:
    http = config.http
    target = split_target(question.target.encode())
    if target.form == "authority":
        raise BadTarget("no_leading_slash")
    path = (
        "*"
        if target.form == "asterisk"
        else normalize_path(target.path, http.merge_slashes, http.encoded_slashes == "keep")
    )
    named = next((value for name, value in question.fields if name.lower() == "host"), None)
    authority = target.authority or (question.host or named or "localhost").encode()
    host, port = parse_authority(authority, _PORTS[target.scheme or "http"])
    # Routes see what the wire leaves: no hop-by-hop fields, no claims about the client, no names with underscores.
    kinds = request_field_kinds(config)
    pairs = [(name.encode(), value.encode()) for name, value in question.fields]
    fields = [pair for pair in pairs if kinds[pair[0]] in PASSING]
    path = meant(config, host, path, question.method)
    return Asked(question.method, host, port, path, target.query, fields)


def _table(config: ResolvedConfig) -> RouteTable[ResolvedRoute]:
    rules = [RouteRule(route.name, route.settings.match, route, route.order) for route in config.routes]
    return RouteTable(rules, "file" if config.route_order == "file" else "specific")


def _routed(
    config: ResolvedConfig,
    route: ResolvedRoute,
    params: dict[str, str],
    asked: Asked,
    caller: Caller,
    explained: dict[str, Any],
) -> dict[str, Any]:
    settings, limits = route.settings, limits_of(config, route, asked, caller.identity)
    asked = asked._replace(query=masked(config.identity, asked.query))
    if settings.redirect is not None:
        values = _values(asked, route, params)
        answer = Redirection(settings.redirect).answer(values.get)
        location = dict(answer.fields)[b"Location"].decode()
        return {"verdict": f"redirected with {answer.status} to {location}", **explained, "limits": limits}
    if settings.respond is not None:
        verdict = f"answered with {settings.respond.status}, as route {route.name} says"
        return {"verdict": verdict, **explained, "limits": limits}
    try:
        upstream = _upstream_target(route, params, asked)
    except BadTarget as error:
        return {"verdict": f"refused with 400: the rewritten path cannot be used: {error}", **explained}
    total = sum(destination.weight for destination in route.destinations)
    by_name = {service.name: service for service in config.services}
    services = [
        _service(by_name[each.service_name], share(each.weight, total), upstream, settings.rewrite)
        for each in route.destinations
    ]
    reachable = any(service["endpoints"] or service["found_by"] for service in services)
    verdict = f"sent to {' or '.join(service['name'] for service in services)} by route {route.name}"
    if not total:
        verdict = f"refused by route {route.name}: no destination has weight"
    elif not reachable:
        verdict = f"refused with 503 by route {route.name}: no service it leads to has an endpoint"
    return {
        "verdict": verdict,
        **explained,
        "route": {
            **_route(route, params, upstream),
            "cache": cache_of(route, asked, caller.identity),
            "overload": overload_of(config.overload),
            "limits": limits,
        },
        "services": services,
    }


def _values(asked: Asked, route: ResolvedRoute, params: dict[str, str]) -> dict[str, str | None]:
    return {
        "host": asked.host,
        "path": asked.path,
        "query": asked.query.decode() if asked.query is not None else None,
        "method": asked.method,
        "route": route.name,
        "service": route.service,
        **{f"params.{name}": value for name, value in params.items()},
    }


def _upstream_target(route: ResolvedRoute, params: dict[str, str], asked: Asked) -> str:
    settings = route.settings
    path = PathRewriter(settings.rewrite).rewrite(asked.path, params) if settings.rewrite is not None else asked.path
    query = QueryEditor(settings.query).apply(asked.query) if settings.query is not None else asked.query
    return path if query is None else f"{path}?{query.decode()}"


def _route(route: ResolvedRoute, params: dict[str, str], upstream: str) -> dict[str, Any]:
    settings = route.settings
    return {
        "name": route.name,
        "matches": _criteria(settings.match),
        "named_parts": params,
        "sent_upstream": upstream,
        "sticky_by": _sticky(route),
        "request_headers": _edits(route.headers.request) if route.headers is not None else [],
        "response_headers": _edits(route.headers.response) if route.headers is not None else [],
        "timeouts": _timeouts(route),
        "retries": retries_of(route.retry),
        "priority": settings.priority,
        "tier": settings.tier,
        "fault": _fault(settings.fault),
        "body_at_most": f"{route.max_body} bytes",
        "mirrored_to": f"{settings.mirror.service_name}, {settings.mirror.percent:g}%" if settings.mirror else None,
        "compression": ", ".join(route.compression.algorithms)
        if route.compression and route.compression.enabled
        else "none",
        "may_switch_to": ", ".join(settings.upgrade) or "nothing",
    }


def _timeouts(route: ResolvedRoute) -> dict[str, str]:
    """List those that are set; the deadline is a field of the request."""
    return {
        name: value if isinstance(value, str) else f"{value:g} s"
        for name, value in asdict(route.timeout).items()
        if value
    }


def _criteria(match: Match) -> str:
    words = [f"host {' or '.join(match.host)}"] if match.host else []
    words.append(PathPattern(match.path).text)
    words += [f"method {' or '.join(match.method)}"] if match.method else []
    return ", ".join([*words, *conditions(match)])


def _sticky(route: ResolvedRoute) -> str | None:
    sticky = route.settings.sticky
    if sticky is None:
        return None
    return f"header {sticky.header}" if sticky.header is not None else f"cookie {sticky.cookie}"


def _edits(edits: FieldEdits) -> list[str]:
    lines = [f"remove {name}" for name in edits.remove]
    lines += [f"set {name}: {value}" for name, value in edits.set.items()]
    return lines + [f"add {name}: {value}" for name, value in edits.add.items()]


def _service(service: ResolvedService, part: str, upstream: str, rewrite: Rewrite | None) -> dict[str, Any]:
    total = sum(endpoint.weight for endpoint in service.endpoints)
    return {
        "name": service.name,
        "share": part,
        "endpoints": [
            f"{_url(endpoint.scheme, endpoint.name)}{endpoint.prefix}{upstream} ({share(endpoint.weight, total)})"
            for endpoint in service.endpoints
        ],
        "found_by": where(service.discovery, service.name) if service.discovery is not None else None,
        **policies_of(service),
        "protocol": _PROTOCOLS[service.protocol],
        "host_sent": _host_sent(rewrite),
        "connections": f"{service.pool.max_connections} to each endpoint, in each worker",
    }


def _fault(fault: Fault | None) -> str | None:
    if fault is None:
        return None
    parts = [f"{fault.delay.percent:g}% wait {fault.delay.seconds:g} s"] if fault.delay is not None else []
    parts += [f"{fault.abort.percent:g}% get {fault.abort.status}"] if fault.abort is not None else []
    return f"{', '.join(parts)}{f', if the request has {fault.header}' if fault.header is not None else ''}"


def _url(scheme: str, name: str) -> str:
    return name if name.startswith("unix:") else f"{scheme}://{name}"


def _host_sent(rewrite: Rewrite | None) -> str:
    if rewrite is None or rewrite.host is None:
        return "the endpoint's own"
    return "the client's" if rewrite.host == "preserve" else rewrite.host
