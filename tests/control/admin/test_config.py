"""The configuration over the admin API: shown without its secrets, put in place of another, and what it was before."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from headgate.config.loader import LoadResult, load
from headgate.control.audit import START, Cause
from headgate.control.config_file import ConfigFile
from headgate.telemetry.audit import Actor
from tests.control.admin.subject import OWNER, Subject, as_role, ask

PATH = "/api/v1/config"
SECRET = "planted-secret-of-a-token"
ENVIRON = {"UPSTREAM": "http://planted-upstream:80"}
DOCUMENT: dict[str, Any] = {
    "admin": {"token": SECRET, "tokens": [{"name": "eve", "token": f"{SECRET}-of-eve"}]},
    "headers": {"request": {"set": {"X-Api-Key": SECRET, "X-Plain": "plain"}}},
    "services": [
        {
            "name": "chat",
            "url": "${UPSTREAM}",
            "routes": [{"name": "talk", "match": {"path": "/chat", "method": "POST"}}],
        },
        {
            "name": "a/b",
            "endpoints": ["http://b"],
            "circuit_breaker": {"threshold": 7},
            "routes": [
                {"name": "half", "destinations": [{"service_name": "chat", "weight": 3}, {"service_name": "a/b"}]}
            ],
        },
    ],
}


class Filed(Subject):
    """A gateway with a configuration file."""

    def __init__(self, folder: Path, document: object = DOCUMENT) -> None:
        super().__init__()
        self.path = folder / "gateway.yaml"
        self.path.write_text(json.dumps(document))

        def load_all(texts: Mapping[Path, str] = {}) -> LoadResult:
            return load([self.path], environ=ENVIRON, texts=texts)

        known = self.parts.configuration
        known.file = ConfigFile(self.path, load_all)
        loaded = load_all()
        assert loaded.config is not None, loaded.problems
        known.applied(loaded, START, 4)

    @property
    def tag(self) -> str:
        return self.parts.configuration.tag

    def put(self, document: object, query: str = "", **headers: str) -> httpx.Response:
        body = document if isinstance(document, str) else json.dumps(document)
        fields = {**OWNER, "content-type": "application/yaml", "if-match": self.tag, **headers}
        return ask(self, "PUT", f"{PATH}{query}", fields, body=body.encode())


@pytest.fixture
def subject(tmp_path: Path) -> Filed:
    return Filed(tmp_path)


def changed(**service: Any) -> dict[str, Any]:
    return {**DOCUMENT, "services": [{**DOCUMENT["services"][0], **service}, DOCUMENT["services"][1]]}


def test_what_is_in_force_is_shown_without_secrets_and_with_its_defaults(subject: Filed) -> None:
    answer = ask(subject, "GET", f"{PATH}?origins=true", as_role("read"))
    assert SECRET not in answer.text
    assert "planted-upstream" not in answer.text
    shown = answer.json()
    config = shown["config"]
    assert (config["admin"]["token"], config["admin"]["tokens"][0]["name"]) == ("***", "eve")
    assert config["headers"]["request"]["set"] == {"X-Api-Key": "***", "X-Plain": "plain"}
    assert config["services"][0]["url"] == "${UPSTREAM}"
    assert config["services"][1]["circuit_breaker"]["timeout"] == 30
    assert (shown["writable"], shown["files"]) == (True, [str(subject.path)])
    assert {"path": "services[chat].url", "value": "${UPSTREAM}", "origin": f"{subject.path}:1:{_at('url')}"} in shown[
        "origins"
    ]


def _at(key: str) -> int:
    return json.dumps(DOCUMENT).index(f'"{key}": ') + len(f'"{key}": ') + 1


def test_services_and_routes_are_lists_in_the_order_of_the_file(subject: Filed) -> None:
    services = ask(subject, "GET", f"{PATH}/services").json()
    assert [each["name"] for each in services] == ["chat", "a/b"]
    assert ask(subject, "GET", f"{PATH}/services/a%2Fb").json() == services[1]
    assert ask(subject, "GET", f"{PATH}/services/none").status_code == 404
    talk, half = ask(subject, "GET", f"{PATH}/routes").json()
    assert (talk["name"], talk["service"], talk["match"]["path"], talk["match"]["method"]) == (
        "talk",
        "chat",
        "/chat",
        ["POST"],
    )
    assert talk["destinations"] == [{"service_name": "chat", "weight": 100}]
    assert half["destinations"] == [{"service_name": "chat", "weight": 3}, {"service_name": "a/b", "weight": 100}]


def test_a_dry_run_says_what_would_change_and_changes_nothing(subject: Filed) -> None:
    before = subject.path.read_bytes()
    answer = subject.put(changed(circuit_breaker={"threshold": 2}), "?dry_run=true").json()
    assert (answer["ok"], answer["dry_run"], answer["problems"]) == (True, True, [])
    (found,) = answer["diff"]
    assert (found["path"], found["before"]) == ("services[chat].circuit_breaker", None)
    assert found["after"]["threshold"] == 2
    assert subject.path.read_bytes() == before
    assert not subject.reloads


def test_a_configuration_is_written_whole_with_the_one_before_beside_it(subject: Filed) -> None:
    subject.path.chmod(0o640)
    before, tag = subject.path.read_bytes(), subject.tag
    answer = subject.put(changed(url="http://other"))
    assert answer.status_code == 200, answer.text
    assert answer.json()["ok"]
    assert answer.headers["etag"] == subject.tag != tag
    assert json.loads(subject.path.read_text())["services"][0]["url"] == "http://other"
    assert subject.path.with_name("gateway.yaml.bak").read_bytes() == before
    assert {each.stat().st_mode & 0o777 for each in subject.path.parent.iterdir()} == {0o640}
    assert len(list(subject.path.parent.iterdir())) == 2
    assert subject.reloads == ["PUT /api/v1/config"]


def test_the_diff_never_shows_what_is_secret(subject: Filed) -> None:
    fresh = {
        **DOCUMENT,
        "admin": {"token": "another-planted-secret"},
        "headers": {"request": {"set": {"X-Api-Key": "x9"}}},
    }
    answer = subject.put(fresh, "?dry_run=true")
    assert {each["path"] for each in answer.json()["diff"]} >= {"admin.token", "headers.request.set.X-Api-Key"}
    assert not [each for each in (SECRET, "another-planted-secret", "x9") if each in answer.text]


def test_a_secret_that_was_shown_as_its_mask_is_not_taken_for_the_secret(subject: Filed) -> None:
    answer = subject.put({**DOCUMENT, "admin": {"token": "***"}})
    assert (answer.status_code, answer.json()["problems"][0]["path"]) == (422, "admin.token")
    assert not subject.reloads


@pytest.mark.parametrize(
    ("document", "status"),
    [
        ("services: [", 422),
        ("[]", 422),
        ({"services": [{"nam": "x"}]}, 422),
        ({"services": [{"name": "x", "url": "nowhere"}]}, 422),
    ],
)
def test_what_does_not_load_changes_nothing(subject: Filed, document: object, status: int) -> None:
    before = subject.path.read_bytes()
    answer = subject.put(document)
    assert (answer.status_code, answer.json()["ok"]) == (status, False)
    assert answer.json()["problems"][0]["message"]
    assert subject.put(document, "?dry_run=true").status_code == 200
    assert subject.path.read_bytes() == before
    assert [each.name for each in subject.path.parent.iterdir()] == ["gateway.yaml"]


def test_only_what_was_looked_at_is_replaced(subject: Filed) -> None:
    fields = {**OWNER, "content-type": "application/yaml"}
    assert ask(subject, "PUT", PATH, fields, body=b"{}").status_code == 428
    for tag in ('"other"', "*", "", subject.tag.strip('"')):
        assert subject.put({}, **{"if-match": tag}).status_code == 412
    subject.path.write_text(json.dumps(changed(url="http://by-hand")))
    assert subject.put(DOCUMENT).status_code == 412
    assert "by-hand" in subject.path.read_text()


def test_other_media_types_and_other_codes_are_refused(subject: Filed) -> None:
    assert subject.put("{}", **{"content-type": "text/plain"}).status_code == 415
    body = {**OWNER, "content-type": "application/yaml", "if-match": subject.tag}
    assert ask(subject, "PUT", PATH, body, body=b"\xff\xfe").status_code == 400


def test_without_one_file_a_sentence_says_what_to_do_instead(subject: Filed) -> None:
    subject.parts.configuration.file = None
    answer = subject.put(DOCUMENT)
    assert answer.status_code == 409
    assert "change the files" in answer.json()["error"]
    assert ask(subject, "GET", PATH).json()["writable"] is False
    assert ask(subject, "GET", f"{PATH}?origins=true").status_code == 409


def test_a_file_that_cannot_be_written_stays(subject: Filed, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("headgate.control.config_file.os.open", refuse)
    answer = subject.put(changed(url="http://other"))
    monkeypatch.undo()
    assert (answer.status_code, os.strerror(errno.EROFS) in answer.text) == (409, True)
    assert json.loads(subject.path.read_text()) == DOCUMENT


def test_changes_are_kept_with_who_when_and_what(subject: Filed) -> None:
    known = subject.parts.configuration
    subject.put(changed(url="http://other"))
    known.refused(Cause("SIGHUP", Actor("signal", "SIGHUP")), 5, ("gateway.yaml:1:1: error: x",))
    refused, put, start = ask(subject, "GET", f"{PATH}/changes", as_role("read")).json()["items"]
    assert (refused["ok"], refused["by"], refused["problems"]) == (
        False,
        "signal SIGHUP",
        ["gateway.yaml:1:1: error: x"],
    )
    assert (put["ok"], put["by"], put["plan"]) == (True, "operator admin", 5)
    assert put["diff"] == [{"path": "services[chat].url", "before": "${UPSTREAM}", "after": "http://other"}]
    assert (start["by"], start["cause"], start["diff"]) == ("gateway", "start", [])
    assert len(ask(subject, "GET", f"{PATH}/changes?limit=1").json()["items"]) == 1
    for _ in range(150):
        known.refused(START, 5, ())
    assert len(known.changes) == 100


@pytest.mark.parametrize("path", ["", "/services", "/services/x", "/routes"])
def test_what_this_process_has_not_loaded_it_does_not_show(path: str) -> None:
    assert ask(Subject(), "GET", f"{PATH}{path}").status_code == 503
