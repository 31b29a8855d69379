"""The admin address of a running gateway, asked from the command line by the client (headgate.client)."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

from headgate.cli.arguments import Namespace, Parser

if TYPE_CHECKING:
    from headgate.client import Client

DEFAULT_ADDRESS = os.environ.get("HEADGATE_ADMIN") or "127.0.0.1:8081"
TOKEN_VARIABLE = "HEADGATE_ADMIN_TOKEN"


_NOBODY = "No gateway answers at"
_HERE = "Is this its admin.address?"


class Missing(Exception):
    """What was asked for cannot be had; the sentence says why."""


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


def address_of(arguments: Namespace) -> str:
    """Return where the gateway is asked."""
    return arguments.admin or DEFAULT_ADDRESS


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
        raise Missing(f"{error}. Is it running? Is this its admin.address (see --admin)?") from None
    except ValueError:
        raise Missing(f"{_NOBODY} {client.address}: it does not speak JSON. {_HERE}") from None


def ask(arguments: Namespace, method: str, path: str, body: object = None) -> Reply | None:
    """Send one request to the gateway of --admin; None when there is none to answer, which has been said."""
    # With it comes the library for HTTP.
    from headgate.client import Client

    try:
        with Client(address_of(arguments)) as client:
            return asked(client, method, path, body)
    except Missing as error:
        print(error, file=sys.stderr)
    except ValueError as error:
        print(f"{_NOBODY} {arguments.admin}: {error}. {_HERE}", file=sys.stderr)
    return None


def look(arguments: Namespace, path: str) -> Any | None:
    """Return what the gateway shows there; None when it does not, which has been said."""
    return _done(ask(arguments, "GET", path))


def tell(arguments: Namespace, path: str, body: object = None) -> Any | None:
    """Have the gateway do something; return what it answered, None when it did not do it, which has been said."""
    return _done(ask(arguments, "POST", path, body))


def refusal(reply: Reply) -> str:
    """Say why the gateway did not do it."""
    variable = f" (here: the variable {TOKEN_VARIABLE}, or admin.token in the state_dir)" if reply.status == 401 else ""
    told = reply.body.get("error") if isinstance(reply.body, dict) else None
    return f"{told or f'status {reply.status}'}{variable}"


def _done(reply: Reply | None) -> Any | None:
    if reply is None or reply.status == 200:
        return reply and reply.body
    print(refusal(reply), file=sys.stderr)
    return None
