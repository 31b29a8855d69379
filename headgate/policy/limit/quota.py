"""From what a limit says to the algorithm that counts it, and from several limits to groups that are decided together.

Laws:
- Limits go in one group only if whatever request asks one of them asks all of them: the same key, match and exempt
  paths; and if a refusal and a failing store mean the same for all of them.
- A fingerprint is made of all that decides what a count means, so equal settings go on counting after a reload, and
  others begin afresh. Of what is done with the answer (shadow, on_error) it knows nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from headgate.policy.limit.algorithm import Algorithm
from headgate.policy.limit.concurrency import Concurrency
from headgate.policy.limit.fixed_window import FixedWindow
from headgate.policy.limit.group import Group
from headgate.policy.limit.leaky_bucket import LeakyBucket
from headgate.policy.limit.settings import EXACT_BY_DEFAULT, MOST_EXACT, Limit, Tier
from headgate.policy.limit.sliding_window import SlidingWindow
from headgate.policy.limit.sliding_window_log import SlidingWindowLog
from headgate.policy.limit.token_bucket import TokenBucket

FINGERPRINT_BYTES: Final = 8


class Quota(NamedTuple):
    """The numbers of one limit for one tier. `window` and `max_delay` are microseconds."""

    requests: int
    window: int
    burst: int
    max_delay: int
    exact: bool


def _sliding_window(quota: Quota) -> Algorithm:
    if quota.exact:
        return SlidingWindowLog(quota.requests, quota.window)
    return SlidingWindow(quota.requests, quota.window)


# How each `type` of limit is made of its numbers.
BUILDERS: Final[Mapping[str, Callable[[Quota], Algorithm]]] = {
    "sliding_window": _sliding_window,
    "token_bucket": lambda quota: TokenBucket(quota.requests, quota.window, quota.burst),
    "leaky_bucket": lambda quota: LeakyBucket(quota.requests, quota.window, quota.burst, quota.max_delay),
    "fixed_window": lambda quota: FixedWindow(quota.requests, quota.window),
    "concurrency": lambda quota: Concurrency(quota.requests),
}


def quota_of(limit: Limit, tier: Tier | None, share: int = 1) -> Quota | None:
    """Return the numbers that hold for a tier (None: the limit's own), or None if it is unlimited.

    `share` divides them: each of so many counters gets that part, rounded down, and at least what one request costs.
    """
    requests, window, burst = limit.requests, limit.window, limit.burst
    if tier is not None:
        if tier.requests == "unlimited":
            return None
        requests = tier.requests or requests
        window = tier.window or window
        burst = tier.burst or burst
    # Whether it is exact does not depend on the share, so that the shares count as the whole does.
    exact = requests <= (EXACT_BY_DEFAULT if limit.exact is None else MOST_EXACT) and limit.exact is not False
    least = max(1, limit.cost.request) if share > 1 else 1
    return Quota(
        max(least, requests // share),
        microseconds(window),
        max(least, (burst or requests) // share),
        microseconds(limit.max_delay) if limit.max_delay else 0,
        exact,
    )


def microseconds(seconds: float) -> int:
    """Return a time above zero in whole microseconds, one at least."""
    return max(1, round(seconds * 1_000_000))


def algorithm(limit: Limit, tier: Tier | None, share: int = 1) -> Algorithm | None:
    """Return what counts this limit for a tier, or None if the tier is unlimited."""
    quota = quota_of(limit, tier, share)
    return None if quota is None else BUILDERS[limit.type](quota)


def together(limits: Sequence[Limit]) -> list[list[Limit]]:
    """Part the limits into those that can be decided together, in their order."""
    parts: list[list[Limit]] = []
    for limit in limits:
        for part in parts:
            if _bond(part[0]) == _bond(limit):
                part.append(limit)
                break
        else:
            parts.append([limit])
    return parts


def _bond(limit: Limit) -> tuple[object, ...]:
    return (limit.key, limit.match, limit.exempt, limit.refused, limit.shadow, limit.on_error)


def group(limits: Sequence[Limit], tier: str, share: int = 1, *, scope: str = "") -> Group | None:
    """Make one group of limits that `together` put together, without those the tier is free of; None if of all."""
    first = limits[0]
    names: list[str] = []
    algorithms: list[Algorithm] = []
    meaning: list[object] = [scope, first.key, first.match, first.exempt]
    for limit in limits:
        made = algorithm(limit, limit.tiers.get(tier), share)
        if made is not None:
            names.append(limit.name)
            algorithms.append(made)
            meaning.append((limit.name, limit.type, made.code, made.numbers))
    if not algorithms:
        return None
    fingerprint = blake2b(repr(meaning).encode(), digest_size=FINGERPRINT_BYTES).digest()
    return Group(names, algorithms, fingerprint, shadow=first.shadow, on_error=first.on_error)


def grouped(limits: Sequence[Limit], tier: str, share: int = 1, *, scope: str = "") -> list[Group]:
    """Make the groups in which these limits are decided for callers of a tier; `names` says which limits are in each.

    `scope` names the place the limits stand at (a service, a route), so that equal limits of two places count apart.
    """
    made = [group(part, tier, share, scope=scope) for part in together(limits)]
    return [each for each in made if each is not None]
