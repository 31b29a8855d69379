"""The settings of a circuit breaker."""

from __future__ import annotations

from typing import Annotated, Literal

from headgate.core.settings import Between, Seconds, setting, settings

Outcomes = Annotated[int, Between(400, 599)] | Literal["connect", "timeout", "protocol", "5xx"]


@settings
class BreakerSettings:
    """When calls to a service are refused at once, so that it can recover and callers do not wait for nothing."""

    enabled: bool = setting(default=True, help="Use it.")
    threshold: int = setting(
        default=5, help="Failures that open it.", ge=1, le=1_000_000, aliases=("failure_threshold",)
    )
    success_threshold: int = setting(default=1, help="Trials that must succeed to close it again.", ge=1, le=1_000_000)
    timeout: Seconds = setting(default=30.0, help="Seconds it stays open before trials.", gt=0, le=86400)
    window_size: int | None = setting(
        default=None, help="Count failures among the last N calls; absent: failures in a row.", ge=1, le=4096
    )
    error_rate: float | None = setting(
        default=None,
        help="Percent of failures within `window` that opens it, in place of threshold; successes count from the first"
        " failure on.",
        gt=0,
        le=100,
    )
    window: Seconds = setting(default=10.0, help="Seconds that error_rate looks back.", ge=1, le=3600)
    minimum_requests: int = setting(
        default=20, help="Calls within the window below which error_rate decides nothing.", ge=1, le=1_000_000
    )
    failures: list[Outcomes] = setting(
        default=lambda: ["connect", "timeout", "protocol", "5xx"],
        help="What counts as a failure: connect, timeout, protocol (cut or invalid answers), 5xx, or a status such as"
        " 429. A client that leaves never counts.",
    )
    trials: int = setting(default=1, help="Calls at once while half-open.", ge=1, le=1000)
    jitter: float = setting(
        default=10.0, help="Percent by which the time open varies, so that gateways do not try in step.", ge=0, le=100
    )
