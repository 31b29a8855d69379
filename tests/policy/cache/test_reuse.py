"""May an entry answer: freshness, what requests ask for, stale windows, clocks, and validation."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.message import UNKNOWN_LENGTH, Fields, RequestHead, ResponseHead
from headgate.policy.cache.entry import Entry
from headgate.policy.cache.reuse import Asked, Rules, refuted
from headgate.policy.cache.settings import Bypass, Cache

NOW = 1_800_000_000.0


def request(*fields: tuple[bytes, bytes], method: str = "GET", query: bytes | None = None) -> RequestHead:
    head = RequestHead(method, b"", "http")
    head.fields, head.query = list(fields), query
    return head


def asks(value: str = "", **settings: Any) -> Asked:
    fields = [(b"Cache-Control", value.encode())] if value else []
    return Rules(Cache(**settings)).read(request(*fields))


def kept(lifetime: float = 60.0, age: float = 0.0, revalidate: float = 0.0, on_error: float = 0.0) -> Entry:
    entry = Entry(200, [], NOW)
    entry.lifetime, entry.age = lifetime, age
    entry.stale_while_revalidate, entry.stale_if_error = revalidate, on_error
    entry.etag = b'"x"'
    return entry


RULES = Rules(Cache())


@pytest.mark.parametrize(
    ("head", "bypass"),
    [
        (request(), ""),
        (request(method="HEAD"), ""),
        (request(method="POST"), "method"),
        (request(method="OPTIONS"), "method"),
        (request(method="M-SEARCH"), "method"),
        (request((b"If-Match", b'"x"')), "bypass"),
        (request((b"If-Unmodified-Since", b"x")), "bypass"),
        (request((b"Cache-Control", b"no-store")), "request"),
        (request((b"X-Preview", b"1")), "bypass"),
        (request((b"Cookie", b"a=1; session=2")), "bypass"),
        (request((b"Cookie", b"a=session")), ""),
        (request(query=b"a=1&draft"), "bypass"),
        (request(query=b"a=1&%64raft=1"), "bypass"),
        (request(query=b"drafts=1"), ""),
    ],
)
def test_what_the_cache_has_no_part_in(head: RequestHead, bypass: str) -> None:
    rules = Rules(Cache(bypass=Bypass(headers=["x-preview"], cookies=["session"], query=["draft"])))
    assert rules.read(head).bypass == bypass


@pytest.mark.parametrize("length", [5, UNKNOWN_LENGTH])
def test_a_body_makes_it_another_request(length: int) -> None:
    head = request()
    head.length = length
    assert RULES.read(head).bypass == "bypass"


def test_a_connection_that_becomes_another_is_none_of_its_business() -> None:
    head = request()
    head.upgrade = b"websocket"
    assert RULES.read(head).bypass == "bypass"


@pytest.mark.parametrize(
    ("said", "entry", "later", "use"),
    [
        ("", kept(), 59.9, "fresh"),
        ("", kept(), 60.0, "validate"),
        ("", kept(age=50), 9.9, "fresh"),
        ("", kept(age=50), 10.0, "validate"),
        ("", kept(revalidate=5), 64.9, "revalidate"),
        ("", kept(revalidate=5), 65.0, "validate"),
        ("", kept(on_error=500), 61.0, "validate"),
        ("no-cache", kept(), 1.0, "validate"),
        ("max-age=5", kept(), 5.0, "fresh"),
        ("max-age=5", kept(), 5.1, "validate"),
        ("max-age=0", kept(), 0.1, "validate"),
        ("max-age=5", kept(revalidate=500), 61.0, "validate"),
        ("min-fresh=20", kept(), 40.0, "fresh"),
        ("min-fresh=20", kept(), 40.1, "validate"),
        ("max-stale=10", kept(), 70.0, "fresh"),
        ("max-stale=10", kept(), 70.1, "validate"),
        ("max-stale", kept(), 1e6, "fresh"),
        ("max-stale=10, no-cache", kept(), 1.0, "validate"),
    ],
)
def test_what_an_entry_is_good_for(said: str, entry: Entry, later: float, use: str) -> None:
    assert RULES.judge(entry, asks(said), NOW + later).use == use


@pytest.mark.parametrize("said", ["no-cache", "max-age=0", "min-fresh=100", "only-if-cached"])
def test_what_clients_ask_may_count_for_nothing(said: str) -> None:
    asked = asks(said, client_control="ignore")
    assert RULES.judge(kept(), asked, NOW + 1).use == "fresh"
    assert not asked.only_if_cached


def test_what_has_no_validator_is_fetched() -> None:
    entry = kept()
    entry.etag = b""
    assert RULES.judge(entry, asks(), NOW + 61).use == "fetch"
    entry.modified = b"Sun, 06 Nov 1994 08:49:37 GMT"
    assert RULES.judge(entry, asks(), NOW + 61).use == "validate"


@pytest.mark.parametrize("said", ["max-stale", "max-stale=1000", ""])
def test_what_must_be_validated_is_never_used_stale(said: str) -> None:
    entry = kept(revalidate=100, on_error=100)
    entry.strict = True
    asked = asks(said)
    assert RULES.judge(entry, asked, NOW + 61).use == "validate"
    assert not RULES.stale_if_error(entry, asked, NOW + 61)


def test_age_and_what_is_left() -> None:
    verdict = RULES.judge(kept(age=5.5), asks(), NOW + 10)
    assert (verdict.age, verdict.ttl) == (15, 44)
    assert RULES.judge(kept(), asks(), NOW + 70).ttl == -10


def test_a_clock_that_went_back_makes_stale() -> None:
    assert RULES.judge(kept(), asks(), NOW - 2).use == "validate"
    assert RULES.judge(kept(), asks("max-stale"), NOW - 2).use == "validate"
    assert RULES.judge(kept(revalidate=100), asks(), NOW - 2).use == "validate"
    assert RULES.judge(kept(), asks(), NOW - 2).ttl <= 0
    assert not RULES.stale_if_error(kept(on_error=100), asks(), NOW - 2)
    # Machines that share a store are never quite together.
    assert RULES.judge(kept(), asks(), NOW - 0.5).use == "fresh"
    assert RULES.judge(kept(), asks(), NOW - 0.5).age == 0


@pytest.mark.parametrize(
    ("said", "entry", "later", "may"),
    [
        ("", kept(on_error=10), 69.9, True),
        ("", kept(on_error=10), 70.0, False),
        ("", kept(), 61.0, False),
        ("stale-if-error=10", kept(), 69.9, True),
        ("max-age=5", kept(), 10.0, True),
        ("no-cache", kept(on_error=10), 1.0, False),
    ],
)
def test_when_nothing_else_can_answer(said: str, entry: Entry, later: float, may: bool) -> None:
    assert RULES.stale_if_error(entry, asks(said), NOW + later) is may


@given(
    st.floats(-10, 1e5),
    st.floats(0, 1e4),
    st.floats(0, 1e4),
    st.sampled_from(["", "max-age=50", "min-fresh=50", "no-cache", "max-stale=0", "stale-if-error=9"]),
)
def test_nothing_is_fresher_than_it_said(later: float, lifetime: float, age: float, said: str) -> None:
    verdict = RULES.judge(kept(lifetime, age), asks(said), NOW + later)
    if verdict.use == "fresh":
        # Times of today have a microsecond, no less.
        assert age + max(0.0, later) <= lifetime + 1e-6
        assert later >= -1
        assert verdict.ttl >= 0
    assert verdict.age >= 0


# -- validation ---------------------------------------------------------------------------------------------------

CONDITIONS: Fields = [(b"If-None-Match", b'"c"'), (b"if-modified-since", b"x"), (b"Range", b"bytes=0-1")]


def test_what_goes_out_has_conditions_of_ours() -> None:
    entry = kept()
    entry.modified = b"then"
    rules = Rules(Cache(targeted=[]))
    fields = [(b"A", b"1"), *CONDITIONS, (b"If-Range", b'"c"')]
    assert rules.outgoing(fields, None) == [(b"A", b"1")]
    ours = [(b"If-None-Match", b'"x"'), (b"If-Modified-Since", b"then")]
    assert rules.outgoing(fields, entry) == [(b"A", b"1"), *ours]
    assert rules.outgoing(fields, entry, whole=False) == [
        (b"A", b"1"),
        (b"Range", b"bytes=0-1"),
        (b"If-Range", b'"c"'),
        *ours,
    ]


@pytest.mark.parametrize(
    ("status", "fields", "length", "is_another"),
    [
        (200, [(b"ETag", b'"x"')], 7, False),
        (200, [], UNKNOWN_LENGTH, False),
        (200, [(b"ETag", b'"y"')], 7, True),
        (200, [(b"Last-Modified", b"later")], 7, True),
        (200, [(b"ETag", b'"x"')], 8, True),
        (404, [(b"ETag", b'"y"')], 8, False),
    ],
)
def test_an_answer_to_head_tells_of_another_body(status: int, fields: Fields, length: int, is_another: bool) -> None:
    entry = kept()
    entry.length = 7
    assert refuted(entry, ResponseHead(status, fields, length)) is is_another


def test_who_reads_surrogate_control_says_so() -> None:
    assert RULES.outgoing([], None) == [(b"Surrogate-Capability", b'headgate="Surrogate/1.0"')]


def test_from_an_answer_to_reuse_and_validation() -> None:
    head = request()
    asked = RULES.read(head)
    response = ResponseHead(200, [(b"Cache-Control", b"max-age=60"), (b"ETag", b'"x"')])
    entry = RULES.storable(head, response, NOW, NOW, False)
    assert isinstance(entry, Entry)
    assert RULES.judge(entry, asked, NOW + 61).use == "validate"
    again = RULES.validated(entry, ResponseHead(304, [(b"ETag", b'"x"')]), NOW + 61, NOW + 61)
    assert RULES.judge(again, asked, NOW + 62).use == "fresh"
    assert RULES.keep(again, NOW + 61) > 60
    assert RULES.storable(head, ResponseHead(200, []), NOW, NOW, False) == "no-freshness"
