"""Where cached answers are kept: the settings of each kind."""

from __future__ import annotations

from typing import Literal

from headgate.core.settings import Bytes, Seconds, setting, settings


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


@settings
class RedisCacheSettings:
    """Redis or Valkey, shared by several machines."""

    type: Literal["redis"] = setting(default="redis", help="In Redis or Valkey.")
    url: str = setting(help="redis://[USER:PASSWORD@]HOST:PORT[/DB], rediss:// for TLS.", secret=True)
    prefix: str = setting(default="headgate:cache:", help="Put before all keys.", max_length=100)
    timeout: Seconds = setting(
        default=0.1, help="Seconds for one answer; without one the service is asked.", gt=0, le=10
    )
