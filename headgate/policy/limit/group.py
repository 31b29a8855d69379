"""Limits that are decided together for one key: all admit, or none is consumed.

The record of a key is the states of the group's limits one after the other, each behind its length (two bytes, little
endian) when there is more than one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from headgate.policy.limit.algorithm import Algorithm, Raw


class Group:
    """One or several limits of one tier on one key."""

    __slots__ = ("algorithms", "fingerprint", "names", "on_error", "shadow")

    def __init__(
        self,
        names: Sequence[str],
        algorithms: Sequence[Algorithm],
        fingerprint: bytes,
        *,
        shadow: bool = False,
        on_error: Literal["local", "open", "closed"] = "local",
    ) -> None:
        """`fingerprint` (8 bytes) tells groups of other settings apart, so that their records never mix."""
        self.names = tuple(names)
        self.algorithms = tuple(algorithms)
        self.fingerprint = fingerprint
        self.shadow = shadow
        self.on_error = on_error

    def admit(self, record: bytes, now: int, costs: Sequence[int], owner: int) -> tuple[bool, bytes, tuple[Raw, ...]]:
        """Hold a request against all limits: admitted by all?, the record to keep then, what each has to tell."""
        raise NotImplementedError

    def settle(self, record: bytes, now: int, amounts: Sequence[int], owner: int) -> bytes:
        """Charge after the fact."""
        raise NotImplementedError

    def expires(self, record: bytes, now: int) -> int:
        """Return from when on, in microseconds, the record means the same as none."""
        raise NotImplementedError
