"""The counters, in the form that is asked for."""

from __future__ import annotations

from dataclasses import replace

import pytest

from headgate.telemetry.cells import SlotRegion, SlotWriter
from headgate.telemetry.settings import Metrics
from tests.control.admin.subject import OWNER, Subject, ask


def counted() -> Subject:
    """Return a gateway whose only worker has counted seven bytes."""
    region = SlotRegion.create(1 << 16, 1 << 10)
    writer = SlotWriter(region)
    writer.cells[writer.counter("headgate_request_bytes_total", ("rig",))] += 7
    subject = Subject()
    subject.parts.exposition.regions = lambda: [region]
    return subject


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "text/plain; version=0.0.4"),
        ("*/*", "text/plain; version=0.0.4"),
        ("application/json", "application/json"),
        ("application/json, */*;q=0.1", "application/json"),
        ("text/plain;version=0.0.4;q=0.5, application/json;q=0.1, */*;q=0.1", "text/plain; version=0.0.4"),
        ("text/html", "text/plain; version=0.0.4"),
        ("application/openmetrics-text;version=1.0.0", "application/openmetrics-text; version=1.0.0"),
    ],
)
def test_metrics_in_the_form_that_is_asked_for(accept: str | None, kind: str) -> None:
    answer = ask(counted(), "GET", "/metrics", {**OWNER, "accept": accept or ""})
    assert answer.headers["content-type"].startswith(kind)
    if kind == "application/json":
        assert answer.json()[0]["value"] == 7
    else:
        assert 'headgate_request_bytes_total{route="rig"} 7\n' in answer.text


def test_metrics_that_are_off_are_not_there() -> None:
    subject = counted()
    telemetry = replace(subject.config.telemetry, metrics=Metrics(enabled=False))
    subject.parts.exposition.follow(replace(subject.config, telemetry=telemetry))
    answer = ask(subject, "GET", "/metrics", OWNER)
    assert (answer.status_code, answer.json()) == (404, {"error": "metrics are not enabled"})
