"""The time a caller still waits, as it says in a header field, and what of it is left for the next hop.

Laws: the field is digits, milliseconds from the arrival of the request; what is anything else is no deadline. What goes
on is never more than what is left here, so that a chain of gateways shrinks it hop by hop.
"""

from __future__ import annotations

import re
from typing import Protocol

from headgate.core.message import Field, Fields

# As long as `timeout.total` may be: beyond a day a deadline bounds nothing.
LONGEST = 86_400.0
_MILLISECONDS = re.compile(rb"[0-9]{1,15}")


class Deadline(Protocol):
    """A way of saying it."""

    def read(self, fields: Fields, arrived: float) -> float | None:
        """Return when the caller stops waiting (monotonic seconds), or None."""

    def replaced(self, fields: Fields, until: float, now: float) -> Fields:
        """Return the fields for the next hop: with what is left of a deadline."""


class DeadlineHeader:
    """Read and write one header field."""

    __slots__ = ("_lower", "_name")

    def __init__(self, name: str) -> None:
        self._name = name.encode()
        self._lower = self._name.lower()

    def read(self, fields: Fields, arrived: float) -> float | None:
        """Return when the caller stops waiting (monotonic seconds), or None; of several the earliest counts."""
        lower = self._lower
        found = [
            min(LONGEST, int(value) / 1000.0)
            for name, value in fields
            if name.lower() == lower and _MILLISECONDS.fullmatch(value)
        ]
        return arrived + min(found) if found else None

    def replaced(self, fields: Fields, until: float, now: float) -> Fields:
        """Return the fields for the next hop: with the whole milliseconds that are left of a deadline."""
        lower = self._lower
        passed = [field for field in fields if field[0].lower() != lower]
        passed.append(self.field(until, now))
        return passed

    def field(self, until: float, now: float) -> Field:
        """Return the field that says what is left."""
        return self._name, b"%d" % max(0, int((until - now) * 1000.0))


def expired(until: float, now: float) -> bool:
    """Tell whether less than a millisecond is left: nobody can answer in that."""
    return until - now < 0.001
