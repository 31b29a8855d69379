"""What is said about API keys and their database."""

from __future__ import annotations

import pytest

from headgate.config import database_url
from headgate.config.database_url import database_kind
from tests.config.golden import Case, cases, check_case, load_text, said


@pytest.mark.usefixtures("files")
@pytest.mark.parametrize("case", cases("check_keys"), ids=lambda case: case.title)
def test_says_what_is_wrong(case: Case) -> None:
    check_case(case)
    assert not any("hunter2" in line or "a-key-itself" in line for line in case.says)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("sqlite:////var/lib/keys.db", "sqlite"),
        ("sqlite:///keys.db?mode=rw", "sqlite"),
        ("postgres://u:p@h/n", "postgresql"),
        ("postgresql://u:p@h:5432/n?sslmode=require", "postgresql"),
        ("postgresql:///n?host=/run/postgresql", "postgresql"),
    ],
)
def test_kinds(url: str, kind: str) -> None:
    assert database_kind(url) == kind


def test_without_the_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_url, "find_spec", lambda _: None)
    lines = said(load_text("database: postgresql://u:hunter2@h/n"))
    assert lines == [
        "gw.yaml:1:11: error: database.url: the driver for PostgreSQL is not installed: pip install"
        " '.[postgres]' in a checkout adds it"
    ]
