"""What cannot be right in the admin listener and its tokens."""

from __future__ import annotations

from collections.abc import Iterator

from headgate.config.check_values import Finding
from headgate.config.schema import Config


def check_admin(config: Config) -> Iterator[Finding]:
    """Check it."""
    yield from ()
