"""Checks of limits, breakers, balancers and retries: numbers and names that no type can judge."""

from __future__ import annotations

from collections.abc import Iterator

from headgate.config.check_access import known_sources
from headgate.config.check_values import Finding, field_names, methods
from headgate.config.problems import Path, did_you_mean, printable
from headgate.config.schema import Config, Route, Service
from headgate.policy.balance.settings import ConsistentHashSettings
from headgate.policy.limit.check import header_problems, problems
from headgate.policy.limit.settings import KEY_SOURCES, Limit
from headgate.policy.pattern import TOKEN, check_match
from headgate.policy.retry_settings import RetrySettings
from headgate.wire.settings import Timeouts

# Without `identity`: whose address counts where nobody is known is what that one says by itself.
_IDENTITY = ("user", "api_key", "tenant")


def check_traffic(config: Config) -> Iterator[Finding]:
    """Check everything that shapes traffic, on all levels."""
    everywhere = [(route.auth, service.auth, config.auth) for service in config.services for route in service.routes]
    yield from _limits(config.limits, ("limits",), known_sources(config, everywhere or [(config.auth,)]))
    for keys, message, hint in header_problems(config.limit_headers):
        yield Finding(("limit_headers", *keys), message, hint)
    yield from _retry(config.retry, ("retry",))
    yield from _timeout(config.timeout, ("timeout",))
    for place, service in enumerate(config.services):
        path: Path = ("services", place)
        here = [(route.auth, service.auth, config.auth) for route in service.routes]
        yield from _service(service, path, known_sources(config, here or [(service.auth, config.auth)]))
        for number, route in enumerate(service.routes):
            known = known_sources(config, [(route.auth, service.auth, config.auth)]) if route.limits else frozenset()
            yield from _route(route, (*path, "routes", number), known)


def _service(service: Service, path: Path, known: frozenset[str]) -> Iterator[Finding]:
    yield from _limits(service.limits, (*path, "limits"), known)
    yield from _retry(service.retry, (*path, "retry"))
    yield from _timeout(service.timeout, (*path, "timeout"))
    yield from _breaker(service, (*path, "circuit_breaker"))
    yield from _balancer(service, (*path, "balancer"))
    adaptive = service.adaptive_concurrency
    if adaptive is not None and not adaptive.min <= adaptive.initial <= adaptive.max:
        message = f"initial ({adaptive.initial}) must lie between min ({adaptive.min}) and max ({adaptive.max})"
        yield Finding((*path, "adaptive_concurrency", "initial"), message)


def _route(route: Route, path: Path, known: frozenset[str]) -> Iterator[Finding]:
    yield from _limits(route.limits, (*path, "limits"), known)
    yield from _retry(route.retry, (*path, "retry"))
    yield from _timeout(route.timeout, (*path, "timeout"))
    fault = route.fault
    if fault is None:
        return
    if fault.delay is None and fault.abort is None:
        yield Finding((*path, "fault"), "expected delay, abort or both", "such as abort: {status: 503, percent: 10}")
    yield from _header_name(fault.header, (*path, "fault", "header"))


def _limits(limits: list[Limit], path: Path, known: frozenset[str]) -> Iterator[Finding]:
    first: dict[str, int] = {}
    for place, limit in enumerate(limits):
        at = (*path, place)
        if first.setdefault(limit.name, place) != place:
            yield Finding((*at, "name"), f'the limit "{limit.name}" stands here twice', "give each its own name")
        for keys, message, hint in problems(limit):
            yield Finding((*at, *keys), message, _known_source(limit, keys) or hint)
        if limit.max_delay and (limit.burst or limit.requests) == 1:
            message = "delays nothing: the bucket holds one request, so no other can wait in it"
            yield Finding(
                (*at, "max_delay"), message, "write a burst: how many may be in it, waiting ones too", "warning"
            )
        if limit.match is not None:
            for objection in check_match(limit.match):
                yield Finding((*at, "match", *objection.at), objection.message)
        asked = [name for name in limit.key if name in _IDENTITY and name not in known]
        if asked:
            counts = f"{' and '.join(asked)} {'count' if len(asked) > 1 else 'counts'}"
            who = "no caller here is known by it" if known else "nobody's identity is known"
            message = f"{who}, so {counts} callers by their address"
            yield Finding((*at, "key"), message, "write address", "warning")


def _known_source(limit: Limit, keys: Path) -> str:
    """Say what may have been meant by a key source that does not exist."""
    source = limit.key[keys[1]] if keys[:1] == ("key",) and len(keys) > 1 and isinstance(keys[1], int) else ""
    return "" if not source or source in KEY_SOURCES or ":" in source else did_you_mean(source, KEY_SOURCES)


def _header_name(name: str | None, path: Path) -> Iterator[Finding]:
    if name is not None:
        yield from (finding._replace(path=path) for finding in field_names([name], path))


def _breaker(service: Service, path: Path) -> Iterator[Finding]:
    breaker = service.circuit_breaker
    if breaker is None:
        return
    if breaker.window_size is not None and breaker.error_rate is not None:
        message = "window_size counts failures among calls and error_rate within a time, and both stand here"
        yield Finding((*path, "error_rate"), message, "write one of them")
    if breaker.window_size is not None and breaker.threshold > breaker.window_size:
        message = f"the last {breaker.window_size} calls can never hold {breaker.threshold} failures"
        yield Finding((*path, "threshold"), message, f"write at most {breaker.window_size}")
    if not breaker.failures:
        message = "nothing counts as a failure, so it never opens"
        yield Finding((*path, "failures"), message, "write enabled: false", "warning")


def _balancer(service: Service, path: Path) -> Iterator[Finding]:
    balancer = service.balancer
    if not isinstance(balancer, ConsistentHashSettings):
        return
    if balancer.header is not None and balancer.cookie is not None:
        yield Finding((*path, "cookie"), "header and cookie both name the key", "write one of them")
    yield from _header_name(balancer.header, (*path, "header"))
    if balancer.cookie is not None and not TOKEN.fullmatch(balancer.cookie):
        yield Finding((*path, "cookie"), f'"{printable(balancer.cookie)}" is not the name of a cookie')
    if 0 < balancer.bound <= 1:
        yield Finding((*path, "bound"), "everybody's fair share is 1, so a bound must be above it", "such as 1.25")


def _retry(retry: RetrySettings | None, path: Path) -> Iterator[Finding]:
    if retry is None:
        return
    yield from methods(retry.methods, (*path, "methods"))
    if retry.backoff.base > retry.backoff.max:
        message = f"the first wait ({retry.backoff.base:g} s) is longer than the longest ({retry.backoff.max:g} s)"
        yield Finding((*path, "backoff", "base"), message)


def _timeout(timeout: Timeouts | None, path: Path) -> Iterator[Finding]:
    if timeout is not None:
        yield from _header_name(timeout.deadline_header, (*path, "deadline_header"))
