"""Dates of HTTP: the three forms, and that nothing else is a date."""

from __future__ import annotations

from datetime import UTC, datetime
from email.utils import formatdate

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.http_date import parse_date

NOW = datetime(2026, 6, 1, tzinfo=UTC).timestamp()
# RFC 9110 section 5.6.7.
EXAMPLE = datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    "text",
    [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "SUN, 06 nov 1994 08:49:37 gmt",
        "Sun, 06 Nov 1994 08:49:37 UTC",
    ],
)
def test_the_forms_of_the_rfc(text: str) -> None:
    assert parse_date(text.encode(), NOW) == EXAMPLE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "-1",
        "Sun, 06 Nov 1994 08:49:37",
        "Sun, 06 Nov 1994 08:49:37 EST",
        "Sun, 06 Nov 1994 08:49:37 +0000",
        "Sun 06 Nov 1994 08:49:37 GMT",
        "Sun, 6 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 94 08:49:37 GMT",
        "Sun, 06-Nov-1994 08:49:37 GMT",
        "Sun, 31 Nov 1994 08:49:37 GMT",
        "Sun, 29 Feb 1900 08:49:37 GMT",
        "Sun, 00 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 24:00:00 GMT",
        "Sun, 06 Nov 1994 08.49.37 GMT",
        "Sun, 06  Nov  1994 08:49:37 GMT",
        "Sun, 06 Nov 1994 08:49:37 GMT, Sun, 06 Nov 1994 08:49:37 GMT",
        "Sun, 06 Nov \u0661\u0669\u0669\u0664 08:49:37 GMT",
    ],
)
def test_what_is_in_no_form_is_no_date(text: str) -> None:
    assert parse_date(text.encode(), NOW) is None


def test_the_29th_of_february() -> None:
    assert parse_date(b"Tue, 29 Feb 2000 00:00:00 GMT", NOW) == datetime(2000, 2, 29, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(("year", "means"), [("75", 2075), ("76", 2076), ("77", 1977), ("99", 1999), ("00", 2000)])
def test_two_digits_are_at_most_fifty_years_ahead(year: str, means: int) -> None:
    # RFC 9110 section 5.6.7: MUST be taken for the past if more than 50 years in the future.
    told = parse_date(f"Monday, 01-Feb-{year} 00:00:00 GMT".encode(), NOW)
    assert told == datetime(means, 2, 1, tzinfo=UTC).timestamp()


@given(st.integers(0, 253_402_300_799))
def test_every_date_that_is_written_is_read(seconds: int) -> None:
    assert parse_date(formatdate(seconds, usegmt=True).encode(), NOW) == seconds


@given(st.binary(max_size=60))
def test_nothing_raises(value: bytes) -> None:
    parse_date(value, NOW)
