"""The reference page and the generated files."""

from __future__ import annotations

from pathlib import Path

import pytest

from headgate.config.examples import EXAMPLES
from headgate.config.json_schema import json_schema
from headgate.config.reference import render_reference
from scripts import generate_docs
from tests.config.golden import load_text

BLOCKS = {"Config", *json_schema()["$defs"]} - {"variable", "condition", "choice"}


@pytest.mark.parametrize("block", EXAMPLES)
def test_every_example_loads(block: str) -> None:
    assert load_text(EXAMPLES[block], environ={}).problems == []


def test_examples_belong_to_blocks() -> None:
    assert set(EXAMPLES) <= BLOCKS


def test_every_block_and_every_key_is_on_the_page() -> None:
    page = render_reference()
    for block in BLOCKS:
        assert f"\n### {block}\n" in page
    for schema in (json_schema(), *json_schema()["$defs"].values()):
        for key, setting in schema.get("properties", {}).items():
            anywhere = key in ("when", "for_each") and f"**`{key}:" in page
            assert f"\n| `{key}` |" in page or anywhere or setting["description"].startswith("Another spelling")
    assert "](#uri)" not in page


def test_links_lead_somewhere() -> None:
    page = render_reference()
    targets = {line.removeprefix("### ").lower() for line in page.splitlines() if line.startswith("### ")}
    links = {part.split(")")[0] for part in page.split("](#")[1:]}
    assert links <= targets


def test_the_generated_files_are_fresh() -> None:
    assert generate_docs.main(["--check"]) == 0, "run: python -m scripts.generate_docs"


def test_stale_files_are_found_and_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(generate_docs, "DOCS", tmp_path / "docs")
    assert generate_docs.main(["--check"]) == 1
    assert "configuration.md is stale" in capsys.readouterr().err
    assert generate_docs.main([]) == 0
    assert generate_docs.main(["--check"]) == 0
