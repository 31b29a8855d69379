"""What an admin API may answer, made up: a gateway with something of everything, and names that want to be markup."""

from __future__ import annotations

import math
from typing import Any

EVIL = "<img src=x onerror=alert(1)>"
SERVICES = ("chat", "embeddings", "search", "voice", EVIL)
_QUANTILES = {"p50": 0.4, "p95": 1.0, "p99": 2.3}


LIMIT: dict[str, Any] = {
    "limit": "per-user",
    "scope": "gateway",
    "key": ["identity"],
    "type": "sliding_window",
    "requests": 60,
    "window": 60.0,
    "burst": None,
    "tiers": ["pro"],
    "shadow": False,
    "on_error": "local",
    "store": "shared",
    "counts": {"refused": 1234, "shadow": 0, "delayed": 0},
}

ROUTES: list[dict[str, Any]] = [
    {
        "name": EVIL,
        "service": "chat",
        "match": {
            "path": {"template": f"/v1/{EVIL}"},
            "method": ["POST"],
            "headers": {EVIL: "x"},
            "host": [],
            "query": {},
        },
        "destinations": [{"service_name": "chat", "weight": 80}, {"service_name": "search", "weight": 20}],
    },
    {
        "name": "everything",
        "service": EVIL,
        "match": {"path": None, "method": [], "headers": {}, "host": [], "query": {}},
        "destinations": [{"service_name": EVIL, "weight": 100}],
    },
]


CACHE: dict[str, Any] = {
    "store": {
        "type": "memory",
        "away": False,
        "entries": 18_204,
        "bytes": 112_000_000,
        "size": 268_435_456,
        "stored": 41_000,
        "evicted": 320,
        "refused": 12,
        "purged": 44,
    },
    "results": {"hit": 800, "stale": 40, "revalidated": 20, "collapsed": 15, "miss": 125, "bypass": 60},
    "hit_rate": 0.875,
    "response_bytes": 9_300_000,
    "routes": [
        {
            "route": EVIL,
            "ttl": 60.0,
            "default_ttl": 0.0,
            "stale_while_revalidate": 30.0,
            "stale_if_error": 0.0,
            "partition": "auto",
            "max_entry": 1_048_576,
            "results": {"hit": 800, "stale": 40, "revalidated": 20, "collapsed": 15, "miss": 125, "bypass": 60},
            "hit_rate": 0.875,
            "response_bytes": 9_300_000,
        }
    ],
}


def wave(at: float, least: float, most: float, period: float) -> float:
    """Go up and down between two values."""
    return least + (most - least) * (0.5 + 0.5 * math.sin(at * 2 * math.pi / period))


def point(at: float) -> dict[str, Any]:
    """One second, as a tick has it."""
    by_service = {name: _line(at + 40 * place, 20.0 * (place + 1)) for place, name in enumerate(SERVICES)}
    requests = sum(line["requests"] for line in by_service.values())
    errors = sum(line["errors"] for line in by_service.values())
    rest = {"1xx": 0.0, "3xx": 2.0, "4xx": wave(at, 0, 6, 90), "5xx": errors}
    return {
        "step": 1,
        "at": at,
        "requests": requests,
        "errors": errors,
        **{name: wave(at, 0.04, 0.06, 70) * factor for name, factor in _QUANTILES.items()},
        "in_flight": round(wave(at, 4, 18, 45)),
        "by_status": {"2xx": max(0.0, requests - sum(rest.values())), **rest},
        "by_protocol": {"HTTP/1.0": 0.0, "HTTP/1.1": requests * 0.6, "HTTP/2": requests * 0.3, "gRPC": requests * 0.1},
        "cache": {"requests": requests / 2, "answered": requests * wave(at, 0.3, 0.45, 60), "bytes": requests * 900},
        "by_service": by_service,
        "endpoints": {"healthy": 9, "disabled": 1},
        "breakers": {"chat": "closed", "search": "open"},
    }


def history(now: float, seconds: float, step: float) -> dict[str, Any]:
    """The seconds up to now, as the API has them."""
    points = [point(now - seconds + step * number) for number in range(1, int(seconds / step) + 1)]
    return {**_turned(points), "step": step}


def _line(at: float, most: float) -> dict[str, Any]:
    requests = round(wave(at, most / 3, most, 120), 3)
    quantiles = {name: wave(at, 0.03, 0.07, 80) * factor for name, factor in _QUANTILES.items()}
    return {"requests": requests, "errors": round(max(0.0, wave(at, -2, 1, 100)), 3), **quantiles}


def _turned(points: list[dict[str, Any]]) -> dict[str, Any]:
    keys = {key for each in points for key in each} - {"step", "endpoints", "breakers"}
    return {
        key: _turned([each[key] for each in points])
        if isinstance(points[0][key], dict)
        else [each[key] for each in points]
        for key in keys
    }


def endpoints() -> list[dict[str, Any]]:
    """Two for each service, one of them taken out."""
    return [
        {
            "service": service,
            "endpoint": f"10.0.{place}.{number}:8001",
            "state": "unhealthy" if (service, number) == ("search", 2) else "healthy",
            "enabled": True,
            "healthy": (service, number) != ("search", 2),
            "ejected": None,
            "checked": {"age": 3.2, "status": 200},
            "in_flight": number,
        }
        for place, service in enumerate(SERVICES)
        for number in (1, 2)
    ]


