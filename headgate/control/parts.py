"""What of control lives on from one configuration to the next: each part follows the one in force.

Law: a part knows nothing of the others; what one has to learn from another is wired here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from headgate.config.resolve import ResolvedConfig
from headgate.control.breakers import Breakers
from headgate.control.caching import Caching
from headgate.control.configuration import Configuration
from headgate.control.discovery import Discovery
from headgate.control.endpoints import Endpoints
from headgate.control.exposition import Exposition
from headgate.control.fleet import Fleet
from headgate.control.issuers import Issuers
from headgate.control.keys.sync import KeySync
from headgate.control.limits import Limits
from headgate.control.log import Log
from headgate.control.memory import Handover
from headgate.control.operators import Operators
from headgate.control.own_health import OwnHealth
from headgate.control.probes import Probes
from headgate.control.registrations.registrations import Registrations
from headgate.control.spawn import Spawn
from headgate.control.surface.part import OwnEndpoints
from headgate.control.telemetry.latest import Latest
from headgate.control.telemetry.part import States, Telemetry
from headgate.stores.board import Board
from headgate.telemetry.cells import Sample, SlotRegion


class Parts:
    """All of them."""

    def __init__(
        self,
        board: Board,
        log: Log,
        spawn: Spawn,
        fleet: Fleet,
        kept: Handover | None,
        regions: Sequence[SlotRegion] = (),
    ) -> None:
        """`kept` is what a predecessor of this control process left, `regions` those of all worker slots."""
        # Told when what is to outlive control has changed.
        self.on_change: Callable[[], None] = lambda: None
        self.fleet = fleet
        self.configuration = Configuration()
        self.operators = Operators(log)
        self.exposition = Exposition(self.samples)
        self.probes = Probes(board, log, spawn)
        self.endpoints = Endpoints(board, log)
        self.breakers = Breakers(board, log)
        self.issuers = Issuers(log, spawn, fleet.publish_beside, kept.keys if kept else ())
        self.issuers.on_change = lambda: self.on_change()
        self.discovery = Discovery(board, log, spawn, fleet.publish_beside, kept.discovery if kept else ())
        self.discovery.on_change = self._on_endpoints
        self.registrations = Registrations(log, spawn)
        self.discovery.registered = self.registrations.endpoints
        self.discovery.on_registered = self.registrations.listen
        self.keys = KeySync(board, log, kept.api_keys if kept else None)
        self.telemetry = Telemetry(
            regions, log, spawn, self._states, lambda: fleet.current.version if fleet.current is not None else 0
        )
        self.own_health = OwnHealth(log, spawn)
        self.own_endpoints = OwnEndpoints(log, spawn, fleet.publish_beside, self.own_health)
        self.exposition.exemplars = self.telemetry.exemplars.of
        self.limits = Limits(log, fleet, regions)
        self.caching = Caching(log, regions)
        self.latest = Latest(fleet)
        fleet.on_said += [
            self.limits.on_said,
            self.issuers.on_said,
            self.keys.on_said,
            self.telemetry.on_said,
            self.latest.on_said,
            self.own_endpoints.on_said,
        ]

    def follow(self, config: ResolvedConfig) -> None:
        """Serve this configuration from now on."""
        self.configuration.follow(config)
        self.exposition.follow(config)
        self.telemetry.follow(config)
        if self.operators.follow(config):
            self.telemetry.stream.let_go()
        self.issuers.follow(config)
        self.registrations.follow(config)
        self.discovery.follow(config)
        self.breakers.follow(config)
        self.own_health.follow(config)
        self.own_endpoints.follow(config)
        self.limits.follow(config)
        self.caching.follow(config)
        self._follow_endpoints()

    def _follow_endpoints(self) -> None:
        effective = self.discovery.effective()
        self.probes.follow(effective)
        self.endpoints.follow(effective)

    def _on_endpoints(self) -> None:
        self._follow_endpoints()
        self.on_change()

    def samples(self) -> list[Sample]:
        """Return what is counted here, and not in the cells of the workers."""
        parts = (
            self.probes,
            self.breakers,
            self.endpoints,
            self.issuers,
            self.keys,
            self.discovery,
            self.telemetry,
            self.registrations,
            self.caching,
        )
        return [each for part in parts for each in part.samples()]

    def close(self) -> None:
        """Let go of what is open."""
        self.discovery.close()
        self.keys.close()
        self.registrations.close()
        self.telemetry.close()

    def _states(self) -> States:
        breakers = {service: found["state"] for service, found in self.breakers.describe().items()}
        endpoints = {(each["service"], each["endpoint"]): each["state"] for each in self.endpoints.describe()}
        return States(breakers, endpoints)
