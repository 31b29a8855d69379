"""The algorithms every contract test runs over: each of the catalog, in the sizes that are hard for it."""

from __future__ import annotations

import pytest

from headgate.catalog import LIMITS
from headgate.policy.limit.algorithm import Algorithm, Reading
from headgate.policy.limit.quota import Quota

SECOND = 1_000_000
# Some time of day, in microseconds since 1970: the largest that is ever handed in.
START = 1_790_000_000 * SECOND
OWNER = 7
YEAR = 366 * 86400 * SECOND


def quota(requests: int, window: int, burst: int | None = None, *, max_delay: int = 0, exact: bool = False) -> Quota:
    return Quota(requests, window, burst or requests, max_delay, exact)


QUOTAS: dict[str, dict[str, Quota]] = {
    "token_bucket": {
        "ten a second": quota(10, SECOND),
        "seven a second, three at once": quota(7, SECOND, 3),
        "one a year": quota(1, YEAR),
        "a million a second": quota(1_000_000, SECOND),
        "a thousand million a year": quota(1_000_000_000, YEAR),
        "more at once than in a window": quota(3, 7, 50),
    },
    "leaky_bucket": {
        "polices": quota(7, SECOND, 5),
        "shapes": quota(7, SECOND, 5, max_delay=400_000),
        "shapes without bound": quota(10, SECOND, 20, max_delay=60 * SECOND),
    },
    "sliding_window": {
        "five, exact": quota(5, SECOND, exact=True),
        "one, exact": quota(1, 3, exact=True),
        "100 a minute": quota(100, 60 * SECOND),
        "seven a second": quota(7, SECOND),
        "one in three microseconds": quota(1, 3),
        "a thousand million a year": quota(1_000_000_000, YEAR),
    },
    "fixed_window": {"five a second": quota(5, SECOND), "one in a microsecond": quota(1, 1)},
    "concurrency": {"five": quota(5, SECOND), "one": quota(1, SECOND)},
}

CASES = [
    pytest.param(name, LIMITS[name](numbers), id=f"{name}: {case}")
    for name in LIMITS
    for case, numbers in QUOTAS[name].items()
]
every_algorithm = pytest.mark.parametrize(("name", "algorithm"), CASES)


def ask(algorithm: Algorithm, state: bytes, now: int, cost: int = 1, owner: int = OWNER) -> tuple[bytes, Reading, bool]:
    """Hold a request against the algorithm and read what it tells."""
    allowed, after, raw = algorithm.admit(state, now, cost, owner)
    return after, algorithm.read(allowed, raw), allowed
