"""Keys in the database: made, listed, revoked, rotated, and what changed since when.

Laws:
- A key itself is handed out once, by `create` and `rotate`; what is stored is its digest, keyed with the pepper.
- Whoever changes keys first raises the revision, which makes the next one wait until the change is there: revisions
  appear in their order, and who has seen one has seen all before it. Being used is no change.
- Rows stay when a key is revoked, so that who had which key can be told later.
"""

from __future__ import annotations

import hmac
import math
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, Engine, RowMapping
from sqlalchemy.engine import URL

from headgate.auth.api_key import KEY_RANDOM_BYTES, KeyRecord, digest, hint, new_key, pack
from headgate.control.database import DatabaseError, begin_state, opened, raise_revision, reading, sentences
from headgate.core.clock import wall
from headgate.stores.keys import Change, Meta

_TABLES: Final = sa.MetaData()
_STATE: Final = sa.Table(
    "headgate_keys_state",
    _TABLES,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("source", sa.String(64)),
    sa.Column("revision", sa.BigInteger),
    sa.Column("pepper_check", sa.String(64)),
)
_KEYS: Final = sa.Table(
    "headgate_keys",
    _TABLES,
    sa.Column("id", sa.String(64), primary_key=True),
    sa.Column("digest", sa.LargeBinary(32)),
    sa.Column("hint", sa.String(64)),
    sa.Column("name", sa.Text),
    sa.Column("owner", sa.Text),
    sa.Column("tenant", sa.Text),
    sa.Column("roles", sa.JSON),
    sa.Column("tier", sa.Text),
    sa.Column("scopes", sa.JSON),
    sa.Column("addresses", sa.JSON),
    sa.Column("created_at", sa.Double),
    sa.Column("expires_at", sa.Double),
    sa.Column("revoked_at", sa.Double),
    sa.Column("last_used_at", sa.Double),
    sa.Column("replaced_by", sa.String(64)),
    sa.Column("revision", sa.BigInteger),
)
_CHECKED: Final = b"headgate: the pepper of these keys"
_FETCH: Final = 1000
# Beyond so many, going through all keys is no more work.
MOST_CHANGES: Final = 5000


class NewKey(NamedTuple):
    """What a key is to be. `expires_at`: wall-clock seconds, None = never; `addresses`: CIDRs, none = any."""

    name: str = ""
    owner: str = ""
    tenant: str = ""
    roles: tuple[str, ...] = ()
    tier: str = ""
    scopes: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    expires_at: float | None = None


class StoredKey(NamedTuple):
    """A key as the database has it. Moments are wall-clock seconds."""

    id: str
    hint: str
    name: str
    owner: str
    tenant: str
    roles: tuple[str, ...]
    tier: str
    scopes: tuple[str, ...]
    addresses: tuple[str, ...]
    created_at: float
    expires_at: float | None
    revoked_at: float | None
    last_used_at: float | None
    replaced_by: str | None

    def state(self, now: float) -> str:
        """Return active, expired, revoked or, while the key that replaces it takes over, rotated."""
        if self.revoked_at is not None:
            return "revoked"
        if self.expires_at is not None and self.expires_at <= now:
            return "expired"
        return "active" if self.replaced_by is None else "rotated"


class Made(NamedTuple):
    """A new key. `key` is nowhere else, and not in what this says of itself."""

    stored: StoredKey
    key: str

    def __repr__(self) -> str:
        return f"<Made {self.stored.id}>"


class Changes(NamedTuple):
    """What became of keys up to the revision in `after`."""

    changes: list[Change]
    after: Meta


