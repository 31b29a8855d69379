"""`python -m bench.closed`: print the CPU microseconds that a service's closed breaker costs a request.

Too little to be told from the noise of a whole gateway, so nothing is measured here but its two calls: it lets a
request through, and takes its ticket back after a good answer. Its record stands on a board that is shared memory, as
in a worker; a loop that does nothing is subtracted.
"""

from __future__ import annotations

import time

from headgate.policy.breaker_settings import BreakerSettings
from headgate.proxy.breaking import ServiceBreaker
from headgate.stores.board import Board
from headgate.telemetry.cells import SlotRegion, SlotWriter
from headgate.telemetry.metrics import Metrics

REQUESTS = 300_000
_OK = 200


def microseconds(requests: int = REQUESTS) -> float:
    """Return the CPU microseconds of one request's two calls."""
    metrics = Metrics(SlotWriter(SlotRegion.create(1 << 18, 1 << 14)))
    breaker = ServiceBreaker("api", BreakerSettings(), Board.create(1, 16), metrics, lambda *_, **__: None)
    now = time.monotonic()
    began = time.process_time()
    for _ in range(requests):
        breaker.answered(breaker.admit(now), _OK, now)
    middle = time.process_time()
    for _ in range(requests):
        pass
    ended = time.process_time()
    return ((middle - began) - (ended - middle)) / requests * 1e6


if __name__ == "__main__":
    print(microseconds())
