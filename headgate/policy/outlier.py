"""Outlier ejection, the passive side of health: the settings (the decisions follow)."""

from __future__ import annotations

from headgate.core.settings import Seconds, setting, settings


@settings
class OutlierSettings:
    """Take an endpoint out for a while when its answers are bad, attempt by attempt (Envoy's outlier detection)."""

    enabled: bool = setting(default=True, help="Use it.")
    consecutive_failures: int = setting(
        default=5, help="Failures in a row (5xx, timeouts, resets) that eject; 0 = not looked at.", ge=0, le=10_000
    )
    success_rate_deviation: float = setting(
        default=1.9,
        help="Standard deviations below the mean success rate of all endpoints that eject; 0 = not looked at.",
        ge=0,
        le=10,
    )
    minimum_endpoints: int = setting(
        default=3, help="Endpoints with enough requests below which success rates are not compared.", ge=2, le=1000
    )
    minimum_requests: int = setting(
        default=20, help="Requests of an endpoint in an interval that are enough.", ge=1, le=1_000_000
    )
    interval: Seconds = setting(default=10.0, help="Seconds between comparisons of success rates.", ge=0.5, le=3600)
    ejection_time: Seconds = setting(
        default=10.0, help="Seconds of a first ejection; the n-th in short order is n times as long.", gt=0, le=86400
    )
    max_ejection_time: Seconds = setting(default=300.0, help="Seconds of the longest ejection.", gt=0, le=86400)
    max_ejected: float = setting(
        default=50.0, help="Percent of endpoints that may be out; at least one may.", ge=0, le=100
    )
