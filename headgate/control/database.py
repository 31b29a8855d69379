"""The database of keys and registrations: which one, how it is reached, and its tables brought up to date.

Laws: a sentence about a database never holds its password; every wait for it is bounded; tables are made by whoever
comes first, whoever else comes at the same moment waits for that.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from time import sleep
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, Table, create_engine, event, inspect, text, update
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from headgate.config.database_url import database_kind
from headgate.core.clock import monotonic

T = TypeVar("T")

VERSION: Final = "0002"
VERSION_TABLE: Final = "headgate_keys_version"
# A table of states has one row.
ONLY: Final = 1

_VARIABLE: Final = "DATABASE_URL"
_FILE: Final = "keys.db"
_CONNECT_SECONDS: Final = 3
_STATEMENT_MILLISECONDS: Final = 10_000
_BUSY_SECONDS: Final = 5.0
_AGAIN_SECONDS: Final = 0.01
# Names this lock among all advisory locks of a database: "headgate" in ASCII.
_LOCK: Final = int.from_bytes(b"headgate", "big")


class DatabaseError(ValueError):
    """The database cannot do what was asked; the sentence says why, without a password."""


def find_url(configured: str | None, environ: Mapping[str, str], state: Path) -> URL:
    """Return the database's address: the setting, else DATABASE_URL, else SQLite in the state_dir.

    Raises:
        DatabaseError: with a sentence, when it is not understood or its driver is not installed.
    """
    named = configured or environ.get(_VARIABLE)
    if not named:
        return URL.create("sqlite", database=str(state / _FILE))
    return read_url(named)


def read_url(named: str) -> URL:
    """Read an address.

    Raises:
        DatabaseError: with a sentence, when it is not understood or its driver is not installed.
    """
    try:
        kind = database_kind(named)
        url = make_url(named)
    except (ArgumentError, ValueError) as error:
        raise DatabaseError(str(error) if type(error) is ValueError else "this is no URL of a database") from None
    return url if kind == "sqlite" else url.set(drivername="postgresql+psycopg")


def shown(url: URL) -> str:
    """Return the address for people."""
    return url.render_as_string(hide_password=True)


def fingerprint(url: URL) -> str:
    """Return eight digits that tell databases apart; a changed password is no other database."""
    return sha256(shown(url).encode()).hexdigest()[:8]


def connect(url: URL) -> Engine:
    """Return an engine, which has not tried to reach the database yet.

    Raises:
        DatabaseError: with a sentence, when the file of an SQLite database cannot be made.
    """
    if url.get_backend_name() == "sqlite":
        return _sqlite(url)
    waits: dict[str, Any] = {
        "connect_timeout": _CONNECT_SECONDS,
        # A server that is gone without a word must not hold a connection for a quarter of an hour.
        "tcp_user_timeout": _STATEMENT_MILLISECONDS,
        "keepalives_idle": 10,
        "keepalives_interval": 3,
        "keepalives_count": 3,
    }
    given = {name: value for name, value in waits.items() if name not in url.query}
    # Statements that are prepared belong to a session, which a pooler between us and the server gives to others.
    given["prepare_threshold"] = None
    # With parameters an error would show digests.
    engine = create_engine(
        url, connect_args=given, hide_parameters=True, pool_size=1, max_overflow=1, pool_pre_ping=True
    )

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        # For this transaction only, as a pooler demands; many refuse the same as options of the connection.
        connection.exec_driver_sql(
            f"SET LOCAL statement_timeout = {_STATEMENT_MILLISECONDS};"
            f" SET LOCAL lock_timeout = {_STATEMENT_MILLISECONDS}"
        )

    return engine


def _sqlite(url: URL) -> Engine:
    assert url.database is not None
    file = Path(url.database)
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.close(os.open(file, os.O_CREAT | os.O_RDWR, 0o600))
    except OSError as error:
        raise DatabaseError(f"{file} cannot be opened: {os.strerror(error.errno or 0)}") from None
    # A connection costs nothing here, and one that is open would keep a file that was replaced.
    engine = create_engine(url, connect_args={"timeout": _BUSY_SECONDS}, hide_parameters=True, poolclass=NullPool)

    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _: object) -> None:
        # The driver would begin transactions when it sees fit; we say when.
        connection.isolation_level = None
        cursor = connection.cursor()
        _write_ahead(cursor)
        cursor.execute("PRAGMA synchronous=FULL")
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        # A transaction that reads first and writes then is refused at once when another has written in between,
        # however long the timeout: who will write takes the lock first.
        reads = connection.get_execution_options().get("reads")
        connection.exec_driver_sql("BEGIN" if reads else "BEGIN IMMEDIATE")

    return engine


def _write_ahead(cursor: Any) -> None:
    """Have the file keep a write-ahead log.

    Of several that change a new file at once SQLite tells all but one that it is locked, whatever the timeout says.
    """
    until = monotonic() + _BUSY_SECONDS
    while True:
        try:
            cursor.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError:
            if monotonic() > until:
                raise
            sleep(_AGAIN_SECONDS)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """Enter a transaction that only reads: one state of the database, whatever others write meanwhile."""
    postgres = engine.dialect.name == "postgresql"
    with engine.connect() as connection:
        options = {"isolation_level": "REPEATABLE READ"} if postgres else {"reads": True}
        bound = connection.execution_options(**options)
        with bound.begin():
            yield bound


@contextmanager
def sentences(url: URL) -> Iterator[None]:
    """Turn what goes wrong with the database inside into a DatabaseError."""
    try:
        yield
    except DBAPIError as error:
        raise DatabaseError(f"{shown(url)}: {_reason(error, url)}") from None
    except SQLAlchemyError as error:
        raise DatabaseError(f"{shown(url)}: {type(error).__name__}") from None


def _reason(error: DBAPIError, url: URL) -> str:
    """Return the first line of what the driver says; it may repeat what it was connected with."""
    lines = str(error.orig).strip().splitlines()
    reason = lines[0] if lines else type(error.orig).__name__
    return reason.replace(url.password, "***") if url.password else reason


def opened(url: URL, begin: Callable[[Connection], T]) -> tuple[Engine, T]:
    """Reach a database, bring its tables up to date, and do what `begin` does with them.

    Raises:
        DatabaseError: with a sentence.
    """
    with sentences(url):
        engine = connect(url)
        try:
            migrate(engine)
            with engine.begin() as connection:
                done = begin(connection)
        except BaseException:
            engine.dispose()
            raise
    return engine, done


def begin_state(connection: Connection, state: Table, **values: object) -> None:
    """Write the one row of a table of states, unless it is there; its revision begins at 0."""
    # Both databases know ON CONFLICT; the library only knows it of each apart.
    row = {"id": ONLY, "revision": 0, **values}
    names, places = ", ".join(row), ", ".join(f":{name}" for name in row)
    insert = f"INSERT INTO {state.name} ({names}) VALUES ({places}) ON CONFLICT (id) DO NOTHING"
    connection.execute(text(insert), row)


def raise_revision(connection: Connection, state: Table) -> int:
    """Raise the revision of such a row, and hold everybody else back until this transaction ends."""
    change = update(state).where(state.c.id == ONLY).values(revision=state.c.revision + 1)
    return int(connection.execute(change.returning(state.c.revision)).scalar_one())


def migrate(engine: Engine) -> None:
    """Bring the tables up to date.

    Raises:
        DatabaseError: with a sentence, when a newer gateway has been there.
    """
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
        found = _version(connection)
        if found == VERSION:
            return
        if found is not None and found > VERSION:
            raise DatabaseError(f"a newer gateway made the tables (version {found}, here {VERSION})")
        _upgrade(connection)


def _version(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(text(f"SELECT version_num FROM {VERSION_TABLE}")).scalar()
    return None if found is None else str(found)


def _upgrade(connection: Connection) -> None:
    # It takes as long to import as all the rest of a command, and is needed once in a database's life.
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
