"""What cannot be right in who tells where services run."""

from __future__ import annotations

from collections.abc import Iterator

from headgate.config.check_values import Finding
from headgate.config.schema import Config


def check_discovery(config: Config) -> Iterator[Finding]:
    """Check it."""
    yield from ()
