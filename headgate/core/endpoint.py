"""One address of a service."""

from __future__ import annotations

from typing import Literal, NamedTuple


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
