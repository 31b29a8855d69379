"""THE table of the bench: what is measured, of whom, and which bound is to hold.

To add a row, add an entry: its subjects (a subject is a peer with a variation of its configuration), its measure,
and its bounds, which are the figures the project promises. The rest (rounds, ratios, tables) follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass

from bench import measure, scrapes
from bench.credentials import Callers
from bench.load import Load
from bench.measure import Measure
from bench.policies import Policies

HUNDRED_KB = 100_000
GIGABYTE = 2**30
MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Subject:
    """A peer in a row, under its own label.

    `options` are further top-level keys of Headgate's configuration; `telemetry` is put over what it has there.
    `cached`: with the peer's cache on.
    """

    label: str
    peer: str
    routes: int = 0
    options: tuple[tuple[str, object], ...] = ()
    policies: Policies | None = None
    cached: bool = False


@dataclass(frozen=True, slots=True)
class Bound:
    """A promise: the median of `label`, divided by `relative_to` of the same round, is at most or at least `limit`.

    With `difference` the other is subtracted: what one thing more costs, in the unit of the row.
    """

    label: str
    limit: float
    relative_to: str | None = None
    at_least: bool = False
    difference: bool = False


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. `fresh` starts the peer anew for every round; `uploads` makes the upstream one that reads bodies.

    `http2`: clients speak HTTP/2 by prior knowledge.
    """

    name: str
    title: str
    unit: str
    subjects: tuple[Subject, ...]
    measure: Measure
    bounds: tuple[Bound, ...] = ()
    ratios: tuple[str, ...] = ()
    tls: bool = False
    fresh: bool = False
    uploads: bool = False
    http2: bool = False


def _peers(*names: str, policies: Policies | None = None) -> tuple[Subject, ...]:
    return tuple(Subject(name, name, policies=policies) for name in names)


def _headgate(**variations: Policies) -> tuple[Subject, ...]:
    return tuple(Subject(f"headgate-{name}", "headgate", policies=policies) for name, policies in variations.items())


_SILENT = {
    "access_log": {"enabled": False},
    "metrics": {"enabled": False},
    "sampling": {"ratio": 0, "per_second": 0, "errors": False, "refused": 0},
}
# Each with what the one before it has. The path of the log is bench.configs'.
_TELEMETRY: dict[str, dict[str, object]] = {
    "off": _SILENT,
    "metrics": {key: _SILENT[key] for key in ("access_log", "sampling")},
    "log": {"sampling": _SILENT["sampling"]},
    "all": {"sampling": {"ratio": 0.01}, "tracing": {"enabled": True}},
}


def _telling(peer: str, *names: str) -> tuple[Subject, ...]:
    return tuple(Subject(f"{peer}-{name}", peer, options=(("telemetry", _TELEMETRY[name]),)) for name in names)


# Headgate refuses bodies above 10 MiB unless it is told otherwise.
_UPLOADERS = (
    Subject("headgate", "headgate", options=(("max_body", 2 * GIGABYTE),)),
    *_peers("nginx", "haproxy", "envoy"),
)
# All of it is on one core: that there is little left of it is no overload.
_SCRAPED = (Subject("headgate", "headgate", routes=10_000, options=(("overload", {"enabled": False}),)),)
# As browsers and gRPC clients do: few connections, many requests at once on each.
_STREAMS = Load(connections=8, streams=16)
_ALL = _peers("headgate", "headgate-compiled", "nginx", "haproxy", "envoy", "usual")
_PROXIES = _peers("headgate", "headgate-compiled", "nginx", "haproxy", "envoy")
_BOTH = ("nginx", "envoy")


