"""What the course of the metrics tells apart besides statuses: what clients spoke, and what the cache answered.

Laws: pure; a kind is one of a fixed list; what was never counted is nought, so that charts know all of their lines.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from headgate.telemetry.cells import SeriesName
from headgate.telemetry.families import FAMILIES
from headgate.telemetry.metrics import FROM_CACHE

PROTOCOLS: Final = ("HTTP/1.0", "HTTP/1.1", "HTTP/2", "gRPC")
CACHE: Final = ("requests", "answered", "bytes")

_VERSIONS: Final = "headgate_protocol_requests_total"
_CALLS: Final = "headgate_grpc_requests_total"
_CACHED: Final = "headgate_cache_requests_total"
_BYTES: Final = "headgate_cache_response_bytes_total"
_RESULT: Final = FAMILIES[_CACHED].labels.index("result")


def kinds_of(name: SeriesName) -> tuple[str, ...]:
    """Return the kinds that what a series counts belongs to; `bypass` is none: the cache has no part in it."""
    if name.family == _VERSIONS:
        return (f"HTTP/{name.labels[0]}",)
    if name.family == _CALLS:
        return ("gRPC",)
    if name.family == _BYTES:
        return ("bytes",)
    if name.family == _CACHED and name.labels[_RESULT] != "bypass":
        return ("requests", "answered") if name.labels[_RESULT] in FROM_CACHE else ("requests",)
    return ()


def by_protocol(counts: Mapping[str, int]) -> dict[str, int]:
    """Return how many requests there were of each of PROTOCOLS; a call of gRPC is no other request of HTTP/2."""
    calls = counts.get("gRPC", 0)
    # A call may have ended between two looks, and be counted in the second one.
    found = {name: counts.get(name, 0) for name in PROTOCOLS}
    return {**found, "HTTP/2": max(0, found["HTTP/2"] - calls)}
