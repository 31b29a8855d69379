"""docs/promises.md: each promise has tests, and they exist under the names it tells."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.names import named_tests

ROOT = Path(__file__).parents[2]
ROWS = re.findall(r"^\| (.+?) \| (.+) \|$", (ROOT / "docs" / "promises.md").read_text(), re.MULTILINE)
PROMISES = [(says, shown) for says, shown in ROWS if says not in ("promise", "---")]


@pytest.mark.parametrize(("says", "shown"), PROMISES, ids=[says[:50] for says, _ in PROMISES])
def test_a_promise_is_shown_by_tests_that_exist(says: str, shown: str) -> None:
    named = re.findall(r"\[`(test_\w+)`\]\(\.\./(tests/[\w/]+\.py)\)", shown)
    assert len(named) == shown.count("](")
    assert named
    assert [(name, path) for name, path in named if name not in named_tests(ROOT / path)] == []


def test_there_are_promises_and_none_is_made_twice() -> None:
    said = [says for says, _ in PROMISES]
    assert len(said) > 40
    assert len(set(said)) == len(said)
