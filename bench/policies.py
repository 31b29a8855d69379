"""The same policies in the words of each peer: what a gateway in front of a service has switched on. Pure.

A caller known by its credential and its role (bench.credentials); a limit for each caller (without one, for each
client address) that never refuses at the bench's rate, with its headers on every answer; the fewest requests in flight
over three endpoints; two more tries where a connection fails; endpoints taken out when their answers are bad; header
edits both ways, and the headers that tell browsers to be careful; a request id and the client's address passed on; a
JSON line for each request in a file on tmpfs.

The law of the file is fairness: where a peer can only do less than asked, it does less and has the advantage. Envoy's
local limit is one bucket for all clients; HAProxy knows no budget of retries and no circuit breaker; nobody else keeps
a histogram for each route.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from bench import credentials
from bench.credentials import Callers

# One nginx on three addresses of the loopback network.
ENDPOINTS = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
KEY_HEADER = "X-Key"
REQUESTS = 50_000_000
WINDOW = 60
_LONG_WINDOW = 3600
_SET_REQUEST = ("X-Gateway", "bench")
_SECURITY = {
    "Strict-Transport-Security": "max-age=31536000",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
}
_REMOVE_REQUEST = "X-Internal"
_REMOVE_RESPONSE = "Server"


@dataclass(frozen=True, slots=True)
class Policies:
    """What a subject varies: where Headgate counts its limit (nowhere without one), by how many keys, and who asks.

    Without `keys` the caller is the key, else the client's address; with them a header, of which the load sends so
    many values.
    """

    limit: Literal["", "shared", "redis"] = "shared"
    keys: int = 0
    callers: Callers | None = None


def haproxy_global() -> str:
    """Return where the log goes: its standard output, which is a file."""
    return "  log stdout format raw local0\n"


def haproxy_frontend(policies: Policies, folder: Path) -> str:
    """Return who asks, the limit, the edits and the log line.

    The counters of stick tables slide as Headgate's do: two of them, weighted by time.
    """
    fields = (
        '"timestamp":"%[date,utime(%Y-%m-%dT%H:%M:%S)]","level":"INFO","correlation_id":"%ID","method":"%HM"',
        '"path":"%HP","host":"%[var(txn.host),json(utf8s)]","status_code":%ST,"duration_ms":%Ta,"route":"%ft"',
        '"service":"%b","endpoint":"%s","upstream_ms":%Tr,"attempts":"%rc","bytes_in":%U,"bytes_out":%B,"client":"%ci"',
    )
    line = "{" + ",".join(fields) + "}"
    callers = policies.callers
    asks = credentials.haproxy(callers, folder) if callers is not None else ""
    table, key = ("string len 64", "var(txn.caller)") if callers is not None else ("ip", "src")
    security = "".join(f'  http-response set-header {name} "{value}"\n' for name, value in _SECURITY.items())
    return f"""  log global
  log-format '{line}'
  unique-id-format %[uuid()]
  unique-id-header X-Request-ID
  option forwardfor
{asks}  stick-table type {table} size 100k expire {2 * WINDOW}s store http_req_rate({WINDOW}s)
  http-request track-sc0 {key}
  http-request set-var(txn.rate) sc_http_req_rate(0)
  http-request set-var(txn.host) req.hdr(host)
  http-request deny deny_status 429 if {{ sc_http_req_rate(0) gt {REQUESTS} }}
  http-request set-header {" ".join(_SET_REQUEST)}
  http-request del-header {_REMOVE_REQUEST}
{security.rstrip()}
  http-response del-header {_REMOVE_RESPONSE}
  http-response set-header X-Request-ID %[unique-id]
  http-response set-header X-RateLimit-Limit {REQUESTS}
  http-response set-header X-RateLimit-Remaining %[int({REQUESTS}),sub(txn.rate)]
  http-response set-header X-RateLimit-Reset %[date({WINDOW})]
"""


def haproxy_backend(port: int) -> str:
    """Return the endpoints with the balancer, the further tries, and what takes an endpoint out."""
    watched = "check inter 30s observe layer7 error-limit 5 on-error mark-down"
    servers = "".join(f"  server api-{host} {host}:{port} {watched}\n" for host in ENDPOINTS)
    return f"""  balance leastconn
  retries 2
  retry-on conn-failure empty-response
  option redispatch 1
{servers}"""


def envoy_filter(package_type: str) -> dict[str, object]:
    """Return the limit as a filter of the given type, shown in the fields of the IETF draft's third version."""
    bucket = {"max_tokens": REQUESTS, "tokens_per_fill": REQUESTS, "fill_interval": f"{WINDOW}s"}
    always = {"default_value": {"numerator": 100, "denominator": "HUNDRED"}}
    return {
        "name": "envoy.filters.http.local_ratelimit",
        "typed_config": {
            "@type": package_type,
            "stat_prefix": "limit",
            "token_bucket": bucket,
            "filter_enabled": always,
            "filter_enforced": always,
            "enable_x_ratelimit_headers": "DRAFT_VERSION_03",
        },
    }


