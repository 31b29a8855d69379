"""What cannot be right in how instances register."""

from __future__ import annotations

from collections.abc import Iterator

from headgate.config.check_values import Finding
from headgate.config.check_wire import check_networks
from headgate.config.schema import Config
from headgate.core.address import parse_resource


def check_registrations(config: Config) -> Iterator[Finding]:
    """Check it."""
    registrations = config.registrations
    yield from check_networks(registrations.networks, ("registrations", "networks"))
    path = registrations.health_check
    if path:
        try:
            if not path.startswith("/"):
                raise ValueError
            parse_resource(f"http://localhost{path}")
        except ValueError:
            yield Finding(("registrations", "health_check"), "expected a path", "such as /health")
