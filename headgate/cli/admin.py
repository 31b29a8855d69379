"""The admin address of a running gateway, asked from the command line by the client (headgate.client)."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from headgate.cli.arguments import Namespace, Parser, add_configuration
from headgate.cli.terminal import wants_colour
from headgate.config.admin_settings import TOKEN_VARIABLE

if TYPE_CHECKING:
    from headgate.client import Client

_NOBODY = "No gateway answers at"
_HERE = "Is this its admin.address?"


class Missing(Exception):
    """What was asked for cannot be had; the sentence says why."""


class Reply(NamedTuple):
    """What the gateway answered."""

    status: int
    body: Any


def add_gateway(parser: Parser) -> None:
    """Add --admin, and -c with --set."""
    add_address(parser)
    add_configuration(
        parser, "-c", "--config", help_="configuration of the gateway, where its address, token or state_dir stands"
    )


def add_address(parser: Parser) -> None:
    """Add --admin."""
    parser.add_argument(
        "--admin",
        metavar="ADDRESS",
        help=f"admin.address of the gateway, HOST:PORT or unix:/path; by default that of -c, else HEADGATE_ADMIN, else "
        f"127.0.0.1:8081. The token is admin.token of -c, else that of the variable {TOKEN_VARIABLE}, else of the file "
        "that the gateway made in its state_dir",
    )


def client_of(arguments: Namespace) -> Client:
    """Make the client of the gateway that the command line means.

    No configuration is read that nobody named: whoever put it into this folder would be told the token.

    Raises:
        Missing: the configuration that was named does not load.
        ValueError: with a sentence, when the token cannot be read.
    """
    # With it comes the library for HTTP.
    from headgate.client import Client, find_token

    if not arguments.config and not arguments.set and not arguments.preset:
        return Client(arguments.admin)
    from headgate.cli.configuration import load_named
    from headgate.config.problems import render

    loaded = load_named(arguments)
    if loaded is None:
        raise Missing("There is no such configuration.")
    if loaded.config is None:
        raise Missing(render(loaded.problems, colour=wants_colour(sys.stderr)))
    config = loaded.config
    token = config.admin.token or find_token(os.environ, config.state_dir)
    return Client(arguments.admin or config.admin.address, token)


def asked(client: Client, method: str, path: str, body: object = None) -> Reply:
    """Send one request, with `body` as JSON.

    Raises:
        Missing: there is no gateway to answer.
    """
    from headgate.client import Unreachable

    try:
        answer = client.ask(method, path, body)
        return Reply(answer.status_code, answer.json())
    except Unreachable as error:
        raise Missing(f"{error}. Is it running? Is this its admin.address (see --admin and -c)?") from None
    except ValueError:
        raise Missing(f"{_NOBODY} {client.address}: it does not speak JSON. {_HERE}") from None


def ask(arguments: Namespace, method: str, path: str, body: object = None) -> Reply | None:
    """Send one request to the gateway of --admin; None when there is none to answer, which has been said."""
    try:
        with client_of(arguments) as client:
            return asked(client, method, path, body)
    except (Missing, ValueError) as error:
        print(error, file=sys.stderr)
    return None


def look(arguments: Namespace, path: str) -> Any | None:
    """Return what the gateway shows there; None when it does not, which has been said."""
    return _done(ask(arguments, "GET", path))


def tell(arguments: Namespace, path: str, body: object = None) -> Any | None:
    """Have the gateway do something; return what it answered, None when it did not do it, which has been said."""
    return _done(ask(arguments, "POST", path, body))


def refusal(reply: Reply) -> str:
    """Say why the gateway did not do it."""
    places = f" (here: the variable {TOKEN_VARIABLE}, or admin.token in the state_dir; or -c CONFIG, which says either)"
    variable = places if reply.status == 401 else ""
    told = reply.body.get("error") if isinstance(reply.body, dict) else None
    return f"{told or f'status {reply.status}'}{variable}"


def _done(reply: Reply | None) -> Any | None:
    if reply is None or reply.status == 200:
        return reply and reply.body
    print(refusal(reply), file=sys.stderr)
    return None
