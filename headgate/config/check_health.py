"""Checks of how a service's endpoints are found to be well: active checks and outlier ejection."""

from __future__ import annotations

from collections.abc import Iterator

from headgate.config.check_values import Finding, found_by
from headgate.config.problems import Path
from headgate.config.resolve import endpoints_of
from headgate.config.schema import Service
from headgate.policy.health import HealthSettings, check_health
from headgate.policy.outlier import check_outlier

# What a check that only connects has no use for.
_OF_HTTP = ("path", "host", "status", "body")
_USELESS = {
    "tcp": ((*_OF_HTTP, "service"), "a check of type tcp connects, and asks nothing"),
    "grpc": (("path", "status", "body"), "a check of type grpc calls one method, and SERVING means well"),
    "http": (("service",), "only a check of type grpc asks for a service"),
}


def check_service_health(service: Service, path: Path, *, shared: bool = False) -> Iterator[Finding]:
    """Check the health settings of one service, in their long form or their short one.

    `shared`: what it says of outliers is said of all services.
    """
    if service.health_path is not None and service.health is not None:
        message = "health_path is the short form of health, and both stand here"
        yield Finding((*path, "health_path"), message, "write one of them")
    if service.health is not None:
        yield from _check_active(service.health, service, (*path, "health"))
    elif service.health_path is not None:
        for objection in check_health(HealthSettings(path=service.health_path)):
            yield Finding((*path, "health_path"), objection.message)
    if service.outlier is not None:
        yield from found_by(check_outlier(service.outlier), (*path, "outlier"))
        if service.outlier.enabled and len(endpoints_of(service)) == 1 and not shared:
            message = "the only endpoint of a service is never ejected"
            yield Finding((*path, "outlier"), message, "give the service another endpoint", "warning")


def _check_active(health: HealthSettings, service: Service, path: Path) -> Iterator[Finding]:
    yield from found_by(check_health(health), path)
    if health.timeout > health.interval:
        message = f"a check may take longer ({health.timeout:g} s) than the next one is away ({health.interval:g} s)"
        yield Finding((*path, "timeout"), message, "write less than the interval", "warning")
    usual, (useless, message) = HealthSettings(), _USELESS[health.type]
    for key in useless:
        if getattr(health, key) != getattr(usual, key):
            yield Finding((*path, key), message, f"write type: {'grpc' if key == 'service' else 'http'}")
    if health.port is not None and any(each.url.startswith("unix:") for each in endpoints_of(service)):
        yield Finding((*path, "port"), "a Unix socket has no port, and is asked as it is", "", "warning")
