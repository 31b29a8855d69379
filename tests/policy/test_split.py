"""The split by weight: shares, and who stays where when weights change."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from itertools import count

import pytest

from headgate.policy.split import Destination, Split, Sticky, check_split, cookie_value

USER = Sticky(header="X-User")
CALLERS = [[(b"x-user", b"caller-%d" % number)] for number in range(10_000)]


def spread(steps: int) -> Callable[[], float]:
    """Give each of `steps` evenly spread numbers in turn."""
    turn = count()
    return lambda: (next(turn) % steps) / steps


def never() -> float:
    raise AssertionError("nothing is left to chance here")


def destinations(**weights: int) -> list[Destination]:
    return [Destination(service_name=name, weight=weight) for name, weight in weights.items()]


@pytest.mark.parametrize(
    "weights",
    [{"a": 90, "b": 10}, {"a": 1, "b": 1}, {"a": 0, "b": 3, "c": 7}, {"a": 500_000, "b": 0, "c": 500_000}],
)
def test_shares_are_those_of_the_weights(weights: dict[str, int]) -> None:
    split = Split(destinations(**weights), None, spread(1000))
    got = Counter(split.pick([]) for _ in range(1000))
    total = sum(weights.values())
    assert got == Counter({name: weight * 1000 // total for name, weight in weights.items() if weight})


def test_the_greatest_number_below_one_is_the_last_with_weight() -> None:
    assert Split(destinations(a=1, b=1, c=0), None, lambda: 1 - 2**-53).pick([]) == "b"
    assert Split(destinations(a=0, b=1, c=1), None, lambda: 0.0).pick([]) == "b"


def test_one_destination_needs_no_chance_and_none_is_none() -> None:
    assert Split(destinations(a=0, b=5), USER, never).pick(CALLERS[0]) == "b"
    assert Split(destinations(a=0, b=0), None, never).pick([]) is None
    assert Split([], None, never).pick([]) is None


def test_a_sticky_choice_is_the_same_in_every_process() -> None:
    split = Split(destinations(a=50, b=30, c=20), USER, never)
    # Written down: another release or another machine must answer the same.
    assert "".join(split.pick(fields) or "" for fields in CALLERS[:20]) == "aabbbababaaaaaacbabb"


def test_sticky_shares_are_those_of_the_weights() -> None:
    got = Counter(Split(destinations(a=70, b=20, c=10, d=0), USER, never).pick(fields) for fields in CALLERS)
    assert got["d"] == 0
    for name, share in (("a", 7000), ("b", 2000), ("c", 1000)):
        assert abs(got[name] - share) < 200


def placed(**weights: int) -> list[str | None]:
    split = Split(destinations(**weights), USER, never)
    return [split.pick(fields) for fields in CALLERS]


def test_a_raised_weight_moves_only_its_own_gain() -> None:
    before, after = placed(a=90, b=10), placed(a=90, b=30)
    moves = Counter((old, new) for old, new in zip(before, after, strict=True) if old != new)
    assert set(moves) == {("a", "b")}
    assert abs(sum(moves.values()) - 1500) < 200


def test_a_removed_destination_moves_only_its_own_callers_and_order_means_nothing() -> None:
    before, after = placed(a=1, b=1, c=1), placed(c=1, a=1)
    assert {old for old, new in zip(before, after, strict=True) if old != new} == {"b"}


@pytest.mark.parametrize(
    ("sticky", "same", "without"),
    [
        (USER, [(b"X-USER", b"7")], []),
        (USER, [(b"X-User", b"7")], [(b"X-User", b"")]),
        (Sticky(cookie="sid"), [(b"Cookie", b"a=1; sid=7")], [(b"Cookie", b"asid=7; SID=7; sid=")]),
        (Sticky(cookie="sid"), [(b"cookie", b"a=1"), (b"cookie", b"sid=7;b")], [(b"cookie", b"sid")]),
    ],
)
def test_without_the_value_chance_decides(
    sticky: Sticky, same: list[tuple[bytes, bytes]], without: list[tuple[bytes, bytes]]
) -> None:
    assert Split(destinations(a=1, b=1), sticky, never).pick(same) in ("a", "b")
    split = Split(destinations(a=1, b=1), sticky, spread(2))
    assert [split.pick(without) for _ in range(4)] == ["a", "b", "a", "b"]


def test_the_first_cookie_of_a_name_counts() -> None:
    assert cookie_value([(b"Cookie", b"b=0; a=1; a=2")], b"a") == b"1"
    assert cookie_value([(b"Cookie", b"a=b=c")], b"a") == b"b=c"
    assert cookie_value([], b"a") is None


@pytest.mark.parametrize(
    ("weights", "sticky", "words"),
    [
        ([("a", 1), ("a", 2)], None, "a stands twice"),
        ([("a", 1)], Sticky(), "here are 0"),
        ([("a", 1)], Sticky(header="x", cookie="y"), "here are 2"),
        ([("a", 1)], Sticky(header="x y"), "not the name"),
    ],
)
def test_a_wrong_split_is_objected_to(weights: list[tuple[str, int]], sticky: Sticky | None, words: str) -> None:
    named = [Destination(service_name=name, weight=weight) for name, weight in weights]
    (objection,) = check_split(named, sticky)
    assert words in objection.message


def test_a_sound_split_passes() -> None:
    assert list(check_split(destinations(a=1, b=0), USER)) == []
    assert list(check_split([], None)) == []
