"""HPACK for a gateway: blocks of fields in, bounded in count and in bytes before anything is made of them.

Laws: what exceeds the bounds is decoded on, because the peer's table and ours must stay the same (RFC 7541 section
2.2), but nothing of it is kept. h2 does not see Content-Length: what is wrong with one request ends that request, not
the connection that others share (RFC 9113 section 8.1.1).
"""

from __future__ import annotations

from hpack.hpack import Decoder
from hpack.struct import HeaderTuple

OUTGROWN = HeaderTuple(b":outgrown", b"")
"""The last field of a block of which the rest was not kept; from a peer it would be malformed."""
LENGTH = b"Content-Length"
"""How Content-Length is spelt in what comes out of here; a peer's own capitals never come out."""


class FieldDecoder(Decoder):
    """Decodes for an H2Connection: `connection.decoder = FieldDecoder(...)`; wire.http2.head judges what comes out."""

    def __init__(self, max_fields: int, max_bytes: int) -> None:
        """Bound the fields of a block, and the bytes of their names and values; cookies are counted apart."""
        super().__init__()
        self._max_fields = max_fields
        self._max_bytes = max_bytes
