"""Settings of what the gateway says of itself: logs, metrics, which requests are recorded whole, traces.

Law: standard library only. Which name a metric has outside is decided here and applied where it is read (control);
workers count under the names of telemetry.families.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from headgate.core.settings import OneOrMany, Seconds, Short, setting, settings

Level = Literal["info", "warning", "error"]


@settings
class AccessLog:
    """One line for each request."""

    enabled: bool = setting(default=True, help="Write it.")
    path: str = setting(default="stdout", help="stdout, stderr or a file (appended; SIGUSR1 reopens it).")
    format: Literal["auto", "json", "console"] = setting(
        default="auto", help="auto: readable on a terminal, JSON elsewhere."
    )
    level: Level = setting(
        default="info", help="Lowest level that is written; a status from 400 on is a warning, from 500 on an error."
    )
    sample: float = setting(default=1.0, help="Share of the lines of level info that is written.", ge=0, le=1)
    fields: dict[str, Any] = setting(
        default=dict,
        help="Template of a line in JSON, in place of the usual fields: mappings of placeholders such as {status_code}"
        " (docs/telemetry.md); a key without a value is left out.",
    )


@settings
class AuditLog:
    """One JSON line for each request that was refused and each act of an operator: who, what, why."""

    enabled: bool = setting(default=False, help="Write it.")
    path: str = setting(default="stderr", help="stdout, stderr or a file (appended; SIGUSR1 reopens it).")
    refusals: bool = setting(default=True, help="Refused requests, too; false: acts of operators only.")


@settings
class MetricForm:
    """One form in which a metric is shown. A bare string is the name."""

    name: str | None = setting(default=None, help="Its name; by default the metric's own.", max_length=200)
    help: str | None = setting(default=None, help="What is said of it in place of the metric's own.", max_length=200)
    labels: dict[str, str] | None = setting(
        default=None,
        help="Labels in place of its own: the name shown, and what it shows: a label of the metric, a fact known of one"
        " (see docs/metrics.md), or text after an equals sign.",
    )
    values: dict[str, dict[str, str]] = setting(
        default=dict, help="By name of a label shown: other values in place of its own; * for all that are not listed."
    )
    only: dict[str, Annotated[list[str], OneOrMany()]] = setting(
        default=dict, help="By label or fact: count only what has one of these values."
    )
    without: dict[str, Annotated[list[str], OneOrMany()]] = setting(
        default=dict, help="By label or fact: leave out what has one of these values."
    )


@settings
class Metrics:
    """Metrics for Prometheus."""

    enabled: bool = setting(
        default=True, help="Count requests and show metrics; false: workers count only what is rare, nothing is shown."
    )
    buckets: list[Seconds] = setting(
        default=list, help="Upper bounds of the duration histograms, ascending; by default from 1 ms to 60 s."
    )
    native: bool = setting(default=False, help="Native histograms besides the classic ones, for scrapers that ask.")
    exemplars: bool = setting(default=True, help="Trace ids on histogram buckets, where requests are recorded.")
    names: dict[str, Annotated[list[Annotated[MetricForm, Short("name")]], OneOrMany()]] = setting(
        default=dict, help="By name of the metric: in which forms it is shown; []: in none."
    )


@settings
class SamplingRule:
    """Which share of some requests is recorded; the first rule that matches decides."""

    route: Annotated[list[str], OneOrMany()] = setting(default=list, help="Routes; absent: all.")
    service: Annotated[list[str], OneOrMany()] = setting(default=list, help="Services; absent: all.")
    path: str | None = setting(default=None, help="Prefix of the path, on segment boundaries.", max_length=2048)
    method: Annotated[list[str], OneOrMany()] = setting(default=list, help="Methods; absent: all.")
    ratio: float = setting(default=0.0, help="Share that is recorded.", ge=0, le=1)
    per_second: float = setting(
        default=0.0, help="At least so many a second, over all workers, whatever the share.", ge=0
    )


@settings
class Sampling:
    """Which requests are recorded whole: for `headgate explain --request`, the dashboard, logs of it and traces."""

    ratio: float = setting(default=0.01, help="Share that is recorded.", ge=0, le=1)
    per_second: float = setting(
        default=1.0, help="At least so many a second, over all workers, whatever the share.", ge=0, le=10_000
    )
    rules: list[SamplingRule] = setting(default=list, help="Other shares for some; the first that matches decides.")
    errors: bool = setting(default=True, help="Also all that end with a status from 500 on, or a failure.")
    slow: Seconds = setting(default=0.0, help="Also all that take so many seconds; 0 = none.", ge=0, le=3600)
    refused: float = setting(
        default=5.0,
        help="Also so many a second, over all workers, of those refused for what the client did: 401, 404, 429.",
        ge=0,
        le=10_000,
    )
    most: int = setting(
        default=200, help="Most in a second in one worker; what is beyond is counted.", ge=1, le=100_000
    )


@settings
class Otlp:
    """Where spans are sent (OpenTelemetry protocol; needs the extra `otlp`). A bare string is the endpoint."""

    endpoint: str = setting(
        help="URL of the collector, such as http://collector:4318 or, with grpc, http://collector:4317; the address of"
        " an old Jaeger collector becomes port 4318 of the same host."
    )
    protocol: Literal["http", "grpc"] = setting(default="http", help="How the collector is spoken to.")
    headers: dict[str, str] = setting(default=dict, help="Header fields sent along, such as a key.", secret=True)
    timeout: Seconds = setting(default=10.0, help="Seconds for one batch.", gt=0, le=300)
    ca: str | None = setting(default=None, help="PEM file of authorities in place of the system's.")
    service_name: str = setting(default="headgate", help="service.name of the spans.", max_length=200)
    attributes: dict[str, str] = setting(default=dict, help="Further attributes of the resource.")


@settings
class Tracing:
    """The gateway as a part of traces: context taken over, passed on, spans sent."""

    enabled: bool = setting(default=False, help="Take part; false: what clients send of traces passes untouched.")
    accept: Annotated[list[Literal["w3c", "b3"]], OneOrMany()] = setting(
        default=lambda: ["w3c", "b3"], help="Forms of trace context read from requests, in this order."
    )
    send: Annotated[list[Literal["w3c", "b3", "b3multi"]], OneOrMany()] = setting(
        default=lambda: ["w3c"], help="Forms of trace context sent upstream."
    )
    follow: bool = setting(
        default=True, help="Record what the caller's trace records; false: the gateway's own sampling alone decides."
    )
    export: Annotated[Otlp | None, Short("endpoint")] = setting(default=None, help="Where spans are sent.")


@settings
class Kept:
    """How much of what happened control keeps in memory, for the query API and the dashboard."""

    requests: int = setting(
        default=2000, help="Recorded requests, with the spans and the log of each; some 5 KB each.", ge=0, le=100_000
    )
    logs: int = setting(default=2000, help="Lines of the gateway's own log.", ge=0, le=100_000)
    errors: int = setting(default=100, help="Distinct errors.", ge=0, le=10_000)
    history: Seconds = setting(default=3600.0, help="Seconds of the metrics' history.", ge=60, le=86_400)


@settings
class Telemetry:
    """What the gateway says of itself."""

    level: Literal["debug", "info", "warning", "error"] = setting(
        default="info", help="Lowest level of the gateway's own log."
    )
    access_log: AccessLog = setting(default=AccessLog, help="One line for each request.")
    redact: dict[str, Literal["omit", "mask", "hash"]] = setting(
        default=dict,
        help="What may tell of a person (client, identity, tenant, host, path, detail), in the access log and in"
        " records of requests: left out, as ***, or as a hash with redact_key.",
    )
    redact_key: str = setting(
        default="", help="Key of the hashes: under one key equal values have equal hashes.", secret=True
    )
    audit: AuditLog = setting(default=AuditLog, help="Who was refused, and what operators did.")
    metrics: Metrics = setting(default=Metrics, help="Metrics for Prometheus.")
    sampling: Sampling = setting(default=Sampling, help="Which requests are recorded whole.")
    tracing: Tracing = setting(default=Tracing, help="Traces.")
    kept: Kept = setting(default=Kept, help="What is kept in memory of it.")
