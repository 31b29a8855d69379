"""The OpenAPI document of the own endpoints on the public listeners.

Law: lists what is answered there, item by item, and nothing else; the paths of services stand in `whole` alone.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from headgate import __version__
from headgate.config.admin_settings import methods_of
from headgate.policy.pattern import PathPattern

if TYPE_CHECKING:
    from headgate.config.resolve import ResolvedRoute
    from headgate.control.surface.answers import Item
    from headgate.policy.match import PathMatch

_SUMMARIES = {
    "index": "What this is",
    "health": "How the gateway is, and what it depends on",
    "ready": "Whether it takes traffic",
    "live": "Whether it runs",
    "status": "Services and their instances",
    "metrics": "What was counted",
    "openapi": "This document",
    "docs": "This document, to read and to try",
    "config": "The configuration",
    "config_services": "All services, as configured",
    "config_service": "One service, as configured",
    "config_routes": "All routes",
    "spans": "The last spans",
    "metric_points": "All metrics as a list",
    "logs": "The last lines of the log",
    "requests": "The last recorded requests",
    "circuit_breakers": "All circuit breakers",
    "rate_limiters": "The limits of all services",
    "services": "All instances, as a registry lists them",
    "services_health": "How all services are",
    "services_status": "The instances of all services",
    "service_health": "How one service is",
    "service_metrics": "How calls of one service went",
    "reset_breaker": "Reset a circuit breaker",
    "proxy": "Ask a service by its name",
}
# Methods that a path has in OpenAPI.
_ANY = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_NOT_FOUND = ("config_service", "service_health", "service_metrics", "reset_breaker", "proxy")
_ENVELOPE: dict[str, Any] = {
    "type": "object",
    "required": ["service_name", "path", "method"],
    "properties": {
        "service_name": {"type": "string"},
        "path": {"type": "string"},
        "method": {"type": "string"},
        "headers": {"type": "object", "additionalProperties": {"type": "string"}},
        "query_params": {"type": "object", "additionalProperties": {"type": "string"}},
        "body": {},
    },
}


def document(items: Iterable[Item], exposed: Iterable[str]) -> dict[str, Any]:
    """Return the OpenAPI document of these items, and of the paths of admin.expose, which items win over."""
    paths: dict[str, Any] = {path: _exposed(path) for path in exposed}
    for item in items:
        paths.pop(item.surface.path, None)
    for item in items:
        operations = {method.lower(): _operation(item, method) for method in methods_of(item.surface)}
        paths.setdefault(item.surface.path, {}).update(operations)
    return {"openapi": "3.1.0", "info": {"title": "Headgate", "version": __version__}, "paths": paths}


def whole(document: dict[str, Any], routes: Iterable[ResolvedRoute]) -> dict[str, Any]:
    """Return a document with the paths of routes besides; those that are an expression have no place in one."""
    paths: dict[str, Any] = dict(document["paths"])
    for route in routes:
        match = route.settings.match
        names, text = _written_path(match.path)
        if text is not None and text not in document["paths"]:
            methods = [method for method in map(str.upper, match.method or _ANY) if method in _ANY]
            operations = {method.lower(): _sent(route, names) for method in methods}
            paths[text] = {**paths.get(text, {}), **operations}
    return {**document, "paths": paths}


def _written_path(path: PathMatch | None) -> tuple[tuple[str, ...], str | None]:
    """Return the parts of a path that have names, and the path as OpenAPI writes it, if it can."""
    names = PathPattern(path).names
    if path is None:
        return names, "/{path}"
    if path.prefix is not None and path.segments:
        return names, f"{path.prefix.rstrip('/')}/{{path}}"
    return names, path.template or path.exact


def _sent(route: ResolvedRoute, names: tuple[str, ...]) -> dict[str, Any]:
    """Describe one method of a route: who answers it is the service."""
    responses: dict[str, Any] = {"default": {"description": "What the service answers"}}
    if route.auth.mode == "required":
        responses |= {"401": {"description": "Nobody known asks"}}
    said: dict[str, Any] = {"summary": f"Sent to {route.service}", "responses": responses}
    if names:
        said["parameters"] = _parameters(names)
    return said


def _parameters(names: Iterable[str]) -> list[dict[str, Any]]:
    return [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]


def paths(items: Iterable[Item], exposed: Iterable[str]) -> list[str]:
    """Return the paths of these items, and those of admin.expose."""
    return list(dict.fromkeys([*exposed, *(item.surface.path for item in items)]))


def _exposed(path: str) -> dict[str, Any]:
    responses = {"200": {"description": "As asked"}, "503": {"description": "It is not"}}
    return {method: {"summary": _SUMMARIES[path[1:]], "responses": responses} for method in ("get", "head")}


def _operation(item: Item, method: str) -> dict[str, Any]:
    surface, auth = item.surface, item.route.auth.mode
    responses: dict[str, Any] = {"200": {"description": "As asked"}}
    if surface.view in ("health", "ready"):
        responses["503"] = {"description": "It is not"}
    if auth == "required":
        responses |= {"401": {"description": "Nobody known asks"}, "403": {"description": "The caller may not"}}
    if surface.view in _NOT_FOUND:
        responses["404"] = {"description": "There is no such service"}
    said: dict[str, Any] = {"summary": _SUMMARIES[surface.view], "responses": responses}
    names = PathPattern(item.route.settings.match.path).names
    if names:
        said["parameters"] = _parameters(names)
    if surface.view == "proxy":
        responses["default"] = {"description": "What the service answers"}
        if not names and method != "GET":
            responses["422"] = {"description": "The envelope is none; detail lists why"}
            said["requestBody"] = {"required": True, "content": {"application/json": {"schema": _ENVELOPE}}}
    return said
