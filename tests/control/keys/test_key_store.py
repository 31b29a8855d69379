"""Keys in a database: the same suite on SQLite and on a real PostgreSQL."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import chain

import pytest
from sqlalchemy import Connection, text

from headgate.auth.api_key import KeyRecord, digest, unpack
from headgate.control.database import DatabaseError, connect, read_url
from headgate.control.keys import key_store
from headgate.control.keys.key_store import KeyStore, NewKey, open_store
from headgate.stores.keys import Change
from tests.stores.processes import together

PEPPER = b"p" * 32
NOW = 1_800_000_000.0
ANN = NewKey(
    "mobile", "ann", "acme", ("agent", "admin"), "gold", ("route:calls",), ("10.0.0.0/8", "2001:db8::/32"), NOW + 60
)


class Clock:
    now = NOW

    def __call__(self) -> float:
        return self.now


Open = Callable[..., KeyStore]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def open_(address: str, clock: Clock) -> Iterator[Open]:
    opened: list[KeyStore] = []

    def open_one(pepper: bytes = PEPPER) -> KeyStore:
        opened.append(open_store(read_url(address), pepper, clock))
        return opened[-1]

    yield open_one
    for store in opened:
        store.close()


@pytest.fixture
def store(open_: Open) -> KeyStore:
    return open_()


@contextmanager
def connected(address: str) -> Iterator[Connection]:
    engine = connect(read_url(address))
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def changed(store: KeyStore, revision: int) -> list[Change]:
    changes = store.changes_since(revision)
    assert changes is not None
    return changes.changes


# -- what there is to do -------------------------------------------------------------------------------------------


def test_a_key_is_stored_with_all_that_belongs_to_it_but_not_itself(store: KeyStore, address: str) -> None:
    made = store.create(ANN, "voc_")
    assert made.key.startswith("voc_")
    stored = store.find(made.stored.id)
    assert stored == made.stored
    assert stored is not None
    assert stored.hint == made.key[:8] + "..."
    assert stored[2:12] == ("mobile", "ann", "acme", ANN.roles, "gold", ANN.scopes, ANN.addresses, NOW, NOW + 60, None)
    assert list(store.all()) == [
        (
            digest(PEPPER, made.key.encode()),
            b'[1,"%s","ann","acme",["agent","admin"],"gold",["route:calls"],["10.0.0.0/8","2001:db8::/32"],%.1f]'
            % (made.stored.id.encode(), NOW + 60),
        )
    ]
    assert made.key not in repr(made)
    with connected(address) as connection:
        everything = str(connection.execute(text("SELECT * FROM headgate_keys")).all())
    assert made.key not in everything
    assert made.key[8:] not in everything


def test_two_keys_are_never_the_same(store: KeyStore) -> None:
    first, second = store.create(ANN, "voc_"), store.create(ANN, "voc_")
    assert first.key != second.key
    assert first.stored.id != second.stored.id


def test_what_workers_could_not_be_told_of_is_not_made(store: KeyStore) -> None:
    with pytest.raises(ValueError, match="16,384 are the most"):
        store.create(NewKey(scopes=("x" * 20_000,)), "hg_")
    assert list(store.each()) == []


def test_keys_are_listed_in_their_order_with_or_without_the_revoked(store: KeyStore, clock: Clock) -> None:
    ids = []
    for _ in range(3):
        ids.append(store.create(ANN, "hg_").stored.id)
        clock.now += 1
    store.revoke([ids[1]])
    assert [key.id for key in store.each()] == ids
    assert [key.id for key in store.each(revoked=False)] == [ids[0], ids[2]]


def test_odd_text_goes_in_and_comes_out_as_it_is(store: KeyStore) -> None:
    odd = NewKey("'; DROP TABLE headgate_keys; --", "\u00e9\u202e\U0001f511", '"\\', ("a b", "%s", "{}"))
    made = store.create(odd, "hg_")
    assert store.find(made.stored.id) == made.stored
    assert made.stored[2:6] == odd[:4]
    assert store.find("' OR 1=1 --") is None


def test_revoking_is_for_ever_and_keeps_the_row(store: KeyStore, clock: Clock) -> None:
    made = store.create(ANN, "hg_")
    (revoked,) = store.revoke([made.stored.id])
    assert (revoked.revoked_at, revoked.state(NOW)) == (NOW, "revoked")
    clock.now += 10
    (again,) = store.revoke([made.stored.id])
    assert again.revoked_at == NOW
    assert list(store.all()) == []


def test_of_several_all_are_revoked_or_none(store: KeyStore) -> None:
    made = store.create(ANN, "hg_")
    with pytest.raises(KeyError, match="nobody"):
        store.revoke([made.stored.id, "nobody"])
    found = store.find(made.stored.id)
    assert found is not None
    assert found.state(NOW) == "active"


def test_a_key_that_is_rotated_lives_on_for_the_grace(store: KeyStore) -> None:
    old = store.create(ANN._replace(expires_at=None), "hg_").stored
    new = store.rotate(old.id, 3600, "voc_")
    assert new.stored[2:9] == old[2:9]
    assert new.stored.expires_at is None
    found = store.find(old.id)
    assert found is not None
    assert (found.replaced_by, found.expires_at, found.revoked_at) == (new.stored.id, NOW + 3600, None)
    assert [found.state(NOW), found.state(NOW + 3600)] == ["rotated", "expired"]
    ends = {unpack(record).id: unpack(record).expires for _, record in store.all()}
    assert ends == {old.id: NOW + 3600, new.stored.id: math.inf}


def test_a_grace_never_lengthens_a_life(store: KeyStore) -> None:
    old = store.create(ANN, "hg_").stored
    store.rotate(old.id, 3600, "hg_")
    found = store.find(old.id)
    assert found is not None
    assert found.expires_at == NOW + 60


def test_without_grace_the_old_key_ends_at_once(store: KeyStore) -> None:
    old = store.create(ANN, "hg_").stored
    new = store.rotate(old.id, 0, "hg_")
    assert [unpack(record).id for _, record in store.all()] == [new.stored.id]


@pytest.mark.parametrize("end", ["revoked", "expired", "rotated"])
def test_only_an_active_key_can_be_rotated(store: KeyStore, clock: Clock, end: str) -> None:
    old = store.create(ANN, "hg_").stored
    if end == "revoked":
        store.revoke([old.id])
    elif end == "expired":
        clock.now += 60
    else:
        store.rotate(old.id, 30, "hg_")
    before = store.revision()
    with pytest.raises(DatabaseError, match=f"is {end}, and only an active one"):
        store.rotate(old.id, 30, "hg_")
    assert store.revision() == before
    with pytest.raises(KeyError):
        store.rotate("nobody", 30, "hg_")


def test_use_is_noted_and_never_goes_back(store: KeyStore) -> None:
    made = store.create(ANN, "hg_").stored
    before = store.revision()
    store.mark_used({made.id: NOW + 5, "nobody": NOW})
    store.mark_used({made.id: NOW + 3})
    store.mark_used({})
    found = store.find(made.id)
    assert found is not None
    assert found.last_used_at == NOW + 5
    assert store.revision() == before


# -- what workers are told -----------------------------------------------------------------------------------------


def test_changes_are_told_from_any_revision_on(store: KeyStore) -> None:
    start = store.revision().revision
    first = store.create(ANN, "hg_")
    middle = store.revision().revision
    second = store.create(ANN, "hg_")
    store.revoke([first.stored.id])
    told = {change.digest: change.record for change in changed(store, start)}
    one, two = digest(PEPPER, first.key.encode()), digest(PEPPER, second.key.encode())
    assert told.keys() == {one, two}
    assert told[one] is None
    record = told[two]
    assert record is not None
    assert unpack(record) == KeyRecord(second.stored.id, "ann", "acme", *ANN[3:7], NOW + 60)
    assert {change.digest for change in changed(store, middle)} == {one, two}
    assert changed(store, store.revision().revision) == []
    changes = store.changes_since(start)
    assert changes is not None
    assert changes.after == store.revision()


def test_too_many_changes_are_a_reason_to_go_through_all(store: KeyStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_store, "MOST_CHANGES", 2)
    start = store.revision().revision
    for _ in range(2):
        store.create(ANN, "hg_")
    assert len(changed(store, start)) == 2
    store.create(ANN, "hg_")
    assert store.changes_since(start) is None
    assert len(list(store.all())) == 3


def test_all_keys_come_in_the_order_of_their_digests(store: KeyStore) -> None:
    for _ in range(20):
        store.create(ANN, "hg_")
    digests = [digest for digest, _ in store.all()]
    assert digests == sorted(digests)
    assert len(digests) == 20


def test_no_change_is_missed_however_many_write_at_once(address: str, store: KeyStore) -> None:
    def write(number: int) -> list[bytes]:
        own = open_store(read_url(address), PEPPER)
        return [digest(PEPPER, own.create(ANN, f"w{number}_").key.encode()) for _ in range(10)]

    def follow(_: int) -> list[bytes]:
        own = open_store(read_url(address), PEPPER)
        seen: dict[bytes, None] = {}
        revision = 0
        while len(seen) < 30:
            changes = own.changes_since(revision)
            assert changes is not None
            revision = changes.after.revision
            seen |= dict.fromkeys(change.digest for change in changes.changes)
        return list(seen)

    store.close()
    *written, followed = together(4, lambda number: follow(number) if number == 3 else write(number))
    assert sorted(chain.from_iterable(written)) == sorted(followed)


# -- coming up -----------------------------------------------------------------------------------------------------


def test_a_database_stays_who_it_is(open_: Open) -> None:
    first, second = open_(), open_()
    assert first.source == second.source
    first.create(ANN, "hg_")
    assert [key.owner for key in second.each()] == ["ann"]


def test_of_many_that_come_first_one_makes_the_tables(address: str) -> None:
    sources = together(6, lambda _: open_store(read_url(address), PEPPER).source)
    assert len(set(sources)) == 1


def test_another_pepper_is_told(open_: Open) -> None:
    open_().create(ANN, "hg_")
    with pytest.raises(DatabaseError, match=r"made with another pepper .* bring that one back"):
        open_(b"q" * 32)
    assert len(list(open_().each())) == 1


def test_tables_of_a_newer_gateway_are_left_alone(address: str, store: KeyStore) -> None:
    with connected(address) as connection:
        connection.execute(text("UPDATE headgate_keys_version SET version_num = '9999'"))
    with pytest.raises(DatabaseError, match="a newer gateway made the tables"):
        open_store(read_url(address), PEPPER)
