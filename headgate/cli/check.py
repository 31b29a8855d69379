"""`headgate check`: is this configuration one that `headgate run` would take?"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from headgate.cli.arguments import Namespace, Parser, add_configuration, add_json
from headgate.cli.configuration import load_named, say
from headgate.cli.terminal import dim
from headgate.config.loader import LoadResult
from headgate.config.problems import to_json


def add_arguments(parser: Parser) -> None:
    """Add the options."""
    add_configuration(parser)
    parser.add_argument(
        "--explain",
        action="store_true",
        help="print what the files and options together say, and where each value stands",
    )
    add_json(parser)


def run(arguments: Namespace) -> int:
    """Print what is wrong; return 0 when nothing is but for warnings, else 1."""
    result = load_named(arguments)
    if result is None:
        return 1
    if arguments.json:
        print(json.dumps(_plain(result, explain=arguments.explain), indent=2))
        return 1 if result.problems else 0
    say([*result.problems, *result.notices])
    if result.config is None:
        print(f"{_count(result.problems, 'error')}, {_count(result.notices, 'warning')}: not usable")
        return 1
    if arguments.explain:
        print(merged(result))
    routes, services = result.config.routes, result.config.services
    cached = sum(route.cache is not None for route in routes)
    shown = f"{_count(routes, 'route')}{f' ({cached} cached)' if cached else ''}"
    print(f"ok: {_count(services, 'service')}, {shown}, {_count(result.notices, 'warning')}")
    return 0


def _count(things: Sequence[Any], noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def _plain(result: LoadResult, *, explain: bool) -> dict[str, Any]:
    plain: dict[str, Any] = {
        "ok": not result.problems,
        "files": [str(file) for file in result.files],
        "problems": to_json([*result.problems, *result.notices]),
    }
    if explain:
        plain["values"] = [
            {"path": path, "value": value, "from": str(origin)} for path, value, origin in result.origins.written()
        ]
    return plain


def merged(result: LoadResult) -> str:
    """Write every value that was written, its key as errors print it, and the place it comes from.

    Secrets are masked and variables keep their names, so it may be shown to others.
    """
    # What is declared is long, and read by whoever wants it after what is in force.
    values = sorted(result.origins.written(), key=lambda written: written.path.startswith(("env.", "env[")))
    rows = [(f"{path}: {value}", str(origin)) for path, value, origin in values]
    width = min(max((len(text) for text, _ in rows), default=0), 80)
    return "\n".join(f"{text:<{width}}  {dim(f'# {origin}')}" for text, origin in rows)
