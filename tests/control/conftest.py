"""A service and a gateway of real processes for each test that asks, gone afterwards; one PostgreSQL for all, and an
empty database of each kind for each test that asks.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from tests.control.driver import Rig
from tests.control.postgres import Postgres
from tests.control.whole import Service

_numbers = count()


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.close()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    server = Postgres()
    yield server
    server.close()


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[Rig]:
    made = Rig(tmp_path)
    yield made
    made.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/db/keys.db"
    server: Postgres = request.getfixturevalue("postgres")
    return server.fresh(f"keys_{next(_numbers)}")
