"""The gateway as the records of own endpoints see it."""

from __future__ import annotations

from typing import Any, Protocol

from headgate.config.resolve import ResolvedConfig
from headgate.control.breakers import Breakers
from headgate.control.endpoints import Endpoints
from headgate.control.exposition import Exposition
from headgate.control.own_health import OwnHealth
from headgate.control.telemetry.part import Telemetry


class Parts(Protocol):
    """Those parts of control that records are made of."""

    endpoints: Endpoints
    breakers: Breakers
    telemetry: Telemetry
    exposition: Exposition
    own_health: OwnHealth


class Subject(Protocol):
    """What records are about."""

    @property
    def parts(self) -> Parts:
        """What control knows of the gateway."""

    @property
    def config(self) -> ResolvedConfig | None:
        """The configuration in force."""

    def snapshot(self) -> dict[str, Any]:
        """Plan, workers and drain now."""
