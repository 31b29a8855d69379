"""What types cannot say: names that must exist, forms that exclude each other, addresses and files that must be good.

Law: a check never stops at the first thing wrong, and says what to write instead. Problems of one setting alone
stand with the part that owns it where it has a check of its own (`policy.pattern.check_match`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeVar

from headgate.config.check_access import check_access
from headgate.config.check_admin import check_admin
from headgate.config.check_cache import check_cache
from headgate.config.check_discovery import check_discovery
from headgate.config.check_grpc import check_grpc
from headgate.config.check_health import check_service_health
from headgate.config.check_hygiene import check_hygiene
from headgate.config.check_introspection import check_introspection
from headgate.config.check_jwt import check_jwt
from headgate.config.check_keys import check_keys
from headgate.config.check_methods import check_methods
from headgate.config.check_plugins import check_plugins
from headgate.config.check_registrations import check_registrations
from headgate.config.check_routes import check_routes
from headgate.config.check_store import check_store
from headgate.config.check_surface import check_surface
from headgate.config.check_telemetry import check_telemetry
from headgate.config.check_traffic import check_traffic
from headgate.config.check_values import Finding, field_names, field_value
from headgate.config.check_wire import check_endpoints, check_listeners, check_trusted, check_upstream_tls
from headgate.config.problems import Path, did_you_mean
from headgate.config.resolve import discovery_of, endpoints_of
from headgate.config.schema import Config, ErrorAnswer, Errors, Service
from headgate.core.failure import REASONS, TRY_LATER
from headgate.policy.pattern import TOKEN

T = TypeVar("T")

# Whoever refuses says with what.
_OF_MANY_STATUSES = ("denied_by_plugin", "denied_externally", "fault_injected")

_PLACEHOLDERS = (
    "status",
    "title",
    "message",
    "type",
    "reason",
    "request_id",
    "correlation_id",
    "trace_id",
    "timestamp",
    "timestamp_epoch",
    "retry_after",
    "path",
    "method",
    "service",
    "route",
    "breaker",
    "limit_name",
    "limit",
    "limit_per_second",
    "limit_per_minute",
    "limit_per_hour",
    "limit_per_day",
    "window",
    "remaining",
    "reset",
    "reset_epoch",
)


def check(config: Config, names: Iterable[str], environ: Mapping[str, str]) -> list[Finding]:
    """List everything wrong with, or worth knowing of, a configuration of the right types.

    `names` are all services that were written, those too that were left out of `config` for a mistake of their own;
    `environ` is the environment that the gateway will have.
    """
    known = frozenset(names)
    found = [
        *_gateway(config),
        *check_listeners(config),
        *_errors(config),
        *(repeated(config.services, ("services",), lambda service: service.name, "the service")),
    ]
    asked, defaults = _asked(config), config.service_defaults
    for place, service in enumerate(config.services):
        # What is said of all services may be meant for others than this one.
        shared = defaults is not None and service.outlier is not None and service.outlier == defaults.outlier
        needed = service.name in asked or not service.routes
        found += _service(service, ("services", place), needed and discovery_of(service, config) is None, config.errors)
        found += check_service_health(service, ("services", place), shared=shared)
    found += check_plugins(config)
    found += check_routes(config, known)
    found += check_traffic(config)
    found += check_grpc(config)
    found += check_store(config)
    found += check_cache(config)
    found += check_jwt(config)
    found += check_keys(config)
    found += check_introspection(config)
    found += check_methods(config)
    found += check_access(config)
    found += check_hygiene(config)
    found += check_admin(config, environ)
    found += check_discovery(config, environ)
    found += check_registrations(config)
    found += check_surface(config)
    found += check_telemetry(config)
    return found


def repeated(items: Iterable[T], path: Path, name_of: Callable[[T], str], what: str) -> Iterator[Finding]:
    """Find names that stand twice in one list."""
    first: dict[str, int] = {}
    for place, item in enumerate(items):
        name = name_of(item)
        if first.setdefault(name, place) != place:
            yield Finding((*path, place, "name"), f'{what} "{name}" stands here twice', "give each its own name")


def _gateway(config: Config) -> Iterator[Finding]:
    yield from check_trusted(config.forwarding.trust, ("forwarding", "trust"))
    if config.forwarding.via and not TOKEN.fullmatch(config.forwarding.via):
        yield Finding(("forwarding", "via"), "expected one word without spaces, such as headgate")
    if not config.request_id.headers:
        yield Finding(("request_id", "headers"), "expected at least one header name", "such as X-Request-ID")
    yield from field_names(config.request_id.headers, ("request_id", "headers"))
    if not re.fullmatch(r"[A-Za-z0-9._~+/=:-]{0,64}", config.request_id.prefix):
        yield Finding(("request_id", "prefix"), "expected at most 64 of A-Z a-z 0-9 . _ ~ + / = : -")
    yield from field_names(config.http.trailers, ("http", "trailers"))


def _errors(config: Config) -> Iterator[Finding]:
    errors = config.errors
    yield from field_value(errors.content_type, ("errors", "content_type"))
    yield from _template(errors.body, ("errors", "body"))
    yield from _reasons(errors.reasons, ("errors", "reasons"), errors)
    for side, answer in errors.origins.items():
        yield from _template(answer.body, ("errors", "origins", side, "body"))


def _reasons(reasons: Mapping[str, ErrorAnswer], path: Path, errors: Errors) -> Iterator[Finding]:
    for reason, answer in reasons.items():
        known = REASONS.get(reason)
        if known is None:
            yield Finding((*path, reason), "no such reason", did_you_mean(reason, REASONS))
        elif answer.retry_after is not None and reason not in _OF_MANY_STATUSES:
            said = (answer, errors.reasons.get(reason), errors.origins.get(known.side))
            status = next((each.status for each in said if each is not None and each.status is not None), known.status)
            if status not in TRY_LATER:
                message = f"with {status} there is no Retry-After: it does nothing"
                yield Finding((*path, reason, "retry_after"), message, "status: 429 or 503 has one", "warning")
        yield from _template(answer.body, (*path, reason, "body"))


def _template(body: object, path: Path) -> Iterator[Finding]:
    if isinstance(body, dict):
        if len(body) == 1 and next(iter(body)) in _PLACEHOLDERS and None in body.values():
            name = next(iter(body))
            yield Finding(path, f"{{{name}}} without quotes is a mapping to YAML", f'write "{{{name}}}"')
        for key, value in body.items():
            yield from _template(value, (*path, key))
    elif isinstance(body, list):
        for place, value in enumerate(body):
            yield from _template(value, (*path, place))
    elif isinstance(body, str):
        for name in re.findall(r"\{([A-Za-z_]+)\}", body):
            if name not in _PLACEHOLDERS:
                yield Finding(path, f"unknown placeholder {{{name}}}", did_you_mean(name, _PLACEHOLDERS))


# -- services -----------------------------------------------------------------------------------------------------


def _asked(config: Config) -> set[str]:
    """Return the services that some route asks, by its destinations or for a mirror's copies."""
    asked: set[str] = set()
    for service in config.services:
        for route in service.routes:
            if route.redirect is None and route.respond is None:
                asked.update(each.service_name for each in route.destinations or ())
                asked.update((service.name,) if route.destinations is None else ())
                asked.update((route.mirror.service_name,) if route.mirror is not None else ())
    return asked


def _service(service: Service, path: Path, needed: bool, errors: Errors) -> Iterator[Finding]:
    """Check one service; `needed`: requests come to its endpoints, or nobody has said yet what it is for."""
    if service.url is not None and service.endpoints:
        yield Finding((*path, "url"), "url is the short form of endpoints, and both stand here", "write one of them")
    if needed and not endpoints_of(service):
        message = f'the service "{service.name}" has no endpoints and answers 503'
        yield Finding(path, message, "give it a url or endpoints", "warning")
    for number, route in enumerate(service.routes):
        yield from _reasons(route.errors, (*path, "routes", number, "errors"), errors)
    yield from check_endpoints(service, path)
    yield from check_upstream_tls(service, path)
