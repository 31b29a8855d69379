"""Settings of the stores that limits are counted in."""

from __future__ import annotations

from typing import Annotated, Literal

from headgate.core.settings import Bytes, OneOrMany, Seconds, setting, settings


@settings
class MemoryStoreSettings:
    """Count in each worker by itself; each enforces its share of a limit."""

    type: Literal["memory"] = setting(default="memory", help="In each worker by itself, each its share of a limit.")
    max_keys: int = setting(default=1_000_000, help="Keys held in one worker.", ge=1000, le=100_000_000)


@settings
class SharedStoreSettings:
    """Count in memory that all workers of the gateway share: exact, without a server (LMDB)."""

    type: Literal["shared"] = setting(default="shared", help="In memory that all workers share; exact.")
    path: str | None = setting(
        default=None,
        help="Folder for the file, made anew at each start; by default in shared memory or a temporary one.",
    )
    size: Bytes = setting(
        default=64 * 1024 * 1024,
        help="Bytes set aside at the start, about 100 for each key; when they are full the keys nearest to expiry go.",
        ge=1 << 20,
        le=1 << 40,
    )


@settings
class RedisTls:
    """TLS towards Redis."""

    verify: bool = setting(default=True, help="Check the certificate and its name.")
    ca: str | None = setting(default=None, help="PEM file of authorities in place of the system's.")
    cert: str | None = setting(default=None, help="PEM file of our client certificate.")
    key: str | None = setting(default=None, help="PEM file of its key.")


@settings
class RedisStoreSettings:
    """Count in Redis or Valkey, shared by several gateways."""

    type: Literal["redis"] = setting(default="redis", help="In Redis or Valkey, shared by several gateways.")
    url: Annotated[list[str], OneOrMany()] = setting(
        default=lambda: ["redis://127.0.0.1:6379/0"],
        help="redis://USER:PASSWORD@HOST:PORT/DATABASE, rediss:// for TLS; several for cluster or sentinel nodes.",
        secret=True,
    )
    mode: Literal["single", "sentinel", "cluster"] = setting(default="single", help="How the servers are arranged.")
    sentinel_master: str = setting(default="mymaster", help="Name of the master the sentinels watch.")
    sentinel_username: str = setting(default="", help="User at the sentinels, if they want one.")
    sentinel_password: str = setting(default="", help="Password at the sentinels.", secret=True)
    username: str = setting(default="", help="ACL user, where the URL has none.")
    password: str = setting(default="", help="Password, where the URL has none.", secret=True)
    tls: RedisTls = setting(default=RedisTls, help="TLS, for rediss:// URLs.")
    prefix: str = setting(default="headgate:", help="What every key begins with.", max_length=100)
    timeout: Seconds = setting(
        default=0.05, help="Seconds a request waits for the store; then `on_error` of the limit decides.", gt=0, le=10
    )
    connect_timeout: Seconds = setting(default=1.0, help="Seconds to connect.", gt=0, le=60)
    gateways: int = setting(
        default=1, help="How many gateways share it: divides a limit among them while it is away.", ge=1, le=10_000
    )
    path: str | None = setting(
        default=None,
        help="Folder for the file that the workers count in while it is away; by default as with the type shared.",
    )
    size: Bytes = setting(
        default=16 * 1024 * 1024,
        help="Bytes of that file, set aside at the start; 0: none, and each worker counts by itself, its share.",
        ge=0,
        le=1 << 40,
    )

    @property
    def counts_together(self) -> bool:
        """Whether workers have been given a file to count in while it is away."""
        return self.path is not None and self.size > 0
