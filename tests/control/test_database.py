"""Which database, and what is said of one that cannot be reached."""

from __future__ import annotations

import os
import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import inspect, text

from headgate.config import database_url
from headgate.control import database
from headgate.control.database import (
    DatabaseError,
    connect,
    find_url,
    fingerprint,
    migrate,
    read_url,
    reading,
    sentences,
    shown,
)
from headgate.control.keys.key_store import _KEYS, NewKey, open_store
from tests.control.driver import free_port
from tests.control.postgres import Postgres


@pytest.mark.parametrize(
    ("configured", "environ", "expected"),
    [
        (None, {}, "sqlite:////state/keys.db"),
        (None, {"DATABASE_URL": "sqlite:////x.db"}, "sqlite:////x.db"),
        ("sqlite:////y.db", {"DATABASE_URL": "sqlite:////x.db"}, "sqlite:////y.db"),
        ("postgres://u:p@h/n", {}, "postgresql+psycopg://u:***@h/n"),
        ("postgresql://u:p@h/n?sslmode=require", {}, "postgresql+psycopg://u:***@h/n?sslmode=require"),
    ],
)
def test_which_database(configured: str | None, environ: dict[str, str], expected: str) -> None:
    assert shown(find_url(configured, environ, Path("/state"))) == expected


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://u:pass-word@h/n", "sqlite://", "sqlite:///:memory:", "://"])
def test_what_is_no_database_is_told_without_its_password(url: str) -> None:
    with pytest.raises(DatabaseError) as raised:
        read_url(url)
    assert "database" in str(raised.value)
    assert "pass-word" not in str(raised.value)


def test_without_the_driver_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database_url, "find_spec", lambda _: None)
    with pytest.raises(DatabaseError, match=r"pip install '\.\[postgres\]'"):
        read_url("postgresql://h/n")


def test_a_new_password_is_no_new_database() -> None:
    first, second, other = (
        fingerprint(read_url(f"postgresql://u:{rest}")) for rest in ("old@h/n", "new@h/n", "old@h/other")
    )
    assert first == second != other


def test_a_server_that_is_away_is_told_at_once_and_without_a_password() -> None:
    url = read_url(f"postgresql://u:pass-word@127.0.0.1:{free_port()}/n")
    with pytest.raises(
        DatabaseError, match=r"postgresql\+psycopg://u:\*\*\*@127\.0\.0\.1.* Connection refused"
    ) as raised:
        open_store(url, b"p" * 32)
    assert "pass-word" not in str(raised.value)


def test_a_server_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_CONNECT_SECONDS", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = read_url(f"postgresql://u@127.0.0.1:{silent.getsockname()[1]}/n")
        with pytest.raises(DatabaseError, match="timeout"):
            open_store(url, b"p" * 32)


def test_a_wrong_password_is_told_without_it(postgres: Postgres) -> None:
    url = read_url(postgres.url.replace(postgres.password, "not-the-one"))
    with pytest.raises(DatabaseError, match="password authentication failed") as raised:
        open_store(url, b"p" * 32)
    assert "not-the-one" not in str(raised.value)


def test_what_is_no_sqlite_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "keys.db").write_bytes(b"this is a text, and long enough to be none of SQLite's" * 20)
    with pytest.raises(DatabaseError, match="file is not a database"):
        open_store(read_url(f"sqlite:///{tmp_path}/keys.db"), b"p" * 32)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseError, match=r"keys\.db cannot be opened: File exists"):
        open_store(read_url(f"sqlite:///{tmp_path}/file/keys.db"), b"p" * 32)


def test_the_file_of_sqlite_is_its_owners_alone(tmp_path: Path) -> None:
    open_store(read_url(f"sqlite:///{tmp_path}/made/keys.db"), b"p" * 32).close()
    assert (tmp_path / "made" / "keys.db").stat().st_mode & 0o777 == 0o600


def test_what_sqlite_puts_beside_its_file_is_its_owners_alone_too(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        url = read_url(f"sqlite:///{tmp_path}/keys.db")
        open_store(url, b"p" * 32).close()
        engine = connect(url)
        with engine.connect() as connection:
            connection.execute(text("SELECT * FROM headgate_keys_state"))
            modes = {each.name: each.stat().st_mode & 0o777 for each in tmp_path.iterdir()}
    finally:
        os.umask(before)
    assert modes == dict.fromkeys(("keys.db", "keys.db-wal", "keys.db-shm"), 0o600)


def test_the_tables_are_those_that_the_store_reads(address: str) -> None:
    engine = connect(read_url(address))
    migrate(engine)
    migrate(engine)
    names = {column["name"] for column in inspect(engine).get_columns("headgate_keys")}
    assert names == set(_KEYS.c.keys())
    engine.dispose()


def test_whoever_reads_sees_one_state(address: str) -> None:
    engine = connect(read_url(address))
    migrate(engine)
    count = text("SELECT count(*) FROM headgate_keys_state")
    with reading(engine) as first:
        assert first.execute(count).scalar() == 0
        with engine.begin() as other:
            other.execute(text("INSERT INTO headgate_keys_state VALUES (1, 'a', 0, 'b')"))
        assert first.execute(count).scalar() == 0
    with reading(engine) as second:
        assert second.execute(count).scalar() == 1
    engine.dispose()


def test_an_error_shows_no_parameter(address: str) -> None:
    url = read_url(address)
    engine = connect(url)
    with pytest.raises(DatabaseError) as raised, sentences(url), engine.begin() as connection:
        connection.execute(text("SELECT * FROM nowhere WHERE a = :a"), {"a": "planted"})
    assert "planted" not in str(raised.value)
    engine.dispose()


def test_writers_of_sqlite_hold_up_no_reader(tmp_path: Path) -> None:
    url = read_url(f"sqlite:///{tmp_path}/keys.db")
    engine = connect(url)
    migrate(engine)
    with closing(sqlite3.connect(tmp_path / "keys.db")) as plain:
        assert plain.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    engine.dispose()


def test_a_lock_that_somebody_holds_is_not_waited_for_for_ever(
    postgres: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = read_url(postgres.fresh("locked"))
    store, other = open_store(url, b"p" * 32), connect(url)
    with other.begin() as connection:
        connection.exec_driver_sql("LOCK TABLE headgate_keys_state")
        monkeypatch.setattr(database, "_STATEMENT_MILLISECONDS", 50)
        with pytest.raises(DatabaseError, match=r"due to (lock|statement) timeout"):
            store.create(NewKey(), "hg_")
        monkeypatch.undo()
    assert store.create(NewKey(), "hg_").stored.id
    store.close()
    other.dispose()