def envoy_log(package_type: str, folder: Path) -> dict[str, object]:
    """Return the log as an access logger of the given type."""
    fields = {
        "timestamp": "%START_TIME%",
        "level": "INFO",
        "correlation_id": "%REQ(X-REQUEST-ID)%",
        "method": "%REQ(:METHOD)%",
        "path": "%REQ(:PATH)%",
        "host": "%REQ(:AUTHORITY)%",
        "status_code": "%RESPONSE_CODE%",
        "duration_ms": "%DURATION%",
        "route": "%ROUTE_NAME%",
        "service": "%UPSTREAM_CLUSTER%",
        "endpoint": "%UPSTREAM_HOST%",
        "upstream_ms": "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%",
        "attempts": "%UPSTREAM_REQUEST_ATTEMPT_COUNT%",
        "bytes_in": "%BYTES_RECEIVED%",
        "bytes_out": "%BYTES_SENT%",
        "client": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%",
    }
    return {
        "name": "envoy.access_loggers.file",
        "typed_config": {
            "@type": package_type,
            "path": str(folder / "envoy-access.log"),
            "log_format": {"json_format": fields},
        },
    }


def envoy_route() -> dict[str, object]:
    """Return what a route has besides its match: the edits."""
    return {
        "request_headers_to_add": [_envoy_field(*_SET_REQUEST)],
        "request_headers_to_remove": [_REMOVE_REQUEST],
        "response_headers_to_add": [
            *(_envoy_field(name, value) for name, value in _SECURITY.items()),
            _envoy_field("X-Request-ID", "%REQ(X-REQUEST-ID)%"),
        ],
        "response_headers_to_remove": [_REMOVE_RESPONSE],
    }


def _envoy_field(name: str, value: str) -> dict[str, object]:
    return {"header": {"key": name, "value": value}, "append_action": "OVERWRITE_IF_EXISTS_OR_ADD"}


def envoy_retries() -> dict[str, object]:
    """Return when a request is tried again."""
    return {"retry_on": "connect-failure,reset", "num_retries": 2}


def envoy_cluster() -> dict[str, object]:
    """Return the balancer, the budget of retries, and what takes an endpoint out."""
    budget = {"budget_percent": {"value": 20}, "min_retry_concurrency": 3}
    return {
        "lb_policy": "LEAST_REQUEST",
        "circuit_breakers": {"thresholds": [{"max_connections": 4096, "retry_budget": budget}]},
        "outlier_detection": {"consecutive_5xx": 5, "base_ejection_time": "10s", "max_ejection_percent": 50},
    }


def headgate_service(port: int) -> dict[str, object]:
    """Return what the service has besides its name and routes."""
    return {
        "endpoints": [f"http://{host}:{port}" for host in ENDPOINTS],
        "balancer": "least_connections",
        "outlier": {"consecutive_failures": 5},
        "circuit_breaker": {"threshold": 5},
        "retry": {"attempts": 2},
        "headers": {
            "request": {"set": dict([_SET_REQUEST]), "remove": [_REMOVE_REQUEST]},
            "response": {"remove": [_REMOVE_RESPONSE]},
        },
    }


def headgate_gateway(policies: Policies, folder: Path) -> dict[str, object]:
    """Return who asks, and what tells browsers to be careful."""
    security = {
        "preset": "none",
        "hsts": {"subdomains": False, "over": "always"},
        "content_type_options": True,
        "frame_options": _SECURITY["X-Frame-Options"],
        "content_security_policy": _SECURITY["Content-Security-Policy"],
        "referrer_policy": _SECURITY["Referrer-Policy"],
    }
    asks = credentials.headgate(policies.callers, folder) if policies.callers is not None else {}
    return {"security_headers": security, **asks}


def headgate_limits(policies: Policies, redis: int) -> dict[str, object]:
    """Return the limit and the store that counts it: shared memory, or Redis at that port."""
    if not policies.limit:
        return {}
    store: dict[str, object] = {"type": "redis", "url": f"redis://127.0.0.1:{redis}/0"}
    if policies.limit == "shared":
        store = {"type": "shared", "size": 64 * 2**20 + 256 * policies.keys}
    # Many keys take a while to be filled in, and none may expire before the end.
    window = _LONG_WINDOW if policies.keys else WINDOW
    key = f"header:{KEY_HEADER}" if policies.keys else "identity" if policies.callers is not None else "address"
    limit = {"name": "callers", "key": key, "type": "sliding_window", "requests": REQUESTS, "window": window}
    return {"store": store, "limits": [limit]}
