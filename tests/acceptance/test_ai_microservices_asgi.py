"""The preset ai-microservices under gunicorn, as its description runs it: four workers are one gateway.

No service is there, and no Redis: what is counted is counted over all workers nevertheless.
"""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from tests.asgi.servers import Server, is_free, why_no_network
from tests.control.driver import until

LINE = "gunicorn main:app -k uvicorn.workers.UvicornWorker --bind 0.0.0.0:8080 --workers 4"
COMPAT = Path("examples/compat/ai-microservices").absolute()
AWAY = {"REDIS_URL": "redis://127.0.0.1:1", "CHATBOT_SERVICE_URL": "http://127.0.0.1:1", "RETRY_BASE_DELAY": "1ms"}
# A slow machine sees no trial.
AWAY |= {"CIRCUIT_BREAKER_TIMEOUT": "1h"}


def test_limits_and_breakers_are_of_all_workers_together(tmp_path: Path) -> None:
    """S2-41: sixty requests a minute and five failures, whichever worker they come to."""
    reason = why_no_network()
    if reason and not (is_free(8080) and is_free(8081)):
        pytest.skip(f"port 8080 or 8081 is taken, and {reason}")
    with Server(tmp_path, LINE, COMPAT, AWAY, alone=not reason) as server:
        server.wait(8080, "/health/live")
        began = time.monotonic()
        statuses: Counter[int] = Counter()
        while not statuses[429]:
            statuses[server.get(8080, "/api/v1/chat/x").status] += 1
            # A token comes back each second.
            assert statuses[502] + statuses[503] <= 61 + time.monotonic() - began
        assert statuses.keys() == {502, 503, 429}
        assert statuses[502] + statuses[503] >= 60
        # A failure is noted behind its answer, and another worker may have the next request already.
        assert 5 <= statuses[502] <= 8
        until(
            lambda: (
                {server.get(8080, "/circuit-breakers").json["chatbot-service"]["state"] for _ in range(12)} == {"open"}
            ),
            "every worker says that it is open",
        )
