"""The admin address of a running gateway, asked from the command line."""

from __future__ import annotations

import http.client
import json
import os
import socket
import sys
from typing import Any, NamedTuple

from headgate.cli.arguments import Namespace, Parser

DEFAULT_ADDRESS = "127.0.0.1:8081"
TOKEN_VARIABLE = "HEADGATE_ADMIN_TOKEN"
_TIMEOUT = 30.0


class Reply(NamedTuple):
    """What the gateway answered."""

    status: int
    body: Any


class _UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=_TIMEOUT)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket in place of a port."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def add_address(parser: Parser) -> None:
    """Add --admin."""
    parser.add_argument(
        "--admin",
        metavar="ADDRESS",
        default=DEFAULT_ADDRESS,
        help=f"admin.address of the gateway, HOST:PORT or unix:/path ({DEFAULT_ADDRESS}); "
        f"its admin.token, if it has one, is read from the variable {TOKEN_VARIABLE}",
    )


def ask(arguments: Namespace, method: str, path: str, body: object = None) -> Reply | None:
    """Send one request, with `body` as JSON; None when there is no gateway to answer, which has been said."""
    address = arguments.admin or DEFAULT_ADDRESS
    token = os.environ.get(TOKEN_VARIABLE, "")
    try:
        connection = _connect(address)
        payload = None if body is None else json.dumps(body)
        connection.request(method, path, payload, headers={"Authorization": f"Bearer {token}"} if token else {})
        response = connection.getresponse()
        reply = Reply(response.status, json.loads(response.read()))
        connection.close()
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        print(
            f"No gateway answers at {address}: {reason}. Is it running? Is this its admin.address (see --admin)?",
            file=sys.stderr,
        )
        return None
    return reply


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
    variable = f" (here: the variable {TOKEN_VARIABLE})" if reply.status in (401, 403) else ""
    print(f"{reply.body.get('error')}{variable}", file=sys.stderr)


def _connect(address: str) -> http.client.HTTPConnection:
    if address.startswith("unix:"):
        return _UnixConnection(address.removeprefix("unix:"))
    return http.client.HTTPConnection(address, timeout=_TIMEOUT)
