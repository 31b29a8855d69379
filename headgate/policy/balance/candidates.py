"""Which endpoints of a service get requests at present, and how much of their weight: the part before any balancer.

Rules, in this order:
- One that is disabled, or of weight 0, gets nothing.
- One is well that active checks do not call unhealthy and whose ejection, if there was one, is over.
- With zone preference, and at least half of the endpoints in the gateway's zone well: the well ones of the zone.
- Else, when the share of well ones is below the panic threshold: all, as if nothing were known of their health. To
  send everything to the few that are left would only fell them too (Envoy's panic threshold).
- Else the well ones.

Slow start: who came back has a tenth of its weight at first and gains tenths evenly over the time set, not in a
panic. Law: pure; all times are monotonic microseconds; what is returned is right until `until`, unless the facts
change before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from headgate.core.endpoint import Endpoint
from headgate.policy.balance.settings import CandidateSettings

# Later than any moment of this machine's clock.
NEVER = 1 << 62
_TENTHS = 10
_MICROSECONDS = 1_000_000


class Standing(NamedTuple):
    """What is known of one endpoint (policy.endpoint_record); all zeros: nothing bad."""

    disabled: int = 0
    unhealthy: int = 0
    ejected_until: int = 0
    well_since: int = 0


class Shares(NamedTuple):
    """The present weight of each endpoint, in their order, 0 for none; and when to ask again."""

    weights: list[float]
    until: int


def shares(
    endpoints: Sequence[Endpoint], standings: Sequence[Standing], settings: CandidateSettings, zone: str, now: int
) -> Shares:
    """Decide who gets requests at `now`, seen from `zone` ("" = none)."""
    enabled = [place for place, each in enumerate(endpoints) if each.weight > 0 and not standings[place].disabled]
    ejections = [standings[place].ejected_until for place in enabled]
    until = min((end for end in ejections if end > now), default=NEVER)
    well = [place for place in enabled if _well(standings[place], now)]
    weights = [0.0] * len(endpoints)
    preferred = _preferred(endpoints, enabled, standings, zone, now) if settings.zone_preference and zone else []
    if not preferred and 100 * len(well) < settings.panic_threshold * len(enabled):
        for place in enabled:
            weights[place] = float(endpoints[place].weight)
        return Shares(weights, until)
    duration = int(settings.slow_start * _MICROSECONDS)
    for place in preferred or well:
        tenths, changes = _warmth(standings[place], duration, now)
        weights[place] = endpoints[place].weight * tenths / _TENTHS
        until = min(until, changes)
    return Shares(weights, until)


def _well(standing: Standing, now: int) -> bool:
    return not standing.unhealthy and standing.ejected_until <= now


def _preferred(
    endpoints: Sequence[Endpoint], enabled: Sequence[int], standings: Sequence[Standing], zone: str, now: int
) -> list[int]:
    """Return the well ones of the zone, none when they are less than half of it."""
    near = [place for place in enabled if endpoints[place].zone == zone]
    well = [place for place in near if _well(standings[place], now)]
    return well if 2 * len(well) >= len(near) else []


def _warmth(standing: Standing, duration: int, now: int) -> tuple[int, int]:
    """Return how many tenths of its weight an endpoint has, and when it will have more."""
    since = standing.well_since
    if not since or not duration or now >= since + duration:
        return _TENTHS, NEVER
    tenths = max(1, (now - since) * _TENTHS // duration)
    return tenths, since + -(-duration * (tenths + 1) // _TENTHS)
