"""The command itself: help, version, and wrong command lines, each answered with a sentence."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from headgate import __version__
from headgate.cli.main import COMMANDS, main

ROOT = Path(__file__).parent.parent.parent


def call(*words: str) -> int:
    try:
        return main(words)
    except SystemExit as left:
        assert isinstance(left.code, int)
        return left.code


def test_help_lists_every_command(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--help") == 0
    said = capsys.readouterr().out
    for name, summary in COMMANDS.items():
        assert f"  {name} " in said
        assert summary in said


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_says_what_it_is(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert call(name, "--help") == 0
    said = capsys.readouterr().out
    assert said.startswith(f"usage: headgate {name}")
    assert COMMANDS[name][1:] in said


def test_version_is_that_of_the_package(capsys: pytest.CaptureFixture[str]) -> None:
    assert call("--version") == 0
    assert capsys.readouterr().out == f"headgate {__version__}\n"
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == __version__


def test_no_command_at_all_prints_the_help_and_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert call() == 2
    assert "commands:" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["chek"], 'headgate: there is no command "chek"; did you mean "check"?'),
        (["--verison"], 'headgate: there is no option "--verison" here; did you mean "--version"?'),
        (["frobnicate"], 'headgate: there is no command "frobnicate"'),
        (["run", "--wrokers", "2"], 'headgate run: there is no option "--wrokers" here; did you mean "--workers"?'),
        (["run", "--port", "eighty"], 'headgate run: argument --port: expected a port from 0 to 65535, got "eighty"'),
        (["run", "--port", "65536"], 'headgate run: argument --port: expected a port from 0 to 65535, got "65536"'),
        (["explain", "GET"], "headgate explain: which request? Write METHOD PATH"),
        (["explain", "GET", "/", "-H", "nothing"], "headgate explain: argument -H/--header: expected 'Name: value'"),
        (["schema", "now"], 'headgate schema: there is no argument "now" here'),
    ],
)
def test_a_wrong_command_line_is_answered_with_a_sentence(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(*words) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(sentence)
    assert "--help`" in said.err


@pytest.mark.parametrize("command", ["run", "check", "routes", "explain"])
def test_without_a_configuration_it_is_said_what_to_write(
    command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert call(command, *(["GET", "/"] if command == "explain" else [])) == 1
    said = capsys.readouterr().err
    assert "there is no headgate.yaml in this folder" in said
    # What it says to write is a configuration that loads.
    example = said.partition("is:\n\n")[2].partition("\n\n`headgate")[0]
    (tmp_path / "headgate.yaml").write_text(example)
    assert call("check") == 0


def test_a_reader_that_has_enough_is_no_error(tmp_path: Path) -> None:
    routes = "".join(f"\n      - {{name: route-{number}, match: {{path: /{number}}}}}" for number in range(2000))
    file = tmp_path / "many.yaml"
    file.write_text(f"services:\n  - name: hello\n    url: http://127.0.0.1:1\n    routes:{routes}\n")
    command = [sys.executable, "-m", "headgate", "routes", str(file)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait(60) == 0


def test_a_fault_of_our_own_is_told_by_its_place_and_not_in_its_words(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = "what an exception says may be a secret"

    def broken(_: object) -> int:
        raise RuntimeError(words)

    monkeypatch.setattr("headgate.cli.check.run", broken)
    assert main(["check"]) == 70
    said = capsys.readouterr()
    assert "in broken" in said.err
    assert "RuntimeError" in said.err
    assert words not in said.out + said.err
