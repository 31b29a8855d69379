"""Cache-Control as a shared cache reads it: the examples of RFC 9111, disorder, and fields that take its place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.policy.cache.directives import ABSENT, Control, control, targeted

MOST = 2**31
FLAGS = ("no_store", "validate", "private", "public", "strict", "strict_shared", "must_understand", "only_if_cached")
NUMBERS = ("max_age", "shared_max_age", "stale_while_revalidate", "stale_if_error", "max_stale", "min_fresh")
NAMES = (*FLAGS, *NUMBERS, "hidden")


def told(found: Control) -> dict[str, object]:
    """Return what is said, and nothing else."""
    plain = Control()
    return {name: value for name in NAMES if (value := getattr(found, name)) != getattr(plain, name)}


@pytest.mark.parametrize(
    ("value", "says"),
    [
        (b"", {}),
        (b"max-age=600", {"max_age": 600}),
        (b"Max-Age=600, NO-STORE", {"max_age": 600, "no_store": True}),
        (b'max-age="600"', {"max_age": 600}),
        (b"max-age=0600", {"max_age": 600}),
        (b"s-maxage=5,max-age=600", {"max_age": 600, "shared_max_age": 5}),
        (b"public, must-revalidate, proxy-revalidate", {"public": True, "strict": True, "strict_shared": True}),
        (b"no-cache", {"validate": True}),
        (b'no-cache="Set-Cookie, X-A"', {"hidden": frozenset((b"set-cookie", b"x-a"))}),
        (b"private=X-A", {"hidden": frozenset((b"x-a",))}),
        (b'private=""', {"private": True}),
        (b"private, community=UCI", {"private": True}),
        (b"no-store, must-understand", {"no_store": True, "must_understand": True}),
        (b"stale-while-revalidate=30, stale-if-error=60", {"stale_while_revalidate": 30, "stale_if_error": 60}),
        (b"only-if-cached, max-stale", {"only_if_cached": True, "max_stale": MOST}),
        (b"max-stale=10, min-fresh=20", {"max_stale": 10, "min_fresh": 20}),
        (b'extension="no-store, max-age=1", max-age=60', {"max_age": 60}),
        (b'extension="a\\", no-store, b", max-age=60', {"max_age": 60}),
        (b"no-store ,, , max-age=1", {"no_store": True, "max_age": 1}),
        (b"max-age=99999999999999", {"max_age": MOST}),
        (b"max-age=2147483649", {"max_age": MOST}),
    ],
)
def test_what_is_said(value: bytes, says: dict[str, object]) -> None:
    assert told(control(value)) == says


@pytest.mark.parametrize(
    "value",
    [
        b"max-age=-5",
        b"max-age=1.5",
        b"max-age='600'",
        b"max-age=a600",
        b"max-age=600a",
        b"max-age =600",
        b"max-age= 600",
        b"max-age",
        b"max-age=",
        b'max-age="6',
        "max-age=\u0661".encode(),
        b"max-age=600, max-age=0",
        b"max-age=0, max-age=600",
    ],
)
def test_a_number_in_disorder_allows_nothing(value: bytes) -> None:
    assert control(value).max_age == 0


def test_of_two_the_one_that_allows_less_counts() -> None:
    assert control(b"max-age=600, max-age=60").max_age == 60
    assert control(b"min-fresh=5, min-fresh=50").min_fresh == 50


def test_a_field_too_long_to_be_read_allows_nothing() -> None:
    found = control(b"max-age=600, " + b"x" * 3000)
    assert found.no_store
    assert found.max_age == ABSENT


@given(st.binary(max_size=80), st.binary(max_size=80))
def test_no_store_is_found_wherever_it_stands(before: bytes, after: bytes) -> None:
    before = before.replace(b'"', b"")
    assert control(before + b",no-store," + after).no_store


@given(st.binary(max_size=200))
def test_nothing_raises_and_no_number_is_below_zero(value: bytes) -> None:
    found = control(value)
    assert min(found.max_age, found.shared_max_age, found.stale_if_error, found.min_fresh) >= ABSENT
    targeted(b"surrogate-control", value)


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        (b"cdn-cache-control", b"max-age=60", {"max_age": 60}),
        (b"cdn-cache-control", b"max-age=60;ext=1", {"max_age": 60}),
        (b"surrogate-control", b"max-age=60", {"max_age": 60}),
        (b"surrogate-control", b"max-age=60;headgate, no-store;other", {"max_age": 60}),
        (b"surrogate-control", b"foo, max-age=60", {"max_age": 60}),
    ],
)
def test_fields_in_its_place(name: bytes, value: bytes, says: dict[str, object]) -> None:
    found = targeted(name, value)
    assert found is not None
    assert told(found) == says


@pytest.mark.parametrize("value", [b"", b" , ", b"max-age=60;not-for-you"])
def test_one_that_says_nothing_takes_no_place(value: bytes) -> None:
    assert targeted(b"surrogate-control", value) is None
