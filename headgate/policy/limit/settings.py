"""How a rate limit is written: what is counted, for whom, by which algorithm, and what a refusal means.

Several limits may stand on one key; a request passes when it passes all of them, and a refusal consumes none.
"""

from __future__ import annotations

from typing import Annotated, Literal

from headgate.core.settings import Between, OneOrMany, Seconds, Short, setting, settings
from headgate.policy.match import Match, PathMatch

MOST_REQUESTS = 1_000_000_000
MOST_COST = 1_000_000
# Above this many a second a limit limits nothing that one machine could do.
MOST_RATE = 1_000_000
# The longest list of moments that is kept for one key (8 bytes each).
MOST_EXACT = 8_000
EXACT_BY_DEFAULT = 128
KEY_SOURCES = ("address", "user", "api_key", "tenant", "identity", "tier", "service", "route", "host", "method", "path")

_Quota = Annotated[int, Between(1, MOST_REQUESTS)]


@settings
class Tier:
    """The numbers of one tier, in place of the limit's own. A bare number is requests; `unlimited` sets it free."""

    requests: _Quota | Literal["unlimited"] | None = setting(
        default=None, help="Requests in each window, or unlimited.", union_mode="left_to_right"
    )
    window: Seconds | None = setting(default=None, help="Seconds of the window.", gt=0, le=86400 * 366)
    burst: int | None = setting(default=None, help="Requests at once.", ge=1, le=MOST_REQUESTS)


@settings
class Cost:
    """What one request counts for. A bare number is what every request costs."""

    request: int = setting(
        default=1, help="Counted when the request comes; with `header` a reservation.", ge=0, le=MOST_COST
    )
    header: str | None = setting(
        default=None,
        help="Response header with the real cost, such as the tokens used. The difference to the reservation is"
        " charged when the answer's head comes, and may drive a balance below zero; without the header, and when the"
        " request is aborted, the reservation stands.",
    )


@settings
class Limit:
    """One limit: so many requests of one key in a window."""

    name: str = setting(help="Name in headers, logs and metrics.", min_length=1, max_length=100)
    key: Annotated[list[str], OneOrMany()] = setting(
        default=lambda: ["address"],
        help="What is counted apart, alone or in combination: address (IPv6 by /64), user, api_key, tenant, identity"
        " (user, else API key, else address), tier, service, route, host, method, path, header:NAME; [] counts all"
        " requests together. Where a caller lacks it, its address counts.",
    )
    type: Literal["sliding_window", "token_bucket", "leaky_bucket", "fixed_window", "concurrency"] = setting(
        default="sliding_window",
        help="sliding_window: at most `requests` in any `window`. token_bucket: `burst` at once, refilled at the rate."
        " leaky_bucket: the rate, evenly; more waits up to max_delay or is refused. fixed_window: `requests` from a"
        " key's first request on, for `window`. concurrency: `requests` at the same time.",
    )
    requests: int = setting(help="Requests in each window; at the same time with concurrency.", ge=1, le=MOST_REQUESTS)
    window: Seconds = setting(default=60.0, help="Seconds of the window.", gt=0, le=86400 * 366)
    burst: int | None = setting(
        default=None,
        help="Requests at once (token_bucket), or in the bucket, waiting ones too (leaky_bucket); by default as many as"
        " requests.",
        ge=1,
        le=MOST_REQUESTS,
    )
    max_delay: Seconds = setting(
        default=0.0, help="Seconds a request may wait for its turn (leaky_bucket); 0 refuses at once.", ge=0, le=60
    )
    exact: bool | Literal["fitting"] | None = setting(
        default=None,
        help="sliding_window: keep the moment of every request (exact, 8 bytes each, at most 8,000) or two counters"
        " weighted by time; fitting: exact for each tier whose requests fit. By default exact up to 128 requests.",
    )
    cost: Annotated[Cost, Short("request", int)] = setting(default=Cost, help="What one request counts for.")
    tiers: dict[str, Annotated[Tier, Short("requests", int, str)]] = setting(
        default=dict, help="Other numbers for callers of a tier; a tier not listed has the limit's own."
    )
    match: Match | None = setting(default=None, help="Which requests it counts; absent: all.")
    exempt: Annotated[list[Annotated[PathMatch, Short("prefix")]], OneOrMany()] = setting(
        default=list, help="Paths that are shown the headers and consume nothing."
    )
    refused: bool = setting(
        default=False,
        help="Count requests, too, that are refused before their limits are asked: unknown paths and methods, missing"
        " and wrong credentials, what the caller may not do, what cannot be read; as what is known of the caller by"
        " then. Beyond the limit they get 429 in place of that refusal. Limits that are decided before routing do so"
        " anyway.",
    )
    shadow: bool = setting(default=False, help="Count and tell, never refuse.")
    on_error: Literal["local", "open", "closed"] = setting(
        default="local",
        help="When its store fails. local: the gateway enforces its share by itself; open: all pass; closed: all get"
        " 503.",
    )


@settings
class ServiceRateLimit:
    """One limit of the service, all callers together."""

    enabled: bool = setting(default=True, help="Use it.")
    requests: int = setting(default=100, help="Requests in each window.", ge=1, le=MOST_REQUESTS)
    window: Seconds = setting(default=60.0, help="Seconds of the window.", gt=0, le=86400 * 366)
    exact: Literal["fitting"] | None = setting(
        default=None,
        help="fitting: keep the moment of every request up to 8,000 of them, not only up to 128; beyond, two counters.",
    )


@settings
class LimitHeaders:
    """How limits are told to clients, on every answer of a request that was counted."""

    forms: Annotated[list[Literal["plain", "per_window", "window", "ietf"]], OneOrMany()] = setting(
        default=lambda: ["plain"],
        help="plain: X-RateLimit-Limit, -Remaining and -Reset of the limit nearest to exhaustion. per_window:"
        " X-RateLimit-Limit-Minute and so on, for each limit. window: X-RateLimit-Window. ietf: RateLimit and"
        " RateLimit-Policy. An empty list tells nothing but Retry-After on refusals.",
    )
    prefix: str = setting(default="X-RateLimit-", help="What the names of all forms but ietf begin with.")
    reset: Literal["epoch", "seconds"] = setting(
        default="epoch", help="Reset as seconds since 1970 or as seconds to go (ietf: always to go)."
    )
    policy: bool = setting(default=False, help="Also X-RateLimit-Policy, the algorithm's name.")
