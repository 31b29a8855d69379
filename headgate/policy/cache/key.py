"""Which requests are the same, and who shares their answers.

Laws:
- Parts of a key cannot run into each other, whatever they hold.
- Whoever showed who they are shares nothing with those who did not, unless configuration says `shared`.
- What is not in the key must not change the answer: Vary is, and so are the route and the service that answer.
"""

from __future__ import annotations

from headgate.core.identity import Identity
from headgate.core.message import RequestHead
from headgate.policy.cache.settings import CacheKey


class Keys:
    """The keys of one route's requests."""

    __slots__ = ("_settings",)

    def __init__(self, settings: CacheKey, route: str) -> None:
        """`route` names the route: another one's answers are other answers."""
        self._settings = settings

    def partition(self, identity: Identity) -> bytes:
        """Return who shares answers with that caller; empty: everybody who did not say who they are."""
        raise NotImplementedError

    def primary(self, head: RequestHead, partition: bytes, service: str) -> bytes:
        """Return the key (20 bytes) of a request answered by that service, before Vary."""
        raise NotImplementedError

    def variant(self, primary: bytes, names: tuple[bytes, ...], head: RequestHead) -> bytes:
        """Return the key (20 bytes) of a request whose answers differ by the fields `names`."""
        raise NotImplementedError

    def url(self, head: RequestHead) -> str:
        """Return what its entry is purged by: scheme://authority/path?query; parameters that count, sorted."""
        raise NotImplementedError


def purge_url(text: str) -> str:
    """Bring a URL that somebody wrote into the form that `Keys.url` returns.

    Raises:
        BadTarget: it is none (core.uri).
    """
    raise NotImplementedError


def merged(names: tuple[bytes, ...], known: tuple[bytes, ...]) -> tuple[bytes, ...]:
    """Return the names to keep in Varies when an answer varies by `names` and older ones by `known`."""
    raise NotImplementedError
