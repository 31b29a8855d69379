"""What cannot be right in logs, metrics, sampling and traces."""

from __future__ import annotations

from collections.abc import Iterator

from headgate.config.check_export import check_export
from headgate.config.check_metrics import check_metrics
from headgate.config.check_requests import check_requests
from headgate.config.check_values import Finding
from headgate.config.schema import Config


def check_telemetry(config: Config) -> Iterator[Finding]:
    """Check it."""
    yield from check_metrics(config)
    yield from check_export(config)
    yield from check_requests(config)