class KeyStore:
    """The keys of one database, as one pepper makes them known. Its methods wait for the database."""

    def __init__(self, url: URL, engine: Engine, pepper: bytes, source: str, clock: Callable[[], float]) -> None:
        self.source = source
        self._url = url
        self._engine = engine
        self._pepper = pepper
        self._clock = clock

    # -- what there is to do ---------------------------------------------------------------------------------------

    def create(self, new: NewKey, prefix: str) -> Made:
        """Make a key.

        Raises:
            DatabaseError: with a sentence.
            ValueError: what belongs to the key is too long.
        """
        with sentences(self._url), self._engine.begin() as connection:
            return self._insert(connection, raise_revision(connection, _STATE), new, prefix)

    def each(self, *, revoked: bool = True, after: str | None = None) -> Iterator[StoredKey]:
        """List keys in the order they were made, those behind the key of the id `after`; also what is `revoked`.

        Raises:
            DatabaseError: with a sentence.
        """
        query = sa.select(_KEYS).order_by(_KEYS.c.created_at, _KEYS.c.id)
        if not revoked:
            query = query.where(_KEYS.c.revoked_at.is_(None))
        with sentences(self._url), reading(self._engine) as connection:
            if after is not None:
                last = _find(connection, after)
                if last is None:
                    return
                same = sa.and_(_KEYS.c.created_at == last.created_at, _KEYS.c.id > last.id)
                query = query.where(sa.or_(_KEYS.c.created_at > last.created_at, same))
            for row in _stream(connection, query):
                yield _stored(row)

    def find(self, id_: str) -> StoredKey | None:
        """Return the key of this id.

        Raises:
            DatabaseError: with a sentence.
        """
        with sentences(self._url), reading(self._engine) as connection:
            return _find(connection, id_)

    def revoke(self, ids: Sequence[str]) -> list[StoredKey]:
        """Revoke keys, all or none; one that was revoked stays so.

        Raises:
            DatabaseError: with a sentence.
            KeyError: of an id that there is not.
        """
        with sentences(self._url), self._engine.begin() as connection:
            revision = raise_revision(connection, _STATE)
            for id_ in ids:
                if _find(connection, id_) is None:
                    raise KeyError(id_)
                change = sa.update(_KEYS).where(_KEYS.c.id == id_, _KEYS.c.revoked_at.is_(None))
                connection.execute(change.values(revoked_at=self._clock(), revision=revision))
            return [key for id_ in ids if (key := _find(connection, id_)) is not None]

    def rotate(self, id_: str, grace: float, prefix: str) -> Made:
        """Make a key in place of another, which ends after `grace` seconds (0: now).

        Raises:
            DatabaseError: with a sentence; also when the other key has ended or was replaced.
            KeyError: there is no such key.
        """
        with sentences(self._url), self._engine.begin() as connection:
            revision = raise_revision(connection, _STATE)
            old = _find(connection, id_)
            if old is None:
                raise KeyError(id_)
            now = self._clock()
            if (state := old.state(now)) != "active":
                raise DatabaseError(f"key {id_} is {state}, and only an active one can be rotated")
            new = NewKey(
                old.name, old.owner, old.tenant, old.roles, old.tier, old.scopes, old.addresses, old.expires_at
            )
            made = self._insert(connection, revision, new, prefix)
            ends = min(now + grace, math.inf if old.expires_at is None else old.expires_at)
            values: dict[str, Any] = {"replaced_by": made.stored.id, "revision": revision}
            values |= {"expires_at": ends} if grace > 0 else {"revoked_at": now}
            connection.execute(sa.update(_KEYS).where(_KEYS.c.id == id_).values(**values))
            return made

    def mark_used(self, used: Mapping[str, float]) -> None:
        """Note when keys were used last; ids that there are not are passed over.

        Raises:
            DatabaseError: with a sentence.
        """
        if not used:
            return
        later = sa.or_(_KEYS.c.last_used_at.is_(None), _KEYS.c.last_used_at < sa.bindparam("moment"))
        change = sa.update(_KEYS).where(_KEYS.c.id == sa.bindparam("key"), later)
        # In one order, so that two gateways which mark the same keys wait for each other and never both.
        rows = [{"key": id_, "moment": moment} for id_, moment in sorted(used.items())]
        with sentences(self._url), self._engine.begin() as connection:
            connection.execute(change.values(last_used_at=sa.bindparam("moment")), rows)

    # -- what workers are told -------------------------------------------------------------------------------------

    def revision(self) -> Meta:
        """Return which database this is, and its latest change.

        Raises:
            DatabaseError: with a sentence; also when it has become another database.
        """
        with sentences(self._url), reading(self._engine) as connection:
            return _latest(connection)

    def changes_since(self, revision: int) -> Changes | None:
        """Return what has changed after a revision; None when that is more than MOST_CHANGES keys.

        Raises:
            DatabaseError: with a sentence; also when it has become another database.
        """
        query = sa.select(_KEYS).where(_KEYS.c.revision > revision).limit(MOST_CHANGES + 1)
        with sentences(self._url), reading(self._engine) as connection:
            after = _latest(connection)
            if after.revision == revision:
                return Changes([], after)
            rows = connection.execute(query).mappings().all()
        return None if len(rows) > MOST_CHANGES else Changes([_change(row) for row in rows], after)

    def all(self) -> Iterator[tuple[bytes, bytes]]:
        """List the digests and records of all keys that were not revoked, in the order of the digests.

        Raises:
            DatabaseError: with a sentence.
        """
        query = sa.select(_KEYS).where(_KEYS.c.revoked_at.is_(None)).order_by(_KEYS.c.digest)
        with sentences(self._url), reading(self._engine) as connection:
            for row in _stream(connection, query):
                yield bytes(row["digest"]), pack(_record(row))

    def record(self, digest_: bytes) -> bytes | None:
        """Return the record of the key of this digest, as workers have it; None when there is none, or no more.

        Raises:
            DatabaseError: with a sentence.
        """
        query = sa.select(_KEYS).where(_KEYS.c.digest == digest_, _KEYS.c.revoked_at.is_(None))
        with sentences(self._url), reading(self._engine) as connection:
            row = connection.execute(query).mappings().first()
            return None if row is None else pack(_record(row))

    def close(self) -> None:
        """Let go of the database."""
        self._engine.dispose()

    def _insert(self, connection: Connection, revision: int, new: NewKey, prefix: str) -> Made:
        key = new_key(prefix, secrets.token_bytes(KEY_RANDOM_BYTES))
        values: dict[str, Any] = {
            **new._asdict(),
            "id": f"key_{secrets.token_hex(8)}",
            "digest": digest(self._pepper, key.encode()),
            "hint": hint(key, prefix),
            "created_at": self._clock(),
            "revision": revision,
        }
        # Tuples are no JSON to every driver.
        values |= {name: list(values[name]) for name in ("roles", "scopes", "addresses")}
        row = connection.execute(sa.insert(_KEYS).values(**values).returning(_KEYS)).mappings().one()
        # What workers could not be told of must not be there.
        pack(_record(row))
        return Made(_stored(row), key)


