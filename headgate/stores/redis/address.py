"""Where a Redis server is and who we are there: redis://USER:PASSWORD@HOST:PORT/DATABASE, rediss:// for TLS.

The form is that of the registered URI scheme (iana.org, "redis"); user and password may be percent-encoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from urllib.parse import unquote, urlsplit

PORT = 6379


class Server(NamedTuple):
    """One server. Empty names and passwords are not sent."""

    host: str
    port: int
    username: str = ""
    password: str = ""
    database: int = 0
    tls: bool = False

    @property
    def name(self) -> str:
        """Return host and port, without who we are there: for logs."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def at(self, host: str, port: int) -> Server:
        """Return the same with another address."""
        return self._replace(host=host, port=port)

    def __repr__(self) -> str:
        return f"<Server {self.name}>"


def parse(url: str, username: str = "", password: str = "") -> Server:
    """Read a URL; `username` and `password` stand in where it has none.

    Raises:
        ValueError: with a sentence that does not repeat the URL, which may hold a password.
    """
    parts = urlsplit(url)
    if parts.scheme not in ("redis", "rediss"):
        raise ValueError("a Redis URL begins with redis:// or rediss://")
    try:
        port = parts.port
    except ValueError:
        raise ValueError("the port of a Redis URL is a number up to 65535") from None
    if not parts.hostname:
        raise ValueError("a Redis URL names a host: redis://HOST:PORT/DATABASE")
    database = parts.path.strip("/")
    if database and not (database.isascii() and database.isdigit()):
        raise ValueError("the path of a Redis URL is the number of a database")
    if parts.query or parts.fragment:
        raise ValueError("a Redis URL ends with the number of the database")
    return Server(
        parts.hostname,
        PORT if port is None else port,
        unquote(parts.username or "") or username,
        unquote(parts.password or "") or password,
        int(database or 0),
        parts.scheme == "rediss",
    )


def parse_all(urls: Sequence[str], username: str = "", password: str = "") -> list[Server]:
    """Read several URLs.

    Raises:
        ValueError: for the first that is wrong, or when there is none.
    """
    if not urls:
        raise ValueError("at least one Redis URL is needed")
    return [parse(url, username, password) for url in urls]


def server_names(servers: Sequence[Server]) -> str:
    """Return the names of servers in a row."""
    return ", ".join(server.name for server in servers)
