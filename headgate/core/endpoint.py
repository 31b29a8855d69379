"""One address of a service."""

from __future__ import annotations

from typing import Literal, NamedTuple

DEFAULT_PORTS = {"http": 80, "https": 443}


class Endpoint(NamedTuple):
    """Where to connect: `scheme` http or https; `host`/`port`, or `unix` path; `prefix` is put before paths."""

    name: str
    scheme: Literal["http", "https"]
    host: str
    port: int
    unix: str = ""
    prefix: str = ""
    weight: int = 1
    zone: str = ""

    @property
    def url(self) -> str:
        """Return it as a configuration writes it; a port that the scheme implies is left out."""
        return f"unix:{self.unix}" if self.unix else f"{self.scheme}://{self.authority}{self.prefix}"

    @property
    def authority(self) -> str:
        """Return what Host says of it; a port that the scheme implies is left out."""
        return f"{self.host}:{self.port}" if self.port != DEFAULT_PORTS[self.scheme] else self.host