def _full(name: str, who: str, callers: Callers | None) -> Row:
    """Make a row of all policies on, for requests of these callers."""
    peers = ["headgate", "headgate-compiled", "haproxy"]
    peers += ["envoy"] if callers is None or callers.credential != "key" else []
    bounds = [Bound(own, 1.0, "haproxy") for own in peers[:2]]
    bounds += [Bound(own, 0.65, "envoy") for own in peers[:2] if "envoy" in peers]
    return Row(
        name,
        f"The same policies on ({who}): least connections, retries, ejection, header edits, security headers, JSON log",
        "CPU us/request",
        _peers(*peers, policies=Policies(callers=callers)),
        measure.cpu_per_request(Load()),
        tuple(bounds),
        tuple(peer for peer in ("haproxy", "envoy") if peer in peers),
    )


def _cached(*names: str) -> tuple[Subject, ...]:
    """Make two subjects of each peer: one that proxies, and one that answers from its cache."""
    return tuple(Subject(f"{name}-{word}", name, cached=word == "hit") for name in names for word in ("proxied", "hit"))


ROWS: dict[str, Row] = {
    row.name: row
    for row in (
        Row(
            "bare",
            "Bare proxying: small JSON answer, 64 keep-alive connections",
            "CPU us/request",
            _ALL,
            measure.cpu_per_request(Load()),
            (
                Bound("headgate", 0.70, "envoy"),
                Bound("headgate", 1.6, "nginx"),
                Bound("headgate-compiled", 0.70, "envoy"),
            ),
            _BOTH,
        ),
        Row(
            "tls-keepalive",
            "The same over TLS, keep-alive",
            "CPU us/request",
            _PROXIES,
            measure.cpu_per_request(Load(tls=True)),
            ratios=_BOTH,
            tls=True,
        ),
        Row(
            "tls-handshake",
            "A new TLS connection for each request, whole handshakes (ECDSA P-256)",
            "CPU us/request",
            _PROXIES,
            measure.cpu_per_request(Load(tls=True, handshakes=True)),
            ratios=_BOTH,
            tls=True,
        ),
        Row(
            "body-100k",
            "Bodies of 100 KB, 64 keep-alive connections (more is better)",
            "MB per CPU second",
            _PROXIES,
            measure.bytes_per_cpu(Load(path="/files/100k")),
            (Bound("headgate", 0.5, "nginx", at_least=True),),
            _BOTH,
        ),
        Row(
            "routes",
            "10 routes against 10,000, requests spread over all of them",
            "CPU us/request",
            (Subject("headgate-10", "headgate", routes=10), Subject("headgate-10000", "headgate", routes=10_000)),
            measure.cpu_per_request(Load()),
            (Bound("headgate-10000", 1.15, "headgate-10"),),
            ("headgate-10",),
        ),
        _full("policies", "limit by address, without a credential", None),
        _full("policies-token", "one token (HS256), role, limit by caller", Callers("hs256", 1)),
        _full("policies-tokens", "10,000 tokens (HS256) in turn, role, limit by caller", Callers("hs256", 10_000)),
        _full("policies-rsa", "10,000 tokens (RS256) in turn, role, limit by caller", Callers("rs256", 10_000)),
        _full("policies-key", "one API key, role, limit by caller", Callers("key", 1)),
        Row(
            "http2",
            "HTTP/2 from clients, HTTP/1.1 to the upstream: 8 connections, 16 streams each",
            "CPU us/request",
            _PROXIES,
            measure.cpu_per_request(_STREAMS),
            ratios=_BOTH,
            http2=True,
        ),
        Row(
            "http2-policies",
            "The same with policies on (limit by address, without a credential)",
            "CPU us/request",
            _peers("headgate", "headgate-compiled", "haproxy", "envoy", policies=Policies()),
            measure.cpu_per_request(_STREAMS),
            # 8,000 requests a second of one core.
            (Bound("headgate", 125.0), Bound("headgate-compiled", 125.0)),
            ("haproxy", "envoy"),
            http2=True,
        ),
        Row(
            "cache",
            "Proxied against answered from the cache: small JSON answer, 64 keep-alive connections",
            "CPU us/request",
            _cached("headgate", "headgate-compiled", "nginx", "haproxy"),
            measure.cpu_per_request(Load()),
            (
                Bound("headgate-hit", 0.5, "headgate-proxied"),
                Bound("headgate-compiled-hit", 0.5, "headgate-compiled-proxied"),
            ),
            ("nginx-hit",),
        ),
        Row(
            "limit-shared",
            "All other policies on, without a limit and with one counted in memory that all workers share",
            "CPU us/request",
            _headgate(unlimited=Policies(""), shared=Policies("shared")),
            measure.cpu_per_request(Load()),
            (Bound("headgate-shared", 4.0, "headgate-unlimited", difference=True),),
        ),
        Row(
            "limit-redis",
            "All other policies on, without a limit and with one counted in Redis (the gateway's own CPU)",
            "CPU us/request",
            _headgate(unlimited=Policies(""), redis=Policies("redis")),
            measure.cpu_per_request(Load()),
            (Bound("headgate-redis", 6.0, "headgate-unlimited", difference=True),),
        ),
        Row(
            "limit-keys",
            "A limit in shared memory by a header: one key against a million, all of them counted before",
            "CPU us/request",
            _headgate(one=Policies(keys=1), million=Policies(keys=MILLION)),
            measure.cpu_per_request(Load()),
            (Bound("headgate-million", 1.15, "headgate-one"),),
            ("headgate-one",),
        ),
        Row(
            "stored-keys",
            "An API key of a database, looked up for each request: one key there against a million",
            "CPU us/request",
            _headgate(one=Policies(callers=Callers("key", 1, 1)), million=Policies(callers=Callers("key", 1, MILLION))),
            measure.cpu_per_request(Load()),
            (Bound("headgate-million", 1.15, "headgate-one"),),
            ("headgate-one",),
        ),
        Row(
            "telemetry",
            "What telemetry costs: off, with metrics, with the JSON log too, and with traces and 1 % recorded",
            "CPU us/request",
            (*_telling("headgate", *_TELEMETRY), *_telling("headgate-compiled", "off", "all")),
            measure.cpu_per_request(Load()),
            (
                Bound("headgate-all", 4.0, "headgate-off", difference=True),
                Bound("headgate-compiled-all", 4.0, "headgate-compiled-off", difference=True),
            ),
        ),
        Row(
            "breaker-closed",
            "What a closed circuit breaker costs a request: its calls alone",
            "CPU us/request",
            _peers("headgate", "headgate-compiled"),
            measure.breaker_closed,
            (Bound("headgate", 1.0),),
        ),
        Row(
            "scrape-10k",
            "A scrape of the metrics with 10,000 routes that were all asked for",
            "CPU ms",
            _SCRAPED,
            scrapes.cost,
            (Bound("headgate", 1500),),
        ),
        Row(
            "scrape-wait",
            "The slowest request beside such scrapes, on the same core",
            "ms",
            _SCRAPED,
            scrapes.wait,
            (Bound("headgate", 20),),
        ),
        Row(
            "idle-10k",
            "Memory with 10,000 idle keep-alive connections, whole process tree",
            "MB",
            _peers("headgate", "nginx", "envoy"),
            measure.idle_connections(10_000),
            (Bound("headgate", 250),),
            fresh=True,
        ),
        Row(
            "stream-1g",
            "Extra memory of the worker: 1 GB down to a client that first stalls",
            "MB",
            _PROXIES,
            measure.stream_down("/files/1g", GIGABYTE),
            (Bound("headgate", 20),),
            fresh=True,
        ),
        Row(
            "upload-1g",
            "Extra memory of the worker: 1 GB up to an upstream that first stalls",
            "MB",
            _UPLOADERS,
            measure.stream_up(GIGABYTE),
            (Bound("headgate", 20),),
            fresh=True,
            uploads=True,
        ),
        Row(
            "start",
            "From exec to the first answer through the gateway",
            "s",
            _ALL,
            measure.start_time,
            (Bound("headgate", 1.5),),
            fresh=True,
        ),
        Row(
            "rest",
            "Memory of a worker at rest",
            "MB",
            _ALL,
            measure.at_rest,
            (Bound("headgate", 80),),
            fresh=True,
        ),
    )
}
