"""An empty database for each test that asks, of each kind."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest

from tests.control.keys.postgres import Postgres

_numbers = count()


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/db/keys.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.fresh(f"keys_{next(_numbers)}")
