"""The Date field, formatted once a second (RFC 9110 section 6.6.1)."""

from __future__ import annotations

from email.utils import formatdate

from headgate.core.clock import wall

_last = (0, b"")


def http_date() -> bytes:
    """Return the present date as IMF-fixdate."""
    global _last
    now = int(wall())
    if now != _last[0]:
        _last = (now, formatdate(now, usegmt=True).encode())
    return _last[1]
