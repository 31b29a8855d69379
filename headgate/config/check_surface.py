"""What cannot be right in the gateway's own endpoints and its health."""

from __future__ import annotations

from collections.abc import Iterator

from headgate.config.check_values import Finding
from headgate.config.schema import Config


def check_surface(config: Config) -> Iterator[Finding]:
    """Check it."""
    yield from ()
