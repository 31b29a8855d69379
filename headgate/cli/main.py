"""The command `headgate`: which commands there are, and which module each one is.

Law: this module imports nothing but the standard library's parser, and only the chosen command is imported. So
`headgate --help` answers at once, and `headgate run` becomes a small master.

Exit status of every command: 0 it went well, 1 the configuration or the start did not, 2 the command line is wrong.
A command is a module of this package with `SUMMARY`-worthy docstring, `add_arguments(parser)` and `run(arguments)`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Protocol

from headgate import __version__
from headgate.cli.arguments import Namespace, Parser, closest

COMMANDS = {
    "run": "start the gateway",
    "demo": "start sample services and a gateway before them, and say what to try",
    "preset": "list the configurations that come with the package, or print one",
    "check": "check a configuration without starting anything",
    "routes": "list own endpoints and routes in the order in which they are tried",
    "explain": "say what would happen to a request, and why",
    "token": "make a signed token for trying things out",
    "schema": "print the JSON Schema of the configuration",
    "status": "show how a running gateway is",
    "top": "watch the services of a running gateway in a terminal",
    "reload": "let a running gateway load its configuration anew",
    "breaker": "show the circuit breakers of a running gateway, reset them, or force them",
    "endpoint": "show the endpoints of a running gateway, take one out, or put it back",
    "limits": "show the rate limits of a running gateway, or begin afresh with the counts of one caller",
    "cache": "show what the cache of a running gateway holds and answers, or purge from it",
    "keys": "make, list, revoke and rotate API keys",
    "completion": "print what a shell needs to complete all of this",
}


class Command(Protocol):
    """What a command's module has."""

    def add_arguments(self, parser: Parser) -> None:
        """Add its options."""

    def run(self, arguments: Namespace) -> int:
        """Do it and return the exit status."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        status = _main(words)
        sys.stdout.flush()
    except BrokenPipeError:
        # `headgate routes | head`: the reader has enough, which is no error; and Python must not try to flush again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        from headgate.core.trace import places_of

        print(f"headgate: internal error, please report it\n{places_of(error)}", file=sys.stderr)
        return 70
    return status


def _main(words: list[str]) -> int:
    if words and words[0] in COMMANDS:
        name = words[0]
        command: Command = import_module(f"headgate.cli.{name}")
        parser = Parser(prog=f"headgate {name}", description=_sentence(COMMANDS[name]))
        command.add_arguments(parser)
        return command.run(parser.parse_args(words[1:], namespace=Namespace()))
    parser = Parser(prog="headgate", usage="headgate COMMAND [ARGUMENTS]", description=_overview())
    parser.add_argument("--version", action="version", version=f"headgate {__version__}")
    if not words:
        parser.print_help()
        return 2
    if words[0].startswith("-"):
        parser.parse_args(words[:1])
        return 2
    return parser.fail(f'there is no command "{words[0]}"{closest(words[0], COMMANDS)}')


def _sentence(summary: str) -> str:
    return f"{summary[:1].upper()}{summary[1:]}."


def _overview() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:<{width}}{summary}" for name, summary in COMMANDS.items()]
    return "\n".join(
        [
            "An API gateway for AI microservices.",
            "",
            "commands:",
            *lines,
            "",
            "`headgate COMMAND --help` says more of one. Try `headgate demo` first.",
        ]
    )
