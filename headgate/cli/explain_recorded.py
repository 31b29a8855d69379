"""`headgate explain --request ID`: what a running gateway decided on the way of a request, from its record
(headgate.telemetry.record), and when."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import quote

from headgate.cli.admin import look
from headgate.cli.arguments import Namespace
from headgate.cli.terminal import bold, pairs, plain, table

_WHY: Final = {
    "ratio": "one of telemetry.sampling.ratio",
    "reserve": "one of telemetry.sampling.per_second",
    "rule": "by a rule of telemetry.sampling.rules",
    "parent": "its caller records the trace",
    "error": "it failed",
    "refused": "it was refused",
    "slow": "it was slow",
}


def explain_recorded(arguments: Namespace, request_id: str) -> int:
    """Print it; return 0, or 1 when there is no such record."""
    record = look(arguments, f"/api/v1/telemetry/requests/{quote(request_id, safe='')}")
    if record is None:
        return 1
    print(json.dumps(record, indent=2) if arguments.json else text(record))
    return 0


def text(record: dict[str, Any]) -> str:
    """Write a record for people."""
    at = datetime.fromtimestamp(record["started"], UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]
    asked = plain(f"{record['method']} {record['scheme']}://{record['host']}{record['path']}")
    because = f": {record['error']}" if "error" in record else ""
    parts = [
        bold(f"{asked} was answered with {record['status']} in {_ms(record['duration'])}{because}"),
        pairs(
            [
                ("request", plain(record["request_id"])),
                ("recorded", f"{_WHY.get(record['sampled'], record['sampled'])}, trace {record['trace_id']}"),
                ("at", f"{at} UTC, in worker {record['worker']}, by plan {record['plan']}"),
                ("from", f"{plain(record['client'])}{_caller(record.get('identity'))}"),
                ("route", plain(_led(record))),
                ("protocol", _protocol(record)),
                ("bytes", f"{record['bytes_in']} in, {record['bytes_out']} out"),
                *([("because", plain(record["detail"]))] if "detail" in record else []),
            ]
        ),
    ]
    for found in (_gates(record), _limits(record), _candidates(record), _attempts(record)):
        parts += ["", found] if found else []
    return "\n".join(parts)


def _gates(record: dict[str, Any]) -> str:
    rows = [
        [each["gate"], each["verdict"], _ms(each.get("at")), _ms(each.get("seconds")), plain(each.get("detail", ""))]
        for each in record["gates"]
    ]
    return table(("GATE", "VERDICT", "AT", "WAITED", "DETAIL"), rows) if rows else ""


def _limits(record: dict[str, Any]) -> str:
    rows = [
        [
            plain(each["name"]),
            f"{each['remaining']} of {each['limit']}",
            f"{each['reset']:g} s",
            "yes" if each["allowed"] else "NO",
        ]
        for each in record["limits"]
    ]
    return table(("LIMIT", "LEFT", "WHOLE AGAIN IN", "ALLOWED"), rows) if rows else ""


def _candidates(record: dict[str, Any]) -> str:
    rows = [
        [plain(each["endpoint"]), f"{each['weight']:g}", str(each.get("in_flight", ""))]
        for each in record["candidates"]
    ]
    return table(("CANDIDATE", "WEIGHT", "IN FLIGHT"), rows) if rows else ""


def _attempts(record: dict[str, Any]) -> str:
    rows = [
        [
            plain(each["endpoint"]),
            _ms(each["at"]),
            _ms(each.get("head")),
            _ms(each["end"]),
            str(each.get("status") or each.get("error", "")),
            each.get("retried", ""),
        ]
        for each in record["attempts"]
    ]
    return table(("ASKED", "AT", "ANSWER", "END", "OUTCOME", "AGAIN BECAUSE OF"), rows) if rows else ""


def _led(record: dict[str, Any]) -> str:
    route = record.get("route")
    if route is None:
        return "none"
    service = f" to {record['service']}" if "service" in record else ""
    breaker = f", its breaker {record['breaker']}" if "breaker" in record else ""
    balancer = f", by {record['balancer']}" if "balancer" in record else ""
    return f"{route}{service}{breaker}{balancer}"


def _protocol(record: dict[str, Any]) -> str:
    called = f", gRPC status {record['grpc_status']}" if "grpc_status" in record else ""
    return f"HTTP/{plain(record['version'])}{called}"


def _caller(caller: dict[str, Any] | None) -> str:
    if caller is None:
        return ""
    tenant = f" of {caller['tenant']}" if "tenant" in caller else ""
    roles = f", with {', '.join(caller['roles'])}" if caller.get("roles") else ""
    return plain(f", {caller['kind']} {caller['id']}{tenant}{roles}")


def _ms(seconds: float | None) -> str:
    return "" if seconds is None else f"{seconds * 1000:.1f} ms"
