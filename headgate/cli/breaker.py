"""`headgate breaker`: the circuit breakers of a running gateway, shown and told what to do."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote

from headgate.cli.admin import add_gateway, look, tell
from headgate.cli.arguments import USAGE_ERROR, Namespace, OneOf, Parser, add_json
from headgate.cli.terminal import table

_DONE = {
    "reset": "breaker {service} is closed, and calls decide",
    "open": "breaker {service} refuses every request until `headgate breaker reset {service}`",
    "close": "breaker {service} lets every request through until `headgate breaker reset {service}`",
}


def add_arguments(parser: Parser) -> None:
    """Add what to do, of which service, and the options."""
    parser.add_argument(
        "action",
        metavar="ACTION",
        type=OneOf("action", ("list", *_DONE)),
        help="list; reset (closed, and forget what was counted); open or close (by force, until a reset)",
    )
    parser.add_argument("service", metavar="SERVICE", nargs="?", help="whose breaker; list shows all without it")
    add_gateway(parser)
    add_json(parser)


def run(arguments: Namespace) -> int:
    """Do it; return 0 when it was done, else 1."""
    service = arguments.service
    if arguments.action == "list":
        return _list(arguments, service)
    if service is None:
        print(f"Of which service? Write headgate breaker {arguments.action} SERVICE.", file=sys.stderr)
        return USAGE_ERROR
    record = tell(arguments, f"/api/v1/circuit-breakers/{quote(service, safe='')}/{arguments.action}")
    if record is None:
        return 1
    print(json.dumps(record, indent=2) if arguments.json else _DONE[arguments.action].format(service=service))
    return 0


def _list(arguments: Namespace, service: str | None) -> int:
    records: dict[str, dict[str, Any]] | None = look(arguments, "/api/v1/circuit-breakers")
    if records is None:
        return 1
    if service is not None:
        if service not in records:
            print(f"There is no circuit breaker of a service {service}.", file=sys.stderr)
            return 1
        records = {service: records[service]}
    if arguments.json:
        print(json.dumps(records, indent=2))
    elif not records:
        print("No service has a circuit_breaker.")
    else:
        print(breakers_table(records.items()))
    return 0


def breakers_table(records: Iterable[tuple[str, dict[str, Any]]]) -> str:
    """Lay out breakers for people."""
    now = time.time()
    rows = [
        [service, _state(record), f"{record['failure_count']}{_limit(record)}", _left(record, now)]
        for service, record in records
    ]
    return table(("SERVICE", "STATE", "FAILURES", "TRIES AGAIN"), rows)


def _state(record: dict[str, Any]) -> str:
    state = record["state"].replace("_", "-")
    return f"{state}, by hand" if record["forced"] else str(state)


def _limit(record: dict[str, Any]) -> str:
    if record.get("error_rate") is not None:
        return f", opens at {record['error_rate']:g} % in {record['window']:g} s"
    among = f" in {record['window_size']} calls" if "window_size" in record else ""
    return f" of {record['threshold']}{among}"


def _left(record: dict[str, Any], now: float) -> str:
    if record["state"] == "half_open":
        wanted = record["success_threshold"]
        return "now" if wanted == 1 else f"now, {record['success_count']} of {wanted} succeeded"
    if record["open_until"] is None:
        return ""
    return f"in {max(0, round(record['open_until'] - now))} s"
