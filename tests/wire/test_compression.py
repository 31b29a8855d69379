"""Compression of responses: who gets it, what it does to the head, and that the libraries can read it back."""

from __future__ import annotations

import zlib
from collections.abc import Callable

import brotli
import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.core.message import UNKNOWN_LENGTH, Fields, RequestHead, ResponseHead
from headgate.wire.compression import Compressor, Encoder, negotiate
from headgate.wire.settings import Compression

OFFERED = ("zstd", "br", "gzip")


@pytest.mark.parametrize(
    ("accept", "coding"),
    [
        (None, None),
        (b"", None),
        (b"gzip", "gzip"),
        (b"GZIP", "gzip"),
        (b"x-gzip", "gzip"),
        (b"gzip, deflate, br, zstd", "zstd"),
        (b"gzip, deflate, br", "br"),
        (b"gzip;q=0.5, br;q=0.4", "gzip"),
        (b"gzip ; q=0.5 ,\tbr ; q=0.4", "gzip"),
        (b"gzip;q=1.000, br;q=0.999", "gzip"),
        (b"gzip;q=0", None),
        (b"gzip;q=0.000", None),
        (b"gzip;q=0, *", "zstd"),
        (b"zstd;q=0, *;q=0.1", "br"),
        (b"*", "zstd"),
        (b"*;q=0", None),
        (b"*;q=0, gzip", "gzip"),
        (b"identity", None),
        (b"identity;q=0", None),
        (b"identity;q=0, gzip", "gzip"),
        (b"identity, gzip;q=0.5", None),
        (b"identity;q=0.5, gzip", "gzip"),
        (b"identity, gzip", "gzip"),
        (b"deflate, compress", None),
        (b"gzip;q=2", None),
        (b"gzip;q=-1", None),
        (b"gzip;q=nan, br", "br"),
        (b"gzip;level=9", None),
        (b"gzip;q=0.5;x=1", None),
        (b",, ,gzip,", "gzip"),
        (b"\xff, gzip", "gzip"),
        (b"gzip," + b" " * 300, None),
    ],
)
def test_negotiation(accept: bytes | None, coding: str | None) -> None:
    assert negotiate(accept, OFFERED) == coding


def test_order_of_the_server_decides_among_equals() -> None:
    assert negotiate(b"br, gzip, zstd", ("gzip", "br")) == "gzip"


@given(accept=st.binary(max_size=60))
def test_any_field_is_answered(accept: bytes) -> None:
    assert negotiate(accept, OFFERED) in (None, *OFFERED)


# -- the head ------------------------------------------------------------------------------------------------


def begin(
    fields: Fields, *, length: int = 5000, accept: bytes | None = b"gzip", method: str = "GET", status: int = 200
) -> tuple[Encoder | None, ResponseHead]:
    request = RequestHead(method, b"/", "http")
    if accept is not None:
        request.fields.append((b"Accept-Encoding", accept))
    head = ResponseHead(status, list(fields), length)
    return Compressor(Compression()).begin(request, head), head


JSON = (b"Content-Type", b"application/json; charset=utf-8")
VARY = (b"Vary", b"Accept-Encoding")


def test_head_of_an_encoded_response() -> None:
    encoder, head = begin(
        [
            JSON,
            (b"Content-Length", b"5000"),
            (b"ETag", b'"abc"'),
            (b"Accept-Ranges", b"bytes"),
            (b"Content-Digest", b"sha-256=:x:"),
            (b"X-Kept", b"1"),
        ]
    )
    assert encoder is not None
    assert not encoder.flush_each
    assert head.length == UNKNOWN_LENGTH
    assert head.fields == [
        JSON,
        (b"ETag", b'W/"abc"'),
        (b"X-Kept", b"1"),
        (b"Content-Encoding", b"gzip"),
        VARY,
    ]


def test_weak_etag_stays() -> None:
    assert (b"ETag", b'W/"a"') in begin([JSON, (b"ETag", b'W/"a"')])[1].fields


@pytest.mark.parametrize(
    ("came", "sent"),
    [
        ([], [b"Accept-Encoding"]),
        ([b"Origin"], [b"Origin, Accept-Encoding"]),
        ([b"Origin,"], [b"Origin, Accept-Encoding"]),
        ([b"Origin", b"Cookie"], [b"Origin, Accept-Encoding", b"Cookie"]),
        ([b"", b"Cookie"], [b"Accept-Encoding", b"Cookie"]),
        ([b"accept-encoding, Origin"], [b"accept-encoding, Origin"]),
        ([b"Origin", b"Accept-Encoding"], [b"Origin", b"Accept-Encoding"]),
        ([b"*"], [b"*"]),
    ],
)
def test_vary_is_merged(came: list[bytes], sent: list[bytes]) -> None:
    _, head = begin([JSON, *((b"Vary", value) for value in came)])
    assert [value for name, value in head.fields if name == b"Vary"] == sent


def test_caches_learn_of_the_choice_from_a_plain_answer_too() -> None:
    encoder, head = begin([JSON], accept=None)
    assert encoder is None
    assert head.fields == [JSON, VARY]
    assert head.length == 5000