def discovery() -> list[dict[str, Any]]:
    """Whom services are found by: one of them fails."""
    well = {"source": "static", "where": "", "state": "static", "endpoints": 2, "age": None, "last_error": None}
    error = {"message": f"{EVIL} does not answer", "age": 4.0}
    failing = {"source": "consul", "where": "consul:8500", "state": "failing", "age": 40.0, "last_error": error}
    return [{"service": name, **well, **(failing if name == "voice" else {})} for name in SERVICES]


def changes(now: float) -> list[dict[str, Any]]:
    """One that came into force, and one that did not."""
    diff = [{"path": f"services.{EVIL}.url", "before": EVIL, "after": None}]
    both = {"by": "gateway", "cause": "file changed", "plan": 3, "more": True}
    return [
        {"at": now - 60, "ok": False, "problems": [f"x.yaml:1:1: {EVIL}"], "diff": [], **both},
        {"at": now - 240, "ok": True, "problems": [], "diff": diff, **both},
    ]


def breakers(now: float) -> dict[str, dict[str, Any]]:
    """One that is closed, and one that is open."""
    both = {
        "forced": None,
        "threshold": 5,
        "success_count": 0,
        "success_threshold": 2,
        "timeout": 30.0,
        "trials_in_flight": 0,
        "trials": 1,
    }
    well = {"state": "closed", "failure_count": 1, "last_failure_time": None, "opened_at": None, "open_until": None}
    broken = {"state": "open", "failure_count": 5, "last_failure_time": now - 12, "opened_at": now - 12}
    return {"chat": {**well, **both}, "search": {**broken, "open_until": now + 18, **both}}


def record(now: float, number: int, **changes: Any) -> dict[str, Any]:
    """A request that was tried twice."""
    return {
        "request_id": f"0197-{number:08d}",
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "span_id": "00f067aa0ba902b7",
        "traced": True,
        "sampled": "ratio",
        "worker": 1,
        "plan": 3,
        "started": now,
        "duration": 0.0612,
        "scheme": "http",
        "method": "POST",
        "host": "api.example.com",
        "path": f"/v1/chat/completions/{number}",
        "client": "192.0.2.10",
        "version": "1.1",
        "status": 200,
        "bytes_in": 412,
        "bytes_out": 18_230,
        "route": "chat",
        "pattern": "/v1/chat/*",
        "service": "chat",
        "identity": {"kind": "user", "id": "ada", "tenant": "acme", "tier": "pro", "roles": ["writer"]},
        "gates": [
            {"gate": "entry", "verdict": "pass"},
            {"gate": "identity", "verdict": "pass", "detail": "people: known", "at": 0.0002, "seconds": 0.004},
            {"gate": "access", "verdict": "pass"},
            {"gate": "limits", "verdict": "pass", "detail": "2 limits", "at": 0.0043, "seconds": 0.0008},
            {"gate": "breaker", "verdict": "pass", "detail": "closed"},
        ],
        "limits": [
            {
                "name": "per-user",
                "limit": 60,
                "remaining": 41,
                "reset": 12.0,
                "window": 60.0,
                "type": "sliding_window",
                "allowed": True,
            }
        ],
        "breaker": "closed",
        "balancer": "least_connections",
        "candidates": [
            {"endpoint": "10.0.0.1:8001", "weight": 1, "in_flight": 2},
            {"endpoint": "10.0.0.2:8001", "weight": 1, "in_flight": 4},
        ],
        "attempts": [
            {
                "endpoint": "10.0.0.1:8001",
                "span_id": "b7ad6b7169203331",
                "at": 0.006,
                "end": 0.019,
                "error": "upstream_reset",
                "retried": "upstream_reset",
            },
            {
                "endpoint": "10.0.0.2:8001",
                "span_id": "b7ad6b7169203332",
                "at": 0.021,
                "head": 0.049,
                "end": 0.061,
                "status": 200,
                "reused": True,
            },
        ],
        **changes,
    }


def records(now: float) -> list[dict[str, Any]]:
    """A few, one of which has markup for a path."""
    made = [record(now - 2 * number, number) for number in range(12)]
    made[1] |= {"path": f"/{EVIL}", "status": 503, "error": "breaker_open", "service": "search", "attempts": []}
    made[2] |= {"status": 429, "error": "rate_limited", "attempts": [], "candidates": []}
    hit = [{"gate": "cache", "verdict": "answer", "detail": "hit"}]
    made[8] |= {"path": "/v1/images/8", "cache": "hit", "gates": hit, "attempts": []}
    made[9] |= {"path": "/voice.Speech/Transcribe", "version": "2", "grpc_status": 14, "attempts": []}
    return made


def errors(now: float) -> list[dict[str, Any]]:
    """Two kinds."""
    last = {"request_id": "0197-00000001", "method": "GET", "path": "/", "status": 503, "detail": EVIL}
    both = {"kind": "request", "message": "", "first_seen": now - 600, "last": last}
    return [
        {"id": 2, "reason": "breaker_open", "side": "gateway", "route": "search", "service": "search", "count": 128}
        | {"last_seen": now - 4, **both},
        {"id": 1, "reason": "response_timeout", "side": "upstream", "route": EVIL, "service": EVIL, "count": 3}
        | {"last_seen": now - 70, **both},
    ]


def status(now: float) -> dict[str, Any]:
    """How the gateway is."""
    return {
        "version": "0.1.0",
        "plan": 3,
        "uptime": 93_784.0,
        "draining": False,
        "workers": [{"worker": number, "pid": 4200 + number, "uptime": 93_780.0, "alive": True} for number in (1, 2)],
        "listeners": ["0.0.0.0:8080"],
        "reload": {"at": now - 240, "by": "gateway", "cause": "file changed", "ok": True, "problems": []},
    }
