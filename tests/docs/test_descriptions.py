"""docs/seeds.md: each sentence of the five descriptions has a test that exists, or a note that says why it has none."""

from __future__ import annotations

import re

import pytest

from scripts.descriptions import FOLDER, PRESETS, ROOT, Item, items, render
from tests.docs.names import named_tests

# The parameters of a test are no part of its name in a file.
_PARAMETERS = re.compile(r"\[.*\]$")


def _named(item: Item) -> list[tuple[str, str]]:
    parts = (test.partition("::") for test in item.tests)
    return [(path, _PARAMETERS.sub("", name)) for path, _, name in parts]


def test_every_preset_has_its_list() -> None:
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(PRESETS)


@pytest.mark.parametrize("preset", PRESETS)
def test_every_item_has_a_test_or_a_note(preset: str) -> None:
    found = items(preset)
    assert len(found) > 30
    assert [item.says for item in found if not item.says.strip() or not (item.tests or item.note)] == []


@pytest.mark.parametrize("preset", PRESETS)
def test_every_test_that_is_named_exists(preset: str) -> None:
    named = {name for item in items(preset) for name in _named(item)}
    assert [f"{path}::{name}" for path, name in sorted(named) if name not in named_tests(ROOT / path)] == []


def test_the_page_shows_all_of_them() -> None:
    page = render()
    assert [preset for preset in PRESETS if f"\n## {preset}\n" not in page] == []
    rows = len(re.findall(r"^\| (?!it says|---)", page, re.MULTILINE))
    assert rows == sum(len(items(preset)) for preset in PRESETS)
