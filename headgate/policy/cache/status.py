"""What the cache did, for those who read Cache-Status (RFC 9211).

Laws: it says nothing of keys, partitions or callers; it is put behind what caches nearer to the origin said.
"""

from __future__ import annotations

from typing import Literal

NAME = b"Cache-Status"

Forward = Literal["bypass", "method", "uri-miss", "vary-miss", "miss", "request", "stale", "partial"]
"""Why a request went on to the service (RFC 9211 section 2.2)."""

_HIT = b"headgate; hit; ttl=%d"
_FORWARD = b"headgate; fwd="


def hit(ttl: int) -> bytes:
    """Return the member for an answer of the cache; `ttl` seconds are left of its freshness."""
    return _HIT % ttl


def forwarded(
    reason: Forward, status: int = 0, *, stored: bool = False, collapsed: bool = False, ttl: int | None = None
) -> bytes:
    """Return the member for an answer of the service.

    `status` is that of its answer if the client got another one, as when a stale entry was validated by a 304;
    `collapsed`: it was asked for by another request at the same time.
    """
    told = _FORWARD + reason.encode()
    if status:
        told += b"; fwd-status=%d" % status
    if ttl is not None:
        told += b"; ttl=%d" % ttl
    if stored:
        told += b"; stored"
    return told + b"; collapsed" if collapsed else told
