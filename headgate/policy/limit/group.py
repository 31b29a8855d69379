"""Limits that are decided together for one key: all admit, or none is consumed.

The record of a key is the states of the group's limits one after the other, each behind its length (two bytes, little
endian) when there is more than one; the state itself when there is one. A record of another form counts as b"".

Laws:
- What consumes nothing returns the very record it was given, so a store sees by `is` that there is nothing to write.
- What is told of a limit that would have admitted a request its group refused is what holds without that request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

from headgate.policy.limit.algorithm import Algorithm, Raw

# A cost that asks only to be told: never refused, consumes nothing (exempt paths).
PEEK: Final = -1
_LENGTH: Final = 2
# The lengths of all states but logs, ready made.
_SHORTS: Final = 64
_SHORT: Final = tuple(length.to_bytes(_LENGTH, "little") for length in range(_SHORTS))


class Group:
    """One or several limits of one tier on one key."""

    __slots__ = ("_only", "algorithms", "fingerprint", "local", "names", "on_error", "shadow")

    def __init__(
        self,
        names: Sequence[str],
        algorithms: Sequence[Algorithm],
        fingerprint: bytes,
        *,
        shadow: bool = False,
        on_error: Literal["local", "open", "closed"] = "local",
        local: Group | None = None,
    ) -> None:
        """`fingerprint` (8 bytes) tells groups of other settings apart, so that their records never mix.

        `local` is what one worker enforces by itself while the store is away: this group with its share of the
        numbers. Absent, it is the group itself.
        """
        self.names = tuple(names)
        self.algorithms = tuple(algorithms)
        self.fingerprint = fingerprint
        self.shadow = shadow
        self.on_error = on_error
        self.local = self if local is None else local
        self._only = self.algorithms[0] if len(self.algorithms) == 1 else None

    def admit(self, record: bytes, now: int, costs: Sequence[int], owner: int) -> tuple[bool, bytes, tuple[Raw, ...]]:
        """Hold a request against all limits: admitted by all?, the record to keep then, what each has to tell.

        A cost of PEEK is told, and neither counted nor refused. `shadow` is the affair of the caller.
        """
        only = self._only
        if only is not None:
            cost = costs[0]
            if cost < 0:
                return True, record, (only.admit(record, now, 0, owner)[2],)
            allowed, state, raw = only.admit(record, now, cost, owner)
            return allowed, state, (raw,)
        old = self._split(record)
        allowed = True
        changed = False
        states = []
        raws = []
        for index, algorithm in enumerate(self.algorithms):
            state = old[index]
            cost = costs[index]
            if cost < 0:
                raws.append(algorithm.admit(state, now, 0, owner)[2])
                states.append(state)
                continue
            admitted, after, raw = algorithm.admit(state, now, cost, owner)
            if not admitted:
                allowed = False
            elif after is not state:
                changed = True
            states.append(after)
            raws.append(raw)
        if allowed:
            return True, _join(states) if changed else record, tuple(raws)
        if changed:
            for index, algorithm in enumerate(self.algorithms):
                if states[index] is not old[index]:
                    raws[index] = algorithm.admit(old[index], now, 0, owner)[2]
        return False, record, tuple(raws)

    def look(self, record: bytes, now: int, owner: int) -> tuple[Raw, ...]:
        """Return what each limit has to tell when nothing is asked: of a group that stood beside one that refused."""
        states = (record,) if self._only is not None else self._split(record)
        return tuple(
            algorithm.admit(state, now, 0, owner)[2] for algorithm, state in zip(self.algorithms, states, strict=True)
        )

    def settle(self, record: bytes, now: int, amounts: Sequence[int], owner: int) -> bytes:
        """Charge after the fact, one amount for each limit: what Algorithm.settle says of it."""
        if self._only is not None:
            return self._only.settle(record, now, amounts[0], owner)
        old = self._split(record)
        states = [
            algorithm.settle(state, now, amount, owner)
            for algorithm, state, amount in zip(self.algorithms, old, amounts, strict=True)
        ]
        return record if states == old else _join(states)

    def expires(self, record: bytes, now: int) -> int:
        """Return from when on, in microseconds, the record means the same as none."""
        if self._only is not None:
            return self._only.expires(record, now)
        return max(
            algorithm.expires(state, now) for algorithm, state in zip(self.algorithms, self._split(record), strict=True)
        )

    def _split(self, record: bytes) -> list[bytes]:
        states = []
        place = 0
        end = len(record)
        for _ in self.algorithms:
            start = place + _LENGTH
            if start > end:
                break
            place = start + record[start - 2] + (record[start - 1] << 8)
            states.append(record[start:place])
        return states if place == end and len(states) == len(self.algorithms) else [b""] * len(self.algorithms)


def _join(states: list[bytes]) -> bytes:
    if not any(states):
        return b""
    parts = []
    for state in states:
        length = len(state)
        parts.append(_SHORT[length] if length < _SHORTS else length.to_bytes(_LENGTH, "little"))
        parts.append(state)
    return b"".join(parts)
