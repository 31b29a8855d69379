"""The registry: what can be named in a configuration by `type`, and the class behind each name.

Law: plain dictionaries, no import side effects, no scanning. To add a kind, write its settings and class on floor 1
or 2 and add one line here; the contract suites iterate over these tables, so an entry without tests is impossible.
Whoever reads this loads all of it: libraries that only some kinds need are imported where such a kind is made.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from headgate.auth.api_key import ApiKeyMethod
from headgate.auth.basic import BasicMethod
from headgate.auth.certificate import CertificateMethod
from headgate.auth.introspection import IntrospectionMethod
from headgate.auth.jwt import JwtMethod
from headgate.auth.method import Given, Method
from headgate.auth.settings import (
    ApiKeys,
    Basic,
    Certificates,
    IdentitySettings,
    Introspection,
    JwtIssuer,
    StandIn,
)
from headgate.auth.stand_in import StandInMethod
from headgate.discovery.settings import (
    ConsulDiscovery,
    DnsDiscovery,
    EnvironmentDiscovery,
    EtcdDiscovery,
    HttpDiscovery,
    KubernetesDiscovery,
    RegistryDiscovery,
)
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
from headgate.stores.cache.settings import MemoryCacheSettings, RedisCacheSettings
from headgate.stores.settings import MemoryStoreSettings, RedisStoreSettings, SharedStoreSettings


class Entry(NamedTuple):
    """Settings class (with a literal `type`) and the class that is built from it."""

    settings: type
    build: Any


class DiscoveryEntry(NamedTuple):
    """Settings class (with a literal `type`) and where the class of the source stands (discovery.source.Source)."""

    settings: type
    source: str


class AuthEntry(NamedTuple):
    """A kind of way to show who one is: its key in `identity`, the class of its settings, and what its callers are
    (empty: as the settings' `kind` says). `build` makes the methods of some, and raises ValueError, with a sentence.
    """

    key: str
    settings: type
    callers: str
    build: Callable[[Sequence[Any], Given], list[Method]]

    def configured(self, identity: IdentitySettings) -> list[Any]:
        """Return the settings of this kind that there are, each with a `name`; what is switched off is not there."""
        found = getattr(identity, self.key)
        several = found if isinstance(found, list) else [found]
        return [each for each in several if each is not None and getattr(each, "enabled", True)]


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

# Likewise those of cached answers.
CACHES: dict[str, type] = {
    "memory": MemoryCacheSettings,
    "redis": RedisCacheSettings,
}

# In the order in which they are looked for, unless `identity.order` says another one.
AUTH: dict[str, AuthEntry] = {
    "certificate": AuthEntry(
        "certificates", Certificates, "service", lambda ways, given: [CertificateMethod(each) for each in ways]
    ),
    # One for all issuers: which of them made a token is in the token. It bears the name of the kind if there are
    # several, and each caller that of its issuer.
    "jwt": AuthEntry(
        "jwt",
        JwtIssuer,
        "",
        lambda ways, given: [JwtMethod(ways[0].name if len(ways) == 1 else "jwt", ways, given.rings)],
    ),
    "api_key": AuthEntry(
        "api_keys",
        ApiKeys,
        "api_key",
        lambda ways, given: [ApiKeyMethod(each, given.pepper, given.look_up) for each in ways],
    ),
    "basic": AuthEntry("basic", Basic, "user", lambda ways, given: [BasicMethod(each) for each in ways]),
    "introspection": AuthEntry(
        "introspection", Introspection, "", lambda ways, given: [IntrospectionMethod(each) for each in ways]
    ),
    "stand_in": AuthEntry("stand_in", StandIn, "user", lambda ways, given: [StandInMethod(each) for each in ways]),
}

# Only control makes sources, so what they need is imported there: `source` names the module and the class in it.
DISCOVERY: dict[str, DiscoveryEntry] = {
    "environment": DiscoveryEntry(EnvironmentDiscovery, "headgate.discovery.environment:EnvironmentSource"),
    "dns": DiscoveryEntry(DnsDiscovery, "headgate.discovery.dns:DnsSource"),
    "http": DiscoveryEntry(HttpDiscovery, "headgate.discovery.http:HttpSource"),
    "registry": DiscoveryEntry(RegistryDiscovery, "headgate.discovery.registry:RegistrySource"),
    "consul": DiscoveryEntry(ConsulDiscovery, "headgate.discovery.consul:ConsulSource"),
    "etcd": DiscoveryEntry(EtcdDiscovery, "headgate.discovery.etcd:EtcdSource"),
    "kubernetes": DiscoveryEntry(KubernetesDiscovery, "headgate.discovery.kubernetes:KubernetesSource"),
}
