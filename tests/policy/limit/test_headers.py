"""What clients are told of their limits, form by form."""

from __future__ import annotations

from typing import Any

import pytest

from headgate.policy.limit.algorithm import NEVER, Reading
from headgate.policy.limit.headers import LimitHeaderWriter, Told, nearest, retry_after
from headgate.policy.limit.settings import LimitHeaders

NOW = 1_790_000_000.25
SECOND = 1_000_000


def reading(limit: int = 100, remaining: int = 40, reset: float = 30, wait: float = 0) -> Reading:
    return Reading(limit, remaining, round(reset * SECOND), round(wait * SECOND), 0)


def told(name: str = "minute", window: float = 60.0, kind: str = "sliding_window", **numbers: Any) -> Told:
    return (name, window, kind, reading(**numbers))


def lines(*limits: Told, **settings: Any) -> list[str]:
    written = LimitHeaderWriter(LimitHeaders(**settings)).fields(limits, NOW)
    return [f"{name.decode('ascii')}: {value.decode('ascii')}" for name, value in written]


MINUTE = told()
HOUR = told("hour", 3600.0, "token_bucket", limit=1000, remaining=100, reset=1800)
PLAIN = ["X-RateLimit-Limit: 100", "X-RateLimit-Remaining: 40", "X-RateLimit-Reset: 1790000031"]


def test_plain_tells_the_one_limit() -> None:
    assert lines(MINUTE) == PLAIN


def test_a_request_that_no_limit_counted_is_told_nothing() -> None:
    assert lines() == lines(forms=["plain", "per_window", "window", "ietf"], policy=True) == []
    assert lines(MINUTE, forms=[]) == []


@pytest.mark.parametrize(
    ("reset", "to_go", "epoch"),
    [(0, 0, 1_790_000_001), (0.000001, 1, 1_790_000_001), (0.75, 1, 1_790_000_001), (0.76, 1, 1_790_000_002),
     (1, 1, 1_790_000_002), (59.5, 60, 1_790_000_060)],
)  # fmt: skip
def test_a_reset_is_in_whole_seconds_rounded_up(reset: float, to_go: int, epoch: int) -> None:
    assert lines(told(reset=reset))[2] == f"X-RateLimit-Reset: {epoch}"
    assert lines(told(reset=reset), reset="seconds")[2] == f"X-RateLimit-Reset: {to_go}"


def test_of_a_window_no_more_is_told_than_its_length() -> None:
    """Two counters remember for two windows."""
    assert lines(told(reset=115))[2] == "X-RateLimit-Reset: 1790000061"
    assert lines(told(reset=115), reset="seconds")[2] == "X-RateLimit-Reset: 60"
    assert lines(told(kind="token_bucket", reset=115), reset="seconds")[2] == "X-RateLimit-Reset: 115"
    assert lines(told(reset=115), forms=["ietf"])[0] == 'RateLimit: "minute";r=40;t=60'


def test_another_prefix() -> None:
    names = [line.partition(":")[0] for line in lines(MINUTE, prefix="RL-", forms=["plain", "window"], policy=True)]
    assert names == ["RL-Limit", "RL-Remaining", "RL-Reset", "RL-Window", "RL-Policy"]


@pytest.mark.parametrize(
    ("limits", "name"),
    [
        ([told("a", remaining=40), told("b", remaining=39)], "b"),
        ([told("a", limit=100, remaining=40), told("b", limit=1000, remaining=100)], "b"),
        ([told("a", limit=10, remaining=1), told("b", limit=1000, remaining=100)], "a"),
        ([told("a", limit=1000, remaining=0), told("b", limit=10, remaining=0)], "a"),
        ([told("a", remaining=0), told("b", remaining=3, wait=1)], "b"),
        ([told("a", wait=2), told("b", wait=3), told("c", wait=1)], "b"),
        ([told("a", wait=2, remaining=5), told("b", wait=2, remaining=4)], "b"),
    ],
)
def test_the_nearest_to_exhaustion_speaks_for_all(limits: list[Told], name: str) -> None:
    assert nearest(limits)[0] == name
    assert lines(*limits) == lines(next(each for each in limits if each[0] == name))


def test_per_window_tells_each_by_its_window() -> None:
    assert lines(MINUTE, HOUR, forms=["per_window"], reset="seconds") == [
        "X-RateLimit-Limit-Minute: 100",
        "X-RateLimit-Remaining-Minute: 40",
        "X-RateLimit-Reset-Minute: 30",
        "X-RateLimit-Limit-Hour: 1000",
        "X-RateLimit-Remaining-Hour: 100",
        "X-RateLimit-Reset-Hour: 1800",
    ]


@pytest.mark.parametrize(
    ("window", "kind", "suffix"),
    [
        (1.0, "fixed_window", "Second"),
        (60.0, "token_bucket", "Minute"),
        (3600.0, "leaky_bucket", "Hour"),
        (86400.0, "sliding_window", "Day"),
        (90.0, "sliding_window", "90s"),
        (31_622_400.0, "sliding_window", "31622400s"),
        (0.5, "sliding_window", "0.5s"),
        (0.000001, "sliding_window", "0.000001s"),
        (60.0, "concurrency", "Concurrency"),
    ],
)
def test_the_suffix_of_a_window(window: float, kind: str, suffix: str) -> None:
    assert lines(told("x", window, kind), forms=["per_window"])[0] == f"X-RateLimit-Limit-{suffix}: 100"


