"""Settings of the balancers, and of what stands before any of them: which endpoints are candidates."""

from __future__ import annotations

from typing import Literal

from headgate.core.settings import Seconds, setting, settings


@settings
class RoundRobinSettings:
    """Endpoints take turns, in proportion to their weight."""

    type: Literal["round_robin"] = setting(
        default="round_robin", help="Endpoints take turns, in proportion to their weight."
    )


@settings
class WeightedSettings:
    """Another name of round_robin, which always heeds weights."""

    type: Literal["weighted"] = setting(default="weighted", help="Another name of round_robin, which heeds weights.")


@settings
class LeastConnectionsSettings:
    """The endpoint with the fewest requests in flight for its weight, over all workers."""

    type: Literal["least_connections"] = setting(
        default="least_connections", help="The endpoint with the fewest requests in flight for its weight."
    )


@settings
class RandomSettings:
    """By chance, in proportion to weight."""

    type: Literal["random"] = setting(default="random", help="By chance, in proportion to weight.")


@settings
class PeakEwmaSettings:
    """Of two endpoints drawn by chance the one whose latency, times its requests in flight, is lower.

    The latency is a moving average that jumps up with a slow answer and sinks slowly (Finagle's peak EWMA).
    """

    type: Literal["peak_ewma"] = setting(
        default="peak_ewma", help="Of two by chance the one with the lower latency times requests in flight."
    )
    decay: Seconds = setting(default=10.0, help="Seconds in which an old latency counts for little.", gt=0, le=3600)


@settings
class ConsistentHashSettings:
    """The same endpoint for the same key, as long as it is not overloaded (consistent hashing with bounded loads)."""

    type: Literal["consistent_hash"] = setting(default="consistent_hash", help="The same endpoint for the same key.")
    header: str | None = setting(default=None, help="Header whose value is the key.")
    cookie: str | None = setting(default=None, help="Cookie whose value is the key.")
    by: Literal["address", "path"] = setting(
        default="address", help="The key where neither header nor cookie is named, or the request has none."
    )
    bound: float = setting(
        default=1.25, help="How much more than its share one endpoint may have in flight; 0 = no bound.", ge=0, le=100
    )


@settings
class CandidateSettings:
    """Which endpoints a balancer may choose from."""

    panic_threshold: float = setting(
        default=50.0,
        help="Percent of endpoints that must be well; with fewer all that are enabled are tried, well or not.",
        ge=0,
        le=100,
    )
    slow_start: Seconds = setting(
        default=0.0,
        help="Seconds in which the share of an endpoint that came back or joined others grows to its weight.",
        ge=0,
        le=3600,
    )
    zone_preference: bool = setting(
        default=False,
        help="Endpoints of the gateway's own `zone` first; others when fewer than half of those are well.",
    )
