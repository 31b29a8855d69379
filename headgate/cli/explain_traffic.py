"""What `headgate explain` says of limits, breakers, health and retries: which there are, and with which numbers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from headgate.config.resolve import ResolvedConfig, ResolvedRoute, ResolvedService
from headgate.core.identity import Identity
from headgate.policy.balance.settings import CandidateSettings, ConsistentHashSettings
from headgate.policy.limit.settings import Limit, Tier
from headgate.policy.match import Match
from headgate.policy.outlier import OutlierSettings
from headgate.policy.overload_settings import Overload
from headgate.policy.retry_settings import RetrySettings
from headgate.policy.route import Matched, RouteRule, RouteTable, without_parameters
from headgate.proxy.limit_stage import is_early

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


def limits_of(config: ResolvedConfig, route: ResolvedRoute, asked: Asked, caller: Identity | None) -> list[str]:
    """Say of every limit that stands on the request's way what it does to it; `caller` None: it is not known here."""
    tier = route.settings.tier or (caller.tier if caller is not None else "")
    limits = [*config.limits, *(each.limit for each in route.limits)]
    return [f"{limit.name}: {_verdict(limit, tier, asked)}" for limit in limits]


def early_limits_of(config: ResolvedConfig, asked: Asked) -> list[str]:
    """Say the same of those that are decided before routing."""
    return [f"{limit.name}: {_verdict(limit, '', asked)}" for limit in config.limits if is_early(limit)]


def policies_of(service: ResolvedService) -> dict[str, Any]:
    """Say how requests to a service are treated besides routing."""
    breaker, health, outlier, adaptive = service.breaker, service.health, service.outlier, service.adaptive
    opens = None
    if breaker is not None:
        if breaker.error_rate is not None:
            least = f"of {breaker.minimum_requests} calls or more"
            opens = f"{breaker.error_rate:g}% failures {least} in {time(breaker.window)}"
        elif breaker.window_size is not None:
            opens = f"{breaker.threshold} failures among {breaker.window_size} calls"
        else:
            opens = f"{breaker.threshold} failures in a row"
        opens = f"opens after {opens}, for {time(breaker.timeout)}; counted: {_list(breaker.failures)}"
    checked = None
    if health is not None:
        whom = health.service or "the whole server"
        what = {"http": f"GET {health.path}", "grpc": f"gRPC health of {whom}", "tcp": "a connection"}[health.type]
        checked = f"{what} every {time(health.interval)}; {health.unhealthy_threshold} failures take it out"
    return {
        "balancer": _balancer(service.balancer),
        "candidates": _candidates(service.candidates) if len(service.endpoints) > 1 else None,
        "rate_limit": _sentence(service.rate_limit, None) if service.rate_limit is not None else None,
        "circuit_breaker": opens,
        "health_check": checked,
        "outlier_ejection": f"{_outlier(outlier)}, for {time(outlier.ejection_time)} and longer" if outlier else None,
        "adaptive_concurrency": f"{adaptive.min} to {adaptive.max} requests at once in each worker"
        if adaptive is not None
        else None,
    }


def _balancer(balancer: Any) -> str:
    if not isinstance(balancer, ConsistentHashSettings):
        return str(balancer.type)
    key = f"header {balancer.header}" if balancer.header else f"cookie {balancer.cookie}" if balancer.cookie else None
    bound = f", none above {balancer.bound:g} times its share" if balancer.bound else ""
    return f"consistent_hash by {f'{key}, else by ' if key else ''}{balancer.by}{bound}"


def _candidates(settings: CandidateSettings) -> str:
    panic = f"all enabled ones when fewer than {settings.panic_threshold:g}% are well"
    parts = ["those that are well", panic] if settings.panic_threshold else ["those that are well"]
    parts += [f"slow start over {time(settings.slow_start)}"] if settings.slow_start else []
    parts += ["those of the own zone first"] if settings.zone_preference else []
    return ", ".join(parts)


def _outlier(outlier: OutlierSettings) -> str:
    parts = [f"{outlier.consecutive_failures} failures in a row"] if outlier.consecutive_failures else []
    parts += ["a low success rate"] if outlier.success_rate_deviation else []
    return " or ".join(parts) or "nothing"


def overload_of(overload: Overload) -> str | None:
    """Say when the gateway itself refuses."""
    if not overload.enabled:
        return None
    bound = f"more than {overload.max_in_flight} requests at once or " if overload.max_in_flight else ""
    return f"refused when its worker has {bound}a loop {time(overload.lag)} late"


def retries_of(retry: RetrySettings) -> str:
    """Say when a request is tried again."""
    if not retry.attempts:
        return "none"
    each = f", {time(retry.per_try_timeout)} for each" if retry.per_try_timeout else ""
    hedged = f", hedged after {time(retry.hedge.delay)}" if retry.hedge is not None else ""
    return f"{retry.attempts} besides the first try, on {_list(retry.on)}{each}{hedged}"


def _verdict(limit: Limit, tier: str, asked: Asked) -> str:
    # An upstream may look at a path without its parameters, so it counts either way.
    bare = asked._replace(path=without_parameters(asked.path))
    if limit.match is not None and not asked.meets(limit.match) and not bare.meets(limit.match):
        return "does not count this request"
    sentence = _sentence(limit, limit.tiers.get(tier))
    if limit.exempt and asked.meets(*(Match(path=path) for path in limit.exempt)):
        return f"{sentence}; this path is exempt"
    return sentence


def _sentence(limit: Limit, tier: Tier | None) -> str:
    requests: int | str = limit.requests
    window, burst = limit.window, limit.burst
    if tier is not None:
        requests = tier.requests or requests
        window, burst = tier.window or window, tier.burst or burst
    if requests == "unlimited":
        return "unlimited for this tier"
    whom = f"for each {' and '.join(limit.key)}" if limit.key else "for all together"
    if limit.type == "concurrency":
        return f"{requests} at the same time {whom}{_manner(limit)}"
    at_once = f", {burst} at once" if burst is not None else ""
    return f"{requests} in {time(window)} {whom}, {limit.type}{at_once}{_manner(limit)}"


def _manner(limit: Limit) -> str:
    return "".join(_manners(limit))


def _manners(limit: Limit) -> Iterator[str]:
    if limit.max_delay:
        yield f", waiting up to {time(limit.max_delay)}"
    if limit.cost.request != 1:
        yield f", each costs {limit.cost.request}"
    if limit.cost.header is not None:
        yield f", then what {limit.cost.header} says"
    if limit.shadow:
        yield ", in shadow (never refuses)"
    elif limit.on_error != "local":
        yield f", {limit.on_error} when the store fails"


def _list(words: list[Any]) -> str:
    return ", ".join(str(word) for word in words)


def time(seconds: float) -> str:
    """Write seconds in the largest unit in which they are a whole number."""
    if 0 < seconds < 1:
        return f"{seconds * 1000:g} ms"
    for unit, name in _UNITS:
        if seconds >= unit and seconds % unit == 0:
            return f"{seconds / unit:g} {name}"
    return f"{seconds:g} s"
