"""Where spans are sent: the address of an OpenTelemetry collector, made of what an operator wrote.

Jaeger has taken OTLP since 1.35, and OpenTelemetry has given up exporters of Jaeger's own protocols. So an address of
its old collector or agent becomes the OTLP port of the same host.
"""

from __future__ import annotations

from typing import NamedTuple
from urllib.parse import urlsplit

HTTP_PORT = 4318
HTTP_PATH = "/v1/traces"

# Collector: gRPC, Thrift over HTTP; agent: Thrift over UDP, compact and binary, and the port before those.
_JAEGER_PORTS = (14250, 14267, 14268, 5775, 6831, 6832)
_JAEGER_PATH = "/api/traces"


class Collector(NamedTuple):
    """How spans travel: `url` in full; `jaeger` when it stands for the address of an old Jaeger."""

    url: str
    protocol: str
    jaeger: bool = False


def collector_of(endpoint: str, protocol: str) -> Collector:
    """Read the address of a collector; an HTTP one without a path gets the usual one.

    Raises:
        ValueError: with a sentence, when it cannot be one.
    """
    written = endpoint if "://" in endpoint else f"http://{endpoint}"
    try:
        parts = urlsplit(written)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise ValueError("this is not the URL of a collector") from None
    if not host or any(character <= " " for character in endpoint):
        raise ValueError("this is not the URL of a collector")
    if parts.username is not None or parts.password is not None:
        raise ValueError("expected a URL without a user: write what the collector asks for into headers")
    if parts.query or parts.fragment:
        raise ValueError("expected a URL without a query")
    if port in _JAEGER_PORTS or parts.path.rstrip("/") == _JAEGER_PATH:
        scheme = "https" if parts.scheme == "https" else "http"
        shown = f"[{host}]" if ":" in host else host
        return Collector(f"{scheme}://{shown}:{HTTP_PORT}{HTTP_PATH}", "http", jaeger=True)
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"expected http:// or https://, not {parts.scheme}://")
    if protocol == "http":
        return Collector(written if parts.path not in ("", "/") else f"{written.rstrip('/')}{HTTP_PATH}", protocol)
    if parts.path not in ("", "/"):
        raise ValueError("expected a URL without a path: gRPC has none")
    return Collector(written, protocol)
