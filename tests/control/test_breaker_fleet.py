"""One breaker over all workers of a gateway of real processes: threshold, opening, trials, a hand's work, deaths."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from headgate.cli.main import main
from tests.control.driver import until
from tests.control.whole import Gateway, Service

WORKERS = 4
# So many fresh connections that every worker gets some of them.
MANY = 60
THRESHOLD = 12


class Scene:
    """A service, and a gateway with a breaker before it."""

    def __init__(self, folder: Path) -> None:
        self.service = Service()
        self.gateway = Gateway(folder, WORKERS, self.settings())
        self.gateway.workers()

    def settings(self, **breaker: Any) -> dict[str, Any]:
        settings = {"threshold": THRESHOLD, "timeout": 3600, "jitter": 0, **breaker}
        return {"url": f"http://{self.service.name}", "circuit_breaker": settings}

    def statuses(self, count: int) -> Counter[int]:
        """Ask so often, one after the other, over all workers."""
        return Counter(self.gateway.ask()[0] for _ in range(count))

    def record(self) -> dict[str, Any]:
        found: dict[str, Any] = self.gateway.shown("/api/v1/circuit-breakers")["api"]
        return found

    def restart_breaker(self, **breaker: Any) -> None:
        """Have a breaker with other settings, which begins afresh."""
        self.gateway.write(self.settings(**breaker))
        self.gateway.reload()

    def close(self) -> None:
        self.service.released.set()
        self.gateway.close()
        self.service.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    made = Scene(tmp_path)
    yield made
    made.close()


def test_failures_of_all_workers_add_up_and_one_reset_is_seen_by_all(
    scene: Scene, capsys: pytest.CaptureFixture[str]
) -> None:
    gateway, service = scene.gateway, scene.service
    service.status = 500
    # The upstream's own answers pass, until the breaker has seen enough of them; then nothing is sent any more.
    for failures in range(1, THRESHOLD + 1):
        assert gateway.ask()[0] == 500
        # A worker notes how a call went behind its answer, and the next one is another's.
        until(lambda failures=failures: scene.record()["failure_count"] == failures, "it is noted")  # type: ignore[misc]
    assert scene.statuses(MANY) == {503: MANY}
    assert len(service.asked) == THRESHOLD
    assert (scene.record()["state"], scene.record()["failure_count"]) == ("open", THRESHOLD)
    metrics = gateway.metrics()
    assert 'headgate_breaker_state{service="api"} 1\n' in metrics
    assert 'headgate_breaker_transitions_total{service="api",to="open"} 1\n' in metrics
    assert f'headgate_breaker_refused_total{{service="api"}} {MANY}\n' in metrics
    assert [line for line in gateway.log() if line.startswith("breaker")] == ["breaker api is open for about 3600 s"]
    # What is known outlives control, and every worker.
    gateway.kill_control()
    for pid in gateway.workers():
        os.kill(pid, signal.SIGKILL)
    gateway.wait_log("died and is replaced", count=1 + WORKERS)
    gateway.workers()
    assert scene.statuses(MANY) == {503: MANY}
    service.status = 200
    assert main(["breaker", "reset", "api", "--admin", gateway.admin]) == 0
    assert "is closed" in capsys.readouterr().out
    assert scene.statuses(MANY) == {200: MANY}


def test_a_hand_opens_and_closes_it_for_all(scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
    gateway, service = scene.gateway, scene.service
    assert main(["breaker", "open", "api", "--admin", gateway.admin]) == 0
    assert scene.statuses(MANY) == {503: MANY}
    assert service.asked == []
    assert main(["status", "--admin", gateway.admin]) == 0
    assert "open, by hand" in capsys.readouterr().out
    gateway.reload()
    assert scene.statuses(MANY) == {503: MANY}
    service.status = 500
    assert main(["breaker", "close", "api", "--admin", gateway.admin]) == 0
    assert scene.statuses(MANY) == {500: MANY}


def test_trials_are_counted_over_all_workers_and_lost_ones_block_nothing(scene: Scene) -> None:
    gateway, service = scene.gateway, scene.service
    scene.restart_breaker(threshold=1, timeout=2, trials=3, success_threshold=4)
    service.status = 500
    assert gateway.ask()[0] == 500
    until(lambda: scene.record()["state"] == "half_open", "the time open is over")
    service.status = 200
    service.asked.clear()
    service.released.clear()
    began = time.monotonic()
    with ThreadPoolExecutor(MANY) as pool:
        asked = [pool.submit(gateway.ask) for _ in range(MANY)]
        # Who is no trial is refused at once, while the trials are still under way.
        until(lambda: sum(each.done() for each in asked) + len(service.asked) == MANY, "all others are refused")
        # A machine that takes longer for all this than a trial may last has those that began it taken for lost.
        trials = len(service.asked)
        assert 3 <= trials <= 3 * (1 + int((time.monotonic() - began) / 2))
        assert scene.record()["trials_in_flight"] <= 3
        for pid in gateway.workers():
            os.kill(pid, signal.SIGKILL)
        gateway.wait_log("died and is replaced", count=WORKERS)
    outcomes = Counter(503 if each.exception() is None and each.result()[0] == 503 else 0 for each in asked)
    assert outcomes == {503: MANY - trials, 0: trials}
    service.released.set()
    gateway.workers()
    # The places of the lost ones come back, and those who get them close it.
    until(lambda: gateway.ask()[0] == 200 and scene.record()["state"] == "closed", "it is closed again")
