"""Command lines in words: a parser whose errors are sentences, and the options that several commands share."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from headgate.core.settings import parse_duration

DEFAULT_FILE = "headgate.yaml"
USAGE_ERROR = 2
# What argparse says of a command without its action.
_NO_ACTION = "the following arguments are required: ACTION"


class Namespace(argparse.Namespace):
    """The options of a command, typed where they are read."""

    config: list[Path]
    preset: str | None
    env: bool
    set: list[str]
    json: bool
    explain: bool
    method: str | None
    path: str | None
    header: list[tuple[str, str]]
    host: str | None
    address: str | None
    port: int | None
    workers: str | None
    admin: str | None
    admin_port: int
    action: str
    service: str | None
    endpoint: str | None
    limit: str | None
    limit_scope: str | None
    counted: list[tuple[str, str]]
    request: str | None
    url: str | None
    prefix: str | None
    tag: str | None
    token: str | None
    no_watch: bool
    guests: list[str] | None
    ids: list[str]
    id: str
    all: bool
    name: str
    owner: str
    tenant: str
    role: list[str]
    tier: str
    scope: list[str]
    networks: list[str]
    expires: float | None
    grace: float
    secret: str | None
    key: Path | None
    algorithm: str | None
    issuer: str | None
    sub: str
    audience: str | None
    claim: list[tuple[str, object]]
    password: bool
    once: bool
    every: float


class Parser(argparse.ArgumentParser):
    """argparse without abbreviations, whose errors are one sentence and a hint."""

    def __init__(self, *, prog: str, description: str, usage: str | None = None) -> None:
        super().__init__(
            prog=prog,
            usage=usage,
            description=description,
            allow_abbrev=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def parse_args(self, args: Sequence[str] | None = None, namespace: Namespace | None = None) -> Namespace:  # type: ignore[override]
        """Parse, or leave with exit status 2 and a sentence."""
        parsed, unknown = self.parse_known_args(args, namespace or Namespace())
        if unknown:
            parser = next((each[parsed.action] for each in self._below() if parsed.action in each), self)
            known = [option for action in parser._actions for option in action.option_strings]
            word = unknown[0].partition("=")[0]
            what = "option" if word.startswith("-") else "argument"
            parser.error(f'there is no {what} "{word}" here{closest(word, known)}')
        return parsed

    def _below(self) -> Iterator[dict[str, Parser]]:
        """Yield the parsers of a command's actions, such as `headgate keys list`, by their names."""
        yield from (action.choices for action in self._actions if isinstance(action, argparse._SubParsersAction))

    def _check_value(self, action: argparse.Action, value: object) -> None:
        if isinstance(action, argparse._SubParsersAction) and value not in action.choices:
            known = list(action.choices)
            hint = closest(str(value), known) or f": {', '.join(known)}"
            self.error(f'there is no action "{value}"{hint}')
        super()._check_value(action, value)

    def error(self, message: str) -> NoReturn:
        """Leave with exit status 2 and a sentence."""
        if message.startswith(_NO_ACTION):
            action = next(each for each in self._actions if each.metavar == "ACTION")
            known = action.type.words if isinstance(action.type, OneOf) else action.choices or ()
            message = f"an action is missing: {', '.join(known)}"
        self.exit(self.fail(message))

    def fail(self, message: str) -> int:
        """Write a sentence and where to read more; return the exit status of a wrong command line."""
        print(f"{self.prog}: {message}\nSee `{self.prog} --help`.", file=sys.stderr)
        return USAGE_ERROR


def closest(word: str, known: Iterable[str]) -> str:
    """Return `; did you mean "x"?` for the nearest known word, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f'; did you mean "{near[0]}"?' if near else ""


def add_configuration(parser: Parser, *flags: str, help_: str = "") -> None:
    """Add CONFIG..., as arguments or behind `flags`, --preset and --set."""
    help_ = help_ or f"files, or folders of files, merged in this order; {DEFAULT_FILE} if none is named"
    if flags:
        parser.add_argument(
            *flags, dest="config", metavar="CONFIG", type=Path, action="append", default=[], help=f"{help_}; repeatable"
        )
    else:
        parser.add_argument("config", metavar="CONFIG", type=Path, nargs="*", help=help_)
    parser.add_argument(
        "--preset",
        metavar="NAME",
        help="configuration that comes with the package, below the files (`headgate preset list`); by default that of"
        " the variable HEADGATE_PRESET",
    )
    parser.add_argument(
        "--set",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="set one value over the files, such as services.chat.timeout.connect=5; repeatable",
    )


def add_json(parser: Parser) -> None:
    """Add --json."""
    parser.add_argument("--json", action="store_true", help="write JSON, for programs")


def duration(text: str) -> float:
    """Read seconds, as settings do."""
    try:
        return float(parse_duration(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


@dataclass(frozen=True)
class OneOf:
    """Reads one of these words; `what` is the noun for them. A shell offers them (cli.completion)."""

    what: str
    words: tuple[str, ...]

    def __call__(self, text: str) -> str:
        """Return the word; raise argparse.ArgumentTypeError if it is none of them."""
        if text in self.words:
            return text
        known = closest(text, self.words) or ": " + ", ".join(self.words)
        raise argparse.ArgumentTypeError(f'there is no {self.what} "{text}"{known}')


def port(text: str) -> int:
    """Read a TCP port.

    Raises:
        argparse.ArgumentTypeError: if it is none.
    """
    if text.isascii() and text.isdigit() and 0 <= int(text) <= 65535:
        return int(text)
    raise argparse.ArgumentTypeError(f'expected a port from 0 to 65535, got "{text}"')
