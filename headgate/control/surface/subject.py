"""The gateway as the records of own endpoints see it."""

from __future__ import annotations

from typing import Protocol

from headgate.control.audit import Audit
from headgate.control.breakers import Breakers
from headgate.control.configuration import Configuration
from headgate.control.discovery import Discovery
from headgate.control.endpoints import Endpoints
from headgate.control.exposition import Exposition
from headgate.control.fleet import Fleet
from headgate.control.own_health import OwnHealth
from headgate.control.snapshot import Snapshot
from headgate.control.telemetry.latest import Latest
from headgate.control.telemetry.part import Telemetry


class Parts(Protocol):
    """Those parts of control that records are made of."""

    fleet: Fleet
    endpoints: Endpoints
    breakers: Breakers
    telemetry: Telemetry
    latest: Latest
    exposition: Exposition
    own_health: OwnHealth
    configuration: Configuration
    discovery: Discovery


class Subject(Protocol):
    """What records are about."""

    @property
    def parts(self) -> Parts:
        """What control knows of the gateway."""

    @property
    def audit(self) -> Audit:
        """Where acts are written down."""

    def snapshot(self) -> Snapshot:
        """Plan, workers and drain now."""
