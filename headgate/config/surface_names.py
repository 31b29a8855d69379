"""The names in the records of all views: what a template of a body can say (docs/surface.md).

Law: names only, no code: control makes the records (control.surface), and a test holds both to each other.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from headgate.telemetry.record import Record


class Many(NamedTuple):
    """A list, or a mapping by names that the configuration gives: each value has these names."""

    each: Shape


# None: a value, or something that names are not known of.
Shape = Mapping[str, "Shape"] | Many | None


def _plain(*names: str) -> dict[str, Shape]:
    return dict.fromkeys(names)


_COMMON: Final[dict[str, Shape]] = {
    **_plain("service", "version", "description", "timestamp", "plan", "draining"),
    "uptime": _plain("seconds", "exact", "human_readable"),
    "workers": Many(_plain("worker", "pid", "uptime", "alive")),
    "features": _plain(
        "tracing_enabled", "metrics_enabled", "circuit_breaker_enabled", "rate_limit_enabled", "mtls_enabled"
    ),
}
_INSTANCE: Final = _plain(
    *("url", "status", "state", "is_healthy", "in_flight", "last_check", "status_code", "response_time"),
    *("failure_count", "success_count", "error_count"),
)
_COUNTED_INSTANCE: Final = {**_INSTANCE, **_plain("health_score", "last_health_check")}
_SERVICE: Final[dict[str, Shape]] = {
    **_plain("service", "status", "url", "healthy_instances", "healthy_count", "total_instances", "total_count"),
    **_plain("health_percentage", "last_check", "error", "status_code", "response_time"),
    "instances": Many(_INSTANCE),
}
_COUNTED_SERVICE: Final[dict[str, Shape]] = {**_SERVICE, "instances": Many(_COUNTED_INSTANCE)}
_SUMMARY: Final = _plain(
    "total_services",
    "healthy_services",
    "unhealthy_services",
    "total_instances",
    "healthy_instances",
    "overall_health",
)
_USE: Final = _plain("status", "usage_percent")
_CHECKS: Final[dict[str, Shape]] = {
    "memory": _USE, "cpu": _USE, "disk": _USE, "network": _plain("status", "response_time_ms")
}  # fmt: skip
_BREAKER: Final = _plain(
    *("name", "service", "recent_failures", "state", "forced", "failure_count", "threshold", "error_rate", "window"),
    *("minimum_requests", "window_size", "success_count", "success_threshold", "timeout", "last_failure_time"),
    *("last_success_time", "opened_at", "open_until", "trials_in_flight", "trials"),
    *("total_requests", "total_calls", "failure_rate"),
)
_CALLS: Final = _plain(
    *("total_requests", "total_calls", "success_count", "failure_count", "failure_rate", "response_time"),
    "p95_response_time",
)
_COUNTED_BREAKER: Final = {**_BREAKER, **_CALLS}
_LIMITER: Final = _plain("requests", "window", "remaining", "reset")
_USED: Final[dict[str, Shape]] = {
    **_plain("total_services", "service_distribution"), "top_services": Many(_plain("service", "requests"))
}  # fmt: skip
_ERROR: Final = _plain(
    *("id", "kind", "reason", "side", "message", "route", "service", "count", "first_seen", "last_seen", "last")
)
_ROUTE: Final[dict[str, Shape]] = {
    **_plain("name", "service"),
    "match": _plain("path", "method", "headers", "host"),
    "destinations": Many(_plain("service_name", "weight")),
}
_CONFIGURED: Final[dict[str, Shape]] = {
    **_plain("name", "endpoints", "balancer"),
    "circuit_breaker": _plain("enabled", "threshold", "success_threshold", "timeout"),
    "rate_limit": _plain("enabled", "requests", "window"),
    "health": _plain("path", "interval"),
    "discovery": _plain("type"),
    "routes": Many(_ROUTE),
}
_CONFIG: Final[dict[str, Shape]] = {"services": Many(_CONFIGURED), "routes": Many(_ROUTE)}
_STATUS: Final[dict[str, Shape]] = {"services": Many(_COUNTED_SERVICE), "summary": _SUMMARY}
_HEALTH: Final[dict[str, Shape]] = {
    **_plain("status", "stale", "uptime_seconds"),
    "gateway": {"status": None, "uptime": _COMMON["uptime"], "checks": _CHECKS},
    "checks": _CHECKS,
    "dependencies": Many(_plain("status", "ok", "error", "response_time_ms", "checked_at", "critical")),
    "services": {"summary": _SUMMARY, "by_name": Many(_SERVICE)},
    "circuit_breakers": Many(_BREAKER),
    "rate_limiters": Many(_LIMITER),
    "counts": _plain("services", "circuit_breakers", "rate_limiters"),
}
_METRICS: Final[dict[str, Shape]] = {
    "requests": _plain("total", "errors", "error_rate", "requests_per_second"),
    "services": _USED,
    "services_used": _USED,
    "performance": _plain(
        *("total_requests", "avg_response_time", "min_response_time", "max_response_time", "median_response_time"),
        *("p95_response_time", "p99_response_time"),
    ),
    "status_codes": {"total_requests": None, "distribution": Many(_plain("count", "percentage"))},
    "errors": None,
    "recent_errors": Many(_ERROR),
    "checks": _CHECKS,
}
_SPAN: Final = _plain(
    *("id", "trace_id", "parent_id", "name", "service_name", "start_time", "end_time", "duration_ms", "tags")
)
_LINE: Final = _plain("timestamp", "level", "message", "service_name", "trace_id", "span_id", "metadata")
_LISTED: Final[dict[str, Shape]] = {
    **_plain("id", "name", "host", "port", "status"), "metadata": _plain("state", "balancer")
}  # fmt: skip


def _names(more: Mapping[str, Shape]) -> Mapping[str, Shape]:
    return {**_COMMON, **more}


def _page(name: str, each: Iterable[str]) -> Mapping[str, Shape]:
    return _names({name: Many(_plain(*each)), "next": None})


NAMES: Final[Mapping[str, Mapping[str, Shape]]] = {
    "index": _names(_plain("status", "endpoints")),
    "health": _names(_HEALTH),
    "ready": _names(_plain("status", "ready", "reason", "dependency")),
    "live": _names(_plain("status")),
    "status": _names(_STATUS),
    "metrics": _names(_METRICS),
    "openapi": _names(_plain("openapi", "whole")),
    "docs": _names(_plain("openapi", "whole")),
    "config": _names(_CONFIG),
    "config_services": _names(_CONFIG),
    "config_routes": _names(_CONFIG),
    "config_service": _names({**_CONFIG, "found": _CONFIGURED}),
    "spans": _page("spans", _SPAN),
    "logs": _page("logs", _LINE),
    "metric_points": _page("metrics", ("name", "value", "timestamp", "labels")),
    "requests": _page("items", Record.__annotations__),
    "circuit_breakers": _names({"circuit_breakers": Many(_COUNTED_BREAKER)}),
    "rate_limiters": _names({"rate_limiters": Many(_LIMITER)}),
    "services": _names({"services": Many(_LISTED)}),
    "services_health": _names({**_plain("overall_status", "last_check"), "services": Many(_SERVICE)}),
    "services_status": _names(_STATUS),
    "service_health": _names(_COUNTED_SERVICE),
    "service_metrics": _names({"calls": _CALLS, "circuit_breaker": _BREAKER}),
    "reset_breaker": _names({**_BREAKER, "message": None}),
}
"""By the view's name; the view proxy has no record."""
