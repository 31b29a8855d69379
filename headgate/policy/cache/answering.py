"""The answer made of an entry: conditions and ranges of the client (RFC 9110 sections 13 and 14), and Age.

Laws:
- What a client asks about is the entry as it is kept, so its ranges count bytes as the upstream sent them.
- A field that is in no order is as good as absent; several ranges in one request are answered by the whole.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from headgate.core.http_date import parse_date
from headgate.core.message import Fields
from headgate.policy.cache.entry import Entry
from headgate.policy.cache.reuse import Asked

_RANGE = re.compile(rb"bytes=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE)
_TAGS = re.compile(rb'(?:W/)?("[\x21\x23-\x7e\x80-\xff]*")')
# RFC 9110 section 15.4.5: what a 304 has no use for. Last-Modified only where there is no better validator.
_OF_THE_BODY = frozenset(
    (b"content-encoding", b"content-language", b"content-length", b"content-range", b"content-type", b"content-md5")
)
_LONGEST = 4096


class Answer(NamedTuple):
    """The head of an answer, and the part [start, stop) of the body that belongs to it, HEAD or not.

    For a 304 and a 416 that part is empty.
    """

    status: int
    fields: Fields
    start: int
    stop: int


def answer(entry: Entry, asked: Asked, age: int) -> Answer:
    """Answer a request from an entry; the fields are the caller's own to add to."""
    if not asked.plain and 200 <= entry.status < 300:
        if _unchanged(entry, asked):
            return Answer(304, [*_short(entry), (b"Age", b"%d" % age)], 0, 0)
        if asked.range and entry.status == 200:
            found = _range(asked.range, entry.length)
            if found is not None and _same(entry, asked.if_range):
                return _part(entry, found, age)
    return Answer(entry.status, [*entry.fields, (b"Age", b"%d" % age)], 0, entry.length)


def _unchanged(entry: Entry, asked: Asked) -> bool:
    """Evaluate the client's conditions in the order of RFC 9110 section 13.2.2."""
    if asked.if_none_match:
        wanted = asked.if_none_match
        if wanted.strip() == b"*":
            return True
        if not entry.etag or len(wanted) > _LONGEST:
            return False
        # Section 13.1.2: compared weakly.
        return entry.etag.removeprefix(b"W/") in _TAGS.findall(wanted)
    if asked.if_modified_since:
        since = parse_date(asked.if_modified_since, entry.received)
        if since is None:
            return False
        # RFC 9111 section 4.3.2: without Last-Modified the Date counts, and without that when it came.
        changed = parse_date(entry.modified, entry.received) if entry.modified else None
        if changed is None:
            changed = _dated(entry)
        return changed <= since
    return False


def _dated(entry: Entry) -> float:
    for name, value in entry.fields:
        if name.lower() == b"date":
            date = parse_date(value, entry.received)
            return entry.received if date is None else date
    return entry.received


def _short(entry: Entry) -> Fields:
    return [
        field
        for field in entry.fields
        if (name := field[0].lower()) not in _OF_THE_BODY and not (entry.etag and name == b"last-modified")
    ]


def _range(value: bytes, length: int) -> tuple[int, int] | None:
    """Return the part [start, stop) that is asked for, empty if there is none; None where it does not count."""
    found = _RANGE.fullmatch(value)
    if found is None:
        return None
    first, last = found[1], found[2]
    if not first:
        if not last:
            return None
        return max(0, length - int(last)), length
    start = int(first)
    if not last:
        return min(start, length), length
    if int(last) < start:
        return None
    return min(start, length), min(int(last) + 1, length)


def _same(entry: Entry, wanted: bytes) -> bool:
    """Evaluate If-Range (RFC 9110 section 13.1.5): the strong comparison, and dates to the letter."""
    if not wanted:
        return True
    if wanted[:1] == b'"':
        return wanted == entry.etag
    # A date is no strong validator of what changed in the second in which it was sent (section 8.8.2.2).
    if not entry.modified or wanted != entry.modified:
        return False
    changed = parse_date(entry.modified, entry.received)
    return changed is not None and changed + 1 <= _dated(entry)


def _part(entry: Entry, found: tuple[int, int], age: int) -> Answer:
    start, stop = found
    aged = (b"Age", b"%d" % age)
    if start >= stop:
        fields = [*_short(entry), (b"Content-Range", b"bytes */%d" % entry.length), aged]
        return Answer(416, fields, 0, 0)
    kept = [field for field in entry.fields if field[0].lower() != b"content-range"]
    told = (b"Content-Range", b"bytes %d-%d/%d" % (start, stop - 1, entry.length))
    return Answer(206, [*kept, told, aged], start, stop)
