"""The manual page: current, without a mistake that man(1) would tell of, and with every command and option."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

from headgate.cli.completion import all_words
from scripts.man_page import FILE, page
from tests.control.driver import CEILING


def test_it_is_what_the_commands_say() -> None:
    assert FILE.read_text() == page(), "run scripts/man_page.py"


def test_man_shows_all_of_it_without_a_warning() -> None:
    program = shutil.which("man")
    if program is None:
        pytest.skip("man is missing: .ci/run installs it")
    environ = os.environ | {"MANWIDTH": "120", "LC_ALL": "C.UTF-8", "MANROFFSEQ": "", "MAN_KEEP_FORMATTING": ""}
    done = subprocess.run(
        [program, "--local-file", "--warnings", str(FILE)],
        capture_output=True,
        text=True,
        timeout=CEILING,
        env=environ,
        check=True,
    )
    assert done.stderr == ""
    # An action that is a mere word stands with its command.
    for each in filter(lambda words: words.help, all_words()):
        assert "headgate " + " ".join(each.path) in done.stdout
        for option in each.options:
            assert all(name in done.stdout for name in option.names)
    assert "`headgate preset list`" in done.stdout
