"""A cluster of three: keys are counted where their slots are, wherever those go, and whoever fails."""

from __future__ import annotations

import asyncio
from binascii import crc_hqx
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.stores.redis.cluster import SLOTS
from headgate.stores.store import Ask
from tests.proxy.peers import eventually
from tests.proxy.stage import on_loop
from tests.stores.contract import ask, group, key, limit
from tests.stores.redis.access import RIGHTS
from tests.stores.redis.clusters import RedisCluster
from tests.stores.redis.gates import NOW, counted, load, more, opened
from tests.stores.redis.servers import RedisServer


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    with RedisCluster(tmp_path, replicas=1) as cluster:
        yield cluster


def slot_of(name: str) -> int:
    return crc_hqx(key(name).hex().encode(), 0) % SLOTS


def name_in(first: int, last: int) -> str:
    """Return a name whose key lies in these slots."""
    return next(name for name in map(str, range(100_000)) if first <= slot_of(name) <= last)


def home(cluster: RedisCluster, name: str) -> RedisServer:
    return cluster.masters[next(place for place in range(3) if slot_of(name) < SLOTS * (place + 1) // 3)]


def move(cluster: RedisCluster, slot: int, source: RedisServer, target: RedisServer) -> None:
    """Give a slot to another master, as the last step of a migration does."""
    for server in cluster.servers:
        if server not in cluster.replicas:
            server.call("CLUSTER", "SETSLOT", slot, "NODE", cluster.id_of(target))


@pytest.fixture(scope="module")
def lasting_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with RedisCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def redis_cluster(lasting_cluster: RedisCluster) -> RedisCluster:
    for server in lasting_cluster.masters:
        server.call("FLUSHALL")
    return lasting_cluster


@pytest.mark.parametrize("name", ["a", "b", "some other"])
def test_slots_are_those_the_servers_compute(redis_cluster: RedisCluster, name: str) -> None:
    tag = key(name).hex()
    assert redis_cluster.masters[0].call("CLUSTER", "KEYSLOT", f"headgate:{{{tag}}}") == slot_of(name)


def test_every_slot_is_counted_and_each_master_has_one_connection(redis_cluster: RedisCluster) -> None:
    @on_loop
    async def test() -> None:
        async with opened(redis_cluster.masters[1].url, mode="cluster") as gate:
            few = counted(3, kind="fixed_window")
            names = [f"name {number}" for number in range(100)]
            for _ in range(5):
                told = await asyncio.gather(*(gate.one(few, name) for name in names))
                assert {each.source for each in told} == {"store"}
            assert [(await gate.one(few, name)).allowed for name in names] == [False] * 100
            assert [server.clients() for server in redis_cluster.masters] == [1, 1, 1]
            assert gate.changes == []

    test()


def test_a_user_needs_no_more_rights_than_the_documentation_says(redis_cluster: RedisCluster) -> None:
    @on_loop
    async def test() -> None:
        for server in redis_cluster.masters:
            server.call("ACL", "SETUSER", "counter", "on", ">secret", *RIGHTS.split(), "+cluster|slots", "+asking")
        user: dict[str, Any] = {"username": "counter", "password": "secret"}
        async with opened(redis_cluster.masters[0].url, mode="cluster", **user) as gate:
            told = [await gate.one(counted(), f"name {number}") for number in range(20)]
            assert {each.source for each in told} == {"store"}
            assert gate.changes == []

    test()


def test_a_slot_that_has_moved_is_followed(redis_cluster: RedisCluster) -> None:
    @on_loop
    async def test() -> None:
        async with opened(redis_cluster.masters[0].url, mode="cluster") as gate:
            name = name_in(0, 5000)
            few = counted(3, kind="fixed_window")
            source, target = redis_cluster.masters[0], redis_cluster.masters[2]
            move(redis_cluster, slot_of(name), source, target)
            assert [(await gate.one(few, name)).allowed for _ in range(4)] == [True] * 3 + [False]
            gate.store.settle([ask(few, name, -1)], NOW)
            assert (await gate.one(few, name)).allowed
            assert gate.changes == []
            target.call("FLUSHALL")
            move(redis_cluster, slot_of(name), target, source)

    test()


def test_a_slot_on_its_way_is_asked_for_where_it_goes(redis_cluster: RedisCluster) -> None:
    @on_loop
    async def test() -> None:
        async with opened(redis_cluster.masters[0].url, mode="cluster") as gate:
            name = name_in(5001, 5400)
            few = counted(3, kind="fixed_window")
            source, target = redis_cluster.masters[0], redis_cluster.masters[1]
            slot = slot_of(name)
            target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", redis_cluster.id_of(source))
            source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", redis_cluster.id_of(target))
            assert [(await gate.one(few, name)).allowed for _ in range(4)] == [True] * 3 + [False]
            assert {told.source for told in [await gate.one(few, name)]} == {"store"}
            # It has not moved: that was asked for each time.
            assert target.call("CLUSTER", "COUNTKEYSINSLOT", slot) == 1
            assert gate.changes == []
            for server in (source, target):
                server.call("CLUSTER", "SETSLOT", slot, "STABLE")

    test()


def test_what_one_master_refuses_another_takes_back(redis_cluster: RedisCluster) -> None:
    @on_loop
    async def test() -> None:
        wide, narrow = group(limit("sliding_window", 10, exact=True)), group(limit("fixed_window", 2))
        asks = [Ask(wide, key(name_in(0, 5000)), (1,)), Ask(narrow, key(name_in(6000, 10000)), (1,))]
        async with opened(redis_cluster.masters[0].url, mode="cluster") as gate:
            verdicts = [[told.allowed for told in await gate.ask(asks)] for _ in range(5)]
            assert verdicts == [[True, True]] * 2 + [[True, False]] * 3
            assert (await gate.ask([asks[0]]))[0].raws[0][0] == 3

    test()


def test_keys_of_a_master_that_is_away_are_decided_without_it_and_the_others_as_ever(
    redis_cluster: RedisCluster,
) -> None:
    @on_loop
    async def test() -> None:
        away, there = name_in(0, 5000), name_in(6000, 10000)
        wide, narrow = group(limit("fixed_window", 10), on_error="open"), group(limit("fixed_window", 2))
        async with opened(redis_cluster.masters[1].url, mode="cluster", timeout=1.0) as gate:
            redis_cluster.masters[0].pause()
            try:
                told = await gate.ask([Ask(wide, key(away), (1,)), Ask(narrow, key(there), (1,))])
                assert [each.source for each in told] == ["open", "store"]
                assert [each.allowed for each in told] == [True, True]
                assert gate.states == ["failing"]
            finally:
                redis_cluster.masters[0].resume()
            await gate.works_again()
            assert (await gate.one(wide, away)).source == "store"

    test()


def test_a_replica_that_takes_over_is_followed(cluster: RedisCluster) -> None:
    @on_loop
    async def test() -> None:
        async with opened(cluster.masters[1].url, mode="cluster", connect_timeout=0.5) as gate:
            async with load(gate, counted(), callers=12) as sources:
                await more(sources, "store")
                cluster.masters[0].kill()
                await more(sources, "open")
                await gate.works_again()
                await more(sources, "store", 50)
            assert gate.states == ["failing", "working"]
            await eventually(lambda: cluster.replicas[0].clients() == 1)
            assert (await gate.one(counted(), name_in(0, 5000))).source == "store"

    test()


def test_a_cluster_that_is_not_there_at_first_is_found_later(tmp_path: Path) -> None:
    @on_loop
    async def test() -> None:
        cluster = RedisCluster(tmp_path)
        async with opened(*(server.url for server in cluster.masters), mode="cluster") as gate:
            assert gate.states == ["failing"]
            with cluster:
                await gate.works_again()
                told = [await gate.one(counted(), f"name {number}") for number in range(30)]
                assert {each.source for each in told} == {"store"}
                assert gate.states == ["failing", "working"]
                gate.store.close()

    test()


def test_a_server_that_is_in_no_cluster_is_none(redis: RedisServer) -> None:
    @on_loop
    async def test() -> None:
        async with opened(redis.url, mode="cluster") as gate:
            assert gate.states == ["failing"]
            assert "cluster support disabled" in gate.changes[0][1]

    test()
