"""Instances in a database, of each kind: written, renewed, dropped, and what others learn of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest
import sqlalchemy as sa
from hypothesis import given
from hypothesis import strategies as st

from headgate.control import database
from headgate.control.database import DatabaseError, connect, migrate, read_url
from headgate.control.keys.key_store import open_store
from headgate.control.registrations.instance import Instance, Row, TooMany, checked
from headgate.control.registrations.table import Table, open_table
from headgate.core.networks import Networks

CHAT = Instance("", "chat", "10.0.0.1", 8001, metadata={"deep": [{"\u00e9": None}], "n": 1.5}, health_check="/health")


@pytest.fixture
def table(address: str) -> Iterator[Table]:
    with closing(open_table(read_url(address))) as made:
        yield made


def every(table: Table) -> list[Row]:
    news = table.turn(-1, {}, {})
    assert news.ids == frozenset(row.instance.id for row in news.rows)
    return sorted(news.rows)


def test_an_instance_is_as_it_was_written(table: Table) -> None:
    row, is_new = table.put(CHAT, 10, 1234.5)
    assert is_new
    assert row.instance.id.startswith("inst_")
    assert (row.instance._replace(id=""), row.registered_at, row.renewals) == (CHAT, 1234.5, 0)
    assert every(table) == [row]


def test_the_same_instance_again_is_no_other_one(table: Table) -> None:
    first, _ = table.put(CHAT, 1, 1.0)
    again, is_new = table.put(CHAT._replace(metadata={}), 1, 2.0)
    assert not is_new
    assert (again.instance.id, again.registered_at, again.instance.metadata) == (first.instance.id, 1.0, {})
    by_id, is_new = table.put(CHAT._replace(id=first.instance.id, port=9), 1, 3.0)
    assert (by_id.instance.port, is_new) == (9, False)
    assert again.revision < by_id.revision
    assert every(table) == [by_id]


def test_there_is_no_more_room_than_was_said(table: Table) -> None:
    table.put(CHAT, 1, 1.0)
    with pytest.raises(TooMany):
        table.put(CHAT._replace(port=2), 1, 1.0)
    assert len(every(table)) == 1


def test_being_heard_of_is_no_change_and_saying_something_else_is(table: Table) -> None:
    id_ = table.put(CHAT, 10, 1.0)[0].instance.id
    seen = table.turn(-1, {}, {}).revision
    assert table.turn(seen, {id_: None, "nobody": None}, {}) == (seen, [], None, [])
    news = table.turn(seen, {id_: "unhealthy"}, {})
    assert news.revision > seen
    assert [(row.instance.said, row.renewals) for row in news.rows] == [("unhealthy", 2)]


def test_only_what_has_changed_is_read_again(table: Table) -> None:
    first, _ = table.put(CHAT, 10, 1.0)
    second, _ = table.put(CHAT._replace(port=2), 10, 1.0)
    news = table.turn(first.revision, {}, {})
    assert (news.revision, news.rows) == (second.revision, [second])
    assert news.ids == frozenset((first.instance.id, second.instance.id))


def test_what_lapsed_is_dropped_unless_others_have_heard_of_it(table: Table) -> None:
    here, there = (table.put(CHAT._replace(port=port), 10, 1.0)[0] for port in (1, 2))
    table.turn(0, {there.instance.id: None}, {})
    news = table.turn(-1, {}, {here.instance.id: 0, there.instance.id: 0, "nobody": 0})
    assert [row.instance.port for row in news.heard] == [2]
    assert [row.instance.port for row in news.rows] == [2]


def test_who_leaves_is_gone_however_often_it_was_heard_of(table: Table) -> None:
    id_ = table.put(CHAT, 10, 1.0)[0].instance.id
    table.turn(0, {id_: None}, {})
    news = table.turn(0, {}, {id_: None})
    assert (news.rows, news.ids) == ([], frozenset())


def test_whoever_comes_next_finds_it(address: str) -> None:
    with closing(open_table(read_url(address))) as first:
        row, _ = first.put(CHAT, 10, 1.0)
    with closing(open_table(read_url(address))) as second:
        assert every(second) == [row]


def test_keys_and_registrations_share_a_database(address: str) -> None:
    with closing(open_store(read_url(address), b"p" * 32)) as keys, closing(open_table(read_url(address))) as table:
        table.put(CHAT, 10, 1.0)
        assert list(keys.each()) == []


def test_a_database_of_an_older_gateway_is_brought_up_to_date(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from alembic import command

    upgrade = command.upgrade
    with monkeypatch.context() as older:
        older.setattr(command, "upgrade", lambda config, _: upgrade(config, "0001"))
        engine = connect(read_url(address))
        migrate(engine)
        assert not sa.inspect(engine).has_table("headgate_registrations")
        engine.dispose()
    with closing(open_table(read_url(address))) as table:
        table.put(CHAT, 10, 1.0)


def test_a_database_of_a_newer_gateway_is_left_alone(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    open_table(read_url(address)).close()
    monkeypatch.setattr(database, "VERSION", "0001")
    with pytest.raises(DatabaseError, match="newer gateway"):
        open_table(read_url(address))


@given(
    st.text(max_size=40)
    | st.ip_addresses().map(str)
    | st.from_regex(r"\A[a-z0-9.:/@\[\]-]{1,20}\Z")
    | st.sampled_from(["localhost", "[::ffff:169.254.1.1]", "169.254.0.1", "chat.internal."]),
    st.integers(),
)
def test_whatever_is_said_of_a_host_it_is_a_host_or_refused(host: str, port: int) -> None:
    try:
        taken = checked(CHAT._replace(host=host, port=port), Networks(()))
    except ValueError:
        return
    endpoint = taken.endpoint
    assert endpoint.host == taken.host
    assert not endpoint.prefix
    assert not endpoint.unix
    assert not set(taken.host) & set("/@?#%\\ \r\n\0")
    assert not taken.host.startswith(("169.254.", "[fe80:"))
