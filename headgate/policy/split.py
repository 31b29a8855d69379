"""Where a route sends its share: weighted destinations, and what keeps a caller with one of them.

Law: a sticky choice depends on the value and on names and weights alone, so it is the same in every worker, on every
machine and after every start. Changing a weight moves only the share that has to move, and removing a destination
only its own callers: weighted rendezvous hashing (Schindelhauer and Schomaker 2005; each destination scores
-ln(u) / weight with u from a hash of value and name, the least wins). That is an exponential draw with rate
`weight`, so shares are proportional to weights, and raising one weight lowers that one score only.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from itertools import accumulate
from math import log

from headgate.core.objection import Objection
from headgate.core.settings import setting, settings
from headgate.policy.pattern import TOKEN, Fields, field_value


@settings
class Destination:
    """One service and its share of the route's requests."""

    service_name: str = setting(help="Name of the service.", min_length=1)
    weight: int = setting(
        default=100, help="Share relative to the other destinations; 0 sends nothing.", ge=0, le=1_000_000
    )


@settings
class Sticky:
    """What keeps a caller with one destination: exactly one of the two."""

    header: str | None = setting(default=None, help="Header field whose value chooses the destination.")
    cookie: str | None = setting(default=None, help="Cookie whose value chooses the destination.")


class Split:
    """Choose the destination of each request by weight. `random` gives numbers from 0 up to, not including, 1."""

    __slots__ = ("_bounds", "_cookie", "_header", "_names", "_only", "_random", "_total", "_weights")

    def __init__(self, destinations: Sequence[Destination], sticky: Sticky | None, random: Callable[[], float]) -> None:
        live = [destination for destination in destinations if destination.weight > 0]
        self._names = [destination.service_name for destination in live]
        self._weights = [destination.weight for destination in live]
        self._bounds = list(accumulate(self._weights))
        self._total = self._bounds[-1] if live else 0
        self._only = self._names[0] if len(live) == 1 else None
        self._header = sticky.header.lower().encode() if sticky is not None and sticky.header else None
        self._cookie = sticky.cookie.encode() if sticky is not None and sticky.cookie else None
        self._random = random

    def pick(self, fields: Fields) -> str | None:
        """Return the name of the service for a request with these fields; None when no destination has weight."""
        if self._only is not None or not self._total:
            return self._only
        value = None
        if self._header is not None:
            value = field_value(fields, self._header)
        elif self._cookie is not None:
            value = cookie_value(fields, self._cookie)
        if value:
            return self._by_hash(value)
        return self._names[bisect_right(self._bounds, self._random() * self._total)]

    def _by_hash(self, value: bytes) -> str:
        scores = []
        for name, weight in zip(self._names, self._weights, strict=True):
            digest = blake2b(b"%b\0%b" % (name.encode(), value), digest_size=8).digest()
            # 53 bits are what a float holds; half a step keeps the logarithm away from zero.
            drawn = ((int.from_bytes(digest, "big") >> 11) + 0.5) / (1 << 53)
            scores.append((-log(drawn) / weight, name))
        return min(scores)[1]


def cookie_value(fields: Fields, name: bytes) -> bytes | None:
    """Return the value of the first cookie of that name (RFC 6265 section 5.4), None when it is absent."""
    cookies = field_value(fields, b"cookie")
    if cookies is None or name not in cookies:
        return None
    for pair in cookies.split(b";"):
        key, equals, value = pair.partition(b"=")
        if equals and key.strip(b" \t") == name:
            return value.strip(b" \t")
    return None


def check_split(destinations: Sequence[Destination], sticky: Sticky | None) -> Iterator[Objection]:
    """Yield what is wrong with destinations and what binds callers to them."""
    names = [destination.service_name for destination in destinations]
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        yield Objection(("destinations",), f"{name} stands twice; write it once, with the weights added")
    if sticky is None:
        return
    given = [name for name in (sticky.header, sticky.cookie) if name is not None]
    if len(given) != 1:
        yield Objection(("sticky",), f"write exactly one of header, cookie; here are {len(given)}")
    elif not TOKEN.fullmatch(given[0]):
        yield Objection(("sticky",), f"{given[0]!r} is not the name of a header field or a cookie")
