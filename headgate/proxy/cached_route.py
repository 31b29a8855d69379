"""What one route asks of the cache: its rules and its keys, compiled."""

from __future__ import annotations

from headgate.config.resolve import ResolvedRoute
from headgate.policy.cache.key import Keys
from headgate.policy.cache.reuse import Rules
from headgate.policy.cache.settings import Cache


class CachedRoute:
    """The cache of a route that has one. `keyed` are fields that count in each key, in lower case."""

    __slots__ = ("keyed", "keys", "rules", "settings")

    def __init__(self, route: ResolvedRoute, settings: Cache) -> None:
        self.settings = settings
        self.rules = Rules(settings)
        self.keys = Keys(settings.key, route.name)
        self.keyed = tuple(name.lower().encode() for name in settings.key.headers)
