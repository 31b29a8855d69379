"""What is said about plugins."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.cli.main import main
from headgate.config.json_schema import json_schema
from headgate.core.plugin_settings import PluginSetting
from tests.config.golden import Case, cases, check_case, load_text, said

SERVICES = "services: [{name: a, url: 'http://127.0.0.1:1', routes: [{name: all}]}]"


@pytest.mark.parametrize("case", cases("check_plugins"), ids=lambda case: case.title)
def test_says_what_is_wrong(case: Case) -> None:
    check_case(case)


def test_what_a_constructor_raises_is_told_without_its_words() -> None:
    entry = "{module: tests.config.gates, class: Picky, config: {crash: hunter2}}"
    [line] = said(load_text(f"plugins: [{entry}]\n{SERVICES}"))
    assert "plugins[0].class: making it failed: RuntimeError (" in line
    assert "hunter2" not in line


def test_equal_entries_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[PluginSetting] = []
    monkeypatch.setattr("headgate.config.check_plugins.load", made.append)
    one = "{module: tests.config.gates, class: Plain, config: {a: 1}}"
    other = one.replace("1", "true")
    load_text(f"plugins: [{one}, {one}, {other}]\n{SERVICES}")
    assert [each.config for each in made] == [{"a": 1}, {"a": True}]


def test_the_key_is_class_everywhere() -> None:
    properties = json_schema()["$defs"]["PluginSetting"]["properties"]
    assert "class" in properties
    assert "class_" not in properties
    entry = "{module: tests.config.gates, class: Nobody}"
    assert load_text(f"plugins: [{entry}]\n{SERVICES}", "plugins[0].class=Plain").problems == []


def test_check_shows_no_value_of_a_configuration(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    overrides = [
        "--set=services=[{name: a, url: 'http://127.0.0.1:1', routes: [{name: all}]}]",
        "--set=plugins=[{module: tests.config.gates, class: Typed, config: {secret: hunter2, paths: [hunter2]}}]",
    ]
    file = tmp_path / "gw.yaml"
    file.write_text("workers: 1\n")
    assert main(["check", str(file), "--explain", *overrides]) == 0
    shown = capsys.readouterr().out
    assert "plugins[0].config.secret: ***" in shown
    assert "hunter2" not in shown
    assert main(["check", str(file), "--json", "--explain", *overrides]) == 0
    assert "hunter2" not in capsys.readouterr().out