def test_of_two_limits_of_one_window_the_nearer_is_told() -> None:
    other = told("other", remaining=3)
    assert lines(MINUTE, other, HOUR, forms=["per_window"])[1] == "X-RateLimit-Remaining-Minute: 3"
    assert lines(other, HOUR, MINUTE, forms=["per_window"])[1] == "X-RateLimit-Remaining-Minute: 3"
    assert len(lines(MINUTE, other, HOUR, forms=["per_window"])) == 6


def test_what_runs_at_the_same_time_is_no_window_of_a_minute() -> None:
    names = [line.partition(":")[0] for line in lines(MINUTE, told("c", kind="concurrency"), forms=["per_window"])]
    assert names[::3] == ["X-RateLimit-Limit-Minute", "X-RateLimit-Limit-Concurrency"]


def test_the_window_and_the_algorithm_of_the_nearest() -> None:
    assert lines(MINUTE, HOUR, forms=["window"], policy=True) == [
        "X-RateLimit-Window: 3600",
        "X-RateLimit-Policy: token-bucket",
    ]
    assert lines(told(window=0.5), forms=["window"]) == ["X-RateLimit-Window: 1"]
    assert lines(told(kind="concurrency"), forms=["window"]) == []


def test_the_ietf_fields_tell_every_limit() -> None:
    assert lines(MINUTE, HOUR, forms=["ietf"]) == [
        'RateLimit: "minute";r=40;t=30, "hour";r=100;t=1800',
        'RateLimit-Policy: "minute";q=100;w=60, "hour";q=1000;w=3600',
    ]
    assert lines(told("c", kind="concurrency", reset=0), forms=["ietf"]) == [
        'RateLimit: "c";r=40;t=0',
        'RateLimit-Policy: "c";q=100;qu="concurrent-requests"',
    ]


@pytest.mark.parametrize(
    ("name", "quoted"),
    [
        ("a b", '"a b"'),
        ('say "hi"', r'"say \"hi\""'),
        ("back\\slash", r'"back\\slash"'),
        ("größe\r\nX: y", '"gr??e??X: y"'),
    ],
)
def test_a_name_is_a_string_that_ends_nothing(name: str, quoted: str) -> None:
    assert lines(told(name), forms=["ietf"]) == [
        f"RateLimit: {quoted};r=40;t=30",
        f"RateLimit-Policy: {quoted};q=100;w=60",
    ]


def test_all_forms_at_once_and_again_for_another_tier() -> None:
    writer = LimitHeaderWriter(LimitHeaders(forms=["ietf", "window", "per_window", "plain"], policy=True))
    first = writer.fields([MINUTE], NOW)
    assert [name.decode() for name, _ in first] == [
        "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset",
        "X-RateLimit-Limit-Minute", "X-RateLimit-Remaining-Minute", "X-RateLimit-Reset-Minute",
        "X-RateLimit-Window", "X-RateLimit-Policy", "RateLimit", "RateLimit-Policy",
    ]  # fmt: skip
    assert writer.fields([MINUTE], NOW) == first
    assert writer.fields([told(limit=7)], NOW)[-1] == (b"RateLimit-Policy", b'"minute";q=7;w=60')


@pytest.mark.parametrize(
    "settings", [{}, {"prefix": "R%d-"}, {"reset": "seconds"}, {"forms": ["ietf", "plain"]}, {"policy": True}]
)
@pytest.mark.parametrize("limits", [[], [MINUTE], [HOUR, MINUTE]])
def test_the_lines_are_the_fields(settings: dict[str, Any], limits: list[Told]) -> None:
    written = LimitHeaderWriter(LimitHeaders(**settings)).lines(limits, NOW)
    assert written.decode().splitlines() == lines(*limits, **settings)


@pytest.mark.parametrize(
    ("name", "concerned"),
    [(b"x-ratelimit-reset", True), (b"x-ratelimit-limit-90s", True), (b"ratelimit", True), (b"x-rate", False)],
)
def test_it_is_known_which_edits_concern_limits(name: bytes, concerned: bool) -> None:
    assert LimitHeaderWriter(LimitHeaders()).edited_by([b"server", name]) is concerned


@pytest.mark.parametrize(
    ("waits", "seconds"),
    [([], 1), ([0], 1), ([0.000001], 1), ([1], 1), ([1.000001], 2), ([3, 59.2, 0], 60)],
)
def test_who_is_refused_comes_back_after_the_longest_wait(waits: list[float], seconds: int) -> None:
    assert retry_after([reading(wait=wait) for wait in waits]) == seconds


def test_what_is_never_admitted_is_told_the_reset() -> None:
    never = reading(reset=30)._replace(wait=NEVER)
    assert retry_after([never, reading(wait=5)]) == 30
    assert retry_after([never, reading(wait=45)]) == 45
    assert retry_after([never._replace(reset=0)]) == 1
