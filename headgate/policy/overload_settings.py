"""How many requests a service takes at once, when the gateway has too much to do, and who goes first: the settings."""

from __future__ import annotations

from typing import Literal

from headgate.core.settings import Seconds, setting, settings

Priority = Literal["critical", "high", "normal", "low"]
PRIORITIES: tuple[Priority, ...] = ("critical", "high", "normal", "low")


@settings
class AdaptiveConcurrency:
    """Find, in each worker, how many requests at once a service takes without growing slow; refuse more with 503.

    Source: the gradient of Netflix's concurrency-limits (Gradient2) and Envoy's adaptive concurrency filter.
    """

    enabled: bool = setting(default=True, help="Use it.")
    initial: int = setting(default=20, help="Requests at once to begin with, in each worker.", ge=1, le=100_000)
    min: int = setting(default=4, help="Never fewer.", ge=1, le=100_000)
    max: int = setting(default=1000, help="Never more.", ge=1, le=100_000)
    tolerance: float = setting(
        default=1.5, help="How many times its usual latency the service may take before the limit sinks.", ge=1, le=10
    )
    window: Seconds = setting(default=0.25, help="Seconds of answers that each decision rests on.", ge=0.01, le=60)


@settings
class Overload:
    """When the gateway itself has too much to do: low priorities are refused first (503), critical ones last."""

    enabled: bool = setting(default=True, help="Use it.")
    max_in_flight: int = setting(default=0, help="Requests at once in a worker; 0 = no own bound.", ge=0, le=1_000_000)
    lag: Seconds = setting(
        default=0.1,
        help="Lateness of a worker's event loop, in seconds, that counts as overload when it lasts.",
        gt=0,
        le=60,
    )
