"""Active health checks of endpoints: the settings (the decisions follow)."""

from __future__ import annotations

from typing import Annotated, Literal

from headgate.core.settings import Between, OneOrMany, Seconds, setting, settings


@settings
class HealthSettings:
    """Active check of a service's endpoints. A bare string is the path."""

    type: Literal["http", "tcp"] = setting(default="http", help="http: ask `path`; tcp: connect, no more.")
    path: str = setting(default="/health", help="Path that answers well when the endpoint is well.")
    host: str | None = setting(default=None, help="Host sent; absent: the endpoint's own.")
    port: int | None = setting(default=None, help="Port asked; absent: the endpoint's own.", ge=1, le=65535)
    status: Annotated[list[Annotated[int, Between(100, 599)] | Literal["2xx", "3xx"]], OneOrMany()] = setting(
        default=lambda: ["2xx"], help="Statuses that mean well."
    )
    body: str | None = setting(
        default=None, help="RE2 expression that must be found in the first 64 KiB of the answer's body."
    )
    interval: Seconds = setting(default=30.0, help="Seconds between checks.", gt=0, le=86400)
    timeout: Seconds = setting(default=5.0, help="Seconds for one check.", gt=0, le=3600)
    unhealthy_threshold: int = setting(
        default=3, help="Failed checks in a row that take an endpoint out.", ge=1, le=100
    )
    healthy_threshold: int = setting(default=1, help="Good checks in a row that bring it back.", ge=1, le=100)
    jitter: float = setting(default=10.0, help="Percent by which the interval varies.", ge=0, le=100)
