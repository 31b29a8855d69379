"""One instance as control knows it: what it says of itself, how it is, and when something was heard of it."""

from __future__ import annotations

from headgate.control.registrations.checks import Health
from headgate.control.registrations.instance import Instance, Row, Status


class Known:
    """One instance; moments are monotonic seconds, `due` the one at which it is dropped if nothing is heard of it."""

    __slots__ = ("due", "endpoint", "health", "heard_at", "instance", "registered_at", "renewals", "revision")

    def __init__(self, row: Row, now: float, health: Health) -> None:
        self.instance, self.registered_at, self.renewals, self.revision = row
        self.health = health
        self.endpoint = self.instance.endpoint
        self.hear(now)

    def hear(self, now: float) -> None:
        """Note that something was heard of it."""
        self.heard_at = now
        self.due = now + self.instance.ttl

    @property
    def status(self) -> Status:
        """Return how it is: unhealthy when it says so itself or the last checks did."""
        well = self.health.well if self.instance.health_check else None
        if self.instance.said == "unhealthy" or well is False:
            return "unhealthy"
        return "healthy" if self.instance.said == "healthy" or well else "unknown"

    def is_asked_as(self, other: Instance) -> bool:
        """Tell whether what checks say of it is said of the other, too."""
        own = self.instance
        return (own.host, own.port, own.scheme, own.health_check) == (
            other.host,
            other.port,
            other.scheme,
            other.health_check,
        )
