"""API keys over the admin API: each is shown once, and what is said of it later never holds it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.control.keys.sync import KeyPlace
from headgate.telemetry.settings import AuditLog
from tests.control.admin.subject import Subject, as_role, ask

PATH = "/api/v1/keys"


@pytest.fixture
def subject(tmp_path: Path) -> Iterator[Subject]:
    made = Subject()
    made.parts.keys.current = KeyPlace(f"sqlite:///{tmp_path}/keys.db", b"p" * 32, tmp_path, 1 << 20, 1.0)
    made.audit.follow(AuditLog(enabled=True, path=str(tmp_path / "audit")))
    yield made
    made.audit.close()


def create(subject: Subject, **asked: Any) -> dict[str, Any]:
    answer = ask(subject, "POST", PATH, json=asked)
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


def test_a_key_is_made_shown_once_and_listed_without_itself(subject: Subject, tmp_path: Path) -> None:
    asked = {"name": "build", "owner": "ada", "roles": ["deploy", "deploy"], "addresses": ["10.1.2.3/8"]}
    made = create(subject, **asked, expires_at="2099-01-31")
    assert (made["roles"], made["addresses"], made["expires_at"]) == (
        ["deploy"],
        ["10.0.0.0/8"],
        "2099-01-31T00:00:00Z",
    )
    listed = ask(subject, "GET", PATH)
    assert made["key"] not in listed.text
    assert listed.json() == {"items": [{name: made[name] for name in made if name != "key"}], "next": None}
    assert ask(subject, "GET", f"{PATH}/{made['id']}").json()["state"] == "active"
    subject.audit.close()
    (act,) = [json.loads(line) for line in (tmp_path / "audit").read_text().splitlines()]
    assert (act["target"], act["status"]) == ({"key": made["id"]}, 201)
    assert made["key"] not in (tmp_path / "audit").read_text()


def test_a_key_is_revoked_and_stays_so(subject: Subject) -> None:
    id_ = create(subject)["id"]
    for _ in range(2):
        assert ask(subject, "DELETE", f"{PATH}/{id_}").json()["state"] == "revoked"
    assert ask(subject, "GET", PATH).json()["items"] == []
    assert [each["id"] for each in ask(subject, "GET", f"{PATH}?revoked=true").json()["items"]] == [id_]


def test_a_key_is_rotated_once(subject: Subject) -> None:
    old = create(subject, name="build", tier="gold")
    new = ask(subject, "POST", f"{PATH}/{old['id']}/rotate", json={"grace": 60}).json()
    assert (new["tier"], new["key"] != old["key"]) == ("gold", True)
    shown = ask(subject, "GET", f"{PATH}/{old['id']}").json()
    assert (shown["state"], shown["replaced_by"]) == ("rotated", new["id"])
    again = ask(subject, "POST", f"{PATH}/{old['id']}/rotate")
    assert (again.status_code, again.json()) == (
        409,
        {"error": "the key is rotated, and only an active one can be rotated"},
    )


def test_pages_hold_each_key_once_in_their_order(subject: Subject) -> None:
    made = [create(subject, name=str(number))["id"] for number in range(5)]
    seen: list[str] = []
    cursor = ""
    while True:
        page = ask(subject, "GET", f"{PATH}?limit=2{cursor}").json()
        seen += [each["id"] for each in page["items"]]
        if page["next"] is None:
            break
        cursor = f"&cursor={page['next']}"
    assert seen == made
    assert ask(subject, "GET", f"{PATH}?cursor=key_none").json() == {"items": [], "next": None}


@pytest.mark.parametrize(
    "asked",
    [
        {"name": "x" * 201},
        {"name": "a\u001b[2J"},
        {"roles": [""]},
        {"roles": "admin"},
        {"addresses": ["10.0.0.0/33"]},
        {"expires_at": "soon"},
        {"expires_at": "2001-01-01"},
        {"expires_at": "9999-12-31T23:59:59-23:59"},
        {"secret": "mine"},
        {"scopes": ["s" * 200] * 51},
        [],
    ],
)
def test_what_no_key_can_be_is_refused(subject: Subject, asked: Any) -> None:
    answer = ask(subject, "POST", PATH, json=asked)
    assert (answer.status_code, list(answer.json())) == (422, ["error"])
    assert ask(subject, "GET", PATH).json()["items"] == []


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("DELETE", ""), ("POST", "/rotate")])
def test_ids_that_there_are_not(subject: Subject, method: str, path: str) -> None:
    assert ask(subject, method, f"{PATH}/key_00{path}").status_code == 404
    assert ask(subject, method, f"{PATH}/..{path}").status_code in (404, 405, 422)


def test_only_an_admin_sees_or_makes_keys(subject: Subject) -> None:
    for role in ("read", "register", "operate"):
        assert ask(subject, "GET", PATH, as_role(role)).status_code == 403
        assert ask(subject, "POST", PATH, as_role(role), json={}).status_code == 403


def test_without_a_database_a_sentence_says_so() -> None:
    assert ask(Subject(), "GET", PATH).status_code == 409


def test_a_database_that_cannot_be_reached_is_no_fault_of_the_caller(subject: Subject, tmp_path: Path) -> None:
    subject.parts.keys.current = KeyPlace("sqlite:////dev/null/keys.db", b"p" * 32, tmp_path, 1 << 20, 1.0)
    assert ask(subject, "GET", PATH).status_code == 503
