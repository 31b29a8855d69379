"""Settings of the admin listener and of the gateway's own endpoints.

Law: standard library only; workers receive these objects, though never a token.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from headgate.auth.settings import Auth
from headgate.core.settings import Bytes, OneOrMany, Seconds, Short, setting, settings

TOKEN_VARIABLE: Final = "HEADGATE_ADMIN_TOKEN"
"""The environment variable that counts where `admin.token` is not set."""

BreakerAction = Literal["reset", "open", "close"]
BREAKER_ACTIONS: Final[tuple[BreakerAction, ...]] = ("reset", "open", "close")
"""What reset_breaker does by the {action} of its path."""

AdminRole = Literal["read", "register", "operate", "admin"]
View = Literal[
    "index",
    "health",
    "ready",
    "live",
    "status",
    "metrics",
    "openapi",
    "docs",
    "config",
    "config_services",
    "config_service",
    "config_routes",
    "spans",
    "metric_points",
    "logs",
    "requests",
    "circuit_breakers",
    "rate_limiters",
    "services",
    "services_health",
    "services_status",
    "service_health",
    "service_metrics",
    "reset_breaker",
    "proxy",
]


# Answered by each worker alone, of what control told it last.
LOCAL_VIEWS: Final = ("health", "ready", "live")
# What some views are for besides reading.
_METHODS: Final[dict[str, list[str]]] = {
    "reset_breaker": ["POST"],
    "proxy": ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"],
}


@settings
class AdminToken:
    """A bearer token of the admin API and what its holder may do."""

    name: str = setting(help="Name in the audit log.", min_length=1, max_length=100)
    token: str = setting(help="The token, at least 16 characters.", secret=True)
    role: AdminRole = setting(
        default="read",
        help="read: look; register: register instances, nothing else; operate: both, and breakers, endpoints, limits,"
        " reload; admin: all, also the configuration and keys.",
    )


@settings
class Admin:
    """The admin listener: dashboard, metrics, health, and whatever an operator may do."""

    address: str = setting(default="127.0.0.1:8081", help="HOST:PORT or unix:/path; loopback by default.")
    token: str = setting(
        default="",
        help="Bearer token for all of it; by default HEADGATE_ADMIN_TOKEN, else one made at the first start and kept in"
        " state_dir/admin.token.",
        secret=True,
    )
    tokens: list[AdminToken] = setting(default=list, help="Further tokens, which may do less.")
    public: list[str] = setting(
        default=lambda: ["/health", "/ready", "/live", "/metrics"],
        help="Paths that the admin listener lets anybody read without a token.",
    )
    hosts: list[str] = setting(
        default=list,
        help="Names besides localhost and loopback addresses that the admin listener is asked by; counts where"
        " admin.address is a loopback address.",
    )
    expose: list[Literal["/health", "/ready"]] = setting(
        default=lambda: ["/health", "/ready"], help="Own endpoints that the public listeners answer too."
    )


@settings
class Surface:
    """One of the gateway's own endpoints on the public listeners."""

    path: str = setting(help="Its path, such as /status; a view of one service has {service} in it.", min_length=1)
    methods: Annotated[list[str], OneOrMany()] = setting(
        default=list, help="Methods; by default those that the view is for."
    )
    view: View = setting(help="What it shows or does.")
    auth: Annotated[Auth | None, Short("mode")] = setting(
        default=None,
        help="What callers must show and have; by default nothing for health, ready and live, else the gateway's.",
    )
    body: Any = setting(
        default=None,
        help="Template of the answer over the record of the view (docs/surface.md): any nesting of mappings and lists"
        " whose text may hold {{ expressions }}, or one text.",
    )
    content_type: str | None = setting(
        default=None,
        help="Content-Type of the answer where body is text; of metrics without Accept: application/json for JSON.",
    )
    times: Literal["seconds", "iso"] = setting(
        default="seconds",
        help="Moments in an answer without body: seconds since 1970, or such as 2025-11-27T10:30:00.123456Z.",
    )
    missing: Literal["detail", "error"] = setting(
        default="detail",
        help="What is answered, 404, where the path names a service that there is not: a detail, or an error as of a"
        " route (service_not_found).",
    )
    services: list[str] = setting(default=list, help="With the view proxy: the services it reaches; by default all.")
    max_body: Bytes | None = setting(
        default=None, help="Bytes of a request body; more is 413; by default 1 MiB.", ge=0, le=64 * 1024 * 1024
    )


def methods_of(item: Surface) -> list[str]:
    """Return the methods that an own endpoint answers, in upper case; GET brings HEAD."""
    enveloped = item.view == "proxy" and "{" not in item.path
    default = ["POST"] if enveloped else _METHODS.get(item.view, ["GET"])
    methods = [method.upper() for method in item.methods or default]
    if "GET" in methods and "HEAD" not in methods and item.view != "proxy":
        methods.append("HEAD")
    return methods


@settings
class Dependency:
    """Something that the gateway's health depends on."""

    name: str = setting(help="Name in the health answer.", min_length=1, max_length=100)
    url: str = setting(
        help="http:// or https:// URL that answers 2xx, tcp://HOST:PORT, or redis://HOST:PORT.", secret=True
    )
    timeout: Seconds = setting(default=2.0, help="Seconds for its answer.", gt=0, le=60)
    interval: Seconds = setting(default=10.0, help="Seconds between two looks.", ge=0.1, le=3600)
    critical: bool = setting(default=False, help="While it is away the gateway is unhealthy, not only degraded.")
    ready: bool = setting(default=False, help="While it is away the gateway is not ready.")


@settings
class Threshold:
    """From which use on something is degraded, and unhealthy, in percent."""

    degraded: float = setting(default=80.0, help="Degraded above it.", ge=0, le=100)
    unhealthy: float = setting(
        default=100.0, help="Unhealthy above it; 100: never, for whoever restarts what is unhealthy.", ge=0, le=100
    )


@settings
class OwnHealth:
    """What the gateway's own /health says, from the last look at each."""

    memory: Threshold = setting(default=Threshold, help="Use of the machine's, or the container's, memory.")
    cpu: Threshold = setting(default=Threshold, help="Use of its processors.")
    disk: Threshold = setting(default=lambda: Threshold(degraded=85.0), help="Use of the disk of state_dir.")
    dependencies: list[Dependency] = setting(default=list, help="What the gateway depends on.")
    services: Literal["ignore", "degraded", "unhealthy"] = setting(
        default="degraded", help="What a service without a healthy endpoint makes of the whole."
    )
    statuses: dict[Literal["healthy", "degraded", "unhealthy"], int] = setting(
        default=lambda: {"healthy": 200, "degraded": 200, "unhealthy": 503},
        help="Status code of the answer by its status.",
    )
