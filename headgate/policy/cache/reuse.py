"""May the cache answer this request, with this entry, now (RFC 9111 section 4).

Laws:
- Nothing is fresher than what answered it said, unless configuration overrides that.
- A clock that went back makes entries stale, never young.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

from headgate.core.message import Fields, RequestHead, ResponseHead
from headgate.policy.cache.entry import Entry
from headgate.policy.cache.settings import Cache

Use = Literal["fresh", "revalidate", "validate", "fetch"]
"""What an entry is good for: an answer; one while another is fetched behind it; to be validated first; nothing."""


class Verdict(NamedTuple):
    """May an entry answer. `ttl` is how long it stays fresh, in seconds; below zero: since when it is stale."""

    use: Use
    age: int
    ttl: int


class Asked:
    """What the cache reads of a request: once, before everything else.

    `bypass` says why the cache has no part in it, in words of RFC 9211 section 2.2: method, bypass; empty if it has.
    `only_if_cached`: to be answered 504 (`not_cached`) where the cache cannot answer. `range` is the Range field.
    `forced`: it wants no entry used without validation (no-cache). `stored`: what comes back may be stored (no-store).
    """

    __slots__ = (
        "bypass",
        "forced",
        "if_modified_since",
        "if_none_match",
        "if_range",
        "max_age",
        "max_stale",
        "min_fresh",
        "only_if_cached",
        "range",
        "stale_if_error",
        "stored",
    )


class Rules:
    """The rules of one route."""

    __slots__ = ("_settings",)

    def __init__(self, settings: Cache) -> None:
        self._settings = settings

    def read(self, head: RequestHead) -> Asked:
        """Read what a request asks of the cache."""
        raise NotImplementedError

    def judge(self, entry: Entry, asked: Asked, now: float) -> Verdict:
        """Tell what an entry is good for."""
        raise NotImplementedError

    def stale_if_error(self, entry: Entry, asked: Asked, now: float) -> bool:
        """Tell whether an entry may answer since nothing else can: no connection, an open breaker, a 5xx."""
        raise NotImplementedError

    def storable(
        self, asked: Asked, head: RequestHead, response: ResponseHead, requested: float, now: float, authenticated: bool
    ) -> Entry | str:
        """Return the entry that an answer makes, without its length; or a word on why it makes none.

        `authenticated`: the request showed who asks, by Authorization or in any other way that the gateway verified.
        `requested` and `now` are when it was sent and when its answer came.
        """
        raise NotImplementedError

    def outgoing(self, fields: Fields, entry: Entry | None) -> Fields:
        """Return the fields of a request whose whole answer shall be stored: without the client's own conditions.

        With an `entry`, with conditions that validate it (RFC 9111 section 4.3.1).
        """
        raise NotImplementedError

    def validated(self, entry: Entry, response: ResponseHead, requested: float, now: float) -> Entry | None:
        """Return the entry as a 304 renews it (section 4.3.4); None: it is about another one, so ask unconditionally."""
        raise NotImplementedError

    def keep(self, entry: Entry, now: float) -> float:
        """Return for how many seconds a store should keep an entry: as long as it can be of any use."""
        raise NotImplementedError

    def invalidated(self, head: RequestHead, response: ResponseHead, url: str) -> list[str]:
        """Return the URLs whose entries an answer to an unsafe method makes invalid (section 4.4), if any.

        `url` is that of the request (`Keys.url`).
        """
        raise NotImplementedError
