"""Blocks that are written without a table: any decoder reads them, and they change nothing in its table."""

from __future__ import annotations

from hpack import Decoder, NeverIndexedHeaderTuple
from hypothesis import given
from hypothesis import strategies as st

from headgate.wire.http2.encoding import STATUS, TABLE_UNUSED, encode, encode_lines, integer

NAMES = st.one_of(
    st.sampled_from([b"Content-Type", b"ETAG", b"x-a", b"Set-Cookie", b"Authorization", b":path", b":method"]),
    st.text("abcXYZ-019", min_size=1, max_size=200).map(str.encode),
)


def read(block: bytes, decoder: Decoder | None = None) -> list[tuple[bytes, bytes]]:
    return [(bytes(name), bytes(value)) for name, value in (decoder or Decoder()).decode(block, raw=True)]


@given(st.lists(st.tuples(NAMES, st.binary(max_size=5000)), max_size=8))
def test_a_decoder_reads_what_was_written(fields: list[tuple[bytes, bytes]]) -> None:
    decoder = Decoder(max_header_list_size=1 << 20)
    block = encode(STATUS[200], fields)
    for _ in range(2):
        assert read(block, decoder) == [(b":status", b"200"), *((name.lower(), value) for name, value in fields)]
    assert not decoder.header_table.dynamic_entries


def test_every_status_is_read() -> None:
    for code in range(100, 1000):
        assert read(STATUS[code]) == [(b":status", b"%d" % code)]


@given(st.integers(0, 1 << 28), st.integers(4, 7))
def test_numbers_are_those_of_hpack(value: int, bits: int) -> None:
    from hpack.hpack import decode_integer

    written = integer(value, bits, 0)
    assert decode_integer(written, bits) == (value, len(written))


def test_what_belongs_to_one_connection_is_not_written() -> None:
    names = [b"Connection", b"Keep-Alive", b"Proxy-Connection", b"transfer-encoding", b"Upgrade", b"Host"]
    assert read(encode(b"", [*((name, b"x") for name in names), (b"A", b"b")])) == [(b"a", b"b")]


def test_nobody_on_the_way_may_index_what_may_be_a_credential() -> None:
    block = encode(b"", [(b"Set-Cookie", b"a=b"), (b"authorization", b"c"), (b"x-other", b"d")])
    kinds = [isinstance(field, NeverIndexedHeaderTuple) for field in Decoder().decode(block, raw=True)]
    assert kinds == [True, True, False]


def test_lines_become_fields() -> None:
    lines = b"RateLimit: 1; a=2\r\nRetry-After: 3"
    for _ in range(2):
        assert read(encode_lines(lines)) == [(b"ratelimit", b"1; a=2"), (b"retry-after", b"3")]


def test_a_table_may_be_said_to_be_unused() -> None:
    decoder = Decoder()
    assert read(TABLE_UNUSED + STATUS[204], decoder) == [(b":status", b"204")]
    assert decoder.header_table_size == 0
