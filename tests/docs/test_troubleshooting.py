"""docs/troubleshooting.md tells of each warning and error of the gateway's own log, and of none that there is not."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.logged import messages

PAGE = (Path(__file__).parents[2] / "docs" / "troubleshooting.md").read_text()
PART = PAGE.partition("## What its own log says")[2].partition("\n## ")[0]
CELLS = re.findall(r"^\| (`.+?`) \| .+ \|$", PART, re.MULTILINE)
TOLD = {code.strip() for cell in CELLS for _, code in re.findall(r"(`+)(.+?)\1(?!`)", cell)}
SAID = messages()


@pytest.mark.parametrize("message", SAID)
def test_a_message_is_told_of(message: str) -> None:
    assert message in TOLD, f"docs/troubleshooting.md has no row for what {SAID[message]} says: `{message}`"


def test_nothing_is_told_of_that_nobody_says() -> None:
    assert sorted(TOLD - set(SAID)) == []


def test_messages_are_found() -> None:
    assert len(SAID) > 50
    assert SAID["... died and is replaced"] == "headgate/control/master.py"
    assert "another number of workers needs a restart" in SAID
