"""What of control lives on from one configuration to the next: each part follows the one in force.

Law: a part knows nothing of the others; what one has to learn from another is wired here.
"""

from __future__ import annotations

from collections.abc import Callable

from headgate.config.resolve import ResolvedConfig
from headgate.control.breakers import Breakers
from headgate.control.discovery import Discovery
from headgate.control.endpoints import Endpoints
from headgate.control.fleet import Fleet
from headgate.control.issuers import Issuers
from headgate.control.keys.sync import KeySync
from headgate.control.limits import Limits
from headgate.control.log import Log
from headgate.control.memory import Kept
from headgate.control.operators import Operators
from headgate.control.probes import Probes, Spawn
from headgate.stores.board import Board
from headgate.telemetry.cells import Sample


class Parts:
    """All of them."""

    def __init__(self, board: Board, log: Log, spawn: Spawn, fleet: Fleet, kept: Kept | None) -> None:
        """`kept` is what a predecessor of this control process left."""
        # Told when what is to outlive control has changed.
        self.on_change: Callable[[], None] = lambda: None
        self.operators = Operators(log)
        self.probes = Probes(board, log, spawn)
        self.endpoints = Endpoints(board, log)
        self.breakers = Breakers(board, log)
        self.issuers = Issuers(log, spawn, fleet.publish_beside, kept.keys if kept else ())
        self.issuers.on_change = lambda: self.on_change()
        self.discovery = Discovery(board, log, spawn, fleet.publish_beside, kept.discovery if kept else ())
        self.discovery.on_change = self._on_endpoints
        self.keys = KeySync(board, log, kept.api_keys if kept else None)
        self.limits = Limits(log, fleet)
        fleet.on_said += [self.limits.on_said, self.issuers.on_said, self.keys.on_said]

    def follow(self, config: ResolvedConfig) -> None:
        """Serve this configuration from now on."""
        self.operators.follow(config)
        self.issuers.follow(config)
        self.discovery.follow(config)
        self.breakers.follow(config)
        self.limits.follow(config)
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
        parts = (self.probes, self.breakers, self.endpoints, self.issuers, self.keys, self.discovery)
        return [each for part in parts for each in part.samples()]

    def close(self) -> None:
        """Let go of what is open."""
        self.keys.close()
