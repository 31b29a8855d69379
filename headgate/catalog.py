"""The registry: what can be named in a configuration by `type`, and the class behind each name.

Law: plain dictionaries, no import side effects, no scanning. To add a kind, write its settings and class on floor 1
or 2 and add one line here; the contract suites iterate over these tables, so an entry without tests is impossible.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from headgate.policy.balance.consistent_hash import ConsistentHash
from headgate.policy.balance.least_connections import LeastConnections
from headgate.policy.balance.peak_ewma import PeakEwma
from headgate.policy.balance.round_robin import RoundRobin
from headgate.policy.balance.settings import (
    ConsistentHashSettings,
    LeastConnectionsSettings,
    PeakEwmaSettings,
    RandomSettings,
    RoundRobinSettings,
    WeightedSettings,
)
from headgate.policy.balance.weighted_random import WeightedRandom
from headgate.policy.limit.algorithm import Algorithm
from headgate.policy.limit.quota import BUILDERS, Quota
from headgate.stores.settings import MemoryStoreSettings, RedisStoreSettings, SharedStoreSettings


class Entry(NamedTuple):
    """Settings class (with a literal `type`) and the class that is built from it."""

    settings: type
    build: Any


BALANCERS: dict[str, Entry] = {
    "round_robin": Entry(RoundRobinSettings, RoundRobin),
    "weighted": Entry(WeightedSettings, RoundRobin),
    "least_connections": Entry(LeastConnectionsSettings, LeastConnections),
    "random": Entry(RandomSettings, WeightedRandom),
    "peak_ewma": Entry(PeakEwmaSettings, PeakEwma),
    "consistent_hash": Entry(ConsistentHashSettings, ConsistentHash),
}

# The table stands with the one kind of settings that all limits share.
LIMITS: Mapping[str, Callable[[Quota], Algorithm]] = BUILDERS

# Stores are opened by whoever holds what they need (files, sockets); here are the settings that name them.
STORES: dict[str, type] = {
    "memory": MemoryStoreSettings,
    "shared": SharedStoreSettings,
    "redis": RedisStoreSettings,
}
