"""`headgate limits`: the rate limits of a running gateway, shown, and the counts of one caller begun afresh."""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from headgate.cli.admin import add_gateway, look, tell
from headgate.cli.arguments import USAGE_ERROR, Namespace, OneOf, Parser, add_json
from headgate.cli.terminal import table


def add_arguments(parser: Parser) -> None:
    """Add what to do, with which limit, whose counts, and the options."""
    parser.add_argument(
        "action",
        metavar="ACTION",
        type=OneOf("action", ("list", "reset")),
        help="list; reset (begin afresh with a key)",
    )
    parser.add_argument("limit", metavar="LIMIT", nargs="?", help="its name")
    parser.add_argument(
        "counted",
        metavar="NAME=VALUE",
        nargs="*",
        type=_pair,
        help="whose counts: what the limit counts apart, such as address=203.0.113.9 or identity=user:ada",
    )
    parser.add_argument(
        "--scope",
        dest="limit_scope",
        metavar="SCOPE",
        help='where the limit stands, such as "route chat"; every place by default',
    )
    add_gateway(parser)
    add_json(parser)


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise argparse.ArgumentTypeError(f'expected NAME=VALUE, such as address=203.0.113.9, got "{text}"')
    return name, value


def run(arguments: Namespace) -> int:
    """Do it; return 0 when it was done, else 1."""
    if arguments.action == "list":
        return _list(arguments)
    if arguments.limit is None:
        print("Which one? Write headgate limits reset LIMIT NAME=VALUE.", file=sys.stderr)
        return USAGE_ERROR
    asked = {"limit": arguments.limit, "scope": arguments.limit_scope, "key": dict(arguments.counted)}
    record = tell(arguments, "/api/v1/limits/reset", asked)
    if record is None:
        return 1
    if arguments.json:
        print(json.dumps(record, indent=2))
    elif record["found"]:
        print(f"{', '.join(record['limits'])} of {', '.join(record['scopes'])} begin afresh for this key")
    else:
        print("There was nothing counted for this key.")
    return 0


def _list(arguments: Namespace) -> int:
    shown = look(arguments, "/api/v1/limits")
    if shown is None:
        return 1
    limits = [each for each in shown["limits"] if arguments.limit in (None, each["limit"])]
    if arguments.json:
        print(json.dumps(limits, indent=2))
    elif limits:
        print(table(("LIMIT", "SCOPE", "COUNTS APART", "REQUESTS", "WINDOW", "TYPE", "STORE"), list(map(_row, limits))))
    else:
        print("There are no limits." if arguments.limit is None else f"There is no limit {arguments.limit}.")
    return 0 if limits or arguments.limit is None else 1


def _row(limit: dict[str, Any]) -> list[str]:
    return [
        limit["limit"],
        limit["scope"],
        ", ".join(limit["key"]) or "nothing",
        str(limit["requests"]),
        "" if limit["window"] is None else f"{limit['window']:g} s",
        limit["type"] + (", shadow" if limit["shadow"] else ""),
        limit["store"],
    ]
