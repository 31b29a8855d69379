"""Faults injected on purpose, to see how callers take them: the settings (the decisions follow)."""

from __future__ import annotations

from headgate.core.settings import Seconds, setting, settings


@settings
class FaultDelay:
    """Let a part of the requests wait before anything else is done with them."""

    seconds: Seconds = setting(help="How long.", gt=0, le=300)
    percent: float = setting(default=100.0, help="Of the requests.", gt=0, le=100)


@settings
class FaultAbort:
    """Answer a part of the requests with an error."""

    status: int = setting(default=503, help="The status.", ge=400, le=599)
    percent: float = setting(default=100.0, help="Of the requests.", gt=0, le=100)


@settings
class Fault:
    """Faults of a route."""

    delay: FaultDelay | None = setting(default=None, help="Let requests wait.")
    abort: FaultAbort | None = setting(default=None, help="Answer requests with an error.")
    header: str | None = setting(
        default=None, help="Only requests that have this header field, whatever its value; absent: all."
    )
