"""Where a route sends its share: weighted destinations, and what keeps a caller with one of them."""

from __future__ import annotations

from headgate.core.settings import setting, settings


@settings
class Destination:
    """One service and its share of the route's requests."""

    service_name: str = setting(help="Name of the service.", min_length=1)
    weight: int = setting(
        default=100, help="Share relative to the other destinations; 0 sends nothing.", ge=0, le=1_000_000
    )


@settings
class Sticky:
    """What keeps a caller with one destination: exactly one of the two."""

    header: str | None = setting(default=None, help="Header field whose value chooses the destination.")
    cookie: str | None = setting(default=None, help="Cookie whose value chooses the destination.")
