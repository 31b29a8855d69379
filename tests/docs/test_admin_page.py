"""The page of the admin API: its Python runs against a gateway, and its paths are those that there are."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from headgate.control.admin.app import make_api
from tests.control.admin.subject import Subject
from tests.control.whole import Gateway

PAGE = (Path(__file__).parents[2] / "docs" / "admin.md").read_text()
PROGRAMS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
# These stand there together, and on pages of their own.
TOGETHER = ("/ui", "/docs/", "/services", "/api/v1/telemetry/", "/api/v1/services")


def test_its_programs_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    service = {"name": "chat", "url": "http://127.0.0.1:9001"}
    gateway = Gateway(tmp_path, 1, service, limits=[{"name": "few", "requests": 5}])
    monkeypatch.setenv("HEADGATE_ADMIN", gateway.admin)
    try:
        said = []
        for program in PROGRAMS:
            exec(compile(program, "docs/admin.md", "exec"), {})
            said.append(capsys.readouterr().out)
        assert len(said) == 2
        assert said[0] == "1\n"
        assert "services[chat].url http://127.0.0.1:9001 -> http://127.0.0.1:9002\n" in said[1]
        assert [each["state"] for each in gateway.shown("/api/v1/endpoints")["endpoints"]] == ["draining"]
    finally:
        gateway.close()


def test_every_path_that_it_names_is_there_and_every_path_is_named() -> None:
    table = PAGE.partition("## What there is")[2].partition("Errors are")[0]
    named = set(re.findall(r"`(/[^`]*)`", table))
    known = set(make_api(Subject()).openapi()["paths"])
    assert not [path for path in named - known if not path.startswith(TOGETHER)]
    assert not [path for path in known - named if not path.startswith(TOGETHER)]
