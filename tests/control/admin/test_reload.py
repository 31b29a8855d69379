"""The configuration loaded anew over the admin API."""

from __future__ import annotations

from headgate.control.fleet import Outcome
from tests.control.admin.subject import Subject, ask

PATH = "/api/v1/reload"


def test_a_reload_says_how_many_workers_run_it() -> None:
    subject = Subject()
    answer = ask(subject, "POST", PATH)
    assert (answer.status_code, answer.json()) == (200, {"ok": True, "plan": 5, "workers": 2, "problems": []})
    assert subject.reloads == ["POST /api/v1/reload"]


def test_a_refused_reload_says_why() -> None:
    subject = Subject()
    subject.outcome = Outcome(4, problems=("gateway.yaml:3:5: error: unknown key",))
    answer = ask(subject, "POST", PATH)
    assert answer.status_code == 422
    assert answer.json() == {
        "ok": False,
        "plan": 4,
        "workers": 0,
        "problems": ["gateway.yaml:3:5: error: unknown key"],
    }


def test_no_reload_while_stopping() -> None:
    subject = Subject(draining=True)
    assert ask(subject, "POST", PATH).status_code == 409
    assert subject.reloads == []
