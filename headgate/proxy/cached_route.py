"""What one route asks of the cache: its rules and its keys, compiled."""

from __future__ import annotations

from typing import Final

from headgate.config.resolve import ResolvedRoute
from headgate.core.field_names import read_as
from headgate.core.message import Fields, RequestHead
from headgate.policy.cache.key import Keys
from headgate.policy.cache.reuse import Rules
from headgate.policy.cache.settings import Cache

# Keys that are not worked out again, for requests with short paths: some MiB at most.
_MOST_KNOWN: Final = 4096
_LONGEST: Final = 512


class CachedRoute:
    """The cache of a route that has one.

    `keyed` are fields that count in each key, in lower case; `private`: who shows credentials shares with nobody else;
    `judged`: another service lets requests in, and `taken` are the fields (core.field_names.read_as) by which it says
    whose they are.
    """

    __slots__ = ("_known", "judged", "keyed", "keys", "private", "rules", "settings", "taken")

    def __init__(self, route: ResolvedRoute, settings: Cache) -> None:
        self.settings = settings
        self.rules = Rules(settings)
        self.keys = Keys(settings.key, route.name, settings.authorized)
        self.keyed = tuple(name.lower().encode() for name in settings.key.headers)
        self.private = settings.key.partition != "shared"
        external = route.auth.external
        self.judged = external is not None
        self.taken = (
            frozenset(read_as(name.encode()) for name in external.take) if external is not None else frozenset()
        )
        self._known: dict[tuple[bytes, str, bytes | None, bytes, str, str], bytes] = {}

    def primary(self, head: RequestHead, partition: bytes, service: str, fields: Fields) -> bytes:
        """Return the key of a request, as that service sees its `fields`, before Vary (policy.cache.key)."""
        if self.keyed:
            return self.keys.primary(head, partition, service, fields)
        asked = head.authority, head.path, head.query, partition, service, head.scheme
        key = self._known.get(asked)
        if key is None:
            key = self.keys.primary(head, partition, service)
            if len(head.path) + len(head.query or b"") <= _LONGEST:
                if len(self._known) >= _MOST_KNOWN:
                    self._known.clear()
                self._known[asked] = key
        return key
