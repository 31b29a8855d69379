"""JSON read strictly: what everybody reads the same way comes through, everything else is refused in words."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.strict_json import MOST_DEPTH, read_json, read_object

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_what_is_well_formed_is_read_as_it_is(value: Any) -> None:
    assert read_json(json.dumps(value).encode()) == value
    assert read_json(json.dumps(value, ensure_ascii=False, indent=1).encode()) == value


@given(st.binary())
def test_any_bytes_are_read_or_refused_in_words(body: bytes) -> None:
    try:
        json.dumps(read_json(body), ensure_ascii=False, allow_nan=False).encode()
    except ValueError as error:
        assert str(error)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (b"", "it is no JSON"),
        (b"{", "it is no JSON"),
        (b"{} {}", "it is no JSON"),
        (b"{'a': 1}", "it is no JSON"),
        (b'{"a": 01}', "it is no JSON"),
        (b'{"a": 1,}', "it is no JSON"),
        (b'"\n"', "it is no JSON"),
        (b"\xef\xbb\xbf{}", "it is no JSON"),
        (b'"\xff"', "it is not UTF-8"),
        # A surrogate in UTF-8, which UTF-8 does not have.
        (b'"\xed\xa0\x80"', "it is not UTF-8"),
        ('{"a": 1}'.encode("utf-16"), "it is not UTF-8"),
        (b'{"a": 1, "a": 1}', "a name stands twice in an object"),
        (b'{"a": 1, "\\u0061": 2}', "a name stands twice in an object"),
        (b'[{"b": {"a": 1, "a": 2}}]', "a name stands twice in an object"),
        (b"NaN", "NaN and Infinity are no JSON"),
        (b"[-Infinity]", "NaN and Infinity are no JSON"),
        (b"1e999", "a number is too large"),
        (b"1" * 5000, "a number is too long"),
        (b'"\\ud800"', "it has text that is no Unicode"),
        (b'{"\\uDFFF": 1}', "it has text that is no Unicode"),
        (b"[" * 65 + b"]" * 65, "it is deeper than 64 levels"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "it is deeper than 64 levels"),
        (b"[" * 100_000, "it is deeper than 64 levels"),
        (b"[" * 100_000 + b"]" * 100_000, "it is deeper than 64 levels"),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_what_two_readers_may_understand_differently_is_refused(body: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        read_json(body)


def test_depth_is_bounded_and_width_is_not() -> None:
    assert read_json(b"[" * MOST_DEPTH + b"]" * MOST_DEPTH)
    assert len(read_json(b"[" + b"[]," * 500 + b"{}]")) == 501
    assert read_json(b'"\\ud83d\\ude00"') == "\N{GRINNING FACE}"


@pytest.mark.parametrize("body", [b"[]", b'"a"', b"1", b"null", b"true"])
def test_an_object_is_demanded_where_one_is_needed(body: bytes) -> None:
    with pytest.raises(ValueError, match="it is no JSON object"):
        read_object(body)
    assert read_object(b'{"a": [1]}') == {"a": [1]}
