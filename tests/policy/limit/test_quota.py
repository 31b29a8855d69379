"""From settings to algorithms: which numbers hold for whom, and which limits are decided together."""

from __future__ import annotations

from typing import Any, get_args, get_type_hints

import pytest

from headgate.policy.limit.algorithm import Algorithm
from headgate.policy.limit.concurrency import LEASE, Concurrency
from headgate.policy.limit.fixed_window import FixedWindow
from headgate.policy.limit.leaky_bucket import LeakyBucket
from headgate.policy.limit.quota import BUILDERS, Quota, algorithm, grouped, quota_of, together
from headgate.policy.limit.settings import Cost, Limit, Tier
from headgate.policy.limit.sliding_window import SlidingWindow
from headgate.policy.limit.sliding_window_log import SlidingWindowLog
from headgate.policy.limit.token_bucket import TokenBucket
from headgate.policy.match import Match, PathMatch

MINUTE = 60_000_000


def limit(**said: Any) -> Limit:
    return Limit(**{"name": "some", "requests": 100, **said})


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, SlidingWindowLog(100, MINUTE)),
        ({"requests": 128}, SlidingWindowLog(128, MINUTE)),
        ({"requests": 129}, SlidingWindow(129, MINUTE)),
        ({"exact": False}, SlidingWindow(100, MINUTE)),
        ({"requests": 8000, "exact": True}, SlidingWindowLog(8000, MINUTE)),
        ({"requests": 8000, "exact": "fitting"}, SlidingWindowLog(8000, MINUTE)),
        ({"requests": 8001, "exact": "fitting"}, SlidingWindow(8001, MINUTE)),
        ({"type": "token_bucket"}, TokenBucket(100, MINUTE, 100)),
        ({"type": "token_bucket", "burst": 5, "window": 0.5}, TokenBucket(100, 500_000, 5)),
        ({"type": "leaky_bucket", "burst": 5}, LeakyBucket(100, MINUTE, 5, 0)),
        ({"type": "leaky_bucket", "max_delay": 1.5}, LeakyBucket(100, MINUTE, 100, 1_500_000)),
        ({"type": "fixed_window", "window": 1e-9}, FixedWindow(100, 1)),
        ({"type": "concurrency"}, Concurrency(100, LEASE)),
    ],
)
def test_each_type_becomes_its_algorithm(said: dict[str, Any], expected: Algorithm) -> None:
    made = algorithm(limit(**said), None)
    assert made is not None
    assert (type(made), made.code, made.numbers) == (type(expected), expected.code, expected.numbers)


def test_every_type_of_the_settings_has_a_builder() -> None:
    assert set(get_args(get_type_hints(Limit)["type"])) == set(BUILDERS)


@pytest.mark.parametrize(
    ("tier", "expected"),
    [
        (Tier(), Quota(100, MINUTE, 20, 0, True)),
        (Tier(requests=1000), Quota(1000, MINUTE, 20, 0, False)),
        (Tier(window=1.0), Quota(100, 1_000_000, 20, 0, True)),
        (Tier(requests=7, burst=3), Quota(7, MINUTE, 3, 0, True)),
        (Tier(requests="unlimited"), None),
    ],
)
def test_a_tier_says_its_own_numbers_and_inherits_the_others(tier: Tier, expected: Quota | None) -> None:
    assert quota_of(limit(burst=20), tier) == expected


def test_without_a_burst_it_is_as_many_as_the_tier_has_requests() -> None:
    made = quota_of(limit(), Tier(requests=7))
    assert made is not None
    assert made.burst == 7


@pytest.mark.parametrize(
    ("said", "share", "expected"),
    [
        ({}, 3, Quota(33, MINUTE, 33, 0, True)),
        ({}, 1000, Quota(1, MINUTE, 1, 0, True)),
        ({"requests": 400}, 4, Quota(100, MINUTE, 100, 0, False)),
        ({"cost": Cost(request=40)}, 10, Quota(40, MINUTE, 40, 0, True)),
        ({"burst": 10}, 4, Quota(25, MINUTE, 2, 0, True)),
    ],
)
def test_a_share_is_a_part_of_it_that_still_admits_a_request(said: dict[str, Any], share: int, expected: Quota) -> None:
    assert quota_of(limit(**said), None, share) == expected


def test_limits_go_together_when_all_of_it_is_the_same() -> None:
    admin = Match(path=PathMatch(prefix="/admin"))
    limits = [
        limit(name="minute"),
        limit(name="user", key=["user"]),
        limit(name="hour", window=3600.0),
        limit(name="shadow", shadow=True),
        limit(name="open", on_error="open"),
        limit(name="admin", match=admin),
        limit(name="exempt", exempt=[PathMatch(prefix="/health")]),
        limit(name="both", key=["address", "user"]),
        limit(name="admin hour", match=Match(path=PathMatch(prefix="/admin")), window=3600.0),
        limit(name="refused", refused=True),
    ]
    assert [[each.name for each in part] for part in together(limits)] == [
        ["minute", "hour"], ["user"], ["shadow"], ["open"], ["admin", "admin hour"], ["exempt"], ["both"],
        ["refused"],
    ]  # fmt: skip
    groups = grouped(limits, "anonymous")
    assert [each.names for each in groups][:3] == [("minute", "hour"), ("user",), ("shadow",)]
    assert [each.shadow for each in groups] == [False, False, True, False, False, False, False, False]
    assert [each.on_error for each in groups][3] == "open"
    assert len({each.fingerprint for each in groups}) == len(groups)
    assert all(len(each.fingerprint) == 8 for each in groups)


def test_what_a_tier_is_free_of_is_not_counted() -> None:
    free = {"premium": Tier(requests="unlimited")}
    limits = [
        limit(name="minute", tiers=free),
        limit(name="hour", window=3600.0),
        limit(name="user", key=["user"], tiers=free),
    ]
    assert [each.names for each in grouped(limits, "premium")] == [("hour",)]
    assert [each.names for each in grouped(limits, "basic")] == [("minute", "hour"), ("user",)]
    assert grouped([], "premium") == []


def fingerprint(tier: str = "", share: int = 1, scope: str = "", **said: Any) -> bytes:
    (made,) = grouped([limit(**said)], tier, share, scope=scope)
    return made.fingerprint


def test_equal_settings_go_on_counting() -> None:
    tiers = {"premium": Tier(requests=100), "gold": Tier(requests=200)}
    assert fingerprint() == fingerprint(requests=100, window=60)
    assert fingerprint() == fingerprint("premium", tiers=tiers) == fingerprint("other", tiers=tiers)
    assert fingerprint() == fingerprint(shadow=True) == fingerprint(on_error="closed")


@pytest.mark.parametrize(
    "said",
    [
        {"name": "other"},
        {"requests": 101},
        {"window": 61.0},
        {"type": "fixed_window"},
        {"type": "token_bucket"},
        {"exact": False},
        {"key": ["user"]},
        {"match": Match(host=["a.example"])},
        {"exempt": [PathMatch(exact="/")]},
        {"tier": "gold", "tiers": {"gold": Tier(requests=200)}},
        {"share": 2},
        {"scope": "service a"},
    ],
)
def test_other_settings_begin_afresh(said: dict[str, Any]) -> None:
    assert fingerprint(**said) != fingerprint()


def test_a_bucket_that_polices_and_one_of_tokens_count_apart() -> None:
    assert fingerprint(type="leaky_bucket") != fingerprint(type="token_bucket")
