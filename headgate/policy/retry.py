"""Whether another try is safe and worth it, decided from the Failure alone.

Law: a request that is not idempotent is never sent twice once a byte of it reached an upstream (RFC 9110
section 9.2.2), and nothing is tried again after a response head went out; the exchange guards the latter.
"""

from __future__ import annotations

from headgate.core.failure import Failure
from headgate.core.settings import setting, settings

# RFC 9110 section 9.2.2.
IDEMPOTENT = frozenset(("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"))

_BEFORE_SENDING = frozenset(("connect_refused", "connect_timeout", "dns", "tls", "upstream_reset"))


@settings
class RetrySettings:
    """How often a request is tried again."""

    attempts: int = setting(default=2, help="Tries besides the first; 0 = none.", ge=0, le=10)


class Retry:
    """Decide on another try after a Failure."""

    __slots__ = ("_attempts",)

    def __init__(self, settings: RetrySettings) -> None:
        self._attempts = settings.attempts

    def allows(self, failure: Failure, method: str, tries: int, *, replayable: bool) -> bool:
        """Tell whether try number `tries` + 1 may follow; `replayable`: the body sent so far is still held."""
        if tries > self._attempts or not replayable:
            return False
        if not failure.sent:
            return failure.reason in _BEFORE_SENDING
        # An idle connection that the upstream closed as we wrote: nobody answered, so an idempotent request may
        # go again; one that is not idempotent may have been acted upon.
        return failure.reused and failure.reason == "upstream_reset" and method in IDEMPOTENT
