"""The rate limits of the configuration in force as an operator sees them, and the counts of one key begun afresh.

Laws: what a key's count is found by is computed as workers compute it (proxy.limit_stage); a store that all workers
share is told once, each memory of its own by its worker; it is done when every one that was told has said so, and what
workers cannot be told of within PATIENCE is not said to be done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from headgate.config.resolve import ResolvedConfig
from headgate.control.fleet import Fleet
from headgate.control.log import Log
from headgate.control.messages import Forget
from headgate.policy.limit.key import address_part, value_part
from headgate.policy.limit.settings import Limit
from headgate.proxy.limit_stage import MARKS, Part, Stages
from headgate.telemetry.cells import SlotRegion, read

# Seconds.
PATIENCE: Final = 3.0
MOST_VALUE: Final = 4096

# A caller who lacks these is counted by its address.
_OF_CALLERS: Final = ("user", "api_key", "tenant", "identity")


# Families by what they count; the first label of each is the name of a limit.
_COUNTED: Final = {
    "headgate_limit_refused_total": "refused",
    "headgate_limit_shadow_total": "shadow",
    "headgate_limit_delayed_total": "delayed",
}


class Reset(NamedTuple):
    """What was begun afresh: limits that are counted together with the one asked for are, too."""

    limits: tuple[str, ...]
    scopes: tuple[str, ...]
    found: int


class Limits:
    """All of them."""

    def __init__(self, log: Log, fleet: Fleet, regions: Sequence[SlotRegion] = ()) -> None:
        """`regions` are those of all worker slots."""
        self._regions = regions
        self._log = log
        self._fleet = fleet
        self._config: ResolvedConfig | None = None
        self._number = 0
        self._waiting: dict[int, asyncio.Queue[tuple[int, int]]] = {}

    def follow(self, config: ResolvedConfig) -> None:
        """Know the limits of this configuration from now on; its `workers` is a number."""
        self._config = config

    def describe(self) -> list[dict[str, Any]]:
        """Describe all limits: where each stands (`scope`), and its settings; windows and delays in seconds."""
        if self._config is None:
            return []
        return [_describe(scope, limit, self._config) for scope, limit in limits_of(self._config)]

    def counts(self) -> dict[str, dict[str, int]]:
        """Return how many requests limits have refused, would have (shadow) and delayed, by the name of the limit.

        Read from the cells: under which names metrics are shown, if at all, says the configuration. Limits of one name
        are counted together.
        """
        counts: dict[str, dict[str, int]] = {}
        for name, (value,) in read(self._regions, _COUNTED):
            counted = counts.setdefault(name.labels[0], dict.fromkeys(_COUNTED.values(), 0))
            counted[_COUNTED[name.family]] += value
        return counts

    async def reset(self, limit: str, scope: str | None, given: Mapping[str, str]) -> Reset | None:
        """Begin afresh with one key of a limit; None when there is no such limit.

        Raises:
            ValueError: with a sentence, when the key is not one of that limit.
            TimeoutError: the store, or a worker with counts of its own, has not said that it is done.
        """
        parts = await asyncio.to_thread(self._parts, limit, scope)
        if not parts or self._config is None:
            return None
        keys: set[bytes] = set()
        for part in parts:
            keys |= part.keys(key_parts(part, given))
        found = await self._forget(tuple(keys), None if self._config.store.type == "memory" else 1)
        names = tuple(dict.fromkeys(name for part in parts for name in part.names))
        scopes = tuple(dict.fromkeys(part.scope for part in parts))
        self._log("info", f"counts of the limit {limit} for one key are reset by hand", limits=list(names))
        return Reset(names, scopes, found)

    def on_said(self, worker: int, message: dict[str, Any]) -> None:
        """Take what a worker says of a reset."""
        if message["type"] == "forgotten" and (waiting := self._waiting.get(message["number"])) is not None:
            waiting.put_nowait((worker, int(message["found"])))

    def _parts(self, limit: str, scope: str | None) -> list[Part]:
        config = self._config
        if config is None:
            return []
        stages = Stages(config)
        for route in config.routes:
            for service in {"", *(each.service_name for each in route.destinations)}:
                stages.of(route, service)
        return [part for part in stages.parts() if limit in part.names and scope in (None, part.scope)]

    async def _forget(self, keys: tuple[bytes, ...], among: int | None) -> int:
        self._number += 1
        number = self._number
        said = self._waiting[number] = asyncio.Queue()
        try:
            async with asyncio.timeout(PATIENCE):
                left = set(self._fleet.tell_once(Forget(number, keys), among))
                total = 0
                while left:
                    worker, found = await said.get()
                    left.discard(worker)
                    if found < 0:
                        raise TimeoutError
                    total += found
                return total
        finally:
            del self._waiting[number]


def key_parts(part: Part, given: Mapping[str, str]) -> list[bytes]:
    """Return the parts of a key of these limits, as policy.limit.key has them.

    Raises:
        ValueError: with a sentence that says which values there are.
    """
    used: set[str] = set()
    made = [_part(name, given, used, part.scope) for name in part.key]
    if any(each is None for each in made) or set(given) - used:
        needed = ", ".join(part.key) or "no value at all"
        raise ValueError(f"a key of this limit has {needed}; a caller who lacks one of them is counted by its address")
    return [each for each in made if each is not None]


def _part(name: str, given: Mapping[str, str], used: set[str], scope: str) -> bytes | None:
    value = given.get(name)
    if value is not None:
        used.add(name)
        raw = value.encode("utf-8", "surrogateescape")
        if name == "address":
            return address_part(value)
        if name == "identity":
            kind, _, id_ = value.partition(":")
            mark = MARKS.get(kind)
            if mark is None or not id_:
                raise ValueError(f"an identity is written {', '.join(f'{kind}:ID' for kind in MARKS)}")
            return value_part(id_.encode("utf-8", "surrogateescape"), mark)
        return value_part(raw)
    if name == "service" and scope.startswith("service "):
        return value_part(scope.removeprefix("service ").encode("utf-8", "surrogateescape"))
    if (name in _OF_CALLERS or name.startswith("header:")) and "address" in given:
        used.add("address")
        return address_part(given["address"])
    return None


def limits_of(config: ResolvedConfig) -> Iterator[tuple[str, Limit]]:
    """Yield (where it stands, limit) for each limit of a configuration."""
    seen: set[tuple[str, str]] = set()
    found: Iterable[tuple[str, Limit]] = (
        *(("gateway", limit) for limit in config.limits),
        *((f"service {each.name}", each.rate_limit) for each in config.services if each.rate_limit is not None),
        *((scoped.scope, scoped.limit) for route in config.routes for scoped in route.limits),
    )
    for scope, limit in found:
        if (scope, limit.name) not in seen:
            seen.add((scope, limit.name))
            yield scope, limit


def _describe(scope: str, limit: Limit, config: ResolvedConfig) -> dict[str, Any]:
    return {
        "limit": limit.name,
        "scope": scope,
        "key": list(limit.key),
        "type": limit.type,
        "requests": limit.requests,
        "window": None if limit.type == "concurrency" else limit.window,
        "burst": limit.burst,
        "tiers": sorted(limit.tiers),
        "shadow": limit.shadow,
        "on_error": limit.on_error,
        "store": config.store.type,
    }
