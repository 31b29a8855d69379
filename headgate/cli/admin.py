"""The admin address of a running gateway, asked from the command line by the client (headgate.client)."""

from __future__ import annotations

import os
import sys
from typing import Any, NamedTuple

from headgate.cli.arguments import Namespace, Parser

DEFAULT_ADDRESS = os.environ.get("HEADGATE_ADMIN") or "127.0.0.1:8081"
TOKEN_VARIABLE = "HEADGATE_ADMIN_TOKEN"


class Reply(NamedTuple):
    """What the gateway answered."""

    status: int
    body: Any


def add_address(parser: Parser) -> None:
    """Add --admin."""
    parser.add_argument(
        "--admin",
        metavar="ADDRESS",
        default=DEFAULT_ADDRESS,
        help=f"admin.address of the gateway, HOST:PORT or unix:/path (HEADGATE_ADMIN, else 127.0.0.1:8081); the token "
        f"is that of the variable {TOKEN_VARIABLE}, else of the file that the gateway made in its state_dir",
    )


def ask(arguments: Namespace, method: str, path: str, body: object = None) -> Reply | None:
    """Send one request, with `body` as JSON; None when there is no gateway to answer, which has been said."""
    # With it comes the library for HTTP.
    from headgate.client import Client, Unreachable

    try:
        with Client(arguments.admin or DEFAULT_ADDRESS) as client:
            answer = client.ask(method, path, body)
            return Reply(answer.status_code, answer.json())
    except Unreachable as error:
        print(f"{error}. Is it running? Is this its admin.address (see --admin)?", file=sys.stderr)
    except ValueError as error:
        told = "it does not speak JSON" if type(error).__name__ == "JSONDecodeError" else str(error)
        print(f"No gateway answers at {arguments.admin}: {told}. Is this its admin.address?", file=sys.stderr)
    return None


def tell(arguments: Namespace, path: str, body: object = None) -> Any | None:
    """Have the gateway do something; return what it answered, None when it did not do it, which has been said."""
    reply = ask(arguments, "POST", path, body)
    if reply is None:
        return None
    if reply.status == 200:
        return reply.body
    say_refused(reply)
    return None


def say_refused(reply: Reply) -> None:
    """Print why the gateway did not do it."""
    variable = f" (here: the variable {TOKEN_VARIABLE}, or admin.token in the state_dir)" if reply.status == 401 else ""
    print(f"{reply.body.get('error')}{variable}", file=sys.stderr)
