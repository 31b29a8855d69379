"""`headgate run`: start the gateway in the foreground."""

from __future__ import annotations

from headgate.cli.arguments import Namespace, Parser, add_configuration, paths_of, port
from headgate.control.run import RunOptions
from headgate.control.run import run as run_gateway


def add_arguments(parser: Parser) -> None:
    """Add the options."""
    add_configuration(parser)
    parser.add_argument(
        "--host", metavar="HOST", help="address that clients connect to, over the files' first `listen`"
    )
    parser.add_argument("--port", metavar="PORT", type=port, help="port that clients connect to, likewise")
    parser.add_argument("--workers", metavar="N", help="worker processes, or auto")
    parser.add_argument("--admin", metavar="HOST:PORT", help="address of metrics, health and reload")
    parser.add_argument("--no-watch", action="store_true", help="do not reload when a file changes")


def run(arguments: Namespace) -> int:
    """Run the gateway until it is stopped; return its exit status."""
    paths = paths_of(arguments)
    if not paths:
        return 1
    options = RunOptions(
        paths=tuple(paths),
        overrides=tuple(arguments.set),
        host=arguments.host,
        port=arguments.port,
        workers=arguments.workers,
        admin=arguments.admin,
        watch=not arguments.no_watch,
    )
    return run_gateway(options)
