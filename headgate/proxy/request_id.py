"""The one id of a request: the client's when it is well formed, else a random one.

Law: unique by the system's randomness, drawn once for a block of ids; an id never costs a system call of its own.
"""

from __future__ import annotations

import os
import re

from headgate.core.message import Fields
from headgate.wire.settings import RequestId

_WELL_FORMED = re.compile(rb"[A-Za-z0-9._~+/=:-]{1,128}")
_VARIANTS = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
# Ids between two draws of randomness: the last digits count meanwhile. An id is a name, not a secret.
_BLOCK = 4096


class RequestIds:
    """Choose or make ids, and name the fields that carry them."""

    __slots__ = ("_accept", "_count", "_drawn", "_hyphens", "_left", "_prefix", "names", "order")

    def __init__(self, settings: RequestId) -> None:
        self.names = tuple(name.encode() for name in settings.headers)
        self.order = tuple(name.lower() for name in self.names)
        self._accept = settings.accept
        self._prefix = settings.prefix
        self._hyphens = settings.format == "uuid"
        self._drawn = ""
        self._count = self._left = 0

    def choose(self, came: Fields | None) -> str:
        """Return the id of a request that brought the fields `came`."""
        if came is not None and self._accept:
            for wanted in self.order:
                for name, value in came:
                    if name.lower() == wanted and _WELL_FORMED.fullmatch(value):
                        return value.decode()
        return self.make()

    def fields(self, request_id: str) -> Fields:
        """Return the fields that carry an id."""
        value = request_id.encode()
        return [(name, value) for name in self.names]

    def make(self) -> str:
        """Make an id in the form of a random UUID (RFC 9562 version 4), or the same 128 bits as plain hexadecimals."""
        if not self._left:
            self._draw()
        self._left -= 1
        self._count += 1
        return f"{self._drawn}{self._count:012x}"

    def _draw(self) -> None:
        digits = os.urandom(16).hex()
        digits = f"{digits[:12]}4{digits[13:16]}{_VARIANTS[digits[16]]}{digits[17:]}"
        if self._hyphens:
            digits = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
        self._drawn = self._prefix + digits[:-12]
        # The first digit of the count is cleared, so that counting on never needs a thirteenth.
        self._count = int("0" + digits[-11:], 16)
        self._left = _BLOCK
