"""What cannot be right in the gateway's own endpoints and its health."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from urllib.parse import urlsplit

from headgate.config.admin_settings import LOCAL_VIEWS, Surface, methods_of
from headgate.config.check_values import Finding, field_value, methods, normal_form
from headgate.config.problems import Path, did_you_mean, printable
from headgate.config.resolve import OWN_SERVICE, default_auth
from headgate.config.schema import Config, Route, Service
from headgate.config.surface_names import NAMES
from headgate.core.uri import is_under
from headgate.policy.match import PathMatch
from headgate.policy.pattern import PathPattern

# Views of one service: the path names it.
_OF_A_SERVICE = ("config_service", "service_health", "service_metrics", "reset_breaker")
_SERVICE = frozenset(("service", "service_name"))
# What is told there is how the inside looks, and what callers asked for.
_INSIDE = ("config", "config_services", "config_service", "config_routes", "spans", "logs", "requests")
_SCHEMES = ("http", "https", "tcp", "redis", "rediss")


def check_surface(config: Config) -> Iterator[Finding]:
    """Check it."""
    yield from _dependencies(config)
    taken: dict[tuple[str, str], int] = {}
    for place, item in enumerate(config.surface):
        path: Path = ("surface", place)
        found = list(_item(item, config, path))
        yield from found
        if any(each.severity != "warning" for each in found):
            continue
        for method in methods_of(item):
            before = taken.setdefault((item.path, method), place)
            if before != place:
                yield Finding(
                    (*path, "path"), f"{method} {item.path} stands twice", "give each its own path or methods"
                )
                break
    yield from _collisions(config)
    for place, service in enumerate(config.services):
        if service.name == OWN_SERVICE:
            yield Finding(("services", place, "name"), "own endpoints are called so in logs and metrics", "use another")


# -- one item ------------------------------------------------------------------------------------------------------


def _item(item: Surface, config: Config, path: Path) -> Iterator[Finding]:
    yield from methods(item.methods, (*path, "methods"))
    yield from _path(item, (*path, "path"))
    yield from _body(item, path)
    if item.services and item.view != "proxy":
        yield Finding((*path, "services"), "only the view proxy reaches services")
    if item.missing == "error" and not {"{service}", "{service_name}"} & set(item.path.split("/")):
        yield Finding((*path, "missing"), "the path names no service", "put {service} in it")
    names = {service.name for service in config.services}
    for place, name in enumerate(item.services if item.view == "proxy" else ()):
        if name not in names:
            hint = did_you_mean(name, names)
            yield Finding((*path, "services", place), f'there is no service "{printable(name)}"', hint)
    if item.view == "metrics" and not config.telemetry.metrics.enabled:
        yield Finding((*path, "view"), "metrics are not enabled: it is answered 404", "", "warning")
    yield from _guard(item, config, path)


def _path(item: Surface, path: Path) -> Iterator[Finding]:
    if not item.path.startswith("/"):
        yield Finding(path, "expected a path that begins with a slash", "such as /status")
        return
    names: tuple[str, ...] = ()
    if "{" in item.path or "}" in item.path:
        try:
            names = PathPattern(PathMatch(template=item.path)).names
        except ValueError as error:
            yield Finding(path, str(error))
            return
    else:
        yield from normal_form(item.path, path)
    found = set(names)
    if item.view == "proxy":
        if names and not (len(names) == 2 and names[0] in _SERVICE and names[1] == "path" and item.path.endswith("}")):
            yield Finding(path, "the view proxy takes its envelope at a plain path, or {service}/{path}", _PROXY)
    elif item.view in _OF_A_SERVICE:
        extra = {"action"} if item.view == "reset_breaker" else set[str]()
        if len(found & _SERVICE) != 1 or found - _SERVICE - extra:
            hint = "such as /api/v1/services/{service}/health"
            yield Finding(path, f"the view {item.view} is about one service, which its path names: {{service}}", hint)
    elif names:
        yield Finding(path, f"the view {item.view} is about the whole gateway: no {{{names[0]}}} in its path")


_PROXY = "such as /api/v1/proxy or /api/v1/proxy/{service}/{path}"


def _body(item: Surface, path: Path) -> Iterator[Finding]:
    if item.content_type is not None:
        yield from field_value(item.content_type, (*path, "content_type"))
        if item.body is None and item.view != "metrics":
            message = "without a body it does nothing: the answer is JSON, or a page of its own"
            yield Finding((*path, "content_type"), message, "write body, or leave it out", "warning")
    if item.body is None:
        return
    if item.times != "seconds":
        message = "with a body it does nothing: its template writes moments as it wants them"
        yield Finding((*path, "times"), message, "such as {{ timestamp | iso }}", "warning")
    if item.view == "proxy":
        yield Finding((*path, "body"), "the view proxy answers what the service answers", "leave body out")
        return
    # The library of templates takes a tenth of a second to import.
    from headgate.config.body_templates import Body, Refused

    try:
        Body(item.body, item.content_type)
    except Refused as refused:
        yield Finding((*path, "body"), str(refused))
        return
    from headgate.config.template_names import unknown_names

    for name, hint in unknown_names(item.body, NAMES[item.view]):
        message = f"the record of the view {item.view} has no {printable(name)}: it is left out, or empty"
        yield Finding((*path, "body"), message, hint, "warning")


def _guard(item: Surface, config: Config, path: Path) -> Iterator[Finding]:
    """Find what is open to everybody without anybody having said so."""
    if item.view in LOCAL_VIEWS:
        return
    auth = item.auth or config.auth or default_auth(config.identity)
    if auth.mode != "none":
        return
    if item.view == "reset_breaker":
        if item.auth is None:
            message = f"whoever reaches a listener could use {item.path}"
            yield Finding(path, message, "write auth: {roles: [...]}, or auth: none to mean it")
        else:
            yield Finding((*path, "auth"), f"whoever reaches a listener can use {item.path}", "", "warning")
    elif item.view in _INSIDE and item.auth is None:
        message = f"whoever reaches a listener can read {item.path}"
        yield Finding(path, message, "write auth: required, or auth: none to mean it", "warning")


# -- against routes ------------------------------------------------------------------------------------------------


def _collisions(config: Config) -> Iterator[Finding]:
    """Find routes whose requests own endpoints take: those match first."""
    own = [(item.path, f"surface: {item.view}", True) for item in config.surface]
    own += [(path, "admin.expose", False) for path in config.admin.expose]
    for place, service in enumerate(config.services):
        for number, route in enumerate(service.routes):
            at: Path = ("services", place, "routes", number, "match", "path")
            for path, what, written in own:
                found = _collision(path, what, written, route, service)
                if found is not None:
                    yield found._replace(path=at)
                    break


def _collision(path: str, what: str, written: bool, route: Route, service: Service) -> Finding | None:
    match = route.match.path
    text = None if match is None else match.exact or match.prefix or match.template
    if text is None or not text.startswith("/"):
        return None
    if match is not None and text.rstrip("/") == path and match.prefix is None:
        message = f"the own endpoint {path} ({what}) takes all its requests"
        hint = "give one of them another path" if written else "take it out of admin.expose"
        return Finding((), message, hint, "error" if written else "warning")
    if not written:
        return None
    # A catch-all such as /api/v1 is meant to have them below it; what carries the service's name is not.
    named = match is not None and text.rstrip("/").rpartition("/")[2] == service.name
    if named and match is not None and match.exact is None and is_under(path, text):
        message = f"the name {service.name} is taken: the own endpoint {path} ({what}) stands below {text}"
        return Finding((), message, "give the service another path, or the own endpoint")
    return None


# -- health --------------------------------------------------------------------------------------------------------


def _dependencies(config: Config) -> Iterator[Finding]:
    health = config.health
    for name in ("memory", "cpu", "disk"):
        threshold = getattr(health, name)
        if threshold.degraded > threshold.unhealthy:
            yield Finding(("health", name, "unhealthy"), "it is below degraded, which could never be")
    for status, code in health.statuses.items():
        if not 200 <= code <= 599:
            yield Finding(("health", "statuses", status), "expected a status code from 200 to 599")
    counted = Counter(each.name for each in health.dependencies)
    for place, dependency in enumerate(health.dependencies):
        path: Path = ("health", "dependencies", place)
        if counted[dependency.name] > 1:
            yield Finding((*path, "name"), f'"{printable(dependency.name)}" stands twice', "give each its own name")
        yield from _url(dependency.url, (*path, "url"))


def _url(url: str, path: Path) -> Iterator[Finding]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        yield Finding(path, "this is no URL", "such as tcp://db.internal:5432")
        return
    if parts.scheme not in _SCHEMES or not parts.hostname:
        yield Finding(
            path, f"expected a URL with a host that begins with {', '.join(_SCHEMES)}", "such as redis://cache"
        )
    elif parts.scheme == "tcp" and port is None:
        yield Finding(path, "a tcp:// URL names its port", f"such as tcp://{parts.hostname}:5432")
    elif port == 0:
        yield Finding(path, "the port 0 does not exist")
