"""Completion, asked of the shells themselves: what each offers where a word is begun."""

from __future__ import annotations

import os
import pty
import re
import select
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from headgate.cli.completion import SHELLS, all_words
from headgate.cli.main import COMMANDS, main
from headgate.config.preset import preset_names
from tests.control.driver import CEILING

BASH = """
eval "$(cat "$1")"
shift
COMP_WORDS=(headgate "$@")
COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 ))
_headgate
printf '%s\\n' "${COMPREPLY[@]}"
"""
ENDED = {
    "brea": "breaker",
    "keys rot": "rotate",
    "keys rotate --gr": "--grace",
    "check --expl": "--explain",
    "run --preset ai-m": "ai-microservices",
    "preset show sand": "sandbox",
    "breaker res": "reset",
    "endpoint drain --js": "--json",
    "cache pur": "purge",
    "completion f": "fish",
    "check gatew": "gateway.yaml",
}


@pytest.fixture(scope="module")
def scripts(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("completion")
    made = {}
    for shell in SHELLS:
        done = subprocess.run(
            [sys.executable, "-m", "headgate", "completion", shell], capture_output=True, text=True, check=True
        )
        made[shell] = folder / f"headgate.{shell}"
        made[shell].write_text(done.stdout)
    return made


def program(shell: str) -> str:
    found = shutil.which(shell)
    if found is None:
        pytest.skip(f"{shell} is missing: .ci/run installs it")
    return found


def offered(scripts: dict[str, Path], shell: str, *words: str) -> set[str]:
    """Return what bash or fish offers for the last of the words."""
    path, name = str(scripts[shell]), program(shell)
    if shell == "bash":
        command = [name, "--norc", "-c", BASH, "bash", path, *words]
    else:
        line = "headgate " + " ".join(words)
        command = [name, "--no-config", "-c", f"source {path}; complete -C {shlex.quote(line)}"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=CEILING, check=True).stdout
    return {line.split("\t")[0] for line in said.splitlines() if line}


class Terminal:
    """zsh completes in a terminal only; this is one, and a hand at its keyboard."""

    def __init__(self, script: Path) -> None:
        self.pid, self._terminal = pty.fork()
        if self.pid == 0:
            os.execv(program("zsh"), ["zsh", "-f", "-i"])
        self.type(f"PROMPT=; autoload -Uz compinit; compinit -u -D; source {script}; print RE''ADY\n")
        self.read("READY")

    def type(self, text: str) -> None:
        os.write(self._terminal, text.encode())

    def read(self, wanted: str) -> None:
        """Read until that is on the screen; fail when it does not come."""
        seen, ends = "", time.monotonic() + CEILING
        while wanted not in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]|\x08", "", seen):
            ready, _, _ = select.select([self._terminal], [], [], max(0.0, ends - time.monotonic()))
            assert ready, f"{wanted!r} does not come: {seen!r}"
            seen += os.read(self._terminal, 65536).decode(errors="replace")

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._terminal)


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_all_that_may_follow_is_offered(shell: str, scripts: dict[str, Path]) -> None:
    assert set(COMMANDS) <= offered(scripts, shell, "")
    assert {"create", "list", "revoke", "rotate", "hash"} <= offered(scripts, shell, "keys", "")
    assert "run" not in offered(scripts, shell, "keys", "")
    assert {"list", "reset", "open", "close"} <= offered(scripts, shell, "breaker", "")
    assert "reset" not in offered(scripts, shell, "breaker", "open", "")
    assert {"--explain", "--preset", "--set"} <= offered(scripts, shell, "check", "--")
    assert set(preset_names()) <= offered(scripts, shell, "run", "--preset", "")
    assert set(preset_names()) <= offered(scripts, shell, "preset", "show", "")
    assert set(SHELLS) <= offered(scripts, shell, "completion", "")


@pytest.mark.parametrize("shell", ["bash", "fish"])
def test_a_word_that_is_begun_is_ended(
    shell: str, scripts: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gateway.yaml").touch()
    monkeypatch.chdir(tmp_path)
    for begun, ended in ENDED.items():
        assert offered(scripts, shell, *begun.split()) == {ended}, begun


def test_zsh_ends_a_word_that_is_begun(
    scripts: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program("zsh")
    (tmp_path / "gateway.yaml").touch()
    monkeypatch.chdir(tmp_path)
    terminal = Terminal(scripts["zsh"])
    try:
        for begun, ended in ENDED.items():
            before = begun.rpartition(" ")[0]
            # Ctrl-U begins anew.
            terminal.type(f"\x15headgate {begun}\t")
            terminal.read(f"headgate {before} {ended}" if before else f"headgate {ended}")
    finally:
        terminal.close()


def test_every_command_and_action_is_in_it() -> None:
    paths = [each.path for each in all_words()]
    assert [path[0] for path in paths if len(path) == 1] == list(COMMANDS)
    assert ("keys", "create") in paths
    assert ("preset", "show") in paths


def test_what_is_hidden_stays_hidden() -> None:
    names = {name for each in all_words() for option in each.options for name in option.names}
    assert "--guests" not in names


def test_another_shell_is_refused_with_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["completion", "tcsh"])
    assert 'there is no shell "tcsh"' in capsys.readouterr().err
