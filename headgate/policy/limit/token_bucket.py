"""token_bucket: `burst` at once, refilled at an even rate. State, raw and numbers are those of gcra.py."""

from __future__ import annotations

from headgate.policy.limit.gcra import Gcra


class TokenBucket(Gcra):
    """A bucket of `burst` tokens into which `limit` fall in each `window` microseconds."""

    __slots__ = ()

    def __init__(self, limit: int, window: int, burst: int) -> None:
        """Nothing waits for its turn: what finds no token is refused."""
        super().__init__(limit, window, burst)
