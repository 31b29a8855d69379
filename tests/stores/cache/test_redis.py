"""Cached answers in Redis: the contract on a real server, and what becomes of requests when it is not in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop
from hiredis import ReplyError

from headgate.stores.cache.redis import MOST_UNDER_WAY
from headgate.stores.cache.settings import MOST_IN_REDIS
from headgate.stores.cache.store import Cached, Place, Purge
from tests.proxy.peers import eventually
from tests.stores.cache.contract import KEEP, CacheContract, Open, cached, held, key, put, seen, url
from tests.stores.cache.waiting import Waiting
from tests.stores.redis.servers import RedisServer


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(shared: RedisServer) -> RedisServer:
    shared.call("FLUSHALL")
    shared.call("CONFIG", "SET", "maxmemory", 0)
    return shared


@pytest.fixture
def own(tmp_path: Path) -> Iterator[RedisServer]:
    """A server that may come and go."""
    with RedisServer(tmp_path) as server:
        yield server


@pytest.fixture
def loop() -> Iterator[uvloop.Loop]:
    loop = uvloop.new_event_loop()
    yield loop
    loop.close()


@pytest.fixture
def connect(loop: uvloop.Loop) -> Iterator[Callable[..., Waiting]]:
    """Connect stores to a server, as long as the test takes."""
    stores: list[Waiting] = []

    def connect(server: RedisServer, **values: Any) -> Waiting:
        stores.append(Waiting(loop, server.url, **values))
        return stores[-1]

    yield connect
    for store in stores:
        store.close()


@pytest.fixture
def open_store(redis: RedisServer, connect: Callable[..., Waiting]) -> Callable[[], Waiting]:
    return lambda: connect(redis)


class TestRedis(CacheContract):
    @pytest.fixture
    def open_store(self, open_store: Callable[[], Waiting]) -> Open:
        return open_store

    @pytest.fixture
    def passes(self) -> Callable[[float], None]:
        # The clock is the server's, and nobody sets it.
        return time.sleep


def test_keys_begin_with_the_prefix_and_end_by_themselves(
    redis: RedisServer, open_store: Callable[[], Waiting], connect: Callable[..., Waiting]
) -> None:
    store = connect(redis, prefix="odd[*]?:")
    other = open_store()
    put(store, "a", keep=100)
    put(other, "a")
    store.claim(key("a"), 100)
    keys = redis.call("KEYS", "odd[[]*")
    assert sorted(each.partition(b":")[2][:2] for each in keys) == [b"c:", b"co", b"e:", b"pu"]
    assert 0 < redis.call("PTTL", b"odd[*]?:e:" + key("a").hex().encode()) <= 100_000
    assert store.purge(Purge("prefix", url("a"))) == 1
    assert (held(store, "a"), held(other, "a")) == ([], ["a"])


def test_a_loss_of_all_keys_loses_entries_and_no_purge(redis: RedisServer, open_store: Callable[[], Waiting]) -> None:
    store = open_store()
    since = seen(store, "a")
    store.purge(Purge("url", url("a")))
    redis.call("FLUSHALL")
    store.put(key("a"), cached("a"), Place(url("a"), ()), KEEP, since)
    assert held(store, "a") == []
    put(store, "a")
    assert held(store, "a") == ["a"]


def test_entries_are_dead_when_what_was_purged_is_not_known_any_more(
    redis: RedisServer, open_store: Callable[[], Waiting]
) -> None:
    store = open_store()
    put(store, "a")
    redis.call("DEL", "headgate:cache:purges")
    assert held(store, "a") == []


def test_a_script_that_was_flushed_is_loaded_again(redis: RedisServer, open_store: Callable[[], Waiting]) -> None:
    store = open_store()
    put(store, "a")
    redis.call("SCRIPT", "FLUSH")
    assert held(store, "a") == []
    assert held(store, "a") == ["a"]
    assert store.changes == []


def test_a_server_that_is_full_still_answers(redis: RedisServer, open_store: Callable[[], Waiting]) -> None:
    store = open_store()
    for name in ("a", "b", "c"):
        put(store, name)
    redis.call("CONFIG", "SET", "maxmemory", 1)
    put(store, "b")
    put(store, "d")
    assert store.claim(key("e"), 60)
    assert store.claim(key("e"), 60)
    # What could not be replaced is gone all the same.
    assert held(store, "a", "b", "c", "d") == ["a", "c"]
    assert store.purge(Purge("url", url("a"))) == 1
    store.invalidate(url("c"))
    assert held(store, "a", "c") == []
    assert store.changes == []
    with pytest.raises(ReplyError, match="OOM"):
        redis.call("SET", "proof", "that it is full")


def test_what_would_make_others_late_is_not_sent(redis: RedisServer, open_store: Callable[[], Waiting]) -> None:
    store = open_store()
    put(store, "a", size=10)
    put(store, "a", size=MOST_IN_REDIS)
    assert held(store, "a") == []

    async def flood() -> int:
        count = MOST_UNDER_WAY // MOST_IN_REDIS + 8
        for number in range(count):
            entry = Cached(b"", bytes(MOST_IN_REDIS))
            store.store.put(key(f"{number}"), entry, Place(url("a"), ()), KEEP, store.moment)
        return count

    redis.pause()
    try:
        count = store.run(flood())
    finally:
        redis.resume()
    store.done()
    found = redis.call("HGET", "headgate:cache:counts", "stored")
    assert int(found) == 1 + count - 8


def test_while_the_server_is_away_services_are_asked_and_then_it_is_used_again(
    own: RedisServer, connect: Callable[..., Waiting]
) -> None:
    store = connect(own)
    put(store, "a")
    assert not store.failing
    own.kill()
    store.run(eventually(lambda: store.failing))
    assert held(store, "a") == []
    assert store.claim(key("a"), 60)
    assert store.claim(key("a"), 60)
    assert store.purge(Purge("all", "")) == -1
    assert store.statistics() is None
    put(store, "b")
    store.invalidate(url("b"))
    store.drop(key("b"))
    own.start()
    store.run(eventually(lambda: not store.failing))
    put(store, "c")
    assert held(store, "a", "b", "c") == ["c"]
    assert [state for state, _ in store.changes] == ["failing", "working"]
    assert own.url.rpartition(":")[2] in store.changes[0][1]


def test_a_server_that_stands_still_costs_its_timeout_once(own: RedisServer, connect: Callable[..., Waiting]) -> None:
    patient, store = connect(own), connect(own, timeout=0.2, connect_timeout=0.2)
    put(patient, "a")
    store.run(eventually(lambda: not store.failing))
    before = len(store.changes)
    own.pause()
    assert held(store, "a") == []
    assert store.failing
    assert store.store.get(key("a")) is None
    assert store.store.claim(key("a"), 1) is True
    own.resume()
    store.run(eventually(lambda: not store.failing))
    assert [state for state, _ in store.changes[before:]][:2] == ["failing", "working"]
    while not held(store, "a"):
        # A machine that is busy may hold the server up for longer than it is waited for here.
        assert len(store.changes) > before + 2


@pytest.mark.parametrize(
    "reply", ["return 7", "return {1, 2, 3}", "return {'x'}", "return {'1', 'head'}", "return 'OK'", "return {}"]
)
def test_a_reply_that_makes_no_sense_is_a_miss_and_ends_the_connection(
    own: RedisServer, connect: Callable[..., Waiting], monkeypatch: pytest.MonkeyPatch, reply: str
) -> None:
    store = connect(own)
    sha = own.call("SCRIPT", "LOAD", reply).decode()
    monkeypatch.setattr("headgate.stores.cache.redis.SCRIPT", type("Other", (), {"sha": sha}))
    assert store.wait("get", key("a")) is None
    assert store.changes[0] == ("failing", "the script's reply is malformed")


def test_a_url_that_cannot_be_is_refused(loop: uvloop.Loop) -> None:
    with pytest.raises(ValueError, match="redis:// or rediss://"):
        Waiting(loop, "http://127.0.0.1")


def test_a_closed_store_says_nothing_more(own: RedisServer, connect: Callable[..., Waiting]) -> None:
    store = connect(own)
    store.close()
    own.kill()
    assert store.get(key("a")) is None
    assert store.changes == []
