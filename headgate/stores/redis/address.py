"""Where a Redis server is and who we are there: redis://USER:PASSWORD@HOST:PORT/DATABASE, rediss:// for TLS.

The form is that of the registered URI scheme (iana.org, "redis"); user and password may be percent-encoded.
"""

from __future__ import annotations

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
        ValueError: with a sentence that does not repeat what may be a password.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("the port is no number between 1 and 65535") from None
    if parts.scheme not in ("redis", "rediss"):
        raise ValueError("the URL must begin with redis:// or rediss://")
    if not parts.hostname or port == 0:
        raise ValueError("the URL names no host")
    database = parts.path.strip("/")
    if database and not (database.isascii() and database.isdigit()):
        raise ValueError("what follows the host is no number of a database")
    if parts.query or parts.fragment:
        raise ValueError("nothing may follow the number of the database")
    return Server(
        parts.hostname,
        PORT if port is None else port,
        unquote(parts.username or "") or username,
        unquote(parts.password or "") or password,
        int(database or 0),
        parts.scheme == "rediss",
    )
