"""The configuration of every peer for one setting, as text. Pure: nothing here reads, writes or starts.

The law of the file is fairness: the same upstream with keep-alive as good as the peer has it, one worker, no limit
that a row would run into. The other peers log nothing; Headgate keeps its correlation id, forwarded headers,
metrics and JSON log, because that is how it is run.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from bench import credentials, policies
from bench.policies import ENDPOINTS, Policies

# Seconds for which answers stay in a cache: longer than a row takes.
_FRESH = 3600
# The upstream says nothing of it, and HAProxy stores nothing that does not.
_HAPROXY_CACHE = f"""  http-request cache-use answers
  http-response set-header Cache-Control "max-age={_FRESH}"
  http-response cache-store answers
"""


@dataclass(frozen=True, slots=True)
class Certificate:
    """Files of a certificate and its key; `both` holds them one after the other, as HAProxy wants them."""

    cert: Path
    key: Path
    both: Path


@dataclass(frozen=True, slots=True)
class Setting:
    """What a row asks of a peer: where to listen, whom to ask, how many routes to hold, and which policies.

    `redis` is the port of a Redis server for Headgate's limit; 0 where no row needs one. `http2`: clients speak HTTP/2
    by prior knowledge, upstreams HTTP/1.1; `cached`: answers come from the peer's cache after the first.
    """

    port: int
    admin_port: int
    upstream: int
    folder: Path
    certificate: Certificate | None = None
    routes: int = 0
    options: tuple[tuple[str, object], ...] = ()
    policies: Policies | None = None
    redis: int = 0
    http2: bool = False
    cached: bool = False


def route_path(number: int) -> str:
    """Return a path that only route `number` matches."""
    return f"/team-{number % 97}/service-{number}/items"


def upstream_conf(port: int, folder: Path, answer: str, user: str) -> str:
    """Return nginx as the upstream of every peer: the small answer for any path, files of `folder` under /files/."""
    listen = " ".join(f"listen {host}:{port} backlog=4096;" for host in ENDPOINTS)
    return f"""{_nginx_main(folder, "upstream", user)}
http {{
  access_log off; {_nginx_temporary(folder, "upstream")}
  sendfile on; tcp_nopush on; open_file_cache max=16;
  keepalive_requests 100000000; keepalive_timeout 3600s;
  server {{
    {listen}
    location / {{ default_type application/json; return 200 '{answer}'; }}
    location /files/ {{ alias {folder}/files/; }}
  }}
}}
"""


def nginx_conf(setting: Setting, user: str) -> str:
    """Return nginx as a bare gateway.

    Buffers hold a whole 100 KB body and no temporary file is written: with the defaults nginx would write to disk
    what the client has not taken yet, and lose for that.
    """
    tls = setting.certificate
    listen = f"listen 127.0.0.1:{setting.port}{' ssl' if tls else ''}{' http2' if setting.http2 else ''} backlog=4096;"
    path = f"{setting.folder}/nginx-cache-{setting.port}"
    zone = f"proxy_cache_path {path} keys_zone=answers:10m use_temp_path=off;" if setting.cached else ""
    cache = f"proxy_cache answers; proxy_cache_valid 200 {_FRESH}s;" if setting.cached else ""
    # TLS 1.3 is not among the defaults of nginx before 1.23.4; the other peers speak it.
    keys = f"ssl_certificate {tls.cert}; ssl_certificate_key {tls.key}; ssl_protocols TLSv1.2 TLSv1.3;" if tls else ""
    return f"""{_nginx_main(setting.folder, "nginx", user)}
