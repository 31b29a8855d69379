"""From what the operator wrote to what a worker runs: every inheritance decided, every name looked up.

Law: pure and standard library only. The result is plain, immutable and picklable; a worker needs no other
configuration. Nearest level wins whole: route, then service, then gateway.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from hashlib import blake2b
from typing import Any, NamedTuple, TypeVar

from headgate.auth.settings import Addresses, Auth, IdentitySettings
from headgate.config.admin_settings import LOCAL_VIEWS, Admin, OwnHealth, Surface, methods_of
from headgate.config.schema import Config, Database, EndpointSetting, Errors, Listen, Route, Service, Shutdown
from headgate.core.address import parse_endpoint
from headgate.core.endpoint import Endpoint
from headgate.core.plugin_settings import PluginSetting
from headgate.discovery.settings import Registering
from headgate.policy.balance.settings import CandidateSettings, RoundRobinSettings
from headgate.policy.breaker_settings import BreakerSettings
from headgate.policy.cache.settings import Cache
from headgate.policy.health import HealthSettings
from headgate.policy.hygiene_settings import Cors, HeaderFilter, SecurityHeaders
from headgate.policy.limit.settings import Limit, LimitHeaders
from headgate.policy.match import Match, PathMatch
from headgate.policy.outlier import OutlierSettings
from headgate.policy.overload_settings import AdaptiveConcurrency, Overload
from headgate.policy.retry_settings import RetryBudget, RetrySettings
from headgate.policy.rewrite import HeaderEdits
from headgate.policy.split import Destination
from headgate.stores.cache.settings import MemoryCacheSettings
from headgate.telemetry.settings import Telemetry
from headgate.wire.settings import (
    Compression,
    Forwarding,
    HttpLimits,
    PoolLimits,
    RequestId,
    Speaks,
    Timeouts,
    UpstreamTls,
)

T = TypeVar("T")

# Settings of sources (discovery.settings) that do not decide which endpoints are meant.
_HOW_ASKED = frozenset(
    (
        *("interval", "timeout", "wait", "min_ttl", "max_ttl"),
        *("token", "token_path", "username", "password", "ca", "cert", "key"),
    )
)

OWN_SERVICE = "headgate:own"
"""The service behind own endpoints that control answers."""

# Bytes of a request's body at an own endpoint, where its item does not say: an envelope is held in memory whole.
_MOST_ASKED = 1024 * 1024
# Seconds in which control that hangs is killed, and its successor, which has its code to read, answers.
_SUCCESSION = 30.0


@dataclass(frozen=True, slots=True)
class ResolvedService:
    """One upstream. `rate_limit` holds for whoever sends to it, by whatever route.

    With `discovery` (a class of catalog.DISCOVERY) the endpoints are found out at run time, and none stand here: they
    come under the name `source`, which is another one whenever other endpoints may be meant. Empty: they stand here.
    """

    name: str
    endpoints: tuple[Endpoint, ...]
    balancer: Any
    pool: PoolLimits
    tls: UpstreamTls
    protocol: Speaks = "http1"
    health: HealthSettings | None = None
    outlier: OutlierSettings | None = None
    candidates: CandidateSettings = field(default_factory=CandidateSettings)
    breaker: BreakerSettings | None = None
    adaptive: AdaptiveConcurrency | None = None
    rate_limit: Limit | None = None
    discovery: Any = None
    source: str = ""


class ScopedLimit(NamedTuple):
    """A limit and the level it stands at, whose counts are apart from those of any other level."""

    scope: str
    limit: Limit


@dataclass(frozen=True, slots=True)
class ResolvedRoute:
    """One route; `order` is its place in the file, `settings` what stands on the route alone.

    `limits` are those of the service and its own; the gateway's stand in ResolvedConfig.
    """

    name: str
    service: str
    order: int
    settings: Route
    destinations: tuple[Destination, ...]
    headers: HeaderEdits | None
    timeout: Timeouts
    retry: RetrySettings
    max_body: int
    compression: Compression | None
    limits: tuple[ScopedLimit, ...]
    auth: Auth
    addresses: Addresses | None
    cors: Cors | None
    security_headers: SecurityHeaders | None
    plugins: tuple[PluginSetting, ...]
    cache: Cache | None = None
    # Whether answers are made JSON (wire.as_json).
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class ResolvedConfig:
    """All a worker needs.

    `keys_path` is the folder of the file of API keys, which control has made, or None; `surface_socket` the path of the
    socket where control answers for own endpoints. `own_routes` stand for the items of `surface`, one each.
    `service_routes`: where a view reaches services by their names, of each service what holds for all of it.
    """

    listeners: tuple[Listen, ...]
    admin: Admin
    workers: int | str
    shutdown: Shutdown
    http: HttpLimits
    forwarding: Forwarding
    request_id: RequestId
    errors: Errors
    telemetry: Telemetry
    route_order: str
    store: Any
    zone: str
    limits: tuple[Limit, ...]
    limit_headers: LimitHeaders
    overload: Overload
    identity: IdentitySettings
    cors: Cors | None
    security_headers: SecurityHeaders | None
    trusted_hosts: tuple[str, ...]
    header_filter: HeaderFilter
    state_dir: str | None
    database: Database
    services: tuple[ResolvedService, ...]
    routes: tuple[ResolvedRoute, ...]
    surface: tuple[Surface, ...] = ()
    health: OwnHealth = field(default_factory=OwnHealth)
    registrations: Registering = field(default_factory=Registering)
    own_routes: tuple[ResolvedRoute, ...] = ()
    service_routes: tuple[ResolvedRoute, ...] = ()
    keys_path: str | None = None
    cache_store: Any = field(default_factory=MemoryCacheSettings)
    surface_socket: str | None = None
    headers: HeaderEdits | None = None
    method_mismatch: str = "method_not_allowed"
    # What callers must show to be told that there is no route; None for nothing.
    unrouted: Auth | None = None


def resolve(config: Config) -> ResolvedConfig:
    """Decide everything that one level inherits from another.

    Raises:
        ValueError: for the URL of an endpoint that is none; the checks of the loader have found it before.
    """
    routes: list[ResolvedRoute] = []
    for service in config.services:
        routes += [_route(route, service, config, order) for order, route in enumerate(service.routes, len(routes))]
    return ResolvedConfig(
        listeners=tuple(config.listen),
        admin=config.admin,
        workers=config.workers,
        shutdown=config.shutdown,
        http=config.http,
        forwarding=config.forwarding,
        request_id=config.request_id,
        errors=config.errors,
        telemetry=config.telemetry,
        route_order=config.route_order,
        store=config.store,
        zone=config.zone,
        limits=tuple(config.limits),
        limit_headers=config.limit_headers,
        overload=config.overload,
        identity=config.identity,
        cors=config.cors,
        headers=config.headers,
        method_mismatch=config.method_mismatch,
        unrouted=(config.auth or default_auth(config.identity)) if config.unrouted == "known" else None,
        security_headers=config.security_headers,
        trusted_hosts=tuple(config.trusted_hosts),
        header_filter=config.header_filter,
        state_dir=config.state_dir,
        database=config.database,
        services=tuple(_service(service, config) for service in config.services),
        routes=tuple(routes),
        surface=tuple(config.surface),
        cache_store=config.cache_store,
        health=config.health,
        registrations=config.registrations,
        own_routes=tuple(_own_route(item, config, order) for order, item in enumerate(config.surface)),
        service_routes=_service_routes(config),
    )


def endpoints_of(service: Service) -> list[EndpointSetting]:
    """List the endpoints of a service, its short form `url` included."""
    return [EndpointSetting(url=service.url)] if service.url is not None else service.endpoints


def discovery_of(service: Service, config: Config) -> Any:
    """Return who tells where a service runs: settings of catalog.DISCOVERY, None where its endpoints stand there."""
    return service.discovery if endpoints_of(service) or service.discovery is not None else config.discovery


def _service(service: Service, config: Config) -> ResolvedService:
    discovery = discovery_of(service, config)
    return ResolvedService(
        name=service.name,
        endpoints=tuple(
            parse_endpoint(each.url, each.weight)._replace(zone=each.zone) for each in endpoints_of(service)
        ),
        balancer=service.balancer if service.balancer is not None else RoundRobinSettings(),
        pool=service.pool,
        tls=service.tls,
        protocol=service.protocol,
        health=_health(service),
        outlier=service.outlier if service.outlier is not None and service.outlier.enabled else None,
        candidates=service.candidates,
        breaker=service.circuit_breaker if service.circuit_breaker and service.circuit_breaker.enabled else None,
        adaptive=service.adaptive_concurrency if (each := service.adaptive_concurrency) and each.enabled else None,
        rate_limit=_rate_limit(service),
        discovery=discovery,
        source=_source(service.name, discovery) if discovery is not None else "",
    )


def _source(service: str, discovery: Any) -> str:
    """Name who tells where a service runs, by what is asked for: how it is asked makes no other one of it."""
    asked = [(each.name, getattr(discovery, each.name)) for each in fields(discovery) if each.name not in _HOW_ASKED]
    return f"{service} {blake2b(repr(asked).encode(), digest_size=8).hexdigest()}"


def _health(service: Service) -> HealthSettings | None:
    return HealthSettings(path=service.health_path) if service.health_path is not None else service.health


def _rate_limit(service: Service) -> Limit | None:
    short = service.rate_limit
    if short is None or not short.enabled:
        return None
    return Limit(name=service.name, key=["service"], requests=short.requests, window=short.window, exact=short.exact)


def _limits(route: Route, service: Service) -> tuple[ScopedLimit, ...]:
    found = [ScopedLimit(f"service {service.name}", limit) for limit in service.limits]
    return (*found, *(ScopedLimit(f"route {route.name}", limit) for limit in route.limits))


def _route(route: Route, service: Service, config: Config, order: int) -> ResolvedRoute:
    return ResolvedRoute(
        name=route.name,
        service=service.name,
        order=order,
        settings=_read_by(config.prefixes, route),
        destinations=_destinations(route, service),
        headers=_nearest(route.headers, service.headers, config.headers),
        timeout=_nearest(route.timeout, service.timeout) or config.timeout,
        retry=_nearest(route.retry, service.retry) or config.retry,
        max_body=first if (first := _nearest(route.max_body, service.max_body)) is not None else config.max_body,
        compression=_nearest(route.compression, service.compression, config.compression),
        limits=_limits(route, service),
        auth=_nearest(route.auth, service.auth, config.auth) or default_auth(config.identity),
        addresses=_nearest(route.addresses, service.addresses, config.addresses),
        cors=_nearest(route.cors, service.cors, config.cors),
        security_headers=_nearest(route.security_headers, service.security_headers, config.security_headers),
        plugins=(*config.plugins, *service.plugins, *route.plugins),
        cache=cache if (cache := _nearest(route.cache, service.cache, config.cache)) and cache.enabled else None,
        as_json=_nearest(route.answers, service.answers, config.answers) == "json",
    )


def _destinations(route: Route, service: Service) -> tuple[Destination, ...]:
    own = Destination(service_name=service.name, weight=100 if route.destinations is None else 0)
    return tuple(route.destinations or (own,))


def _read_by(prefixes: str, route: Route) -> Route:
    """Return the route with its prefix read as the gateway reads prefixes."""
    path = route.match.path
    if prefixes == "segment" or path is None or path.prefix is None:
        return route
    return replace(route, match=replace(route.match, path=replace(path, segments=False)))


def _own_route(item: Surface, config: Config, order: int) -> ResolvedRoute:
    """Make the route of an own endpoint; one that asks a service takes limits and plugins of what it asks."""
    path = PathMatch(template=item.path) if "{" in item.path else PathMatch(exact=item.path)
    auth = item.auth if item.auth is not None or item.view not in LOCAL_VIEWS else Auth(mode="none")
    elsewhere = item.view == "proxy" or item.view in LOCAL_VIEWS
    return ResolvedRoute(
        name=f"own {item.path}",
        service=OWN_SERVICE,
        order=order,
        settings=Route(name=f"own {item.path}", match=Match(path=path, method=methods_of(item)), upgrade=[]),
        destinations=() if elsewhere else (Destination(service_name=OWN_SERVICE),),
        # What is sent to control is nobody's to edit.
        headers=HeaderEdits(response=config.headers.response) if config.headers is not None else None,
        timeout=Timeouts(connect=1.0, response=_SUCCESSION),
        # Who was being answered when control died asks its successor.
        retry=RetrySettings() if elsewhere else RetrySettings(insist=True, budget=RetryBudget(minimum=1000)),
        max_body=item.max_body if item.max_body is not None else _MOST_ASKED,
        compression=config.compression,
        limits=(),
        auth=_nearest(auth, config.auth) or default_auth(config.identity),
        addresses=config.addresses,
        cors=config.cors,
        security_headers=_of_page(item, config.security_headers),
        plugins=() if elsewhere else tuple(config.plugins),
    )


def _of_page(item: Surface, headers: SecurityHeaders | None) -> SecurityHeaders | None:
    """Return the security headers of an own endpoint; our own page brings a policy of what it may load along."""
    if headers is None or item.view != "docs" or isinstance(item.body, str):
        return headers
    return replace(headers, content_security_policy="")


def _service_routes(config: Config) -> tuple[ResolvedRoute, ...]:
    """Return for each service that the view `proxy` reaches a route of all that holds for it, whatever is asked."""
    items = [item for item in config.surface if item.view == "proxy"]
    reached = {name for item in items for name in item.services} if all(item.services for item in items) else None
    return tuple(
        _route(Route(name=f"proxy {service.name}"), service, config, order)
        for order, service in enumerate(config.services if items else ())
        if reached is None or service.name in reached
    )


def default_auth(identity: IdentitySettings) -> Auth:
    """Return what callers must show where nothing is said of it: who they are, as soon as that can be known."""
    keys = identity.api_keys is not None and identity.api_keys.enabled
    several = (identity.jwt, identity.introspection, keys)
    known = any(several) or any((identity.basic, identity.certificates, identity.stand_in))
    return Auth(mode="required" if known else "none")


def _nearest(*levels: T | None) -> T | None:
    return next((level for level in levels if level is not None), None)
