"""Registered instances in the database. The methods of a table wait for it, and are for the desk's thread alone.

Laws:
- Whoever changes who is registered raises the revision first, which makes the next one wait until the change is there;
  being heard of is no such change: it counts `renewals`.
- What lapsed is removed only where `renewals` is what the gateway that saw it lapse knew: another gateway of the same
  database may have heard of it meanwhile. No clock is compared with that of another machine.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any, Final

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, RowMapping
from sqlalchemy.engine import URL

from headgate.control.database import begin_state, opened, raise_revision, reading, sentences
from headgate.control.registrations.instance import Instance, News, Row, TooMany

_TABLES: Final = sa.MetaData()
_STATE: Final = sa.Table(
    "headgate_registrations_state",
    _TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("revision", sa.BigInteger),
)
_INSTANCES: Final = sa.Table(
    "headgate_registrations",
    _TABLES,
    sa.Column("id", sa.String(128), primary_key=True),
    sa.Column("name", sa.String(200)),
    sa.Column("host", sa.String(260)),
    sa.Column("port", sa.Integer),
    sa.Column("scheme", sa.String(8)),
    sa.Column("weight", sa.Integer),
    sa.Column("zone", sa.String(100)),
    sa.Column("health_check", sa.Text),
    sa.Column("metadata", sa.JSON),
    sa.Column("ttl", sa.Double),
    sa.Column("said", sa.String(16)),
    sa.Column("registered_at", sa.Double),
    sa.Column("renewals", sa.BigInteger),
    sa.Column("revision", sa.BigInteger),
)


class Table:
    """The instances of one database."""

    def __init__(self, url: URL, engine: Engine) -> None:
        self._url = url
        self._engine = engine

    def put(self, instance: Instance, most: int, now: float) -> tuple[Row, bool]:
        """Write an instance; tell whether it is a new one.

        Without an id it is the one of its name, host and port, if there is such a one.

        Raises:
            DatabaseError: with a sentence.
            TooMany: it would be one more than `most`.
        """
        with sentences(self._url), self._engine.begin() as connection:
            revision = raise_revision(connection, _STATE)
            found = _find(connection, instance)
            if (
                found is None
                and (connection.execute(sa.select(sa.func.count()).select_from(_INSTANCES)).scalar_one()) >= most
            ):
                raise TooMany(f"{most} instances are registered, and registrations.max_instances allows no more")
            values = instance._asdict() | {"metadata": dict(instance.metadata), "revision": revision}
            if found is None:
                values |= {"id": instance.id or f"inst_{secrets.token_hex(8)}", "registered_at": now, "renewals": 0}
                done = connection.execute(sa.insert(_INSTANCES).values(**values).returning(_INSTANCES))
            else:
                values |= {"id": found["id"], "renewals": found["renewals"] + 1}
                change = sa.update(_INSTANCES).where(_INSTANCES.c.id == found["id"])
                done = connection.execute(change.values(**values).returning(_INSTANCES))
            return _row(done.mappings().one()), found is None

    def turn(self, seen: int, renewed: Mapping[str, str | None], dropped: Mapping[str, int | None]) -> News:
        """Write what happened, and read what others have changed since the revision `seen`.

        `renewed` were heard of, some with what they said of their health; `dropped` are gone: None on their own word,
        else only if they were renewed no more than so often.

        Raises:
            DatabaseError: with a sentence.
        """
        heard: list[Row] = []
        with sentences(self._url):
            if renewed or dropped:
                with self._engine.begin() as connection:
                    heard = _write(connection, renewed, dropped)
            with reading(self._engine) as connection:
                revision = int(connection.execute(sa.select(_STATE.c.revision)).scalar_one())
                if revision == seen:
                    return News(revision, [], None, heard)
                changed = sa.select(_INSTANCES).where(_INSTANCES.c.revision > seen)
                rows = connection.execute(changed).mappings().all()
                ids = frozenset(connection.execute(sa.select(_INSTANCES.c.id)).scalars())
        return News(revision, [_row(row) for row in rows], ids, heard)

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()


def open_table(url: URL) -> Table:
    """Reach a database, and bring its tables up to date.

    Raises:
        DatabaseError: with a sentence.
    """
    engine, _ = opened(url, lambda connection: begin_state(connection, _STATE))
    return Table(url, engine)


def _find(connection: Connection, instance: Instance) -> RowMapping | None:
    query = sa.select(_INSTANCES)
    if instance.id:
        query = query.where(_INSTANCES.c.id == instance.id)
    else:
        query = query.where(
            _INSTANCES.c.name == instance.name, _INSTANCES.c.host == instance.host, _INSTANCES.c.port == instance.port
        ).order_by(_INSTANCES.c.id)
    return connection.execute(query).mappings().first()


def _write(connection: Connection, renewed: Mapping[str, str | None], dropped: Mapping[str, int | None]) -> list[Row]:
    """Write what happened; return those of the lapsed that were heard of elsewhere."""
    revision = raise_revision(connection, _STATE) if dropped or any(renewed.values()) else None
    id_ = _INSTANCES.c.id == sa.bindparam("of")
    # In one order, so that two gateways wait for each other and never both.
    if heard_of := [{"of": each} for each in sorted(renewed)]:
        connection.execute(sa.update(_INSTANCES).where(id_).values(renewals=_INSTANCES.c.renewals + 1), heard_of)
    if told := [{"of": each, "word": said} for each, said in sorted(renewed.items()) if said is not None]:
        other = _INSTANCES.c.said != sa.bindparam("word")
        change = sa.update(_INSTANCES).where(id_, other)
        connection.execute(change.values(said=sa.bindparam("word"), revision=revision), told)
    if left := [{"of": each} for each, renewals in sorted(dropped.items()) if renewals is None]:
        connection.execute(sa.delete(_INSTANCES).where(id_), left)
    lapsed = [{"of": each, "times": times} for each, times in sorted(dropped.items()) if times is not None]
    if not lapsed:
        return []
    connection.execute(sa.delete(_INSTANCES).where(id_, _INSTANCES.c.renewals <= sa.bindparam("times")), lapsed)
    still = (connection.execute(sa.select(_INSTANCES).where(id_), {"of": each["of"]}).mappings() for each in lapsed)
    return [_row(row) for found in still for row in found]


def _row(row: RowMapping) -> Row:
    values: dict[str, Any] = {name: row[name] for name in Instance._fields}
    return Row(Instance(**values), row["registered_at"], row["renewals"], row["revision"])
