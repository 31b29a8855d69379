"""Dates as HTTP writes them (RFC 9110 section 5.6.7), read to seconds since 1970.

Law: what is in no form of these is None, never a guess. Letter case does not count (RFC 9111 section 4.2), and UTC is
another name of GMT there; any other zone is in disorder.
"""

from __future__ import annotations

import re
from calendar import timegm

_MONTHS = {name: at for at, name in enumerate(b"jan feb mar apr may jun jul aug sep oct nov dec".split(), 1)}
_DAY = rb"(?:mon|tue|wed|thu|fri|sat|sun)"
_LONG_DAY = rb"(?:mon|tues|wednes|thurs|fri|satur|sun)day"
_MONTH = rb"(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)"
_TIME = rb"([01][0-9]|2[0-3]):([0-5][0-9]):([0-5][0-9]|60)"
# The one form that is written, and the two old ones that must still be read.
_FIXDATE = re.compile(_DAY + rb", ([0-9]{2}) " + _MONTH + rb" ([0-9]{4}) " + _TIME + rb" (?:GMT|UTC)", re.IGNORECASE)
_RFC850 = re.compile(
    _LONG_DAY + rb", ([0-9]{2})-" + _MONTH + rb"-([0-9]{2}) " + _TIME + rb" (?:GMT|UTC)", re.IGNORECASE
)
_ASCTIME = re.compile(_DAY + rb" " + _MONTH + rb" ([ 0-9][0-9]) " + _TIME + rb" ([0-9]{4})", re.IGNORECASE)
_LONGEST = 40
_LEAST_YEAR = 1900
_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_FIFTY_YEARS = 50 * 365.2425 * 86400


def parse_date(value: bytes, now: float) -> float | None:
    """Return the time that a date tells, in seconds since 1970; None if it is in none of the three forms.

    `now` is the present time: a year of two digits stands for one that is at most 50 years ahead of it.
    """
    if len(value) > _LONGEST:
        return None
    found = _FIXDATE.fullmatch(value)
    if found is not None:
        day, month, year, hour, minute, second = found.groups()
        return _seconds(int(year), month, int(day), hour, minute, second)
    found = _RFC850.fullmatch(value)
    if found is not None:
        day, month, year, hour, minute, second = found.groups()
        for century in (2000, 1900):
            then = _seconds(century + int(year), month, int(day), hour, minute, second)
            if then is not None and then <= now + _FIFTY_YEARS:
                return then
        return None
    found = _ASCTIME.fullmatch(value)
    if found is not None:
        month, day, hour, minute, second, year = found.groups()
        return _seconds(int(year), month, int(day), hour, minute, second)
    return None


def _seconds(year: int, name: bytes, day: int, hour: bytes, minute: bytes, second: bytes) -> float | None:
    month = _MONTHS[name.lower()]
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if year < _LEAST_YEAR or not 1 <= day <= (28 if month == 2 and not leap else _DAYS[month - 1]):
        return None
    return float(timegm((year, month, day, int(hour), int(minute), int(second))))
