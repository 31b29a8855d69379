"""What each view knows: the records that templates are filled from, and that are answered as they are without one.

docs/surface.md describes their fields. Laws: plain functions over what control knows at this moment; made of listed
fields only, so that no secret and no credential of a configuration can stand in one; moments are seconds since 1970,
`_ms` is milliseconds, other durations are seconds.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from headgate import __version__
from headgate.config.problems import sounds_secret
from headgate.config.resolve import ResolvedConfig, ResolvedRoute, ResolvedService
from headgate.config.secrecy import MASK
from headgate.control.limits import limits_of
from headgate.control.own_health import Status, worst
from headgate.control.snapshot import is_whole, uptime
from headgate.control.surface.numbers import Numbers
from headgate.control.surface.subject import Subject
from headgate.core.clock import wall
from headgate.policy.match import Match, ValueMatch

Record = dict[str, Any]

DESCRIPTION = "API gateway and service-mesh proxy"
_GOOD = ("healthy",)
# Endpoints that a hand took out are no trouble of the service's.
_ASIDE = ("disabled", "draining")


def common(subject: Subject) -> Record:
    """Return what stands in the record of every view."""
    shown = subject.snapshot()
    now = wall()
    return {
        "service": "headgate",
        "version": __version__,
        "description": DESCRIPTION,
        "timestamp": round(now, 3),
        "uptime": _uptime(uptime(shown)),
        "plan": shown["plan"],
        "draining": shown["draining"],
        "workers": shown["workers"],
        "features": _features(subject.parts.configuration.resolved),
    }


def _uptime(seconds: float) -> Record:
    whole = int(seconds)
    days, rest = divmod(whole, 86_400)
    text = f"{rest // 3600}:{rest // 60 % 60:02d}:{rest % 60:02d}"
    return {
        "seconds": whole,
        "exact": round(seconds, 3),
        "human_readable": f"{days} day{'s' if days != 1 else ''}, {text}" if days else text,
    }


def _features(config: ResolvedConfig | None) -> Record:
    if config is None:
        return {}
    return {
        "tracing_enabled": config.telemetry.tracing.enabled,
        "metrics_enabled": config.telemetry.metrics.enabled,
        "circuit_breaker_enabled": any(each.breaker is not None for each in config.services),
        "rate_limit_enabled": any(True for _ in limits_of(config)),
        "mtls_enabled": any(each.tls is not None and each.tls.client_ca is not None for each in config.listeners),
    }


# -- health --------------------------------------------------------------------------------------------------------


async def numbers_of(subject: Subject) -> Numbers:
    """Return what was counted until now; breakers know of their calls then, too."""
    numbers = await subject.parts.exposition.counted("numbers", Numbers)
    subject.parts.breakers.note_calls(numbers.breaker_calls)
    return numbers


async def latest_numbers(subject: Subject) -> Numbers:
    """Return what was counted of all that was answered until now."""
    # A worker may have answered a request and not have come to counting it.
    await subject.parts.latest.fetch()
    return await numbers_of(subject)


def health(subject: Subject) -> Record:
    """Return the record of the view `health`: the gateway, what it depends on, and a summary of its services."""
    own = subject.parts.own_health
    checks, dependencies = own.checks(), own.dependencies()
    shown, processes = common(subject), "healthy" if is_whole(subject.snapshot()) else "degraded"
    gateway = worst(*(each["status"] for each in checks.values()), processes)
    services = services_of(subject)
    summary = _summary(services)
    troubled: Status = "healthy"
    if own.settings.services != "ignore" and summary["unhealthy_services"]:
        troubled = own.settings.services
    breakers = breakers_of(subject)
    return {
        "status": worst(gateway, troubled, *(each["status"] for each in dependencies.values())),
        "stale": False,
        **shown,
        "gateway": {"status": gateway, "uptime": shown["uptime"], "checks": checks},
        "checks": checks,
        "dependencies": dependencies,
        "services": {"summary": summary, "by_name": services},
        "circuit_breakers": breakers,
        "rate_limiters": subject.parts.telemetry.limits_of_services(),
        "counts": {
            "services": len(services),
            "circuit_breakers": len(breakers),
            "rate_limiters": len(subject.parts.telemetry.limits_of_services()),
        },
    }


def ready(subject: Subject) -> Record:
    """Return the record of the view `ready`, for a gateway that is; own_answers says otherwise of others."""
    return {**common(subject), "status": "ready", "ready": True, "reason": "", "dependency": ""}


def live(subject: Subject) -> Record:
    """Return the record of the view `live`."""
    return {**common(subject), "status": "alive"}


# -- services ------------------------------------------------------------------------------------------------------


def services_of(subject: Subject) -> dict[str, Record]:
    """Return all services by name, with their endpoints as `instances`."""
    config, now = subject.parts.configuration.resolved, wall()
    found: dict[str, list[Record]] = {each.name: [] for each in config.services} if config is not None else {}
    for each in subject.parts.endpoints.describe():
        url = subject.parts.endpoints.url(each["service"], each["endpoint"])
        found.setdefault(each["service"], []).append(_instance(each, url, now))
    return {name: _service(name, instances) for name, instances in found.items()}


def _instance(each: Record, url: str, now: float) -> Record:
    healthy = each["state"] in _GOOD
    checked = each["checked"]
    return {
        "url": url,
        "status": "maintenance" if each["state"] in _ASIDE else "healthy" if healthy else "unhealthy",
        "state": each["state"],
        "is_healthy": healthy,
        "in_flight": each["in_flight"],
        "last_check": round(now - checked["age"], 3) if checked else None,
        "status_code": checked["status"] or None if checked else None,
        "response_time": round(checked["seconds"] * 1000, 3) if checked else None,
        "failure_count": each["failures"],
        "success_count": checked["well"] if checked else None,
        "error_count": checked["failed"] if checked else None,
    }


def _service(name: str, instances: list[Record]) -> Record:
    healthy = sum(each["is_healthy"] for each in instances)
    total = len(instances)
    status = "healthy" if healthy == total and total else "degraded" if healthy else "unhealthy"
    checks = [each["last_check"] for each in instances if each["last_check"] is not None]
    bad = next((each for each in instances if not each["is_healthy"]), None)
    error = None if bad is None else f"endpoint {bad['url']} is {bad['state']}"
    times = [each["response_time"] for each in instances if each["response_time"] is not None]
    return {
        "service": name,
        "status": status,
        "url": instances[0]["url"] if instances else None,
        "instances": instances,
        "healthy_instances": healthy,
        "healthy_count": healthy,
        "total_instances": total,
        "total_count": total,
        "health_percentage": _percent(healthy, total),
        "last_check": max(checks, default=None),
        "response_time": round(sum(times) / len(times), 3) if times else None,
        "error": error if instances else "it has no endpoint",
        "status_code": bad["status_code"] if bad is not None else None,
    }


def _summary(services: dict[str, Record]) -> Record:
    well = sum(each["healthy_instances"] > 0 for each in services.values())
    instances = sum(each["total_instances"] for each in services.values())
    healthy = sum(each["healthy_instances"] for each in services.values())
    return {
        "total_services": len(services),
        "healthy_services": well,
        "unhealthy_services": len(services) - well,
        "total_instances": instances,
        "healthy_instances": healthy,
        "overall_health": _percent(healthy, instances),
    }


def status(subject: Subject) -> Record:
    """Return the record of the view `status`: services with their instances, and a summary."""
    services = services_of(subject)
    return {**common(subject), "services": services, "summary": _summary(services)}


def services(subject: Subject) -> Record:
    """Return the record of the view `services`: one item for each endpoint, as a registry lists them."""
    config = subject.parts.configuration.resolved
    states = {(each["service"], each["endpoint"]): each["state"] for each in subject.parts.endpoints.describe()}
    known = {each.name: each for each in config.services} if config is not None else {}
    listed = []
    for (service, endpoint), state in states.items():
        host, _, port = endpoint.rpartition(":")
        healthy = "healthy" if state in _GOOD else "unhealthy"
        listed.append(
            {
                "id": f"{service}@{endpoint}",
                "name": service,
                "host": host,
                "port": int(port) if port.isdigit() else None,
                "status": healthy,
                "metadata": {"state": state, "balancer": known[service].balancer.type if service in known else None},
            }
        )
    return {**common(subject), "services": listed}


def services_health(subject: Subject) -> Record:
    """Return the record of the view `services_health`."""
    found = services_of(subject)
    overall = worst(*("degraded" if each["status"] != "healthy" else "healthy" for each in found.values()))
    last = max((each["last_check"] for each in found.values() if each["last_check"] is not None), default=None)
    return {**common(subject), "overall_status": overall, "services": found, "last_check": last}


def breakers_of(subject: Subject) -> dict[str, Record]:
    """Return all circuit breakers by service, with their calls as they were last noted (numbers_of)."""
    breakers, found = subject.parts.breakers, {}
    for name, each in breakers.describe().items():
        named = {"name": name, "service": name, "recent_failures": each["failure_count"]}
        found[name] = {**named, **each, **breakers.calls(name)}
    return found


# -- configuration -------------------------------------------------------------------------------------------------


def config_services(config: ResolvedConfig) -> list[Record]:
    """Return what a configuration says of all services, in its order; an effective one has all their endpoints."""
    by_service: dict[str, list[ResolvedRoute]] = {}
    for route in config.routes:
        by_service.setdefault(route.service, []).append(route)
    return [_configured(service, by_service.get(service.name, ())) for service in config.services]


def config_routes(config: ResolvedConfig) -> list[Record]:
    """Return all routes, in the order of the file."""
    return [_route(route) for route in config.routes]


def _configured(service: ResolvedService, routes: Iterable[ResolvedRoute]) -> Record:
    breaker, limit = service.breaker, service.rate_limit
    said: Record = {"name": service.name, "endpoints": [each.name for each in service.endpoints]}
    said["balancer"] = service.balancer.type
    said["circuit_breaker"] = {"enabled": breaker is not None}
    if breaker is not None:
        said["circuit_breaker"] |= {
            "threshold": breaker.threshold,
            "success_threshold": breaker.success_threshold,
            "timeout": breaker.timeout,
        }
    said["rate_limit"] = {"enabled": limit is not None}
    if limit is not None:
        said["rate_limit"] |= {"requests": limit.requests, "window": limit.window}
    if service.health is not None:
        said["health"] = {"path": service.health.path, "interval": service.health.interval}
    if service.discovery is not None:
        said["discovery"] = {"type": service.discovery.type}
    said["routes"] = [_route(route) for route in routes]
    return said


def _route(route: ResolvedRoute) -> Record:
    written = route.settings.destinations
    leads = route.destinations if written is None else written
    shares = [{"service_name": each.service_name, "weight": each.weight} for each in leads]
    return {"name": route.name, "service": route.service, "match": _match(route.settings.match), "destinations": shares}


def _match(match: Match) -> Record:
    path = match.path
    written: Record = {"path": "/" if path is None else path.prefix}
    if path is not None and path.prefix is None:
        form = "exact" if path.exact is not None else "template" if path.template is not None else "regex"
        written["path"] = {form: getattr(path, form)}
    methods = match.method
    written["method"] = methods[0] if len(methods) == 1 else methods or None
    written["headers"] = {name: _wanted(name, value) for name, value in match.headers.items()}
    if match.host:
        written["host"] = match.host
    return written


def _wanted(name: str, value: ValueMatch) -> str | Record | None:
    """Return what a field must be; None where it must be there. What may be a credential stays with who knows it."""
    if value.exact is None and value.regex is None:
        return None
    if sounds_secret(name):
        return MASK
    return value.exact if value.regex is None else {"regex": value.regex}


def _percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 1) if whole else 0.0
