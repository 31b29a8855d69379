"""HPACK in: the same as hpack's own decoder, within bounds, and never out of step with the peer."""

from __future__ import annotations

import pytest
from h2.exceptions import ProtocolError
from hpack import Decoder, Encoder
from hypothesis import given, settings
from hypothesis import strategies as st

from headgate.wire.http2.fields import OUTGROWN, FieldDecoder
from tests.wire.http2.breaker import COMPRESSION_ERROR, ENHANCE_YOUR_CALM, literal

NAME = st.binary(min_size=1, max_size=12)
FIELD = st.tuples(NAME, st.binary(max_size=300))
KNOWN = st.sampled_from([(b":method", b"GET"), (b"accept-encoding", b"gzip, deflate"), (b":path", b"/x")])


def decoder(fields: int = 100, size: int = 65536) -> FieldDecoder:
    return FieldDecoder(fields, size)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.lists(st.one_of(FIELD, KNOWN), max_size=20), max_size=6), st.booleans())
def test_it_reads_what_the_library_writes(blocks: list[list[tuple[bytes, bytes]]], huffman: bool) -> None:
    encoder, ours, theirs = Encoder(), decoder(), Decoder()
    for fields in blocks:
        block = encoder.encode(fields, huffman=huffman)
        assert ours.decode(block) == [tuple(each) for each in theirs.decode(block, raw=True)] == fields
    assert list(ours.header_table.dynamic_entries) == list(theirs.header_table.dynamic_entries)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=4))
def test_any_bytes_are_a_block_or_an_error(blocks: list[bytes]) -> None:
    ours, theirs = decoder(), Decoder()
    for block in blocks:
        try:
            fields = ours.decode(block)
        except ProtocolError as error:
            assert int(error.error_code) == COMPRESSION_ERROR
            return
        # Whatever we take the library takes, and for the same.
        assert fields == [tuple(each) for each in theirs.decode(block, raw=True)]


def test_fields_over_the_count_are_not_kept() -> None:
    fields = decoder(fields=10).decode(b"\x82" * 100)
    assert fields[:-1] == [(b":method", b"GET")] * 15
    assert fields[-1] is OUTGROWN


def test_the_bomb_of_references_makes_no_fields() -> None:
    # CVE-2026-49975: one entry of the table, as large as the table, and a byte for each time it is meant.
    entry = literal(b"x", b"y" * 4000, indexed=True)
    fields = decoder().decode(entry + b"\xbe" * 90)
    assert fields[-1] is OUTGROWN
    assert len(fields) == 65536 // 4001 + 1
    for bomb in (entry + b"\xbe" * 200, b"\x82" * 1000, literal(b"cookie", b"a", indexed=True) + b"\xbe" * 1000):
        with pytest.raises(ProtocolError) as caught:
            decoder().decode(bomb)
        assert int(caught.value.error_code) == ENHANCE_YOUR_CALM


def test_crumbs_are_counted_apart_but_counted() -> None:
    crumbs = b"".join(literal(b"cookie", b"%d=1" % n) for n in range(15))
    others = b"".join(literal(b"x-%d" % n, b"1") for n in range(10))
    assert OUTGROWN not in decoder(fields=10).decode(crumbs + others)
    assert decoder(fields=10).decode(crumbs + literal(b"cookie", b"z=1"))[-1] is OUTGROWN


def test_what_outgrew_leaves_the_table_in_step() -> None:
    encoder, ours = Encoder(), decoder(fields=5)
    first = [(b"x-%d" % n, b"value %d" % n) for n in range(30)]
    assert ours.decode(encoder.encode(first))[-1] is OUTGROWN
    assert ours.decode(encoder.encode(first[20:24])) == first[20:24]


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(b"\x80", id="entry 0"),
        pytest.param(b"\xbe", id="an entry of an empty table"),
        pytest.param(b"\x7f\x00", id="a name of an empty table"),
        pytest.param(b"\xff" + b"\x80" * 60000 + b"\x00", id="a number without end"),
        pytest.param(b"\xff", id="half a number"),
        pytest.param(b"\x40", id="no name"),
        pytest.param(b"\x40\x05abc", id="half a name"),
        pytest.param(b"\x40\x01a", id="no value"),
        pytest.param(b"\x40\x01a\x7f\xff\xff\xff\x0f", id="a value of 32 GiB"),
        pytest.param(b"\x40\x01a\x81\x00", id="bad huffman"),
        pytest.param(b"\x82\x20", id="a table's size behind a field"),
        pytest.param(b"\x20\x20\x20", id="three sizes"),
        pytest.param(b"\x3f\xe2\x1f", id="a table of 4097 bytes"),
    ],
)
def test_what_is_no_block_ends_the_connection(block: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        decoder().decode(block)
    assert int(caught.value.error_code) == COMPRESSION_ERROR
    # Nothing of the peer is in what may be told to it.
    assert len(str(caught.value)) < 80


def test_the_table_takes_the_sizes_that_the_peer_may_choose() -> None:
    ours = decoder()
    assert ours.decode(b"\x20\x3f\xe1\x1f\x82") == [(b":method", b"GET")]
    assert ours.header_table.maxsize == 4096
