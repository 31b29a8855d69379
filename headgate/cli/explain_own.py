"""What `headgate explain` says of the gateway's own endpoints.

Law: as in explanation.py, the worker's own parts decide, and this writes down what they said.
"""

from __future__ import annotations

from typing import NamedTuple

from headgate.config.admin_settings import Surface
from headgate.config.resolve import ResolvedConfig, ResolvedRoute
from headgate.policy.route import Matched, MethodNotAllowed, RouteRule, RouteTable
from headgate.proxy.own import LocalAnswers
from headgate.proxy.own_routes import without_slash

_Own = tuple[Surface, ResolvedRoute]


class OwnEndpoint(NamedTuple):
    """An own endpoint that takes a request: what is said of it, and its route where a credential is asked for."""

    verdict: str
    route: ResolvedRoute | None = None
    params: dict[str, str] = {}


def is_local(config: ResolvedConfig, path: str) -> bool:
    """Tell whether workers answer this path alone and ask nobody who asks."""
    local = LocalAnswers()
    local.follow(config)
    return path in local


def meant(config: ResolvedConfig, host: str, path: str, method: str) -> str:
    """Return the path of the own endpoint that one with a slash behind it means, every other path as it is."""
    paths = {*config.admin.expose, *(item.path for item in config.surface)}
    return without_slash(path, host, method, paths, _table(config)) if path.endswith("/") else path


def _table(config: ResolvedConfig) -> RouteTable[_Own]:
    items = zip(config.surface, config.own_routes, strict=True)
    return RouteTable(
        [RouteRule(route.name, route.settings.match, (item, route), route.order) for item, route in items]
    )


def own_endpoint(config: ResolvedConfig, host: str, path: str, method: str, refused: int) -> OwnEndpoint | None:
    """Return the own endpoint of a path, None for the routes; `refused` is the status for a method it has not."""
    found = _table(config).match(host, path, method, [], b"")
    if isinstance(found, MethodNotAllowed):
        return OwnEndpoint(f"refused with {refused}: this own endpoint answers {', '.join(found.allow)} only")
    if isinstance(found, Matched):
        item, route = found.payload
        verdict = f"answered by the gateway itself: {item.path} is the view {item.view} of surface"
        if item.view == "proxy":
            verdict = f"goes on to the service it names ({item.path}, view proxy), under all that is asked there"
        return OwnEndpoint(verdict, route if route.auth.mode != "none" else None, found.params)
    if path in config.admin.expose:
        return OwnEndpoint(f"answered by the gateway itself: {path} is in admin.expose")
    return None
