"""How often wrong credentials may be tried from one address: a bucket of tries for each, that fills up again slowly.

Laws: only wrong ones cost a try, so whoever has the right one never notices; of at most MOST_ADDRESSES addresses
anything is remembered, and the one that was wrong longest ago is forgotten first; `now` is in seconds and handed in.
"""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address
from typing import Final

TRIES: Final = 20
# Seconds until one more try is allowed.
REFILL: Final = 1.0
MOST_ADDRESSES: Final = 1024
# Whoever has one IPv6 address mostly has the 2 ** 64 around it.
_IPV6_HOST_BITS: Final = 64


class Throttle:
    """The tries that are left, by address."""

    __slots__ = ("_left",)

    def __init__(self) -> None:
        # Tries left, and when that was so.
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, address: str, now: float) -> float:
        """Return for how many seconds this address may not try; 0 when it may now."""
        left = self._tries(_place(address), now)
        return 0.0 if left >= 1 else (1 - left) * REFILL

    def wrong(self, address: str, now: float) -> None:
        """Note that this address tried something wrong."""
        place = _place(address)
        self._left[place] = max(self._tries(place, now) - 1, 0.0), now
        self._left.move_to_end(place)
        if len(self._left) > MOST_ADDRESSES:
            self._left.popitem(last=False)

    def _tries(self, place: str, now: float) -> float:
        left, since = self._left.get(place, (TRIES, now))
        return min(left + (now - since) / REFILL, TRIES)

    def __repr__(self) -> str:
        return f"<Throttle of {len(self._left)} addresses>"


def _place(address: str) -> str:
    try:
        known = ip_address(address)
    except ValueError:
        # A Unix socket has none.
        return address
    if not isinstance(known, IPv6Address):
        return address
    return str(known.ipv4_mapped or int(known) >> _IPV6_HOST_BITS)
