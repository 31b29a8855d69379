"""`headgate reload`: let a running gateway load its configuration anew, and say what came of it."""

from __future__ import annotations

import sys

from headgate.cli.admin import add_gateway, ask, refusal
from headgate.cli.arguments import Namespace, Parser


def add_arguments(parser: Parser) -> None:
    """Add the options."""
    add_gateway(parser)


def run(arguments: Namespace) -> int:
    """Ask for it; return 0 when the new configuration is in force, else 1."""
    reply = ask(arguments, "POST", "/api/v1/reload")
    if reply is None:
        return 1
    if reply.status == 200:
        workers = reply.body["workers"]
        print(f"plan {reply.body['plan']} is in force in {workers} worker{'' if workers == 1 else 's'}")
        return 0
    if "problems" not in reply.body:
        print(refusal(reply), file=sys.stderr)
        return 1
    print("\n".join(reply.body.get("problems", ())), file=sys.stderr)
    print("Nothing changed: the configuration before stays in force.", file=sys.stderr)
    return 1
