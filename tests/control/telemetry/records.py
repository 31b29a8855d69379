"""Records as workers tell them."""

from __future__ import annotations

from typing import Any, cast

from headgate.telemetry.record import Record

STARTED = 1_700_000_000.0


def record(number: int = 1, **more: Any) -> Record:
    """Make the record of a request that an endpoint answered, with other fields where `more` says so."""
    made: dict[str, Any] = {
        "request_id": f"request-{number}",
        "trace_id": f"{number:032x}",
        "span_id": f"{number:016x}",
        "traced": True,
        "sampled": "ratio",
        "worker": 1,
        "plan": 3,
        "started": STARTED + number,
        "duration": 0.25,
        "scheme": "https",
        "method": "GET",
        "host": "shop.example",
        "path": f"/orders/{number}",
        "client": "192.0.2.7",
        "version": "1.1",
        "status": 200,
        "bytes_in": 0,
        "bytes_out": 15,
        "route": "orders",
        "pattern": "/orders/{id}",
        "service": "api",
        "balancer": "round_robin",
        "identity": {"kind": "user", "id": "ann", "tenant": "blue"},
        "gates": [{"gate": "limits", "verdict": "pass"}],
        "limits": [limit()],
        "candidates": [{"endpoint": "10.0.0.1:80", "weight": 1.0}],
        "attempts": [attempt()],
    }
    made |= more
    return cast("Record", {name: each for name, each in made.items() if each is not None})


def attempt(**more: Any) -> dict[str, Any]:
    """Make one try that was answered."""
    made = {
        "endpoint": "10.0.0.1:80",
        "span_id": "aaaaaaaaaaaaaaaa",
        "at": 0.01,
        "end": 0.25,
        "head": 0.2,
        "status": 200,
    }
    return {name: each for name, each in (made | more).items() if each is not None}


def limit(**more: Any) -> dict[str, Any]:
    """Make one limit that counted."""
    made = {"name": "all", "limit": 10, "remaining": 7, "reset": 30.0, "window": 60.0, "type": "sliding_window"}
    return {**made, "allowed": True, **more}
