"""What stands before a way: the head of a request that shows something."""

from __future__ import annotations

from headgate.core.message import Field, RequestHead


def head(*fields: Field, query: bytes | None = None, certificate: bytes = b"") -> RequestHead:
    """Make one; `certificate` is what the wire says of that of the connection."""
    made = RequestHead("GET", b"/", "http")
    made.fields, made.query, made.certificate = list(fields), query, certificate
    return made
