"""Checks of gRPC: what is written for its calls, and the version of HTTP that alone carries them."""

from __future__ import annotations

from collections.abc import Iterator

from headgate.config.check_values import Finding
from headgate.config.problems import Path
from headgate.config.schema import Config, Route, Service
from headgate.core.message import speaks_grpc
from headgate.policy.grpc import OCCASIONS
from headgate.policy.match import Match
from headgate.policy.retry_settings import RetrySettings

_HINT = "write protocol: http2 at the service"


def check_grpc(config: Config) -> Iterator[Finding]:
    """Check that whoever is called by gRPC is spoken to by HTTP/2, and that clients can speak it."""
    http1 = {service.name for service in config.services if service.protocol == "http1"}
    any_http2 = any(listen.http2 for listen in config.listen)
    for place, service in enumerate(config.services):
        path: Path = ("services", place)
        if service.name in http1:
            yield from _about_service(service, path)
        for number, route in enumerate(service.routes):
            keys = _of_calls(route)
            if not keys:
                continue
            at = (*path, "routes", number, *keys)
            asked = {each.service_name for each in route.destinations or ()} or {service.name}
            for name in sorted(asked & http1):
                yield Finding(at, f'this is for gRPC, and "{name}" is spoken to by HTTP/1.1', _HINT, "warning")
            if config.listen and not any_http2:
                message = "this is for gRPC, and no listener speaks HTTP/2"
                yield Finding(at, message, "write http2: true at one", "warning")


def _about_service(service: Service, path: Path) -> Iterator[Finding]:
    if service.health is not None and service.health.type == "grpc":
        message = "its health is asked by gRPC, and its requests go by HTTP/1.1"
        yield Finding((*path, "health", "type"), message, _HINT, "warning")
    if _lists_codes(service.retry):
        message = "codes of gRPC come by HTTP/2 alone, and this service is spoken to by HTTP/1.1"
        yield Finding((*path, "retry", "on"), message, _HINT, "warning")


def _of_calls(route: Route) -> Path:
    """Return the key by which a route is seen to be for gRPC; empty for one that may be for anything."""
    if _matches_calls(route.match):
        return ("match", "headers")
    return ("retry", "on") if _lists_codes(route.retry) else ()


def _matches_calls(match: Match) -> bool:
    return any(
        name.lower() == "content-type" and speaks_grpc((value.exact or "").encode())
        for name, value in match.headers.items()
    )


def _lists_codes(retry: RetrySettings | None) -> bool:
    return retry is not None and any(each in OCCASIONS for each in retry.on)
