"""What hooks are given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.plugin import Headers, Request, Response


def test_headers_are_found_in_any_case_and_all_of_a_name_in_their_order() -> None:
    headers = Headers([(b"X-A", b"1"), (b"Other", b"o"), (b"x-a", b"2")])
    assert headers.get("x-A") == "1"
    assert headers.get_all("X-a") == ["1", "2"]
    assert headers.get("missing") is None
    assert headers.get("missing", "") == ""
    assert headers.get_all("missing") == []
    assert "OTHER" in headers
    assert "missing" not in headers
    assert 1 not in headers
    assert list(headers) == ["X-A", "Other", "x-a"]
    assert headers.items() == [("X-A", "1"), ("Other", "o"), ("x-a", "2")]
    assert len(headers) == 3


def test_headers_of_text_are_those_of_bytes() -> None:
    assert Headers.of({"A": "\u00fc"}) == Headers([(b"A", "\u00fc".encode())])
    assert Headers.of([("A", "1"), ("A", "2")]).get_all("a") == ["1", "2"]
    assert hash(Headers.of({"A": "1"})) == hash(Headers([(b"A", b"1")]))
    assert Headers.of({"A": "1"}) != {"A": "1"}


def test_what_is_printed_shows_no_value() -> None:
    assert repr(Headers.of({"Authorization": "Bearer secret"})) == "<Headers Authorization>"
    assert "secret" not in repr(Request(headers=Headers.of({"Authorization": "Bearer secret"})))


@given(st.binary())
def test_no_byte_of_a_value_is_lost(value: bytes) -> None:
    text = Headers([(b"a", value)]).get("a")
    assert text is not None
    assert text.encode("utf-8", "surrogateescape") == value


def test_a_name_that_no_field_can_have_is_not_found() -> None:
    assert Headers.of({"A": "1"}).get("\ud800") is None


@pytest.mark.parametrize("record", [Request(), Response()])
def test_records_cannot_be_changed(record: object) -> None:
    with pytest.raises(AttributeError):
        record.headers = Headers()  # type: ignore[attr-defined]
