"""What is wrong with a limit by its meaning, and where."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.policy.limit.algorithm import LONGEST
from headgate.policy.limit.check import header_problems, problems
from headgate.policy.limit.quota import BUILDERS, algorithm
from headgate.policy.limit.settings import KEY_SOURCES, Cost, Limit, LimitHeaders, Tier

DAY = 86400.0


def limit(**said: Any) -> Limit:
    return Limit(**{"name": "some", "requests": 100, **said})


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"key": []},
        {"key": [*KEY_SOURCES, "header:X-Client-Id", "header:x-other"]},
        {"type": "token_bucket", "burst": 500},
        {"type": "leaky_bucket", "burst": 5, "max_delay": 2.0},
        {"type": "concurrency"},
        {"type": "concurrency", "requests": 1_000_000_000},
        {"exact": True, "requests": 8_000},
        {"exact": False, "requests": 5},
        {"exact": "fitting", "requests": 8_001, "tiers": {"a": Tier(requests=5)}},
        {"requests": 1_000_000, "window": 1.0},
        {"requests": 1_000_000_000, "window": 366 * DAY},
        {"cost": Cost(request=100)},
        {"cost": Cost(request=0, header="X-Tokens-Used")},
        {"type": "token_bucket", "burst": 500, "cost": Cost(request=500)},
        {"tiers": {"premium": Tier(requests=1_000_000), "free": Tier(requests="unlimited"), "slow": Tier(window=DAY)}},
        {"type": "token_bucket", "tiers": {"premium": Tier(burst=7)}},
    ],
)
def test_what_is_right_is_left_alone(said: dict[str, Any]) -> None:
    assert problems(limit(**said)) == []


@pytest.mark.parametrize(
    ("said", "path", "message"),
    [
        ({"name": "a\nb"}, ("name",), "can't be shown"),
        ({"key": ["adress"]}, ("key", 0), 'no key source "adress"'),
        ({"key": ["address", "Header:x"]}, ("key", 1), 'no key source "Header:x"'),
        ({"key": ["user", "header:"]}, ("key", 1), "lacks the name"),
        ({"key": ["header:a b"]}, ("key", 0), '"a b" is no field name'),
        ({"key": ["user", "user"]}, ("key", 1), "user stands here twice"),
        ({"key": ["header:X-A", "user", "header:x-a"]}, ("key", 2), "header:x-a stands here twice"),
        ({"burst": 5}, ("burst",), "sliding_window has no burst"),
        ({"type": "fixed_window", "burst": 5}, ("burst",), "fixed_window has no burst"),
        ({"type": "token_bucket", "max_delay": 1.0}, ("max_delay",), "token_bucket delays nothing"),
        ({"type": "fixed_window", "exact": True}, ("exact",), "fixed_window has one form only"),
        ({"type": "token_bucket", "exact": False}, ("exact",), "token_bucket has one form only"),
        ({"type": "concurrency", "window": 30.0}, ("window",), "concurrency has no window"),
        ({"requests": 1_000_001, "window": 1.0}, ("requests",), "more than 1,000,000 a second"),
        ({"requests": 1, "window": 1e-9}, ("requests",), "1 in 1e-09 s"),
        ({"exact": True, "requests": 8_001}, ("requests",), "8,001 moments"),
        ({"type": "token_bucket", "requests": 1, "window": DAY, "burst": 30_000}, ("burst",), "takes 82 years"),
        ({"cost": Cost(request=101)}, ("requests",), "a request costs 101, so at most 100 admits none"),
        ({"type": "token_bucket", "burst": 5, "cost": Cost(request=6)}, ("burst",), "a request costs 6"),
        ({"type": "token_bucket", "cost": Cost(request=101)}, ("requests",), "a request costs 101"),
        ({"cost": Cost(request=0)}, ("cost", "request"), "counts nothing"),
        ({"cost": Cost(header="X Tokens")}, ("cost", "header"), '"X Tokens" is no field name'),
        ({"cost": Cost(header="")}, ("cost", "header"), '"" is no field name'),
        ({"type": "concurrency", "cost": Cost(header="X-Tokens")}, ("cost", "header"), "no cost afterwards"),
        ({"tiers": {"a": Tier()}}, ("tiers", "a"), 'the tier "a" says nothing'),
        ({"tiers": {"a": Tier(requests="unlimited", burst=5)}}, ("tiers", "a", "burst"), "unlimited tier has no burst"),
        ({"tiers": {"a": Tier(requests="unlimited", window=5.0)}}, ("tiers", "a", "window"), "has no window"),
        ({"tiers": {"a": Tier(burst=5)}}, ("tiers", "a", "burst"), "sliding_window has no burst"),
        ({"type": "concurrency", "tiers": {"a": Tier(window=5.0)}}, ("tiers", "a", "window"), "has no window"),
        ({"tiers": {"a": Tier(requests=10**9)}}, ("tiers", "a", "requests"), "more than 1,000,000 a second"),
        ({"tiers": {"a": Tier(window=0.00001)}}, ("tiers", "a"), "more than 1,000,000 a second"),
        ({"exact": True, "tiers": {"a": Tier(requests=9_000)}}, ("tiers", "a", "requests"), "9,000 moments"),
        ({"cost": Cost(request=50), "tiers": {"a": Tier(requests=20)}}, ("tiers", "a", "requests"), "costs 50"),
        (
            {"type": "token_bucket", "tiers": {"a": Tier(requests=1, window=DAY, burst=10**9)}},
            ("tiers", "a", "burst"),
            "years to come back",
        ),
    ],
)
def test_what_is_wrong_is_found_where_it_stands(
    said: dict[str, Any], path: tuple[str | int, ...], message: str
) -> None:
    (found,) = problems(limit(**said))
    assert found.path == path
    assert message in found.message
    assert found.hint


def test_everything_wrong_is_found_at_once() -> None:
    wrong = limit(key=["nobody"], burst=5, max_delay=1.0, cost=Cost(request=0), tiers={"a": Tier()})
    assert [found.path for found in problems(wrong)] == [
        ("key", 0), ("burst",), ("max_delay",), ("cost", "request"), ("tiers", "a"),
    ]  # fmt: skip


@pytest.mark.parametrize("kind", BUILDERS)
@pytest.mark.parametrize("requests", [1, 999_999_937, 1_000_000_000])
@pytest.mark.parametrize("window", [0.000001, 1.0, 366 * DAY])
@pytest.mark.parametrize("burst", [None, 1, 1_000_000_000])
def test_what_passes_is_counted_in_numbers_that_doubles_hold(
    kind: str, requests: int, window: float, burst: int | None
) -> None:
    burst = burst if kind in {"token_bucket", "leaky_bucket"} else None
    said = limit(type=kind, requests=requests, window=window if kind != "concurrency" else 60.0, burst=burst)
    made = algorithm(said, None)
    assert made is not None
    if not problems(said):
        assert made.lifetime <= LONGEST
        assert all(0 <= number < 2**53 for number in made.numbers)


@pytest.mark.parametrize(
    ("said", "path", "message"),
    [
        ({"prefix": "X RateLimit"}, ("prefix",), "can't begin a field name"),
        ({"prefix": "X:"}, ("prefix",), "can't begin a field name"),
        ({"forms": ["plain", "ietf", "plain"]}, ("forms", 2), "plain stands here twice"),
    ],
)
def test_what_is_wrong_with_the_headers(said: dict[str, Any], path: tuple[str | int, ...], message: str) -> None:
    (found,) = header_problems(LimitHeaders(**said))
    assert found.path == path
    assert message in found.message


def test_headers_that_are_right() -> None:
    assert header_problems(LimitHeaders(forms=[], prefix="")) == []
    assert header_problems(LimitHeaders(forms=["plain", "per_window", "window", "ietf"])) == []
