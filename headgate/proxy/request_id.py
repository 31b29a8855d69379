"""The one id of a request: the client's when it is well formed, else a random one.

Law: made from the system's randomness, read in blocks; an id never costs a system call of its own.
"""

from __future__ import annotations

import os
import re

from headgate.core.message import Fields
from headgate.wire.settings import RequestId

_WELL_FORMED = re.compile(rb"[A-Za-z0-9._~+/=:-]{1,128}")
_BLOCK = 4096
_HEX = 32


class RequestIds:
    """Choose or make ids, and name the fields that carry them."""

    __slots__ = ("_accept", "_at", "_block", "_hyphens", "_prefix", "names", "order")

    def __init__(self, settings: RequestId) -> None:
        self.names = tuple(name.encode() for name in settings.headers)
        self.order = tuple(name.lower() for name in self.names)
        self._accept = settings.accept
        self._prefix = settings.prefix
        self._hyphens = settings.format == "uuid"
        self._block = ""
        self._at = 0

    def choose(self, came: Fields | None) -> str:
        """Return the id of a request that brought the fields `came`."""
        if came is not None and self._accept:
            for wanted in self.order:
                for name, value in came:
                    if name.lower() == wanted and _WELL_FORMED.fullmatch(value):
                        return value.decode()
        return self.make()

    def make(self) -> str:
        """Make an id: 122 random bits as a UUID (RFC 9562 version 4), or 128 as hexadecimal digits."""
        at = self._at
        if at >= len(self._block):
            self._block = os.urandom(_BLOCK).hex()
            at = 0
        self._at = at + _HEX
        digits = self._block[at : at + _HEX]
        if self._hyphens:
            variant = "89ab"[int(digits[16], 16) & 3]
            digits = f"{digits[:8]}-{digits[8:12]}-4{digits[13:16]}-{variant}{digits[17:20]}-{digits[20:]}"
        return self._prefix + digits
