"""HPACK for a gateway: blocks of fields in, bounded in count and in bytes before anything is made of them.

Laws: what exceeds the bounds is decoded on, because the peer's table and ours must stay the same (RFC 7541 section
2.2), but nothing of it is kept: a byte that refers to the table costs a look at it, not a field. What cannot be
decoded, and what is far beyond the bounds, ends the connection (RFC 9113 section 4.3).
"""

from __future__ import annotations

from typing import Final

from h2.errors import ErrorCodes
from h2.exceptions import ProtocolError
from hpack.exceptions import HPACKDecodingError
from hpack.hpack import Decoder
from hpack.huffman_table import decode_huffman
from hpack.struct import HeaderTuple
from hpack.table import HeaderTable

from headgate.core.message import Fields

OUTGROWN: Final = HeaderTuple(b":outgrown", b"")
"""The last field of a block of which the rest was not kept; from a peer it would be malformed."""

_STATIC: Final[tuple[tuple[bytes, bytes], ...]] = tuple(HeaderTable.STATIC_TABLE)
_STATIC_SIZE: Final = len(_STATIC)
# Octets of a number behind its first: 2^35 is more than any that has a meaning here.
_LONGEST_INTEGER = 5
# RFC 7541 section 4.2: the smallest that was wanted meanwhile, and the one that counts.
_MOST_RESIZES = 2
# So many times the bounds end the connection: nobody means it, and each byte of a block may be a field to be looked up.
_FAR_BEYOND = 8
# What stands for a request beside its fields: method, scheme, authority, path, protocol.
_PSEUDO = 5
# Strings that were decoded are kept, because paths and tokens repeat: at most 4 MiB of them.
_KEPT = 8192
_LONGEST_KEPT = 256


def is_outgrown(fields: Fields) -> bool:
    """Tell whether there were more fields than these; here, as compiled code makes tuples anew."""
    return bool(fields) and fields[-1] is OUTGROWN


class _Broken(ProtocolError):
    """A block that cannot be decoded."""

    error_code = ErrorCodes.COMPRESSION_ERROR


class _Bomb(ProtocolError):
    """A block that is far beyond the bounds."""

    error_code = ErrorCodes.ENHANCE_YOUR_CALM


class _Plain(dict[bytes, bytes]):
    """Huffman-coded strings, decoded."""

    __slots__ = ()

    def __missing__(self, coded: bytes) -> bytes:
        try:
            plain = decode_huffman(coded)
        except HPACKDecodingError as error:
            raise _Broken(str(error)) from None
        if len(coded) <= _LONGEST_KEPT:
            if len(self) >= _KEPT:
                self.clear()
            self[coded] = plain
        return plain


_plain: Final = _Plain()


class FieldDecoder(Decoder):
    """Decodes for an H2Connection: `connection.decoder = FieldDecoder(...)`; wire.http2.head judges what comes out."""

    def __init__(self, max_fields: int, max_bytes: int) -> None:
        """Bound the fields of a block, and the bytes of their names and values; cookies are counted apart."""
        super().__init__()
        self._max_fields = max_fields + _PSEUDO
        self._max_bytes = max_bytes
        self._least_fields = -_FAR_BEYOND * self._max_fields
        self._least_room = -_FAR_BEYOND * max_bytes

    def decode(self, data: bytes, raw: bool = False) -> list[HeaderTuple]:
        """Decode a block into (name, value); `OUTGROWN` stands last where there were more.

        Raises:
            ProtocolError: for what is no block, or a bomb; the connection must end.
        """
        table = self.header_table.dynamic_entries
        fields: list[HeaderTuple] = []
        room, left, crumbs = self._max_bytes, self._max_fields, self._max_fields
        resizes = at = 0
        size = len(data)
        while at < size:
            first = data[at]
            at += 1
            if first >= 0x80:
                index = first & 0x7F
                if index == 0x7F:
                    index, at = _integer(data, at, index)
                if 0 < index <= _STATIC_SIZE:
                    field = _STATIC[index - 1]
                elif 0 <= (index := index - _STATIC_SIZE - 1) < len(table):
                    field = table[index]
                else:
                    raise _Broken("no such entry")
            elif 0x20 <= first < 0x40:
                resizes += 1
                if fields or room < self._max_bytes or resizes > _MOST_RESIZES:
                    raise _Broken("a change of the table's size out of place")
                wanted, at = _integer(data, at, 0x1F) if first == 0x3F else (first & 0x1F, at)
                if wanted > self.max_allowed_table_size:
                    raise _Broken("a table larger than announced")
                self.header_table.maxsize = wanted
                continue
            else:
                field, at = self._literal(data, at, first)
            name, value = field
            room -= len(name) + len(value)
            if name == b"cookie":
                crumbs -= 1
            else:
                left -= 1
            if room >= 0 and left >= 0 and crumbs >= 0:
                fields.append(field)  # type: ignore[arg-type]  # Nobody asks whether it may be indexed.
            elif min(left, crumbs) < self._least_fields or room < self._least_room:
                raise _Bomb("fields far beyond the bounds")
        if self.header_table.maxsize > self.max_allowed_table_size:
            raise _Broken("the table was not made smaller")
        if room < 0 or left < 0 or crumbs < 0:
            fields.append(OUTGROWN)
        return fields

    def _literal(self, data: bytes, at: int, first: int) -> tuple[tuple[bytes, bytes], int]:
        """Read a field that stands there, name or value or both, as RFC 7541 section 6.2 has it."""
        mask = 0x3F if first >= 0x40 else 0x0F
        index = first & mask
        if index == mask:
            index, at = _integer(data, at, mask)
        if index:
            table = self.header_table.dynamic_entries
            if index <= _STATIC_SIZE:
                name = _STATIC[index - 1][0]
            elif (index := index - _STATIC_SIZE - 1) < len(table):
                name = table[index][0]
            else:
                raise _Broken("no such name")
        else:
            name, at = _string(data, at)
        value, at = _string(data, at)
        if first >= 0x40:
            self.header_table.add(name, value)
        return (name, value), at


def _integer(data: bytes, at: int, number: int) -> tuple[int, int]:
    """Read the rest of a number whose first octet was full (RFC 7541 section 5.1)."""
    shift = 0
    end = min(len(data), at + _LONGEST_INTEGER)
    while at < end:
        octet = data[at]
        at += 1
        number += (octet & 0x7F) << shift
        if octet < 0x80:
            return number, at
        shift += 7
    raise _Broken("a number without end")


def _string(data: bytes, at: int) -> tuple[bytes, int]:
    """Read a string (RFC 7541 section 5.2)."""
    if at >= len(data):
        raise _Broken("cut off")
    first = data[at]
    at += 1
    length = first & 0x7F
    if length == 0x7F:
        length, at = _integer(data, at, length)
    end = at + length
    if end > len(data):
        raise _Broken("cut off")
    return (_plain[data[at:end]] if first >= 0x80 else data[at:end]), end
