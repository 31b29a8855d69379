"""The files that configurations of these tests name."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.config.files import make_files


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("config")
    make_files(folder / "FILES")
    return folder


@pytest.fixture
def files(made: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand where configurations find them, in the folder FILES."""
    monkeypatch.chdir(made)
