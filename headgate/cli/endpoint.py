"""`headgate endpoint`: the endpoints of a running gateway, shown, taken out by hand and put back."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

from headgate.cli.admin import add_gateway, look, tell
from headgate.cli.arguments import USAGE_ERROR, Namespace, OneOf, Parser, add_json
from headgate.cli.terminal import table

_STATES = {"disable": "disabled", "enable": "enabled", "drain": "draining"}


def add_arguments(parser: Parser) -> None:
    """Add what to do, with which endpoint, and the options."""
    parser.add_argument(
        "action",
        metavar="ACTION",
        type=OneOf("action", ("list", *_STATES)),
        help="list; disable (no new requests, whatever its health); drain (the same, shown as draining); enable",
    )
    parser.add_argument("service", metavar="SERVICE", nargs="?", help="whose endpoint; list shows all without it")
    parser.add_argument("endpoint", metavar="ENDPOINT", nargs="?", help="its name as list shows it, such as HOST:PORT")
    add_gateway(parser)
    add_json(parser)


def run(arguments: Namespace) -> int:
    """Do it; return 0 when it was done, else 1."""
    service, endpoint = arguments.service, arguments.endpoint
    if arguments.action == "list":
        return _list(arguments, service)
    if service is None or endpoint is None:
        print(f"Which one? Write headgate endpoint {arguments.action} SERVICE ENDPOINT.", file=sys.stderr)
        return USAGE_ERROR
    record = tell(
        arguments, "/api/v1/endpoints", {"service": service, "endpoint": endpoint, "state": _STATES[arguments.action]}
    )
    if record is None:
        return 1
    if arguments.json:
        print(json.dumps(record, indent=2))
    elif record["enabled"]:
        print(f"{endpoint} of {service} is enabled; it is {record['state']}")
    else:
        again = f"until `headgate endpoint enable {service} {endpoint}`"
        left = "" if record["in_flight"] is None else f"; {record['in_flight']} in flight"
        print(f"{endpoint} of {service} gets no new requests {again}{left}")
    return 0


def _list(arguments: Namespace, service: str | None) -> int:
    shown = look(arguments, "/api/v1/endpoints")
    if shown is None:
        return 1
    records = [each for each in shown["endpoints"] if service in (None, each["service"])]
    if arguments.json:
        print(json.dumps(records, indent=2))
    elif records:
        print(endpoints_table(records))
    else:
        print("There are no endpoints." if service is None else f"There are no endpoints of a service {service}.")
    return 0 if records or service is None else 1


def endpoints_table(records: Sequence[dict[str, Any]]) -> str:
    """Lay out endpoints for people."""
    rows = [
        [each["service"], each["endpoint"], _state(each), _known(each["in_flight"]), _check(each["checked"])]
        for each in records
    ]
    return table(("SERVICE", "ENDPOINT", "STATE", "IN FLIGHT", "LAST CHECK"), rows)


def _state(record: dict[str, Any]) -> str:
    left = record["ejected"]
    return f"ejected, {left:.0f} s left" if record["state"] == "ejected" else str(record["state"])


def _known(count: int | None) -> str:
    return "" if count is None else str(count)


def _check(checked: dict[str, Any] | None) -> str:
    if checked is None:
        return ""
    status = f"{checked['status']}, " if checked["status"] else ""
    return f"{status}{checked['age']:.0f} s ago"
