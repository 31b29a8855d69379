"""How the gateway is, as the admin listener shows it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.control.admin.subject import Subject, ask

LOST = {"worker": 1, "pid": 11, "uptime": 3.0, "alive": False}


@pytest.mark.parametrize(
    ("snapshot", "status"),
    [
        ({}, 200),
        ({"plan": 0}, 503),
        ({"draining": True}, 503),
        ({"workers": [{"alive": False}, {"alive": False}]}, 503),
        ({"workers": [{"alive": False}, {"alive": True}]}, 200),
    ],
)
def test_ready_needs_a_plan_a_living_worker_and_no_drain(snapshot: dict[str, Any], status: int) -> None:
    answer = ask(Subject(**snapshot), "GET", "/ready")
    assert answer.status_code == status
    assert answer.json()["ready"] is (status == 200)


@pytest.mark.parametrize(
    ("snapshot", "health"),
    [({}, "healthy"), ({"plan": 0}, "degraded"), ({"workers": [LOST, {**LOST, "alive": True}]}, "degraded")],
)
def test_health_shows_the_last_known_state(snapshot: dict[str, Any], health: str) -> None:
    for path in ("/api/v1/status", "/status", "/health", "/api/v1/health"):
        answer = ask(Subject(**snapshot), "GET", path)
        assert (answer.status_code, answer.json()["status"]) == (200, health)


def test_a_parameter_with_a_slip_does_nothing_and_says_what_there_is() -> None:
    subject = Subject()
    answer = ask(subject, "GET", "/api/v1/telemetry/errors?reasons=rate_limited")
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(
        "the query has a parameter that this path does not know; it knows cursor, "
    )
    assert "rate_limited" not in answer.text
    assert ask(subject, "GET", "/api/v1/telemetry/errors?reason=rate_limited").status_code == 200
    assert ask(subject, "PUT", "/api/v1/config?dryrun=true").json()["error"].endswith("it knows dry_run")
    assert ask(subject, "POST", "/api/v1/reload?now").json()["error"].endswith("it knows none")
    assert subject.reloads == []
