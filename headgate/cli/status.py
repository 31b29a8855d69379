"""`headgate status`: how a running gateway is."""

from __future__ import annotations

import json
import time
from typing import Any

from headgate.cli.admin import add_gateway, look
from headgate.cli.arguments import Namespace, Parser, add_json
from headgate.cli.breaker import breakers_table
from headgate.cli.endpoint import endpoints_table
from headgate.cli.terminal import bold, pairs, span, table


def add_arguments(parser: Parser) -> None:
    """Add the options."""
    add_gateway(parser)
    add_json(parser)


def run(arguments: Namespace) -> int:
    """Print it; return 0 when the gateway is healthy, else 1. An open breaker or an endpoint out is no ill health."""
    shown: dict[str, Any] = {}
    for path in ("/api/v1/status", "/api/v1/circuit-breakers", "/api/v1/endpoints"):
        found = look(arguments, path)
        if found is None:
            return 1
        shown |= {"breakers": found} if path.endswith("breakers") else found
    print(json.dumps(shown, indent=2) if arguments.json else text(shown))
    return 0 if shown["status"] == "healthy" else 1


def text(shown: dict[str, Any]) -> str:
    """Write the state for people: of breakers and endpoints only what is not as it should be."""
    draining = ", draining" if shown["draining"] else ""
    rows = [
        [str(worker["worker"]), str(worker["pid"]), span(worker["uptime"]), "yes" if worker["alive"] else "NO"]
        for worker in shown["workers"]
    ]
    counts = shown["counts"]
    facts = [
        ("Version", shown["version"]),
        ("Up", span(shown["uptime"])),
        ("Listens on", ", ".join(shown["listeners"]) or "nothing"),
        ("Services", f"{counts['services']}, with {_states(counts['endpoints']) or 'no'} endpoints"),
        ("Routes", str(counts["routes"])),
        ("Breakers", _states(counts["breakers"]) or "none"),
        ("Limits", str(counts["limits"]) if counts["limits"] else "none"),
        ("Last reload", _reload(shown["reload"])),
    ]
    parts = [
        f"{bold(shown['status'])}, plan {shown['plan']}{draining}",
        pairs(facts, indent=""),
        table(("WORKER", "PID", "UP", "ALIVE"), rows),
    ]
    breakers = {
        service: record
        for service, record in shown["breakers"].items()
        if record["state"] != "closed" or record["forced"]
    }
    if breakers:
        parts.append(f"Breakers that are not closed, or held by hand\n{breakers_table(breakers.items())}")
    out = [each for each in shown["endpoints"] if each["state"] != "healthy"]
    if out:
        parts.append(f"Endpoints that are out\n{endpoints_table(out)}")
    return "\n\n".join(parts)


def _states(counts: dict[str, int]) -> str:
    return ", ".join(f"{count} {state.replace('_', '-')}" for state, count in counts.items() if count)


def _reload(reload: dict[str, Any] | None) -> str:
    if reload is None:
        return "unknown"
    ago = span(max(0.0, time.time() - reload["at"]))
    done = "" if reload["ok"] else "; REFUSED: " + "; ".join(reload["problems"])
    return f"{ago} ago by {reload['by']} ({reload['cause']}){done}"
