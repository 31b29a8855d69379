"""Answers as JSON: which ones, what becomes of their heads, and that the text is the service's however it came."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.message import UNKNOWN_LENGTH, Fields, RequestHead, ResponseHead
from headgate.wire.as_json import AsJson
from headgate.wire.compression import Compressor
from headgate.wire.settings import Compression

GZIP: Fields = [(b"accept-encoding", b"gzip")]


def request(method: str = "GET", fields: Fields | None = None) -> RequestHead:
    made = RequestHead(method, b"/", "http")
    made.fields = fields or []
    return made


def answer(
    kind: bytes | None, length: int = UNKNOWN_LENGTH, *more: tuple[bytes, bytes], status: int = 200
) -> ResponseHead:
    typed: Fields = [(b"Content-Type", kind)] if kind is not None else []
    return ResponseHead(status, [*typed, *more], length)


def told(kind: bytes | None, *pieces: bytes) -> bytes:
    encoder = AsJson().begin(request(), answer(kind))
    assert encoder is not None
    return b"".join(map(encoder.encode, pieces)) + encoder.finish()


def test_other_text_stands_in_an_object() -> None:
    head = answer(b"text/plain", 2, (b"ETag", b'"1"'), (b"X-Own", b"1"))
    encoder = AsJson().begin(request(), head)
    assert encoder is not None
    assert encoder.encode(b"hi") + encoder.finish() == b'{"text": "hi"}'
    assert head.fields == [(b"X-Own", b"1"), (b"Content-Type", b"application/json")]
    assert head.length == UNKNOWN_LENGTH


def test_nothing_is_null_whatever_it_was_said_to_be() -> None:
    assert told(b"text/html") == told(None) == told(b"text/html", b"") == b"null"
    encoder = AsJson().begin(request(), answer(b"application/json", 0))
    assert encoder is not None
    assert encoder.finish() == b"null"


@given(st.text(), st.integers(1, 5))
def test_the_text_is_the_same_in_whatever_pieces_it_comes(text: str, size: int) -> None:
    raw = text.encode()
    body = told(b"text/plain", *(raw[at : at + size] for at in range(0, len(raw), size)))
    assert json.loads(body) == ({"text": text} if text else None)


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert json.loads(told(b"image/png", b"a\xff", b"\xc3")) == {"text": "a\ufffd\ufffd"}
    assert json.loads(told(b"text/plain; charset=ISO-8859-1", b"\xe9")) == {"text": "\u00e9"}


@pytest.mark.parametrize(
    ("method", "head"),
    [
        ("GET", answer(b"application/json", 2)),
        ("GET", answer(b"Application/Problem+JSON; charset=utf-8")),
        ("GET", answer(b"application/grpc")),
        ("GET", answer(b"text/plain", 9, (b"Content-Encoding", b"gzip"))),
        ("GET", answer(b"text/plain", 9, (b"Content-Range", b"bytes 0-8/9"))),
        ("GET", answer(b"text/plain", 0, status=204)),
        ("GET", answer(b"text/plain", 0, status=304)),
        ("HEAD", answer(b"text/plain", 9)),
    ],
)
def test_what_passes_as_it_is(method: str, head: ResponseHead) -> None:
    fields, length = list(head.fields), head.length
    assert AsJson().begin(request(method), head) is None
    assert (head.fields, head.length) == (fields, length)


def test_what_passes_may_be_compressed() -> None:
    head = answer(b"application/json", 5000)
    assert AsJson(Compressor(Compression())).begin(request(fields=GZIP), head) is not None
    assert (b"Content-Encoding", b"gzip") in head.fields
