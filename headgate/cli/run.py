"""`headgate run`: start the gateway in the foreground."""

from __future__ import annotations

import json
from argparse import SUPPRESS
from pathlib import Path
from typing import TYPE_CHECKING

from headgate.cli.arguments import Namespace, Parser, add_configuration, port
from headgate.cli.sources import sources_of
from headgate.control.run import RunOptions
from headgate.control.run import run as run_gateway

if TYPE_CHECKING:
    from headgate.control.companion import Server


def add_arguments(parser: Parser) -> None:
    """Add the options."""
    add_configuration(parser)
    parser.add_argument(
        "--host", metavar="HOST", help="address that clients connect to, over the files' first `listen`"
    )
    parser.add_argument("--port", metavar="PORT", type=port, help="port that clients connect to, likewise")
    parser.add_argument("--workers", metavar="N", help="worker processes, or auto")
    parser.add_argument("--admin", metavar="HOST:PORT", help="address of metrics, health and reload")
    # For headgate.asgi: the workers are those of another server.
    parser.add_argument("--guests", nargs=4, metavar=("FOLDER", "PID", "LOCK", "SET"), help=SUPPRESS)
    parser.add_argument("--no-watch", action="store_true", help="do not reload when a file changes")


def run(arguments: Namespace) -> int:
    """Run the gateway until it is stopped; return its exit status."""
    sources = sources_of(arguments)
    if sources is None:
        return 1
    server, values = _server(*arguments.guests) if arguments.guests else (None, ())
    options = RunOptions(
        paths=tuple(sources.paths),
        overrides=(*arguments.set, *values),
        layers=sources.presets,
        dotenv=sources.dotenv,
        host=arguments.host,
        port=arguments.port,
        workers=arguments.workers,
        admin=arguments.admin,
        watch=not arguments.no_watch,
        guests=server,
    )
    return run_gateway(options)


def _server(folder: str, pid: str, lock: str, values: str) -> tuple[Server, tuple[str, ...]]:
    """Return whose companion to be, and what it sets: texts of --set, in the file of a descriptor."""
    from headgate.control.companion import Server

    with open(int(values), "rb") as said:  # noqa: PTH123
        said.seek(0)
        return Server(Path(folder), int(pid), int(lock)), tuple(json.load(said))
