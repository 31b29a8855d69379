"""`headgate explain METHOD PATH`: what would happen to a request, and why.

Nothing is sent anywhere; only API keys are looked up in their database. With `--request ID` it is what has happened to
a request that a running gateway has recorded.
"""

from __future__ import annotations

import argparse
import json
import sys
from typing import Any

from headgate.cli.admin import add_address
from headgate.cli.arguments import USAGE_ERROR, Namespace, Parser, add_configuration, add_json
from headgate.cli.configuration import load_valid
from headgate.cli.explain_recorded import explain_recorded
from headgate.cli.explanation import Question, explain
from headgate.cli.terminal import bold, dim, pairs, plain
from headgate.wire.forwarded import parse_address

_MOST_SHOWN = 20


def add_arguments(parser: Parser) -> None:
    """Add the options."""
    parser.add_argument("method", metavar="METHOD", nargs="?", help="such as GET")
    parser.add_argument("path", metavar="PATH", nargs="?", help="path with or without a query, or a whole URL")
    parser.add_argument("--request", metavar="ID", help="say what happened to this request of a running gateway")
    add_address(parser)
    parser.add_argument(
        "-H",
        "--header",
        metavar="'NAME: VALUE'",
        action="append",
        default=[],
        type=_field,
        help="a header field of the request; repeatable",
    )
    parser.add_argument("--host", metavar="HOST", help="the host asked for (localhost by default)")
    parser.add_argument("--address", metavar="ADDRESS", type=_address, help="the client's address")
    add_configuration(parser, "-c", "--config")
    add_json(parser)


def _field(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise argparse.ArgumentTypeError(f"expected 'Name: value', got \"{text}\"")
    return name.strip(), value.strip()


def _address(text: str) -> str:
    address = parse_address(text)
    if address is None:
        raise argparse.ArgumentTypeError(f'expected an address such as 192.0.2.7, got "{text}"')
    return address


def run(arguments: Namespace) -> int:
    """Print the explanation; return 1 when the configuration has errors, whatever happens to the request 0."""
    if arguments.request is not None:
        return explain_recorded(arguments, arguments.request)
    if arguments.method is None or arguments.path is None:
        text_ = "headgate explain: which request? Write METHOD PATH, or --request ID\nSee `headgate explain --help`."
        print(text_, file=sys.stderr)
        return USAGE_ERROR
    config = load_valid(arguments)
    if config is None:
        return 1
    question = Question(arguments.method, arguments.path, arguments.host, arguments.header, arguments.address or "")
    try:
        explained = explain(config, question)
    except (ValueError, OSError) as error:
        print(f"headgate: {error}", file=sys.stderr)
        return 1
    print(json.dumps(explained, indent=2) if arguments.json else text(explained))
    return 0


def text(explained: dict[str, Any]) -> str:
    """Write an explanation for people."""
    parts = [f"{bold(explained['verdict'])}"]
    if "request" in explained:
        parts += ["", bold("The request, in its normal form"), pairs(_rows(explained["request"]))]
    if explained.get("considered"):
        parts += ["", bold("Routes, in the order considered"), _considered(explained["considered"])]
    if "identity" in explained:
        parts += ["", bold("Who asks"), pairs(_rows(explained["identity"]))]
    if told := _rows(explained.get("browsers", {})):
        parts += ["", bold("What browsers are told"), pairs(told)]
    if explained.get("limits"):
        parts += ["", bold("Limits it is held against before"), *(f"  {limit}" for limit in explained["limits"])]
    if explained.get("plugins"):
        parts += ["", bold("Plugins, in their order"), *(f"  {line}" for line in explained["plugins"])]
    if "route" in explained:
        parts += ["", bold(f"Route {explained['route']['name']}"), pairs(_rows(explained["route"]))]
    for service in explained.get("services", ()):
        parts += ["", bold(f"Service {service['name']}"), pairs(_rows(service))]
    return "\n".join(parts)


def _considered(steps: list[dict[str, Any]]) -> str:
    """Write one line a route; of a long list what matters, which comes first."""
    taken = next((place for place, step in enumerate(steps) if step["taken"]), 0)
    shown = steps[: max(_MOST_SHOWN, taken + 1)]
    width = max(len(step["route"]) for step in shown)
    lines = []
    for step in shown:
        line = f"  {'->' if step['taken'] else '  '} {step['route']:<{width}}  {step['why']}"
        lines.append(bold(line) if step["taken"] else dim(line))
    if len(steps) > len(shown):
        lines.append(dim(f"     and {len(steps) - len(shown)} more (--json lists all)"))
    return "\n".join(lines)


def _rows(values: dict[str, Any]) -> list[tuple[str, str]]:
    return [
        (key.replace("_", " "), _shown(value))
        for key, value in values.items()
        if key != "name" and value not in (None, [], {})
    ]


def _shown(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_shown(each)}" for key, each in value.items())
    if isinstance(value, list):
        return "\n".join(_shown(each) for each in value)
    # Who made a token chose what it says.
    return plain(str(value))
