"""leaky_bucket: it holds `burst` and leaks at an even rate. State, raw and numbers are those of gcra.py.

Without `max_delay` it polices: what finds it full is refused, and the rest goes at once. With `max_delay` it shapes:
a request goes when its turn comes, `delay` from now, and is refused when that is more than `max_delay` or the bucket is
full.
"""

from __future__ import annotations

from headgate.policy.limit.gcra import Gcra


class LeakyBucket(Gcra):
    """A bucket for `burst` out of which `limit` leak in each `window` microseconds."""

    __slots__ = ()

    def __init__(self, limit: int, window: int, burst: int, max_delay: int) -> None:
        """`max_delay` in microseconds; 0 polices."""
        super().__init__(limit, window, burst, max_delay)
