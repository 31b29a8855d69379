"""What `headgate explain` says of limits, breakers, health and retries: which there are, and with which numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from headgate.config.resolve import ResolvedConfig, ResolvedRoute, ResolvedService
from headgate.policy.limit.settings import Limit, Tier
from headgate.policy.match import Match
from headgate.policy.retry_settings import RetrySettings
from headgate.policy.route import Matched, RouteRule, RouteTable

_UNITS = ((86400, "d"), (3600, "h"), (60, "min"), (1, "s"))


class Asked(NamedTuple):
    """The request in question, in its normal form."""

    method: str
    host: str
    port: int
    path: str
    query: bytes | None
    fields: list[tuple[bytes, bytes]]

    def meets(self, *matches: Match) -> bool:
        """Tell whether the request meets one of them."""
        table = RouteTable([RouteRule("", match, None, place) for place, match in enumerate(matches)])
        return isinstance(table.match(self.host, self.path, self.method, self.fields, self.query or b""), Matched)


def limits_of(config: ResolvedConfig, route: ResolvedRoute, asked: Asked) -> list[str]:
    """Say of every limit that stands on the request's way what it does to it."""
    tier = route.settings.tier or "anonymous"
    limits = [*config.limits, *(each.limit for each in route.limits)]
    return [f"{limit.name}: {_verdict(limit, tier, asked)}" for limit in limits]


def policies_of(service: ResolvedService) -> dict[str, Any]:
    """Say how requests to a service are treated besides routing."""
    breaker, health, outlier, adaptive = service.breaker, service.health, service.outlier, service.adaptive
    opens = None
    if breaker is not None:
        if breaker.error_rate is not None:
            opens = f"{breaker.error_rate:g}% failures within {_time(breaker.window)}"
        elif breaker.window_size is not None:
            opens = f"{breaker.threshold} failures among {breaker.window_size} calls"
        else:
            opens = f"{breaker.threshold} failures in a row"
        opens = f"opens after {opens}, for {_time(breaker.timeout)}; counted: {_list(breaker.failures)}"
    checked = None
    if health is not None:
        what = f"GET {health.path}" if health.type == "http" else "a connection"
        checked = f"{what} every {_time(health.interval)}; {health.unhealthy_threshold} failures take it out"
    return {
        "rate_limit": _sentence(service.rate_limit, None) if service.rate_limit is not None else None,
        "circuit_breaker": opens,
        "health_check": checked,
        "outlier_ejection": f"{outlier.consecutive_failures} failures in a row" if outlier is not None else None,
        "adaptive_concurrency": f"{adaptive.min} to {adaptive.max} requests at once in each worker"
        if adaptive is not None
        else None,
    }


def retries_of(retry: RetrySettings) -> str:
    """Say when a request is tried again."""
    if not retry.attempts:
        return "none"
    hedged = f", hedged after {_time(retry.hedge.delay)}" if retry.hedge is not None else ""
    return f"{retry.attempts} besides the first try, on {_list(retry.on)}{hedged}"


def _verdict(limit: Limit, tier: str, asked: Asked) -> str:
    if limit.match is not None and not asked.meets(limit.match):
        return "does not count this request"
    sentence = _sentence(limit, limit.tiers.get(tier))
    if limit.exempt and asked.meets(*(Match(path=path) for path in limit.exempt)):
        return f"{sentence}; this path is exempt"
    return sentence


def _sentence(limit: Limit, tier: Tier | None) -> str:
    requests: int | str = limit.requests
    window = limit.window
    if tier is not None:
        requests = tier.requests if tier.requests is not None else requests
        window = tier.window if tier.window is not None else window
    if requests == "unlimited":
        return "unlimited for this tier"
    whom = f"for each {' and '.join(limit.key)}" if limit.key else "for all together"
    if limit.type == "concurrency":
        return f"{requests} at the same time {whom}{_manner(limit)}"
    return f"{requests} in {_time(window)} {whom}, {limit.type}{_manner(limit)}"


def _manner(limit: Limit) -> str:
    return "".join(_manners(limit))


def _manners(limit: Limit) -> Iterator[str]:
    if limit.max_delay:
        yield f", waiting up to {_time(limit.max_delay)}"
    if limit.cost.request != 1:
        yield f", each costs {limit.cost.request}"
    if limit.cost.header is not None:
        yield f", then what {limit.cost.header} says"
    if limit.shadow:
        yield ", in shadow (never refuses)"


def _list(words: list[Any]) -> str:
    return ", ".join(str(word) for word in words)


def _time(seconds: float) -> str:
    for unit, name in _UNITS:
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds / unit:g} {name}"
    return f"{seconds:g} s"
