"""A record of a ring: an entry with all that must be known of it to judge, move and purge it.

    header (64 bytes)    place, end, moment, lengths, mark of its URL, how many tags, key
    marks of its tags    4 bytes each
    URL, head, body      and nothing up to a multiple of ALIGN

Law: the header holds its own place and key, so whoever is led to it by an index that has changed meanwhile sees it.
"""

from __future__ import annotations

from collections.abc import Sequence
from struct import Struct, pack
from typing import Final, NamedTuple

from headgate.stores.cache.layout import ALIGN
from headgate.stores.cache.store import Cached

HEADER: Final = Struct("<QQQIIIIHxx20s")
MARK_BYTES: Final = 4
_PLACE: Final = Struct("<Q")

assert HEADER.size == ALIGN


class Header(NamedTuple):
    """What a record begins with. `expires` is in microseconds, `since` the moment it was asked for behind."""

    place: int
    expires: int
    since: int
    head_bytes: int
    body_bytes: int
    url_bytes: int
    mark: int
    tags: int
    key: bytes

    @property
    def size(self) -> int:
        """Bytes of the record."""
        return -(-(self.head_at + self.head_bytes + self.body_bytes) // ALIGN) * ALIGN

    @property
    def url_at(self) -> int:
        """Where the URL begins, from the beginning of the record."""
        return ALIGN + self.tags * MARK_BYTES

    @property
    def head_at(self) -> int:
        """Where the head of the answer begins; the body follows."""
        return ALIGN + self.tags * MARK_BYTES + self.url_bytes


def pack_record(header: Header, tags: Sequence[int], url: bytes, cached: Cached) -> bytes:
    """Return the bytes of a record."""
    padding = header.size - header.head_at - header.head_bytes - header.body_bytes
    return b"".join(
        (HEADER.pack(*header), pack(f"<{len(tags)}I", *tags), url, cached.head, cached.body, bytes(padding))
    )


def moved(record: bytes, place: int) -> bytes:
    """Return a record as it is in another place."""
    return _PLACE.pack(place) + record[_PLACE.size :]
