"""What is said about the ways to show who one is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.files import make_files
from tests.config.golden import Case, cases, check_case


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("config")
    make_files(made / "FILES")
    return made


@pytest.mark.parametrize("case", cases("check_methods"), ids=lambda case: case.title)
def test_says_what_is_wrong(case: Case, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    check_case(case)