@pytest.mark.parametrize(
    ("fields", "options"),
    [
        ([JSON], {"length": 1023}),
        ([JSON], {"length": 0}),
        ([JSON], {"method": "HEAD"}),
        *[([JSON], {"status": status}) for status in (101, 204, 205, 206, 304)],
        ([JSON, (b"Content-Range", b"bytes 0-1/2")], {}),
        ([JSON, (b"Content-Encoding", b"br")], {}),
        ([JSON, (b"Cache-Control", b"public, No-Transform")], {}),
        ([], {}),
        ([(b"Content-Type", b"image/png")], {}),
        ([(b"Content-Type", b"application/octet-stream")], {}),
        ([(b"Content-Type", b"text/event-stream")], {"length": UNKNOWN_LENGTH}),
        ([(b"Content-Type", b"x/application/json")], {}),
    ],
)
def test_left_alone(fields: Fields, options: dict[str, int]) -> None:
    encoder, head = begin(fields, **options)  # type: ignore[arg-type]
    assert encoder is None
    assert head.fields == fields
    assert head.length == options.get("length", 5000)


@pytest.mark.parametrize("kind", [b"text/html", b"TEXT/Plain;charset=x", b"application/problem+json", b"image/svg+xml"])
@pytest.mark.parametrize("status", [200, 404, 500])
def test_listed_types(kind: bytes, status: int) -> None:
    assert begin([(b"Content-Type", kind)], status=status)[0] is not None


def test_streams_are_flushed_after_each_piece() -> None:
    encoder, _ = begin([JSON], length=UNKNOWN_LENGTH)
    assert encoder is not None
    assert encoder.flush_each


def test_event_streams_only_by_their_full_name() -> None:
    request = RequestHead("GET", b"/", "http")
    request.fields.append((b"accept-encoding", b"br"))
    head = ResponseHead(200, [(b"Content-Type", b"text/event-stream")], UNKNOWN_LENGTH)
    assert Compressor(Compression(types=["text/*"])).begin(request, head) is None
    encoder = Compressor(Compression(types=["text/*", "text/event-stream"])).begin(request, head)
    assert encoder is not None
    assert encoder.flush_each


def test_switched_off() -> None:
    request = RequestHead("GET", b"/", "http")
    request.fields.append((b"accept-encoding", b"br"))
    assert Compressor(Compression(enabled=False)).begin(request, ResponseHead(200, [JSON], 5000)) is None


# -- the body ------------------------------------------------------------------------------------------------

DECODERS: dict[str, Callable[[], Callable[[bytes], bytes]]] = {
    "gzip": lambda: zlib.decompressobj(31).decompress,
    "br": lambda: brotli.Decompressor().process,
    "zstd": lambda: zstandard.ZstdDecompressor().decompressobj().decompress,
}
names = pytest.mark.parametrize("name", sorted(DECODERS))


@names
@given(pieces=st.lists(st.binary(max_size=200), max_size=8))
@settings(max_examples=30, deadline=None)
def test_flushed_pieces_arrive_whole(name: str, pieces: list[bytes]) -> None:
    encoder, decode = Encoder(name), DECODERS[name]()
    for piece in pieces:
        wire = encoder.encode(piece) + encoder.flush()
        assert (decode(wire) if wire else b"") == piece
    rest = encoder.finish()
    assert (decode(rest) if rest else b"") == b""


@names
def test_unflushed_body_comes_back_and_is_smaller(name: str) -> None:
    body = b'{"model": "small", "choices": [1, 2, 3]}' * 20_000
    encoder = Encoder(name)
    wire = b"".join(encoder.encode(body[at : at + 65_536]) for at in range(0, len(body), 65_536))
    wire += encoder.finish()
    assert len(wire) < len(body) // 50
    assert DECODERS[name]()(wire) == body


@names
def test_end_is_marked(name: str) -> None:
    """A body cut short must not look complete: only `finish` writes what decoders take for the end."""
    encoder = Encoder(name)
    whole = encoder.encode(b"x" * 100) + encoder.flush()
    cut, end = whole, whole + encoder.finish()
    ended: dict[str, Callable[[bytes], bool]] = {
        "gzip": _gzip_ended,
        "br": _brotli_ended,
        "zstd": _zstd_ended,
    }
    assert not ended[name](cut)
    assert ended[name](end)


def _gzip_ended(wire: bytes) -> bool:
    decoder = zlib.decompressobj(31)
    decoder.decompress(wire)
    return decoder.eof


def _brotli_ended(wire: bytes) -> bool:
    decoder = brotli.Decompressor()
    decoder.process(wire)
    return bool(decoder.is_finished())


def _zstd_ended(wire: bytes) -> bool:
    decoder = zstandard.ZstdDecompressor().decompressobj()
    decoder.decompress(wire)
    return bool(decoder.eof)


@names
def test_streams_do_not_share_state(name: str) -> None:
    one, two = Encoder(name), Encoder(name)
    wire_one = one.encode(b"one" * 500)
    wire_two = two.encode(b"two" * 500)
    wire_one += one.finish()
    wire_two += two.finish()
    assert DECODERS[name]()(wire_one) == b"one" * 500
    assert DECODERS[name]()(wire_two) == b"two" * 500
