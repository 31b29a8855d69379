"""Where cached answers are kept: the settings of each kind."""

from __future__ import annotations

from typing import Final, Literal

from headgate.core.settings import Bytes, Seconds, setting, settings
from headgate.stores.settings import RedisTls


@settings
class MemoryCacheSettings:
    """One memory shared by the workers of this machine."""

    type: Literal["memory"] = setting(default="memory", help="In the memory of this machine.")
    path: str | None = setting(
        default=None,
        help="Folder for the file, made anew at each start; by default in shared memory or a temporary one.",
    )
    size: Bytes = setting(
        default=256 * 1024 * 1024,
        help="Bytes set aside at the start for entries and what finds them; the least useful entries make room.",
        ge=1 << 20,
        le=1 << 40,
    )


MOST_IN_REDIS: Final = 4 << 20
"""Bytes of an entry: what a server holds up all others for is no more than that."""


@settings
class RedisCacheSettings:
    """Redis or Valkey, shared by several gateways. Bodies of more than 4 MiB are not kept there."""

    type: Literal["redis"] = setting(default="redis", help="In Redis or Valkey, shared by several gateways.")
    url: str = setting(
        default="redis://127.0.0.1:6379/0",
        help="redis://USER:PASSWORD@HOST:PORT/DATABASE, rediss:// for TLS. One that evicts keys is no harm.",
        secret=True,
    )
    username: str = setting(default="", help="ACL user, where the URL has none.")
    password: str = setting(default="", help="Password, where the URL has none.", secret=True)
    tls: RedisTls = setting(default=RedisTls, help="TLS, for rediss:// URLs.")
    prefix: str = setting(default="headgate:cache:", help="What every key begins with.", max_length=100)
    timeout: Seconds = setting(
        default=0.1, help="Seconds a request waits for the store; then the service is asked.", gt=0, le=10
    )
    connect_timeout: Seconds = setting(default=1.0, help="Seconds to connect.", gt=0, le=60)
