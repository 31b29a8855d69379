"""The key of a request for consistent hashing: the value of a header or a cookie, its client's address, or its path.

Law: it depends on the value alone, so all workers and all gateways find the same (BLAKE2b, 64 bits).
"""

from __future__ import annotations

from hashlib import blake2b

from headgate.policy.balance.settings import ConsistentHashSettings
from headgate.policy.pattern import Fields, field_value
from headgate.policy.split import cookie_value


class HashKey:
    """Where the key is found: in the header or the cookie, and without it in address or path."""

    __slots__ = ("_cookie", "_header", "_path")

    def __init__(self, settings: ConsistentHashSettings) -> None:
        self._header = settings.header.lower().encode() if settings.header else None
        self._cookie = settings.cookie.encode() if settings.cookie else None
        self._path = settings.by == "path"

    def of(self, fields: Fields, address: str, path: str) -> int:
        """Return the key, 64 bits, of a request with these fields from this address for this path."""
        value = None
        if self._header is not None:
            value = field_value(fields, self._header)
        elif self._cookie is not None:
            value = cookie_value(fields, self._cookie)
        if not value:
            value = (path if self._path else address).encode()
        return int.from_bytes(blake2b(value, digest_size=8).digest(), "big")
