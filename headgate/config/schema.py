"""What an operator may write: the whole configuration, as settings classes.

Law: standard library only (a worker receives these objects); defaults, bounds and help stand on the field, and the
JSON Schema and docs/configuration.md are generated from them.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from headgate.auth.settings import Addresses, Auth, IdentitySettings
from headgate.catalog import BALANCERS, CACHES, DISCOVERY, STORES
from headgate.config.admin_settings import Admin, OwnHealth, Surface
from headgate.config.language import Include, Variable
from headgate.core.plugin_settings import PluginSetting
from headgate.core.settings import Between, Bytes, OneOrMany, Seconds, Short, Tagged, setting, settings
from headgate.discovery.settings import Registering
from headgate.policy.balance.settings import CandidateSettings
from headgate.policy.breaker_settings import BreakerSettings
from headgate.policy.cache.settings import Cache
from headgate.policy.fault import Fault
from headgate.policy.health import HealthSettings
from headgate.policy.hygiene_settings import Cors, HeaderFilter, SecurityHeaders
from headgate.policy.limit.settings import Limit, LimitHeaders, ServiceRateLimit
from headgate.policy.match import Match
from headgate.policy.outlier import OutlierSettings
from headgate.policy.overload_settings import AdaptiveConcurrency, Overload, Priority
from headgate.policy.retry_settings import RetrySettings
from headgate.policy.rewrite import HeaderEdits, Mirror, QueryEdits, RedirectSetting, Respond, Rewrite
from headgate.policy.split import Destination, Sticky
from headgate.stores.cache.settings import MemoryCacheSettings
from headgate.stores.settings import SharedStoreSettings
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

BalancerSetting = Annotated[Any, Tagged({name: entry.settings for name, entry in BALANCERS.items()})]
StoreSetting = Annotated[Any, Tagged(STORES)]
CacheStoreSetting = Annotated[Any, Tagged(CACHES)]
CacheSetting = Annotated[Cache | None, Short("enabled", bool)]
DiscoverySetting = Annotated[Any, Tagged({name: entry.settings for name, entry in DISCOVERY.items()})]
AuthSetting = Annotated[Auth | None, Short("mode")]
AddressesSetting = Annotated[Addresses | None, Short("allow", list)]
SecurityHeadersSetting = Annotated[SecurityHeaders | None, Short("preset")]


@settings
class Certificate:
    """One certificate with its key, as PEM files."""

    cert: str = setting(help="PEM file with the certificate and its chain.")
    key: str = setting(help="PEM file with the private key.")


@settings
class ListenTls:
    """TLS of a listener. cert and key are the short form of one certificate."""

    cert: str | None = setting(default=None, help="PEM file with the certificate and its chain.")
    key: str | None = setting(default=None, help="PEM file with the private key.")
    certificates: list[Certificate] = setting(default=list, help="Several, chosen by SNI; the first is the default.")
    client_ca: str | None = setting(default=None, help="PEM file of authorities; clients must then show a certificate.")
    client_auth: Literal["require", "request"] = setting(
        default="require", help="With client_ca: require a certificate, or only ask for one."
    )
    min_version: Literal["1.2", "1.3"] = setting(default="1.2", help="Lowest TLS version.")
    strict_sni: bool = setting(default=False, help="Refuse handshakes for names that no certificate has.")
    handshake_timeout: Seconds = setting(default=10.0, help="Seconds for the handshake.", gt=0, le=3600)


@settings
class Listen:
    """One address that clients connect to. A bare string is the address."""

    address: str = setting(help="HOST:PORT, [IPv6]:PORT, or unix:/path/to/socket.")
    tls: ListenTls | None = setting(default=None, help="Speak TLS here.")
    http2: bool = setting(
        default=True, help="Speak HTTP/2 with clients that ask for it: by ALPN with TLS, by prior knowledge without."
    )
    proxy_protocol: Annotated[list[str], OneOrMany()] = setting(
        default=list,
        help="CIDRs of load balancers that send the PROXY protocol (v1 or v2); from them it is required.",
    )


@settings
class Shutdown:
    """How the gateway stops."""

    grace: Seconds = setting(default=0.0, help="Seconds to go on accepting after readiness went off.", ge=0, le=3600)
    timeout: Seconds = setting(default=30.0, help="Seconds for requests in flight to finish.", ge=0, le=3600)


@settings
class ErrorAnswer:
    """How one kind of error is answered."""

    status: int | None = setting(default=None, help="Status code in place of the default one.", ge=400, le=599)
    title: str | None = setting(default=None, help="Text for {title}.")
    message: str | None = setting(
        default=None,
        help="Text for {message}, which may hold placeholders itself; where one has no value the default stands.",
    )
    type: str | None = setting(default=None, help="Text for {type}.")
    retry_after: int | None = setting(
        default=None, help="Seconds for Retry-After of a 429 or 503 where nothing better is known.", ge=1, le=86400
    )
    body: Any = setting(default=None, help="Body template in place of the default one.")


@settings
class Errors:
    """The shape of the answers the gateway itself gives. Default: RFC 9457 problem details.

    Placeholders: {status} {title} {message} {type} {reason} {request_id} {correlation_id} {trace_id} {timestamp}
    {timestamp_epoch} {retry_after} {path} {method} {service} {route} {breaker}; of limits {limit_name} {limit} {window}
    {remaining} {reset} {reset_epoch} and {limit_per_second}, {limit_per_minute}, {limit_per_hour}, {limit_per_day}. A
    key whose value is absent vanishes.
    """

    content_type: str = setting(default="application/problem+json", help="Content-Type of the body.")
    body: Any = setting(default=None, help="Template of the body: any nesting of mappings and lists of placeholders.")
    reasons: dict[str, ErrorAnswer] = setting(
        default=dict, help="Overrides by reason, such as route_not_found or no_endpoint."
    )
    origins: dict[Literal["client", "gateway", "upstream"], ErrorAnswer] = setting(
        default=dict, help="Overrides by the side at fault; a reason's own override wins."
    )


@settings
class Database:
    """Where API keys and registrations are kept. A bare string is the URL."""

    url: str | None = setting(
        default=None,
        help="postgresql://USER:PASSWORD@HOST/NAME or sqlite:////path; by default DATABASE_URL, else SQLite in"
        " state_dir.",
        secret=True,
    )
    poll: Seconds = setting(
        default=1.0, help="Seconds between two looks for changed keys and registrations.", ge=0.1, le=60
    )
    max_keys_size: Bytes = setting(
        default=1 << 30, help="Bytes that the workers' file of keys may grow to (about 300 for each key).", ge=1 << 20
    )


@settings
class EndpointSetting:
    """One address of a service. A bare string is the url."""

    url: str = setting(help="http://HOST:PORT, https://HOST:PORT or unix:/path; a path in it is put before requests'.")
    weight: int = setting(default=1, help="Share relative to the service's other endpoints.", ge=0, le=1_000_000)
    zone: str = setting(default="", help="Where it runs, for zone_preference.", max_length=100)


@settings
class Route:
    """Which requests go where, and what is done to them on the way."""

    name: str = setting(help="Name in logs, metrics and errors.", min_length=1, max_length=200)
    match: Match = setting(default=Match, help="What a request must be.")
    destinations: list[Destination] | None = setting(
        default=None, help="Services and their shares; absent: the own service. Empty, or all of weight 0: nobody."
    )
    sticky: Sticky | None = setting(default=None, help="Keep a caller with one destination.")
    rewrite: Rewrite | None = setting(default=None, help="Change the path on the way.")
    headers: HeaderEdits | None = setting(default=None, help="Edit header fields on the way.")
    query: QueryEdits | None = setting(default=None, help="Edit the query on the way.")
    redirect: RedirectSetting = setting(default=None, help="Answer with a redirect instead.")
    respond: Respond | None = setting(default=None, help="Answer with a fixed response instead.")
    mirror: Mirror | None = setting(default=None, help="Send copies to another service.")
    timeout: Timeouts | None = setting(default=None, help="How long the upstream may take.")
    retry: RetrySettings | None = setting(default=None, help="When a request is tried again.")
    max_body: Bytes | None = setting(default=None, help="Bytes of the request body; more is 413.", ge=0)
    compression: Compression | None = setting(default=None, help="Compress responses.")
    answers: Literal["as_is", "json"] | None = setting(
        default=None,
        help='json: what a service answers that is no JSON by type is sent as {"text": "..."}, and nothing as null.',
    )
    cache: CacheSetting = setting(default=None, help="Answer from what was answered before.")
    limits: list[Limit] = setting(default=list, help="Limits besides the service's and the gateway's.")
    tier: str | None = setting(default=None, help="Tier of its callers, in place of their own.", max_length=100)
    priority: Priority = setting(
        default="normal", help="Who is refused first under overload: low first, critical last."
    )
    fault: Fault | None = setting(default=None, help="Faults injected on purpose.")
    errors: dict[str, ErrorAnswer] = setting(
        default=dict, help="How errors are answered here, by reason; what is not said is as the gateway's."
    )
    auth: AuthSetting = setting(default=None, help="What callers must show and have.")
    addresses: AddressesSetting = setting(default=None, help="From where one may ask.")
    cors: Cors | None = setting(default=None, help="Which web pages may read its answers.")
    security_headers: SecurityHeadersSetting = setting(
        default=None, help="Header fields that tell browsers to be careful."
    )
    plugins: list[PluginSetting] = setting(default=list, help="Plugins behind those of the gateway and the service.")
    upgrade: Annotated[list[str], OneOrMany()] = setting(
        default=lambda: ["websocket"], help="Protocols a client may switch to."
    )


@settings
class Service:
    """One upstream: its endpoints and how they are treated."""

    ONE_OF: ClassVar = (("url", "endpoints", "discovery"), ("health", "health_path"))

    name: str = setting(help="Name that destinations refer to.", min_length=1, max_length=200)
    url: str | None = setting(default=None, help="Short form of one endpoint.")
    endpoints: list[Annotated[EndpointSetting, Short("url")]] = setting(default=list, help="Where it runs.")
    discovery: DiscoverySetting = setting(default=None, help="Who tells where it runs, in place of endpoints.")
    balancer: BalancerSetting = setting(default=None, help="How an endpoint is chosen; round_robin by default.")
    protocol: Speaks = setting(
        default="http1",
        help="Version spoken to its endpoints. http2: without TLS from the first byte on (prior knowledge), with TLS by"
        " ALPN, and nothing else; auto: what an https endpoint chooses by ALPN. gRPC needs http2.",
    )
    pool: PoolLimits = setting(default=PoolLimits, help="Connections to each endpoint.")
    tls: UpstreamTls = setting(default=UpstreamTls, help="TLS towards https endpoints.")
    health: Annotated[HealthSettings | None, Short("path")] = setting(default=None, help="Active health check.")
    health_path: str | None = setting(default=None, help="Short form of health: {path}.")
    outlier: OutlierSettings | None = setting(default=None, help="Take endpoints out whose answers are bad.")
    candidates: CandidateSettings = setting(default=CandidateSettings, help="Which endpoints may be chosen.")
    circuit_breaker: BreakerSettings | None = setting(default=None, help="When calls are refused at once.")
    adaptive_concurrency: AdaptiveConcurrency | None = setting(
        default=None, help="How many requests at once, found by latency."
    )
    rate_limit: ServiceRateLimit | None = setting(default=None, help="One limit of the service, all callers together.")
    limits: list[Limit] = setting(default=list, help="Limits of all its routes, besides the gateway's.")
    headers: HeaderEdits | None = setting(default=None, help="Header edits of routes that have none.")
    timeout: Timeouts | None = setting(default=None, help="Timeouts of routes that have none.")
    retry: RetrySettings | None = setting(default=None, help="Retries of routes that have none.")
    max_body: Bytes | None = setting(default=None, help="Body limit of routes that have none.", ge=0)
    compression: Compression | None = setting(default=None, help="Compression of routes that have none.")
    answers: Literal["as_is", "json"] | None = setting(default=None, help="Answers of routes that say nothing of it.")
    cache: CacheSetting = setting(default=None, help="Cache of routes that say nothing of it.")
    auth: AuthSetting = setting(default=None, help="What callers of routes that say nothing of it must show and have.")
    addresses: AddressesSetting = setting(
        default=None, help="From where one may ask its routes that say nothing of it."
    )
    cors: Cors | None = setting(default=None, help="CORS of routes that have none.")
    security_headers: SecurityHeadersSetting = setting(default=None, help="Security headers of routes that have none.")
    plugins: list[PluginSetting] = setting(default=list, help="Plugins of all its routes, behind those of the gateway.")
    routes: list[Route] = setting(default=list, help="Which requests it gets.")
    use_defaults: bool = setting(default=True, help="Lay `service_defaults` under it.")


@settings
class ServiceDefaults(Service):
    """What every service says that does not say otherwise; {service} in a text is its name.

    Mappings merge, so do lists of named things such as routes; anything else that the service says wins.
    """

    name: str = setting(default="{service}", help="Left out: each service has its own.")


@settings
class Config:
    """The whole configuration."""

    preset: str | None = setting(default=None, help="Preset below this file; --preset goes before it.")
    env: dict[str, Variable] = setting(default=dict, help="Variables of the environment that this file takes, by name.")
    include: Annotated[list[Annotated[Include, Short("path")]], OneOrMany()] = setting(
        default=list, help="Files laid over this one, in order."
    )
    listen: list[Annotated[Listen, Short("address")]] = setting(
        default=lambda: [Listen(address="0.0.0.0:8080")], help="Addresses that clients connect to."
    )
    admin: Admin = setting(default=Admin, help="The admin listener.")
    workers: Annotated[int, Between(1, 1024)] | Literal["auto"] = setting(
        default="auto",
        help="Worker processes; auto: as many as the CPU quota and affinity allow.",
        union_mode="left_to_right",
    )
    store: StoreSetting = setting(default=SharedStoreSettings, help="Where limits are counted; shared by default.")
    zone: str = setting(default="", help="Where this gateway runs, for zone_preference.", max_length=100)
    shutdown: Shutdown = setting(default=Shutdown, help="How the gateway stops.")
    surface: list[Surface] = setting(default=list, help="Own endpoints on the public listeners, besides admin.expose.")
    health: OwnHealth = setting(default=OwnHealth, help="What the gateway's own /health says.")
    discovery: DiscoverySetting = setting(
        default=None, help="Who tells where services run that have neither endpoints nor discovery."
    )
    registrations: Registering = setting(default=Registering, help="Instances that register with this gateway.")
    http: HttpLimits = setting(default=HttpLimits, help="What a client may send, and how slowly.")
    forwarding: Forwarding = setting(default=Forwarding, help="Client addresses and X-Forwarded-*.")
    request_id: RequestId = setting(default=RequestId, help="The id of a request.")
    errors: Errors = setting(default=Errors, help="The shape of the gateway's own answers.")
    telemetry: Telemetry = setting(default=Telemetry, help="Logs and metrics.")
    route_order: Literal["specific", "file"] = setting(
        default="specific",
        help="Which of several matching routes wins: the most specific one, or the first in the file.",
    )
    prefixes: Literal["segment", "text"] = setting(
        default="segment",
        help="How routes read a prefix of a path: by whole segments, or as text, so that /api matches /apiary, too.",
    )
    method_mismatch: Literal["method_not_allowed", "route_not_found"] = setting(
        default="method_not_allowed",
        help="How a request fails that only its method keeps from a route: 405, or as if the route were not there.",
    )
    unrouted: Literal["anybody", "known"] = setting(
        default="anybody",
        help="Who is told that no route takes a path: anybody, or callers whom `auth` lets in; others get 401.",
    )
    headers: HeaderEdits | None = setting(
        default=None,
        help="Header edits of services and routes that have none; those of answers on all that have no route, too.",
    )
    timeout: Timeouts = setting(default=Timeouts, help="Timeouts of services and routes that have none.")
    retry: RetrySettings = setting(default=RetrySettings, help="Retries of services and routes that have none.")
    max_body: Bytes = setting(default=10 * 1024 * 1024, help="Body limit of services and routes that have none.", ge=0)
    compression: Compression | None = setting(default=None, help="Compression of services and routes that have none.")
    answers: Literal["as_is", "json"] | None = setting(
        default=None, help="Answers of services and routes that say nothing of it; as_is by default."
    )
    cache: CacheSetting = setting(default=None, help="Cache of services and routes that say nothing of it.")
    cache_store: CacheStoreSetting = setting(default=MemoryCacheSettings, help="Where cached answers are kept.")
    limits: list[Limit] = setting(default=list, help="Limits of all routes.")
    limit_headers: LimitHeaders = setting(default=LimitHeaders, help="How limits are told to clients.")
    overload: Overload = setting(default=Overload, help="When the gateway itself has too much to do.")
    identity: IdentitySettings = setting(default=IdentitySettings, help="Who asks, and how that is shown.")
    auth: AuthSetting = setting(
        default=None, help="What callers must show and have; by default required where identity has a method."
    )
    addresses: AddressesSetting = setting(default=None, help="From where one may ask.")
    cors: Cors | None = setting(
        default=None, help="CORS of services and routes that have none, and of answers without a route."
    )
    security_headers: SecurityHeadersSetting = setting(
        default=None, help="Security headers of services and routes that have none, and of answers without a route."
    )
    plugins: list[PluginSetting] = setting(default=list, help="Plugins of all routes, in this order.")
    trusted_hosts: Annotated[list[str], OneOrMany()] = setting(
        default=list,
        help="Hosts that may be asked for, such as api.example.com or *.example.com; others get 400, except for /health"
        " and /ready.",
    )
    header_filter: HeaderFilter = setting(default=HeaderFilter, help="Header fields that do not pass.")
    state_dir: str | None = setting(
        default=None,
        help="Folder for what outlives the gateway; by default HEADGATE_STATE_DIR, else ~/.local/state/headgate.",
    )
    database: Annotated[Database, Short("url")] = setting(
        default=Database, help="Where API keys and registrations are kept."
    )
    service_defaults: ServiceDefaults | None = setting(
        default=None, help="What services say that do not say otherwise."
    )
    service_overrides: ServiceDefaults | None = setting(
        default=None, help="What all services say, whatever they say themselves."
    )
    unlisted_services: Literal["refuse", "discover"] = setting(
        default="refuse",
        help="Destinations that no service is called by: an error, or services that `discovery` finds by that name.",
    )
    services: list[Service] = setting(default=list, help="The upstreams.")