def open_store(url: URL, pepper: bytes, clock: Callable[[], float] = wall) -> KeyStore:
    """Reach a database, bring its tables up to date, and make sure that its keys belong to this pepper.

    Raises:
        DatabaseError: with a sentence.
    """
    check = hmac.digest(pepper, _CHECKED, "sha256").hex()
    engine, source = opened(url, lambda connection: _source(connection, check))
    return KeyStore(url, engine, pepper, source, clock)


def _source(connection: Connection, check: str) -> str:
    begin_state(connection, _STATE, source=secrets.token_hex(16), pepper_check=check)
    row = connection.execute(sa.select(_STATE)).mappings().one()
    if not hmac.compare_digest(str(row["pepper_check"]), check):
        raise DatabaseError(
            "the keys in the database were made with another pepper than the one in force here, so none of them can"
            " be told: bring that one back (identity.api_keys.pepper, HEADGATE_KEY_PEPPER, or the file pepper in"
            " state_dir)"
        )
    return str(row["source"])


def _latest(connection: Connection) -> Meta:
    row = connection.execute(sa.select(_STATE)).mappings().first()
    if row is None:
        raise DatabaseError("the tables of keys are empty: this is another database than before")
    return Meta(row["source"], row["revision"])


def _stream(connection: Connection, query: sa.Select[Any]) -> Iterator[RowMapping]:
    """Read rows as they come: there may be more of them than memory."""
    result = connection.execution_options(yield_per=_FETCH).execute(query)
    yield from result.mappings()


def _find(connection: Connection, id_: str) -> StoredKey | None:
    row = connection.execute(sa.select(_KEYS).where(_KEYS.c.id == id_)).mappings().first()
    return None if row is None else _stored(row)


def _stored(row: RowMapping) -> StoredKey:
    values = {name: row[name] for name in StoredKey._fields}
    return StoredKey(**values | {name: tuple(values[name]) for name in ("roles", "scopes", "addresses")})


def _record(row: RowMapping) -> KeyRecord:
    expires = math.inf if row["expires_at"] is None else row["expires_at"]
    lists = (tuple(row["roles"]), tuple(row["scopes"]), tuple(row["addresses"]))
    return KeyRecord(row["id"], row["owner"], row["tenant"], lists[0], row["tier"], lists[1], lists[2], expires)


def _change(row: RowMapping) -> Change:
    return Change(bytes(row["digest"]), None if row["revoked_at"] is not None else pack(_record(row)))