http {{
  access_log off; {_nginx_temporary(setting.folder, "nginx")}
  keepalive_requests 100000000; keepalive_timeout 3600s;
  client_max_body_size 0; proxy_request_buffering off; proxy_max_temp_file_size 0; proxy_buffers 16 8k; {zone}
  upstream api {{
    server 127.0.0.1:{setting.upstream}; keepalive 128; keepalive_requests 100000000; keepalive_timeout 3600s;
  }}
  server {{
    {listen} {keys}
    location / {{ proxy_pass http://api; proxy_http_version 1.1; proxy_set_header Connection ""; {cache} }}
  }}
}}
"""


def _nginx_main(folder: Path, name: str, user: str) -> str:
    # Started by root, nginx would give its worker to a user who may not read the folder.
    who = f"user {user}; " if user else ""
    return f"""{who}worker_processes 1; daemon off; pid {folder}/{name}.pid; error_log {folder}/{name}.log;
worker_rlimit_nofile 60000;
events {{ worker_connections 25000; }}"""


def _nginx_temporary(folder: Path, name: str) -> str:
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return " ".join(f"{kind}_temp_path {folder}/{name}-{kind};" for kind in kinds)


def haproxy_conf(setting: Setting) -> str:
    """Return HAProxy with one thread and upstream connections shared by all clients; a bare gateway has no log."""
    tls, full = setting.certificate, setting.policies is not None
    frontend = policies.haproxy_frontend(setting.policies, setting.folder) if setting.policies is not None else ""
    crypt = f" ssl crt {tls.both} alpn http/1.1" if tls else ""
    servers = policies.haproxy_backend(setting.upstream) if full else f"  server one 127.0.0.1:{setting.upstream}\n"
    store = f"cache answers\n  total-max-size 64\n  max-age {_FRESH}\n" if setting.cached else ""
    cache = _HAPROXY_CACHE if setting.cached else ""
    return f"""global
  nbthread 1
  maxconn 4096
{policies.haproxy_global() if full else ""}defaults
  mode http
  option http-keep-alive
  http-reuse always
  timeout connect 5s
  timeout client 600s
  timeout server 600s
{store}frontend all
  bind 127.0.0.1:{setting.port}{crypt}{" proto h2" if setting.http2 else ""} backlog 4096
{frontend}  default_backend api
backend api
{cache}{servers}"""


def envoy_conf(setting: Setting) -> str:
    """Return Envoy, a bare gateway with its defaults. JSON, which is YAML."""
    full = setting.policies is not None
    chain: dict[str, object] = {
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": _envoy_manager(setting)}]
    }
    if setting.certificate:
        chain["transport_socket"] = _envoy_tls(setting.certificate)
    listener = {"name": "all", "address": _envoy_address(setting.port), "filter_chains": [chain]}
    hosts = ENDPOINTS if full else ENDPOINTS[:1]
    endpoints = [{"endpoint": {"address": _envoy_address(setting.upstream, host)}} for host in hosts]
    cluster: dict[str, object] = {
        "name": "api",
        "type": "STATIC",
        "connect_timeout": "5s",
        "load_assignment": {"cluster_name": "api", "endpoints": [{"lb_endpoints": endpoints}]},
    }
    if full:
        cluster |= policies.envoy_cluster()
    return json.dumps({"static_resources": {"listeners": [listener], "clusters": [cluster]}}, indent=1)


def _envoy_manager(setting: Setting) -> dict[str, object]:
    # The default ends a response after 15 s, which the gigabyte row needs longer for.
    action: dict[str, object] = {"cluster": "api", "timeout": "0s"}
    route: dict[str, object] = {"name": "all", "match": {"prefix": "/"}, "route": action}
    router: dict[str, object] = {
        "name": "envoy.filters.http.router",
        "typed_config": {"@type": _envoy_type("filters.http.router", "Router")},
    }
    manager: dict[str, object] = {
        "@type": _envoy_type("filters.network.http_connection_manager", "HttpConnectionManager"),
        "stat_prefix": "bench",
        "http_filters": [router],
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [route]}]},
    }
    if setting.policies is not None:
        limit = policies.envoy_filter(_envoy_type("filters.http.local_ratelimit", "LocalRateLimit"))
        log = policies.envoy_log(_envoy_type("access_loggers.file", "FileAccessLog"), setting.folder)
        action["retry_policy"] = policies.envoy_retries()
        route |= policies.envoy_route()
        manager |= {
            "http_filters": [*_envoy_callers(setting.policies), limit, router],
            "access_log": [log],
            "use_remote_address": True,
        }
    return manager


def _envoy_callers(asked: Policies) -> list[dict[str, object]]:
    if asked.callers is None:
        return []
    types = _envoy_type("filters.http.jwt_authn", "JwtAuthentication"), _envoy_type("filters.http.rbac", "RBAC")
    return credentials.envoy(asked.callers, *types)


def _envoy_tls(tls: Certificate) -> dict[str, object]:
    files = {"certificate_chain": {"filename": str(tls.cert)}, "private_key": {"filename": str(tls.key)}}
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": _envoy_type("transport_sockets.tls", "DownstreamTlsContext"),
            "common_tls_context": {"alpn_protocols": ["http/1.1"], "tls_certificates": [files]},
        },
    }


def _envoy_type(package: str, name: str) -> str:
    return f"type.googleapis.com/envoy.extensions.{package}.v3.{name}"


def _envoy_address(port: int, host: str = "127.0.0.1") -> dict[str, object]:
    return {"socket_address": {"address": host, "port_value": port}}


def headgate_conf(setting: Setting) -> str:
    """Return Headgate's configuration, with its log on tmpfs. JSON, which is YAML."""
    listener: dict[str, object] = {"address": f"127.0.0.1:{setting.port}"}
    if setting.certificate:
        listener["tls"] = {"cert": str(setting.certificate.cert), "key": str(setting.certificate.key)}
    service: dict[str, object] = {"name": "api", "routes": list(_headgate_routes(setting.routes))}
    limits: dict[str, object] = {}
    options = dict(setting.options)
    telemetry: dict[str, object] = {"access_log": {"path": str(setting.folder / "access.log")}}
    telemetry |= dict(options.pop("telemetry", ()))  # type: ignore[call-overload]
    if setting.policies is None:
        service["url"] = f"http://127.0.0.1:{setting.upstream}"
    else:
        service |= policies.headgate_service(setting.upstream)
        limits = policies.headgate_limits(setting.policies, setting.redis)
        limits |= policies.headgate_gateway(setting.policies, setting.folder)
    if setting.cached:
        limits["cache"] = {"ttl": _FRESH}
    return json.dumps(
        {
            "listen": [listener],
            "admin": {"address": f"127.0.0.1:{setting.admin_port}"},
            "workers": 1,
            "telemetry": telemetry,
            "services": [service],
            **limits,
            **options,
        },
        indent=1,
    )


def _headgate_routes(count: int) -> Iterable[dict[str, object]]:
    if count == 0:
        yield {"name": "all", "match": {"path": "/"}}
    for number in range(count):
        # A mixture, as a grown gateway has it: one in four is a template, the others are prefixes.
        path: object = route_path(number)
        if number % 4 == 0:
            path = {"template": path.replace("/items", "/{what}") if isinstance(path, str) else path}
        yield {"name": f"route-{number}", "match": {"path": path}}
