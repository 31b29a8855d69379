"""The table of all metric families: what the gateway counts, under which names, with which labels.

Laws:
- The values of a label come from configuration or from a fixed list, never from a client. A number that is not in this
  table can be counted nowhere, and one that is must be explained in docs/metrics.md.
- A *fine* label is told apart only where the configuration shows it (telemetry.naming); elsewhere it is counted as "",
  and costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from headgate.telemetry.cells import Kind

MICROSECONDS = 1_000_000
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "CONNECT", "TRACE"})
_REQUEST_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
_HOOK_BUCKETS = (0.00001, 0.00005, 0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 1.0)
_LAG_BUCKETS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0)


class Family(NamedTuple):
    """One metric: `labels` in the order of their values in a series, `unit` cell units to one exposed unit.

    `buckets` are the upper bounds of a histogram in exposed units, ascending, without +Inf; `between` further bounds
    of its cells, in cell units. `fine` are the last of the labels. The value of a gauge that is a state is its place
    in `states`.
    """

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...] = ()
    unit: int = 1
    buckets: tuple[float, ...] = ()
    fine: tuple[str, ...] = ()
    between: tuple[int, ...] = ()
    states: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[str, ...]:
        """The labels that are shown unless the configuration says otherwise."""
        return self.labels[: len(self.labels) - len(self.fine)]

    @property
    def bounds(self) -> tuple[int, ...]:
        """The upper bounds of the cells, in cell units."""
        return tuple(sorted({*self.classic, *self.between}))

    @property
    def classic(self) -> tuple[int, ...]:
        """The buckets in cell units."""
        return tuple(round(bucket * self.unit) for bucket in self.buckets)


def _seconds(
    name: str, text: str, labels: tuple[str, ...], buckets: tuple[float, ...], fine: tuple[str, ...] = ()
) -> Family:
    return Family(name, "histogram", text, (*labels, *fine), MICROSECONDS, buckets, fine)


_TABLE = (
    Family(
        "headgate_requests_total",
        "counter",
        "Requests answered, by the status the client got.",
        ("route", "service", "method", "status", "reason"),
        fine=("reason",),
    ),
    _seconds(
        "headgate_request_duration_seconds",
        "Time from the first byte of a request to the last byte of its answer.",
        ("route", "service"),
        _REQUEST_BUCKETS,
        ("method", "status"),
    ),
    Family(
        "headgate_protocol_requests_total",
        "counter",
        "Requests answered, by the version of HTTP that the client spoke.",
        ("version",),
    ),
    Family(
        "headgate_http2_violations_total",
        "counter",
        "HTTP/2 connections of clients that were ended for what the client did, by kind.",
        ("kind",),
    ),
    Family(
        "headgate_upstream_http2_violations_total",
        "counter",
        "HTTP/2 connections to upstreams that were ended for what the upstream did, by kind.",
        ("kind",),
    ),
    Family(
        "headgate_grpc_requests_total",
        "counter",
        "Calls of gRPC, by the code they ended with.",
        ("route", "service", "grpc_status"),
    ),
    Family("headgate_requests_in_flight", "gauge", "Requests begun and not yet finished."),
    Family("headgate_request_bytes_total", "counter", "Bytes of request bodies received.", ("route",)),
    Family("headgate_response_bytes_total", "counter", "Bytes of response bodies sent.", ("route",)),
    Family(
        "headgate_upstream_requests_total",
        "counter",
        "Attempts at an upstream, by the status of the answer or its class (2xx), or why there was none.",
        ("service", "outcome", "method", "status"),
        fine=("method", "status"),
    ),
    _seconds(
        "headgate_upstream_duration_seconds",
        "Time from the start of an attempt to the head of the upstream's answer.",
        ("service",),
        _REQUEST_BUCKETS,
        ("method", "status"),
    ),
    Family(
        "headgate_errors_total",
        "counter",
        "Answers that the gateway itself made, by reason.",
        ("reason", "route", "service", "method"),
        fine=("route", "service", "method"),
    ),
    Family(
        "headgate_retries_total",
        "counter",
        "Attempts beyond the first, by what made them necessary.",
        ("service", "reason"),
    ),
    Family(
        "headgate_health_checks_total",
        "counter",
        "Active checks of endpoints, by how they ended: well, status, body, grpc_status, not_serving, or a failure.",
        ("service", "outcome"),
    ),
    Family(
        "headgate_endpoints",
        "gauge",
        "Endpoints of a service by state: healthy, unhealthy, ejected, disabled.",
        ("service", "state"),
    ),
    Family("headgate_service_up", "gauge", "1 while a service has a healthy endpoint, else 0.", ("service",)),
    Family(
        "headgate_outlier_ejections_total",
        "counter",
        "Endpoints taken out for a while, by what gave them away.",
        ("service", "cause"),
    ),
    Family(
        "headgate_auth_total",
        "counter",
        "Credentials shown, by the way of identity and what became of them: known, refused, unavailable.",
        ("method", "outcome"),
    ),
    Family(
        "headgate_auth_judged_total",
        "counter",
        "Credentials judged afresh, because no verdict on them was remembered.",
        ("method",),
    ),
    Family(
        "headgate_auth_failures_total",
        "counter",
        "Requests refused for who asks, by reason and by the kind of credential; none: without one.",
        ("reason", "auth_type"),
    ),
    _seconds(
        "headgate_auth_wait_seconds",
        "Time a request waited for keys, for another server or for a password's hash, until it was known who asks.",
        ("method",),
        _REQUEST_BUCKETS,
    ),
    Family("headgate_issuer_keys", "gauge", "Keys of an issuer that its tokens can be checked with.", ("issuer",)),
    Family(
        "headgate_issuer_keys_age_seconds",
        "gauge",
        "Time since the keys of an issuer were last fetched.",
        ("issuer",),
        MICROSECONDS,
    ),
    Family(
        "headgate_issuer_fetches_total",
        "counter",
        "Times the keys of an issuer were fetched, by how that ended: well, failed.",
        ("issuer", "outcome"),
    ),
    Family(
        "headgate_discovery_failing",
        "gauge",
        "1 while the endpoints of a service cannot be found out; those from before stay.",
        ("service",),
    ),
    Family(
        "headgate_discovery_age_seconds",
        "gauge",
        "Time since the source of a service's endpoints last said them.",
        ("service",),
        MICROSECONDS,
    ),
    Family(
        "headgate_discovery_updates_total",
        "counter",
        "Times a source told of the endpoints of a service, by how that ended: well, failed.",
        ("service", "outcome"),
    ),
    Family("headgate_api_keys", "gauge", "API keys of the database that workers know."),
    Family("headgate_key_database_failing", "gauge", "1 while the database of API keys is away."),
    Family(
        "headgate_registered_instances",
        "gauge",
        "Instances that registered here, by their health: healthy, unhealthy, unknown.",
        ("status",),
    ),
    Family(
        "headgate_registrations_total",
        "counter",
        "What became of registrations: registered, updated, removed by hand, lapsed for nothing was heard of them.",
        ("outcome",),
    ),
    Family(
        "headgate_limit_refused_total",
        "counter",
        "Requests refused by a limit.",
        ("limit", "caller", "route", "service", "method"),
        fine=("caller", "route", "service", "method"),
    ),
    Family("headgate_limit_shadow_total", "counter", "Requests that a limit in shadow would have refused.", ("limit",)),
    Family("headgate_limit_delayed_total", "counter", "Requests that waited for their turn.", ("limit",)),
    Family("headgate_store_failing", "gauge", "Workers for which the store of the limits is away."),
    Family("headgate_store_fallback_total", "counter", "Requests counted without the store: it was away."),
    Family("headgate_store_evicted_total", "counter", "Keys of limits forgotten before their end: the store was full."),
    Family(
        "headgate_cache_requests_total",
        "counter",
        "Requests of routes with a cache, by what it made of them.",
        ("route", "result"),
    ),
    Family("headgate_cache_response_bytes_total", "counter", "Bytes of bodies answered from the cache.", ("route",)),
    Family("headgate_cache_entries", "gauge", "Answers in the cache."),
    Family("headgate_cache_bytes", "gauge", "Bytes that answers take in the cache."),
    Family("headgate_cache_size_bytes", "gauge", "Bytes that answers may take in the cache."),
    Family("headgate_cache_stored_total", "counter", "Answers that were put into the cache."),
    Family(
        "headgate_cache_refused_total",
        "counter",
        "Answers that the cache did not take: too large, or purged meanwhile.",
    ),
    Family("headgate_cache_evicted_total", "counter", "Answers that made room for others before their end."),
    Family("headgate_cache_purged_total", "counter", "Answers that were purged."),
    Family("headgate_cache_failing", "gauge", "Workers for which the store of cached answers is away."),
    Family(
        "headgate_breaker_transitions_total",
        "counter",
        "Changes of a circuit breaker's state that calls have brought about, by the new state.",
        ("service", "to"),
    ),
    Family("headgate_breaker_refused_total", "counter", "Requests refused by a circuit breaker.", ("service",)),
    Family(
        "headgate_breaker_calls_total",
        "counter",
        "Calls that a circuit breaker has judged, each with all its tries: well, failed.",
        ("service", "outcome"),
    ),
    Family(
        "headgate_breaker_state",
        "gauge",
        "State of a circuit breaker: 0 closed, 1 open, 2 half-open.",
        ("service",),
        states=("closed", "open", "half_open"),
    ),
    _seconds("headgate_plugin_seconds", "Time that a plugin's hook took.", ("plugin", "hook"), _HOOK_BUCKETS),
    Family(
        "headgate_plugin_verdicts_total",
        "counter",
        "What plugins made of requests: pass, deny, answer, delay, error.",
        ("plugin", "verdict"),
    ),
    Family("headgate_plugin_errors_total", "counter", "Hooks that raised or gave no verdict.", ("plugin", "hook")),
    Family("headgate_faults_injected_total", "counter", "Faults injected on purpose.", ("route", "kind")),
    Family("headgate_shed_total", "counter", "Requests refused under overload, by who had it.", ("by", "priority")),
    Family(
        "headgate_overload_pressure",
        "gauge",
        "How much a worker refuses: 0 nothing, 1 all of low priority, 4 everything.",
        ("worker",),
        1000,
    ),
    Family("headgate_concurrency_limit", "gauge", "Requests at once that workers let a service have.", ("service",)),
    Family("headgate_connections_open", "gauge", "Client connections open.", ("listener",)),
    Family("headgate_connections_total", "counter", "Client connections accepted.", ("listener",)),
    Family("headgate_pool_connections", "gauge", "Connections to upstreams.", ("service", "state")),
    Family("headgate_upgrades_open", "gauge", "Upgraded connections (WebSocket) open."),
    Family("headgate_access_log_dropped_total", "counter", "Access log lines dropped: the sink was too slow."),
    Family("headgate_audit_dropped_total", "counter", "Lines of the audit log dropped: the sink was too slow."),
    Family("headgate_records_total", "counter", "Requests whose decision record came to control."),
    Family(
        "headgate_records_dropped_total",
        "counter",
        "Requests not recorded: there were too many in a second, or control was not there.",
    ),
    Family(
        "headgate_trace_exports_total",
        "counter",
        "Recorded requests whose spans were to be sent to a collector: sent, failed, dropped.",
        ("outcome",),
    ),
    Family("headgate_stream_watchers", "gauge", "Clients of the live stream of the admin API."),
    Family("headgate_stream_lost_total", "counter", "Events of the live stream that a client was too slow for."),
    _seconds("headgate_loop_lag_seconds", "How late timers of the event loop ran.", (), _LAG_BUCKETS),
    Family("headgate_config_version", "gauge", "Version of the configuration a worker runs.", ("worker",)),
    Family("headgate_worker_restarts_total", "counter", "Workers replaced after an unplanned end."),
    Family("headgate_process_resident_memory_bytes", "gauge", "Memory of a process that is in RAM.", ("process",)),
    Family(
        "headgate_process_cpu_seconds_total",
        "counter",
        "CPU time of a process, in the kernel's and its own code.",
        ("process",),
        MICROSECONDS,
    ),
    Family("headgate_process_open_fds", "gauge", "File descriptors that a process has open.", ("process",)),
    Family("headgate_process_uptime_seconds", "gauge", "Time since a process began.", ("process",), MICROSECONDS),
    Family("headgate_build_info", "gauge", "1, with the version of the gateway.", ("version",)),
)

FAMILIES: Mapping[str, Family] = {family.name: family for family in _TABLE}

DURATIONS = frozenset(family.name for family in _TABLE if family.buckets is _REQUEST_BUCKETS)
"""The families whose buckets the configuration may choose."""
