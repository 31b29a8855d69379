"""What control sends to workers. Pickled; see frames.py for why only in this direction."""

from __future__ import annotations

from dataclasses import dataclass

from headgate.config.resolve import ResolvedConfig


@dataclass(frozen=True, slots=True)
class Plan:
    """A configuration and its number; numbers grow and are never used twice while the gateway runs."""

    version: int
    config: ResolvedConfig
