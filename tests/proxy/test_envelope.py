"""Envelopes of the view `proxy`: whatever comes is opened or refused, and a body goes on as it was written."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.failure import Failure
from headgate.proxy.envelope import Envelope, Invalid, open_envelope
from headgate.wire import http1
from headgate.wire.settings import HttpLimits

KINDS = http1.request_kinds((), "drop")
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def opened(raw: bytes, **limits: Any) -> Envelope:
    return open_envelope(raw, KINDS, HttpLimits(**limits))


@given(VALUES, st.booleans(), st.booleans())
def test_a_body_goes_on_to_the_letter(body: Any, ascii_only: bool, first: bool) -> None:
    said = {"service_name": "a", "path": "/", "method": "POST", "headers": {"A": '", "body": 1, "'}}
    whole = {"body": body, **said} if first else {**said, "body": body}
    written = json.dumps(body, ensure_ascii=ascii_only)
    raw = json.dumps(whole, ensure_ascii=ascii_only, indent=1 if first else None)
    try:
        envelope = opened(raw.encode("utf-8", "surrogatepass"))
    except Invalid:
        # A lone half of a surrogate pair is no text.
        with pytest.raises(UnicodeEncodeError):
            json.dumps(body, ensure_ascii=False).encode()
        return
    if body is None:
        assert envelope.body == b""
    elif not first:
        assert envelope.body == written.encode()
    assert body is None or json.loads(envelope.body) == body


@given(st.binary(max_size=60) | st.text(alphabet='{}[]",: \nabody1service_name\\u0000', max_size=80).map(str.encode))
def test_whatever_comes_is_opened_or_refused(raw: bytes) -> None:
    try:
        opened(raw)
    except (Invalid, Failure):
        pass


@given(st.dictionaries(st.text(max_size=6), st.text(max_size=6), max_size=4))
def test_fields_that_pass_are_fields(headers: dict[str, str]) -> None:
    raw = json.dumps({"service_name": "a", "path": "/", "method": "get", "headers": headers}).encode()
    try:
        envelope = opened(raw)
    except (Invalid, Failure):
        return
    for name, value in envelope.fields:
        assert http1.safe_name(name)
        assert not {0, 10, 13} & set(value)
        assert KINDS[name] in http1.PASSING


@pytest.mark.parametrize(
    ("path", "normal"),
    [
        ("x", "/x"),
        ("/a/./b", "/a/b"),
        ("//a", "/a"),
        ("/%61", "/a"),
        ("/a%20b", "/a%20b"),
        ("", "/"),
        ("/a/../b", "/b"),
        ("/a b/ü", "/a%20b/%C3%BC"),
    ],
)
def test_a_path_is_brought_into_its_normal_form(path: str, normal: str) -> None:
    raw = json.dumps({"service_name": "a", "path": path, "method": "GET"}).encode()
    assert opened(raw).path == normal


@pytest.mark.parametrize(
    ("path", "params", "query"),
    [
        ("/x", {}, None),
        ("/x?", {}, None),
        ("/x?a=1&b=%26", {}, b"a=1&b=%26"),
        ("/x?a=1", {"q": "a&b"}, b"a=1&q=a%26b"),
        ("/x?q=ü b?", {}, b"q=%C3%BC%20b?"),
        ("/x?a\r\nB: c", {}, b"a%0D%0AB:%20c"),
    ],
)
def test_a_path_may_hold_a_query(path: str, params: dict[str, str], query: bytes | None) -> None:
    raw = json.dumps({"service_name": "a", "path": path, "method": "GET", "query_params": params}).encode()
    envelope = opened(raw)
    assert (envelope.path, envelope.query) == ("/x", query)


@pytest.mark.parametrize("path", ["/x#y", "/x?a#y", "/x\n", "/x\\y", "/../x", "/%2F"])
def test_a_path_that_may_be_read_in_two_ways_is_refused(path: str) -> None:
    raw = json.dumps({"service_name": "a", "path": path, "method": "GET"}).encode()
    with pytest.raises(Failure) as refused:
        opened(raw)
    assert refused.value.reason == "bad_path"


@pytest.mark.parametrize(
    ("headers", "limits"),
    [
        ({str(number): "x" for number in range(4)}, {"max_headers": 3}),
        ({"A": "x" * 2000}, {"max_header_line": 1024}),
        ({str(number): "x" * 900 for number in range(3)}, {"max_header_bytes": 2048}),
    ],
)
def test_fields_are_bounded_as_a_clients_own(headers: dict[str, str], limits: dict[str, int]) -> None:
    raw = json.dumps({"service_name": "a", "path": "/", "method": "GET", "headers": headers}).encode()
    assert opened(raw).fields
    with pytest.raises(Failure) as refused:
        opened(raw, **limits)
    assert refused.value.reason == "headers_too_large"
