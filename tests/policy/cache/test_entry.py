"""Entries as bytes: what was kept is what comes back, and nothing else ever does."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from headgate.core.message import Fields
from headgate.policy.cache import entry as entries
from headgate.policy.cache.entry import Entry, Varies, decode

NAMES = st.from_regex(rb"[A-Za-z][A-Za-z0-9-]{0,20}", fullmatch=True)
VALUES = st.from_regex(rb"([!-~\x80-\xff]([ -~\x80-\xff]{0,30}[!-~\x80-\xff])?)?", fullmatch=True)
TIMES = st.floats(0, 4e9)


@st.composite
def kept(draw: st.DrawFn) -> Entry:
    fields: Fields = draw(st.lists(st.tuples(NAMES, VALUES), max_size=6))
    entry = Entry(draw(st.integers(200, 599)), fields, draw(TIMES))
    entry.length = draw(st.integers(0, 2**40))
    entry.age, entry.lifetime = draw(TIMES), draw(TIMES)
    entry.stale_while_revalidate, entry.stale_if_error = draw(TIMES), draw(TIMES)
    entry.strict = draw(st.booleans())
    entry.vary = tuple(draw(st.lists(NAMES, max_size=3)))
    entry.tags = tuple(draw(st.lists(st.from_regex(r"[!-+\--~]{1,9}", fullmatch=True), max_size=3)))
    entry.etag, entry.modified = draw(VALUES), draw(VALUES)
    return entry


def parts(entry: Entry) -> list[object]:
    numbers = [entry.received, entry.age, entry.lifetime, entry.stale_while_revalidate, entry.stale_if_error]
    texts = [entry.fields, entry.vary, entry.tags, entry.etag, entry.modified]
    return [entry.status, entry.length, entry.strict, entry.once, *numbers, *texts]


@given(kept())
def test_what_was_kept_comes_back(entry: Entry) -> None:
    data = entry.encode()
    for _ in range(2):
        found = decode(data)
        assert isinstance(found, Entry)
        assert parts(found) == parts(entry)


@given(kept(), st.data())
def test_a_part_of_it_is_none(entry: Entry, data: st.DataObject) -> None:
    whole = entry.encode()
    assert decode(whole[: data.draw(st.integers(0, len(whole) - 1))]) is None
    assert decode(whole + b"x") is None


@given(st.binary(max_size=200))
def test_anything_else_is_none(data: bytes) -> None:
    assert decode(data) is None or data[:1] in (b"\x81", b"\x82")


def test_the_names_that_answers_vary_by() -> None:
    found = decode(Varies((b"accept", b"x-a")).encode())
    assert isinstance(found, Varies)
    assert found.names == (b"accept", b"x-a")


def test_no_more_are_remembered_than_there_is_room_for() -> None:
    for at in range(3000):
        decode(Entry(200, [], float(at)).encode())
    assert len(entries._remembered) <= 1024
    large = Entry(200, [(b"A", b"x" * 3000)], 1.0).encode()
    assert decode(large) is not None
    assert large not in entries._remembered
