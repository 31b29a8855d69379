"""`headgate status`: how a running gateway is."""

from __future__ import annotations

import json
from typing import Any

from headgate.cli.admin import add_address, ask
from headgate.cli.arguments import Namespace, Parser, add_json
from headgate.cli.terminal import bold, table


def add_arguments(parser: Parser) -> None:
    """Add the options."""
    add_address(parser)
    add_json(parser)


def run(arguments: Namespace) -> int:
    """Print it; return 0 when the gateway is healthy, else 1."""
    reply = ask(arguments, "GET", "/health")
    if reply is None:
        return 1
    print(json.dumps(reply.body, indent=2) if arguments.json else text(reply.body))
    return 0 if reply.body.get("status") == "healthy" else 1


def text(shown: dict[str, Any]) -> str:
    """Write the state for people."""
    draining = ", draining" if shown["draining"] else ""
    rows = [
        [str(worker["worker"]), str(worker["pid"]), _duration(worker["uptime"]), "yes" if worker["alive"] else "NO"]
        for worker in shown["workers"]
    ]
    return f"{bold(shown['status'])}, plan {shown['plan']}{draining}\n\n" + table(
        ("WORKER", "PID", "UP", "ALIVE"), rows
    )


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
