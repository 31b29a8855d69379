"""HPACK for a gateway: blocks of fields out, without a table.

Every field is a literal that is not indexed, its name from the static table where that has it (RFC 7541 section 6.2.2);
what the static table has as a whole is one byte. So a block depends on nothing that was sent before.

Why: keeping a dynamic table costs several times the CPU of writing the field, and holds 4 KiB for each connection; a
table shared by the answers to several users is also what CRIME-like attacks look into (section 7.1). nginx writes
answers so, too.

Laws: what may be a credential is marked never to be indexed by anybody on its way (section 7.1.3). Fields of one
connection never come out (RFC 9113 section 8.2.2). Nothing here can write a line break: values are counted bytes.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from hpack.table import HeaderTable

from headgate.core.message import Field, Fields

_STATIC: Final[tuple[tuple[bytes, bytes], ...]] = tuple(HeaderTable.STATIC_TABLE)
_CONNECTION_FIELDS = frozenset(
    (b"connection", b"keep-alive", b"proxy-connection", b"transfer-encoding", b"upgrade", b"http2-settings", b"host")
)
_SECRET = frozenset((b"authorization", b"proxy-authorization", b"cookie", b"set-cookie", b"x-api-key", b"api-key"))
_NAMES_KEPT = 2048
_LONGEST_NAME_KEPT = 64
_BLOCKS_KEPT = 512
_LONGEST_BLOCK_KEPT = 512
TABLE_UNUSED: Final = b"\x20"
"""Goes before the first block after a peer changed the size of its table: ours has size 0 (RFC 7541 section 4.2)."""


def integer(value: int, bits: int, first: int) -> bytes:
    """Write a number in the low `bits` of a byte whose other bits are `first` (RFC 7541 section 5.1)."""
    most = (1 << bits) - 1
    if value < most:
        return bytes((first | value,))
    written = bytearray((first | most,))
    value -= most
    while value >= 128:
        written.append(value & 127 | 128)
        value >>= 7
    written.append(value)
    return bytes(written)


def _static_names() -> dict[bytes, int]:
    names: dict[bytes, int] = {}
    for at, (name, _) in enumerate(_STATIC, 1):
        names.setdefault(name, at)
    return names


_STATIC_NAMES: Final = _static_names()
_SIZES: Final = tuple(integer(size, 7, 0) for size in range(4096))


def _status(code: int) -> bytes:
    digits = b"%d" % code
    for at, field in enumerate(_STATIC, 1):
        if field == (b":status", digits):
            return integer(at, 7, 0x80)
    return integer(_STATIC_NAMES[b":status"], 4, 0) + integer(len(digits), 7, 0) + digits


STATUS: Final = tuple(_status(code) for code in range(1000))
"""The block's first field, by the status of an answer."""


class _Names(dict[bytes, bytes]):
    """How a name is written, by its spelling; empty for one that must not be. Learns up to a cap, then computes."""

    __slots__ = ()

    def __missing__(self, name: bytes) -> bytes:
        lower = name.lower()
        if lower in _CONNECTION_FIELDS:
            written = b""
        else:
            mark = 0x10 if lower in _SECRET else 0
            known = _STATIC_NAMES.get(lower)
            written = integer(known, 4, mark) if known else bytes((mark,)) + integer(len(lower), 7, 0) + lower
        if len(self) < _NAMES_KEPT and len(name) <= _LONGEST_NAME_KEPT:
            self[name] = written
        return written


_names: Final = _Names()
# Lines that were made once for many answers, as they are written here.
_blocks: Final[dict[bytes, bytes]] = {}


def encode(start: bytes, fields: Iterable[Field]) -> bytes:
    """Return a block: `start`, which is written already, and the fields behind it; names in any case."""
    names = _names
    parts = [start]
    for name, value in fields:
        written = names[name]
        if written:
            size = len(value)
            parts.append(written)
            parts.append(_SIZES[size] if size < 4096 else integer(size, 7, 0))
            parts.append(value)
    return b"".join(parts)


def encode_lines(lines: bytes) -> bytes:
    """Return the part of a block for fields that were written as lines of HTTP/1, without the last line's end."""
    written = _blocks.get(lines)
    if written is None:
        written = encode(b"", parse_lines(lines))
        if len(lines) <= _LONGEST_BLOCK_KEPT:
            if len(_blocks) >= _BLOCKS_KEPT:
                _blocks.clear()
            _blocks[lines] = written
    return written


def parse_lines(lines: bytes) -> Fields:
    """Take apart fields that were written as lines."""
    fields: Fields = []
    for line in lines.split(b"\r\n"):
        name, _, value = line.partition(b": ")
        if name:
            fields.append((name, value))
    return fields
