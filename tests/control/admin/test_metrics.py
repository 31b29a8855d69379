"""The counters, in the form that is asked for."""

from __future__ import annotations

import pytest

from tests.control.admin.subject import OWNER, Subject, ask


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, "text/plain"),
        ("*/*", "text/plain"),
        ("application/json", "application/json"),
        ("application/json, */*;q=0.1", "application/json"),
        ("text/plain;version=0.0.4;q=0.5, application/json;q=0.1, */*;q=0.1", "text/plain"),
        ("text/html", "text/plain"),
    ],
)
def test_metrics_in_the_form_that_is_asked_for(accept: str | None, kind: str) -> None:
    answer = ask(Subject(), "GET", "/metrics", {**OWNER, "accept": accept or ""})
    assert answer.headers["content-type"].startswith(kind)
    if kind == "text/plain":
        assert 'headgate_request_bytes_total{route="rig"} 7\n' in answer.text
    else:
        assert answer.json()[0]["value"] == 7
