"""Whether another try is safe and worth it, decided from the Failure, or the status, of the last one.

Laws:
- A request whose method may not be sent twice is never sent twice once a byte of it reached an upstream (RFC 9110
  section 9.2.2), and nothing is tried again after a response head went out; the exchange guards the latter.
- A connection that the upstream closed while it was idle is nobody's failure: the next try follows at once and is free.
- Tries that an upstream may have worked on are charged to the budget of their service, so that they cannot double an
  outage; those of which nothing arrived add no work anywhere, and are bounded by their number alone.
"""

from __future__ import annotations

import re

from headgate.core.failure import Failure
from headgate.core.http_date import parse_date
from headgate.policy.grpc import OCCASIONS
from headgate.policy.retry_settings import RetrySettings

# RFC 9110 section 9.2.2.
IDEMPOTENT = frozenset(("GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"))

_REASONS = {
    "connect": ("connect_refused", "connect_timeout", "dns", "tls"),
    "reset": ("upstream_reset",),
    "timeout": ("response_timeout", "idle_timeout"),
}
_SERVER_ERRORS = range(500, 600)
_SECONDS = re.compile(rb"[0-9]{1,10}")


class Retry:
    """Decide on another try. `tries` counts those made so far; a `draw` is a random number of [0, 1)."""

    __slots__ = (
        "_attempts",
        "_base",
        "_insists",
        "_longest",
        "_methods",
        "_patience",
        "_reasons",
        "buffer",
        "codes",
        "hedge_after",
        "minimum",
        "per_try_timeout",
        "share",
        "statuses",
    )

    def __init__(self, settings: RetrySettings) -> None:
        self._attempts = settings.attempts
        self._methods = frozenset(settings.methods)
        self._insists = settings.insist
        self._reasons = frozenset(reason for each in settings.on for reason in _REASONS.get(str(each), ()))
        numbers = {each for each in settings.on if isinstance(each, int)}
        if "5xx" in settings.on:
            numbers.update(_SERVER_ERRORS)
        # Statuses of answers that are not passed on while another try is allowed; empty for most routes.
        self.statuses = frozenset(numbers) if settings.attempts else frozenset()
        # As much for the codes of gRPC. To list one is the permission: all calls are a POST.
        codes = {OCCASIONS[each] for each in settings.on if isinstance(each, str) and each in OCCASIONS}
        self.codes = frozenset(codes) if settings.attempts else frozenset()
        self.per_try_timeout = settings.per_try_timeout
        self.buffer = settings.buffer
        self.hedge_after = settings.hedge.delay if settings.hedge is not None else 0.0
        self.share = settings.budget.percent / 100.0
        self.minimum = settings.budget.minimum
        self._base = settings.backoff.base
        self._longest = settings.backoff.max
        self._patience = settings.backoff.retry_after

    def allows(self, failure: Failure, method: str, tries: int, *, replayable: bool, elsewhere: bool = False) -> bool:
        """Tell whether another try may follow one that failed.

        `replayable`: all of the body that was sent is still held. `elsewhere`: there is an endpoint that was not tried
        yet. Whoever breaks a fresh connection instead of answering is not asked the same again, another one is; unless
        the settings insist.
        """
        if tries > self._attempts or not replayable or failure.reason not in self._reasons:
            return False
        if not failure.sent:
            return True
        if method not in self._methods:
            return False
        if failure.reason == "upstream_reset":
            return elsewhere or failure.reused or self._insists
        return failure.reason in _REASONS["timeout"]

    def allows_answered(self, method: str, tries: int, *, replayable: bool) -> bool:
        """Tell whether another try may follow one whose answer has one of `statuses`."""
        return tries <= self._attempts and replayable and method in self._methods

    def allows_code(self, code: int, tries: int, *, replayable: bool) -> bool:
        """Tell whether another try may follow a call that was answered with this code of gRPC, and nothing else."""
        return code in self.codes and tries <= self._attempts and replayable

    def hedges(self, method: str) -> bool:
        """Tell whether a request that is still unanswered after `hedge_after` may be asked of a second endpoint."""
        return method in IDEMPOTENT and method in self._methods

    def charged(self, failure: Failure) -> bool:
        """Tell whether a try after this failure is charged to the budget: an upstream may have worked on the last.

        One that refuses what it was sent has read it, and may be refusing because it has too much to do.
        """
        return (failure.sent or failure.reason == "upstream_reset") and not _went_idle(failure)

    def wait(self, failure: Failure, tries: int, draw: float, *, elsewhere: bool) -> float:
        """Return the seconds before the next try. Who was not reached is not spared by waiting if there are others."""
        if _went_idle(failure) or (elsewhere and not failure.sent):
            return 0.0
        return self.backoff(tries, draw)

    def wait_answered(self, asked: float, tries: int, draw: float) -> float | None:
        """Return the seconds before the next try when the upstream `asked` for so many; None: too long to wait.

        The random part comes on top: all who were refused at once were given the same time.
        """
        return asked + self.backoff(tries, draw) if asked <= self._patience else None

    def backoff(self, tries: int, draw: float) -> float:
        """Return a random part of a time that doubles with every try (AWS, Exponential Backoff And Jitter)."""
        return draw * min(self._longest, self._base * float(1 << (tries - 1)))


class Budget:
    """The tries beyond the first that are under way at one service, in one worker (Envoy's retry budget)."""

    __slots__ = ("in_flight",)

    def __init__(self) -> None:
        self.in_flight = 0

    def begin(self, retry: Retry, active: int) -> bool:
        """Take a place while `active` requests are at the service; tell whether there was one. `end` gives it back."""
        if self.in_flight >= max(retry.minimum, int(retry.share * active)):
            return False
        self.in_flight += 1
        return True

    def end(self) -> None:
        """Give a place back."""
        self.in_flight -= 1

    def __repr__(self) -> str:
        return f"<Budget in_flight={self.in_flight}>"


def retry_after(value: bytes | None, wall: float) -> float:
    """Return the seconds that a Retry-After field (RFC 9110 section 10.2.3) asks for; 0 for none or one in disorder.

    `wall` is the present time in seconds since 1970.
    """
    if value is None:
        return 0.0
    if _SECONDS.fullmatch(value):
        return float(value)
    then = parse_date(value, wall)
    return 0.0 if then is None else max(0.0, then - wall)


def _went_idle(failure: Failure) -> bool:
    return failure.reused and failure.reason == "upstream_reset"
