"""check, routes, schema: what they print for people and for programs, and how they exit."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from headgate.cli.main import main
from headgate.cli.terminal import table
from headgate.config.json_schema import json_schema

GOOD = """
services:
  - name: chat
    endpoints: [http://10.0.0.1:8001, http://10.0.0.2:8001]
    routes:
      - name: chat
        match: {path: /chat, method: POST, headers: {X-Tier: gold}}
        destinations: [{service_name: chat, weight: 90}, {service_name: canary, weight: 10}]
      - {name: everything}
      - {name: docs, match: {path: {exact: /docs}, host: [docs.example.com]}, redirect: https://example.com/docs}
  - name: canary
    url: ${CANARY:-http://10.0.0.3:8001}
"""
BAD = """
servces: []
services:
  - name: chat
    url: 10.0.0.1:8001
    routes:
      - name: chat
        destinations: [{service_name: chta}]
"""


@pytest.fixture
def good(tmp_path: Path) -> str:
    file = tmp_path / "good.yaml"
    file.write_text(GOOD)
    return str(file)


@pytest.fixture
def bad(tmp_path: Path) -> str:
    file = tmp_path / "bad.yaml"
    file.write_text(BAD)
    return str(file)


def test_check_says_what_a_good_configuration_holds(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", good]) == 0
    said = capsys.readouterr()
    assert said.out == "ok: 2 services, 3 routes, 0 warnings\n"
    assert said.err == ""


def test_check_says_everything_that_is_wrong_and_where(bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", bad]) == 1
    said = capsys.readouterr()
    assert f"{bad}:2:1: error: servces: unknown key" in said.err
    assert 'did you mean "services"?' in said.err
    assert "not usable" in said.out
    # Errors in words go to people, who read no escape sequences in a pipe.
    assert "\x1b" not in said.err


def test_check_for_programs_lists_every_problem(bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "--json", bad]) == 1
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is False
    assert said["files"] == [bad]
    assert said["problems"][0]["line"] == 2
    assert said["problems"][0]["hint"] == 'did you mean "services"?'


def test_check_explains_where_each_value_comes_from(
    good: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(os.environ, "CANARY", "http://10.9.9.9:1")
    assert main(["check", "--explain", "--set", "services[chat].timeout.connect=5", good]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(line.startswith("services[chat].name: chat ") and line.endswith(f"# {good}:3:11") for line in lines)
    assert any(
        line.startswith("services[chat].timeout.connect: 5 ") and "--set services[chat].timeout.connect" in line
        for line in lines
    )
    # A variable may hold a secret: its name is shown, never what it stands for.
    assert any(line.startswith("services[canary].url: ${CANARY}") for line in lines)
    assert not any("10.9.9.9" in line for line in lines)


def test_check_reads_several_files_the_later_one_wins(
    good: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    over = tmp_path / "over.yaml"
    over.write_text("services: [{name: chat, timeout: {connect: 7}}]\n")
    assert main(["check", "--json", "--explain", good, str(over)]) == 0
    values = {each["path"]: each["value"] for each in json.loads(capsys.readouterr().out)["values"]}
    assert values["services[chat].timeout.connect"] == "7"
    assert values["services[chat].endpoints[0]"] == "http://10.0.0.1:8001"


def test_routes_come_in_the_order_they_are_tried(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["routes", "--json", good]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["route"] for row in rows] == ["own /health", "own /ready", "docs", "chat", "everything"]
    assert rows[3] == {
        "order": 4,
        "route": "chat",
        "service": "chat",
        "own": False,
        "hosts": [],
        "path": "prefix /chat",
        "methods": ["POST"],
        "conditions": ["header X-Tier=gold"],
        "goes_to": ["chat 90%", "canary 10%"],
        "found_by": {},
        "protocols": {},
        "cache": "",
    }


def test_routes_say_who_tells_where_a_service_runs(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = ["--set", "services[canary].discovery.type=dns", "--set", "services[canary].discovery.name=canary.internal"]
    found += ["--set", "services[canary].url=null"]
    assert main(["routes", "--json", *found, good]) == 0
    rows = {row["route"]: row["found_by"] for row in json.loads(capsys.readouterr().out)}
    assert rows["chat"] == {"canary": "dns canary.internal (A and AAAA)"}
    assert main(["routes", *found, good]) == 0
    assert "chat 90%, canary 10% (by dns canary.internal (A and AAAA))" in capsys.readouterr().out


def test_routes_and_check_tell_of_caches_and_protocols(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    said = ["--set", "services[chat].routes[everything].cache.ttl=90", "--set", "services[canary].protocol=http2"]
    assert main(["routes", "--json", *said, good]) == 0
    rows = {row["route"]: (row["cache"], row["protocols"]) for row in json.loads(capsys.readouterr().out)}
    assert (rows["chat"], rows["everything"]) == (("", {"canary": "HTTP/2"}), ("90 s", {}))
    assert main(["routes", *said, good]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].endswith("CACHED FOR")
    assert any("chat 90%, canary 10% (HTTP/2) " in line and line.endswith(" -") for line in lines)
    assert any(" everything " in line and line.endswith(" 90 s") for line in lines)
    assert main(["check", *said, good]) == 0
    assert capsys.readouterr().out == "ok: 2 services, 3 routes (1 cached), 0 warnings\n"


OWN = """
admin: {expose: [/health, /ready]}
surface:
  - {path: "/services/{service}/up", view: service_health}
  - {path: /ready, view: ready, methods: GET}
  - {path: /call, view: proxy}
"""


def test_own_endpoints_are_listed_before_routes(good: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    own = tmp_path / "own.yaml"
    own.write_text(OWN)
    assert main(["routes", "--json", good, str(own)]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["order"] for row in rows] == list(range(1, 8))
    shown = [(row["route"], row["path"], row["methods"], row["goes_to"]) for row in rows if row["own"]]
    assert shown == [
        ("own /health", "exact /health", ["GET", "HEAD"], ["admin.expose"]),
        ("own /call", "exact /call", ["POST"], ["view proxy"]),
        ("own /ready", "exact /ready", ["GET", "HEAD"], ["view ready"]),
        ("own /services/{service}/up", "template /services/{service}/up", ["GET", "HEAD"], ["view service_health"]),
    ]
    assert [row["own"] for row in rows] == [True] * 4 + [False] * 3
    assert main(["routes", good, str(own)]) == 0
    assert "the gateway itself (view ready)" in capsys.readouterr().out


def test_routes_in_file_order_come_in_it(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["routes", "--json", "--set", "route_order=file", good]) == 0
    found = [row["route"] for row in json.loads(capsys.readouterr().out) if not row["own"]]
    assert found == ["chat", "everything", "docs"]


def test_routes_for_people_are_a_table(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["routes", good]) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split() == ["#", "ROUTE", "HOST", "PATH", "METHODS", "CONDITIONS", "GOES", "TO"]
    assert rows[2].split()[1:3] == ["docs", "docs.example.com"]
    assert "redirect 308 https://example.com/docs" in rows[2]


def test_routes_of_a_broken_configuration_are_not_listed(bad: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["routes", bad]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "unknown key" in said.err


def test_schema_is_the_whole_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()


def test_a_table_is_as_wide_as_its_widest_cells() -> None:
    assert table(("A", "B"), [("xyz", "1"), ("", "22")]).splitlines() == ["A    B", "xyz  1", "     22"]
