"""What cannot be right in where spans are sent."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path as File

from headgate.config.check_values import Finding
from headgate.config.problems import Path
from headgate.config.schema import Config
from headgate.telemetry.collector import collector_of

_PATH: Path = ("telemetry", "tracing", "export")


def check_export(config: Config) -> Iterator[Finding]:
    """Find an address that is none, and what is missing to send spans at all."""
    tracing = config.telemetry.tracing
    export = tracing.export
    if export is None:
        return
    try:
        collector = collector_of(export.endpoint, export.protocol)
    except ValueError as error:
        yield Finding((*_PATH, "endpoint"), str(error), "such as http://collector:4318")
        return
    if collector.jaeger and export.protocol == "grpc":
        text = "this is the address of an old Jaeger: spans go to port 4318 of its host, by HTTP"
        yield Finding((*_PATH, "protocol"), text, "leave protocol out, or write port 4317 of the host", "warning")
    if not tracing.enabled:
        text = "nothing is sent: the gateway takes no part in traces"
        yield Finding(_PATH, text, "write telemetry.tracing.enabled: true", "warning")
    if export.ca is not None and not File(export.ca).is_file():
        yield Finding((*_PATH, "ca"), "there is no such file")
    if export.ca is not None and not collector.url.startswith("https:"):
        text = "spans go there without TLS, so no certificate is looked at"
        yield Finding((*_PATH, "ca"), text, "write the endpoint as https://", "warning")
    # By the top package alone: finding one below it would import it.
    if find_spec("opentelemetry") is None:
        text = "spans are not sent: the gateway was installed without the extra otlp"
        yield Finding(_PATH, text, "pip install '.[otlp]' in a checkout adds it", "warning")
