"""The admin listener of processes at work."""

from __future__ import annotations

import os
import signal

import httpx

from tests.control.driver import CEILING, Rig, until


def test_a_running_gateway_shows_itself_and_reloads_when_asked(rig: Rig) -> None:
    rig.start(token="secret")
    rig.texts()
    path = rig.folder / "admin.sock"
    assert path.stat().st_mode & 0o777 == 0o600
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=str(path)), base_url="http://localhost", timeout=CEILING
    ) as client:
        shown = client.get("/api/v1/status", headers={"authorization": "Bearer secret"}).json()
        assert shown["status"] == "healthy"
        assert {worker["pid"] for worker in shown["workers"]} < set(rig.children())
        assert 'headgate_request_bytes_total{route="rig"}' in client.get("/metrics").text
        assert client.post("/api/v1/reload").status_code == 401
        rig.write(text="two")
        answer = client.post("/api/v1/reload", headers={"authorization": "Bearer secret"})
        assert answer.json()["ok"]
        assert rig.texts() == {"two"}
        # Shutdown is seen here too, as long as something is still in flight.
        held = rig.connect()
        held.send("/hold/release")
        rig.signal(signal.SIGTERM)
        until(lambda: client.get("/ready").status_code == 503, "not ready while draining")
        (rig.folder / "release").touch()
        assert held.receive().status == 200
    assert rig.wait() == 0


def test_totals_survive_a_killed_worker_and_its_open_requests_do_not(rig: Rig) -> None:
    rig.start(workers=1)
    victim = rig.get()
    held = rig.connect()
    held.send("/hold/never")
    with httpx.Client(
        transport=httpx.HTTPTransport(uds=str(rig.folder / "admin.sock")), base_url="http://localhost", timeout=CEILING
    ) as client:

        def values() -> dict[str, float]:
            points = client.get("/metrics", headers={"accept": "application/json"}).json()
            return {point["name"]: point["value"] for point in points}

        until(lambda: values()["headgate_requests_in_flight"] == 1, "the held request is counted")
        before = values()["headgate_request_bytes_total"]
        os.kill(victim.pid, signal.SIGKILL)
        assert rig.get().pid != victim.pid
        until(lambda: values()["headgate_requests_in_flight"] == 0, "what was open died with the worker")
        assert values()["headgate_request_bytes_total"] > before > 0
