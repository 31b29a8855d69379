"""Which ends of a call count against a service, by the `failures` of its breaker.

Laws: an answer is a success unless its status is listed. A failure of the upstream's side that is not listed decides
nothing: it is no proof of health. What the client or the gateway itself did never counts.
"""

from __future__ import annotations

from collections.abc import Iterable

from headgate.policy.breaker import EXCLUDED, FAILED, OK
from headgate.policy.breaker_settings import Outcomes

_REASONS: dict[str, tuple[str, ...]] = {
    "connect": ("connect_refused", "connect_timeout", "dns", "tls"),
    "timeout": ("connect_timeout", "response_timeout", "idle_timeout", "total_timeout"),
    "protocol": ("upstream_reset", "upstream_protocol"),
    "5xx": (),
}


class Counting:
    """What counts as a failure, looked up in a set."""

    __slots__ = ("_reasons", "_statuses")

    def __init__(self, failures: Iterable[Outcomes]) -> None:
        listed = list(failures)
        named = [each for each in listed if isinstance(each, str)]
        self._reasons = frozenset(reason for name in named for reason in _REASONS[name])
        classes = range(500, 600) if "5xx" in named else ()
        self._statuses = frozenset([*classes, *(each for each in listed if isinstance(each, int))])

    def of_status(self, status: int) -> int:
        """Return how a call ended whose answer has this status: OK or FAILED."""
        return FAILED if status in self._statuses else OK

    def of_reason(self, reason: str) -> int:
        """Return how a call ended that failed, `reason` being a key of REASONS: FAILED or EXCLUDED."""
        return FAILED if reason in self._reasons else EXCLUDED
