"""When a request may be tried again: the settings. The decisions stand in policy.retry."""

from __future__ import annotations

from typing import Annotated, Literal

from headgate.core.settings import Between, Bytes, OneOrMany, Seconds, Short, setting, settings

Occasions = (
    Annotated[int, Between(400, 599)]
    | Literal["connect", "reset", "timeout", "5xx"]
    | Literal["cancelled", "deadline-exceeded", "internal", "resource-exhausted", "unavailable"]
)


@settings
class Backoff:
    """How long to wait before another try: a random part ("full jitter") of a time that doubles with every try."""

    base: Seconds = setting(default=0.025, help="Seconds of the first wait, at most.", ge=0, le=60)
    max: Seconds = setting(default=0.25, help="Seconds of any wait, at most.", ge=0, le=300)
    retry_after: Seconds = setting(
        default=1.0, help="Longest Retry-After of an upstream that is waited for; a longer one ends the tries.", ge=0,
        le=300,
    )  # fmt: skip


@settings
class RetryBudget:
    """How much of a service's traffic may be retries, so that retries never double an outage (Envoy's retry budget)."""

    percent: float = setting(default=20.0, help="Percent of the service's active requests.", ge=0, le=100)
    minimum: int = setting(default=3, help="Retries at once that are always allowed, in each worker.", ge=0, le=1000)


@settings
class Hedging:
    """Ask a second endpoint when the first is slow, and take the answer that comes first. A bare number is the delay.

    Only requests with an idempotent method whose body is small and here are hedged; they count in the retry budget.
    """

    delay: Seconds = setting(help="Seconds without an answer after which the other is asked.", gt=0, le=60)


@settings
class RetrySettings:
    """When a request is tried again."""

    attempts: int = setting(default=2, help="Tries besides the first; 0 = none.", ge=0, le=10)
    on: Annotated[list[Occasions], OneOrMany()] = setting(
        default=lambda: ["connect", "reset"],
        help="Occasions: connect (nobody was reached), reset (closed before a byte of the answer), timeout (of the"
        " answer), 5xx, or a status such as 503; for gRPC cancelled, deadline-exceeded, internal, resource-exhausted or"
        " unavailable (a code that an endpoint answered with before any message).",
    )
    methods: Annotated[list[str], OneOrMany()] = setting(
        default=lambda: ["GET", "HEAD", "PUT", "DELETE", "OPTIONS", "TRACE"],
        help="Methods that may be sent twice; any method may be tried again while no byte of it was sent, and a call of"
        " gRPC after a code that `on` lists.",
    )
    insist: bool = setting(
        default=False,
        help="After `reset`, ask an endpoint again that closed a fresh connection, where there is no other.",
    )
    per_try_timeout: Seconds = setting(
        default=0.0, help="Seconds for one try to bring the answer's head; 0 = timeout.response alone.", ge=0, le=86400
    )
    backoff: Backoff = setting(default=Backoff, help="How long to wait before another try.")
    budget: RetryBudget = setting(default=RetryBudget, help="How much of the traffic may be retries.")
    buffer: Bytes = setting(
        default=65536, help="Bytes of a request body kept for another try; a longer one is sent once.", ge=0, le=1 << 26
    )
    hedge: Annotated[Hedging | None, Short("delay", int, float, str)] = setting(
        default=None, help="Ask a second endpoint when the first is slow."
    )
