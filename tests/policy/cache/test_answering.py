"""The answer made of an entry: conditions (RFC 9110 section 13), ranges (14), Age."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.message import Fields, RequestHead
from headgate.policy.cache.answering import Answer, answer
from headgate.policy.cache.entry import Entry
from headgate.policy.cache.reuse import Rules
from headgate.policy.cache.settings import Cache

LATE = b"Sun, 06 Nov 1994 10:00:00 GMT"
THEN = b"Sun, 06 Nov 1994 09:00:00 GMT"
EARLY = b"Sun, 06 Nov 1994 08:00:00 GMT"
RULES = Rules(Cache())
FIELDS: Fields = [
    (b"Date", LATE),
    (b"Content-Type", b"text/plain"),
    (b"Content-Encoding", b"gzip"),
    (b"ETag", b'"x"'),
    (b"Last-Modified", THEN),
    (b"Vary", b"A"),
    (b"Cache-Control", b"max-age=9"),
    (b"Expires", LATE),
    (b"Content-Location", b"/a"),
    (b"X-Other", b"1"),
]


def kept(length: int = 10, status: int = 200, etag: bytes = b'"x"', modified: bytes = THEN) -> Entry:
    entry = Entry(status, FIELDS, 784119600.0)
    entry.length, entry.etag, entry.modified = length, etag, modified
    return entry


def answered(entry: Entry, *fields: tuple[bytes, bytes], method: str = "GET") -> Answer:
    head = RequestHead(method, b"", "http")
    head.fields = list(fields)
    return answer(entry, RULES.read(head), 3)


def test_the_entry_and_its_age() -> None:
    assert answered(kept()) == Answer(200, [*FIELDS, (b"Age", b"3")], 0, 10)
    assert answered(kept(), method="HEAD") == Answer(200, [*FIELDS, (b"Age", b"3")], 0, 10)


def test_what_is_added_to_an_answer_is_not_added_to_the_entry() -> None:
    answered(kept()).fields.append((b"X-Id", b"1"))
    assert (b"X-Id", b"1") not in FIELDS


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ([(b"If-None-Match", b'"x"')], 304),
        ([(b"If-None-Match", b'W/"x"')], 304),
        ([(b"If-None-Match", b'"a", "x", "b"')], 304),
        ([(b"If-None-Match", b'"a"'), (b"If-None-Match", b'"x"')], 304),
        ([(b"If-None-Match", b"*")], 304),
        ([(b"If-None-Match", b'"y"')], 200),
        ([(b"If-None-Match", b"x")], 200),
        ([(b"If-None-Match", b'"a, \\"x\\""')], 200),
        ([(b"If-None-Match", b'"a,x"')], 200),
        ([(b"If-Modified-Since", THEN)], 304),
        ([(b"If-Modified-Since", LATE)], 304),
        ([(b"If-Modified-Since", b"Sunday, 06-Nov-94 09:00:00 GMT")], 304),
        ([(b"If-Modified-Since", EARLY)], 200),
        ([(b"If-Modified-Since", b"yesterday")], 200),
        # The first is the better one: RFC 9110 section 13.2.2.
        ([(b"If-None-Match", b'"y"'), (b"If-Modified-Since", LATE)], 200),
        ([(b"If-None-Match", b'"x"'), (b"If-Modified-Since", EARLY)], 304),
    ],
)
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_conditions(fields: Fields, status: int, method: str) -> None:
    assert answered(kept(), *fields, method=method).status == status


def test_weak_tags_are_compared_weakly() -> None:
    assert answered(kept(etag=b'W/"x"'), (b"If-None-Match", b'"x"')).status == 304


def test_without_last_modified_the_date_counts() -> None:
    assert answered(kept(modified=b""), (b"If-Modified-Since", LATE)).status == 304
    assert answered(kept(modified=b""), (b"If-Modified-Since", THEN)).status == 200


@pytest.mark.parametrize("status", [301, 404, 500])
def test_conditions_are_about_what_is_there(status: int) -> None:
    assert answered(kept(status=status), (b"If-None-Match", b"*"), (b"Range", b"bytes=0-1")).status == status


def test_a_304_has_what_rfc_9110_section_15_4_5_wants() -> None:
    found = answered(kept(), (b"If-None-Match", b'"x"'))
    names = {name for name, _ in found.fields}
    assert names >= {b"Cache-Control", b"Content-Location", b"Date", b"ETag", b"Expires", b"Vary", b"Age"}
    assert not names & {b"Content-Type", b"Content-Encoding", b"Last-Modified"}
    assert (found.start, found.stop) == (0, 0)
    found = answered(kept(etag=b""), (b"If-Modified-Since", LATE))
    assert b"Last-Modified" in {name for name, _ in found.fields}


@pytest.mark.parametrize(
    ("value", "length", "part"),
    [
        (b"bytes=0-1", 10, (0, 2)),
        (b"BYTES=0-1", 10, (0, 2)),
        (b"bytes=4-", 10, (4, 10)),
        (b"bytes=-3", 10, (7, 10)),
        (b"bytes=-30", 10, (0, 10)),
        (b"bytes=5-999999999999999999", 10, (5, 10)),
        (b"bytes=9-9", 10, (9, 10)),
        # Unsatisfiable: 416.
        (b"bytes=10-", 10, (0, 0)),
        (b"bytes=-0", 10, (0, 0)),
        (b"bytes=0-", 0, (0, 0)),
    ],
)
def test_ranges(value: bytes, length: int, part: tuple[int, int]) -> None:
    found = answered(kept(length), (b"Range", value))
    assert (found.start, found.stop) == part
    told = dict(found.fields)[b"Content-Range"]
    if part == (0, 0):
        assert found.status == 416
        assert told == b"bytes */%d" % length
    else:
        assert found.status == 206
        assert told == b"bytes %d-%d/%d" % (part[0], part[1] - 1, length)
        assert found.fields[: len(FIELDS)] == FIELDS


@pytest.mark.parametrize(
    "value", [b"", b"bytes=", b"bytes=-", b"bytes=5-4", b"bytes=a-b", b"items=0-1", b"bytes=0-1,3-4", b"bytes 0-1"]
)
def test_a_range_that_counts_for_nothing(value: bytes) -> None:
    assert answered(kept(), (b"Range", value)).status == 200


def test_two_lines_of_ranges_count_for_nothing() -> None:
    assert answered(kept(), (b"Range", b"bytes=0-1"), (b"Range", b"bytes=0-1")).status == 200


def test_only_get_has_ranges() -> None:
    assert answered(kept(), (b"Range", b"bytes=0-1"), method="HEAD").status == 200


@pytest.mark.parametrize(
    ("value", "entry", "status"),
    [
        (b'"x"', kept(), 206),
        (b'"y"', kept(), 200),
        (b'W/"x"', kept(etag=b'W/"x"'), 200),
        (THEN, kept(), 206),
        (LATE, kept(), 200),
        # Changed in the second in which it was sent: no strong validator.
        (LATE, kept(modified=LATE), 200),
        (b"junk", kept(modified=b"junk"), 200),
    ],
)
def test_a_range_of_what_the_client_has(value: bytes, entry: Entry, status: int) -> None:
    assert answered(entry, (b"Range", b"bytes=0-1"), (b"If-Range", value)).status == status


def test_conditions_come_before_ranges() -> None:
    assert answered(kept(), (b"Range", b"bytes=0-1"), (b"If-None-Match", b'"x"')).status == 304


@given(st.binary(max_size=40), st.binary(max_size=40), st.integers(0, 20))
def test_whatever_is_asked_the_part_is_one_of_the_body(value: bytes, tags: bytes, length: int) -> None:
    for asked in (value, b"bytes=" + value):
        found = answered(kept(length), (b"Range", asked), (b"If-None-Match", tags), (b"If-Modified-Since", tags))
        assert 0 <= found.start <= found.stop <= length
        assert found.status in (200, 206, 304, 416)
        assert (found.stop > found.start) == (found.status == 206 or (found.status == 200 and length > 0))
