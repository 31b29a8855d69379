"""A bucket that empties at an even rate, kept as the moment at which it will be empty: the arithmetic of token_bucket
and leaky_bucket (generic cell rate algorithm, ITU-T I.371 annex A; the moment is its "theoretical arrival time").

A request of cost n moves the moment on by n * window / limit, from now or from where it is, whichever is later, and is
admitted when the moment is then at most burst * window / limit ahead of now. The window need not divide: with
window / limit = span / parts in lowest terms, moments are microseconds and a number of `parts`-ths of one, exact.
(Doubles round a product beyond 2**53, but that is one of a cost far above the burst, refused however it is rounded.)

State, 12 bytes, little endian, of a moment that is not past:
    moment     int64    microseconds
    part       uint32   0 <= part < parts
Raw: (ahead, part, cost). `ahead` and `part`: how far the moment is ahead of now, after the request if it was admitted,
without it if not; `cost`: of the request.
Numbers: (step, step_part, parts, room, room_part, max_delay, most).
    step + step_part / parts     microseconds each unit takes
    room + room_part / parts     the most the moment may be ahead
    max_delay                    the most it may be ahead before the request, in microseconds; 0: does not matter
    most                         what an amount to settle is cut to, either way
"""

from __future__ import annotations

from math import gcd
from struct import Struct
from typing import Final

from headgate.policy.limit.algorithm import LONGEST, NEVER, Raw, Reading, new_tuple

_STATE: Final = Struct("<qI")
_STATE_BYTES: Final = 12
_pack: Final = _STATE.pack
_unpack: Final = _STATE.unpack


class Gcra:
    """`burst` at once, and from then on `limit` in each `window` microseconds, evenly."""

    __slots__ = (
        "_full", "_max_delay", "_most", "_parts", "_room", "_room_part", "_span", "_step", "_step_part", "burst",
    )  # fmt: skip

    code: Final = 1

    def __init__(self, limit: int, window: int, burst: int, max_delay: int = 0) -> None:
        """`window` and `max_delay` are microseconds; burst * window / limit is at most LONGEST."""
        divisor = gcd(limit, window)
        self.burst = burst
        self._parts = limit // divisor
        self._span = window // divisor
        self._full = burst * self._span
        self._step, self._step_part = divmod(self._span, self._parts)
        self._room, self._room_part = divmod(self._full, self._parts)
        self._max_delay = max_delay
        self._most = LONGEST // (self._step + 1)

    @property
    def numbers(self) -> tuple[int, ...]:
        """Its constants, as the docstring of this file lists them."""
        return (
            self._step, self._step_part, self._parts, self._room, self._room_part, self._max_delay, self._most,
        )  # fmt: skip

    @property
    def lifetime(self) -> int:
        """Microseconds in which a full bucket empties."""
        return self._room + 1 if self._room_part else self._room

    def admit(self, state: bytes, now: int, cost: int, owner: int) -> tuple[bool, bytes, Raw]:
        """Let `cost` in if there is room for it now; the turn it gets is where the moment was."""
        turn = now
        part = 0
        if len(state) == _STATE_BYTES:
            turn, part = _unpack(state)
            if turn < now:
                turn = now
                part = 0
        ahead = turn - now
        after = ahead + cost * self._step
        after_part = part + cost * self._step_part
        if after_part >= self._parts:
            carry, after_part = divmod(after_part, self._parts)
            after += carry
        if (
            after > self._room
            or (after == self._room and after_part > self._room_part)
            or (self._max_delay and (ahead > self._max_delay or (ahead == self._max_delay and part)))
        ):
            return False, state, (ahead, part, cost)
        return True, _pack(now + after, after_part) if cost else state, (after, after_part, cost)

    def settle(self, state: bytes, now: int, amount: int, owner: int) -> bytes:
        """Move the moment on by `amount`, or back, to now at most; never more than LONGEST ahead."""
        if not amount:
            return state
        turn = now
        part = 0
        if len(state) == _STATE_BYTES:
            turn, part = _unpack(state)
            if turn < now:
                turn = now
                part = 0
        units = max(-self._most, min(self._most, amount))
        carry, part = divmod(part + units * self._step_part, self._parts)
        ahead = turn - now + units * self._step + carry
        if ahead > LONGEST:
            return _pack(now + LONGEST, 0)
        return b"" if ahead < 0 or not (ahead or part) else _pack(now + ahead, part)

    def expires(self, state: bytes, now: int) -> int:
        """Return the first microsecond at which the moment is past."""
        if len(state) != _STATE_BYTES:
            return now
        moment, part = _unpack(state)
        return int(moment + 1 if part else moment)

    def read(self, allowed: bool, raw: Raw) -> Reading:
        """Say what is left in units, and when the bucket will be empty."""
        ahead, part, cost = raw
        parts = self._parts
        held = ahead * parts + part
        remaining = max(0, (self._full - held) // self._span)
        reset = ahead + 1 if part else ahead
        wait = delay = 0
        if not allowed:
            wait = max(0, -((self._full - held - cost * self._span) // parts)) if cost <= self.burst else NEVER
        if self._max_delay:
            # Of those that fit, the ones whose turn comes soon enough.
            soon = (self._max_delay * parts - held) // self._span + 1
            remaining = min(remaining, max(0, soon))
            if not allowed:
                wait = max(wait, reset - self._max_delay)
            elif cost:
                delay = max(0, -((cost * self._span - held) // parts))
        return new_tuple(Reading, (self.burst, remaining, reset, wait, delay))
