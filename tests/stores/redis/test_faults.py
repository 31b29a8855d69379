"""What becomes of requests when the server is killed, stands still, sleeps, forgets, is full or read-only, under load.

In each: decisions as configured, no request without an answer, one line for each change, and back without a restart.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

from headgate.stores.redis.script import SCRIPT
from headgate.stores.redis.store import RedisStore
from headgate.stores.store import Told
from tests.proxy.peers import eventually, free_port
from tests.proxy.stage import on_loop
from tests.stores.contract import ask, group, limit
from tests.stores.redis.gates import NOW, Gate, counted, counts_again, load, more, opened, settings_of
from tests.stores.redis.servers import HOST, Client, RedisServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RedisServer]:
    with RedisServer(tmp_path) as server:
        yield server


@on_loop
async def test_a_killed_server_is_done_without_and_found_again(server: RedisServer) -> None:
    async with opened(server.url) as gate:
        async with load(gate, counted()) as sources:
            await more(sources, "store")
            server.kill()
            await more(sources, "open", 100)
            server.start()
            await gate.works_again()
            await more(sources, "store")
        assert gate.states == ["failing", "working"]
        assert str(server.port) in gate.changes[0][1]


@on_loop
async def test_a_server_that_stands_still_costs_its_timeout_once(server: RedisServer) -> None:
    async with opened(server.url, timeout=0.2, connect_timeout=0.2) as gate:
        async with load(gate, counted()) as sources:
            await more(sources, "store")
            # A busy machine may hold it up for as long without our doing.
            before = await gate.works_again()
            server.pause()
            await more(sources, "open", 100)
            assert gate.states[before:] == ["failing"]
            server.resume()
            await gate.works_again()
            assert gate.states[before + 1] == "working"
            await more(sources, "store")
        assert gate.changes[before][1].endswith("no reply within 200 ms")


@on_loop
async def test_while_it_fails_nobody_waits(server: RedisServer) -> None:
    async with opened(server.url, timeout=0.2) as gate:
        server.pause()
        assert (await gate.one(counted())).source == "open"
        # From here on the answer is there at once.
        for _ in range(1000):
            assert gate.store.admit([ask(counted())], NOW) == [Told(True, (), "open")]


@on_loop
async def test_a_server_that_counts_nothing_for_a_while_is_awaited_in_vain_and_found_again(server: RedisServer) -> None:
    async with opened(server.url, timeout=0.2, connect_timeout=0.2) as gate, load(gate, counted()) as sources:
        await more(sources, "store")
        before = await gate.works_again()
        server.call("CLIENT", "PAUSE", 3_600_000, "WRITE")
        await more(sources, "open", 100)
        assert gate.states[before:] == ["failing"]
        server.call("CLIENT", "UNPAUSE")
        await gate.works_again()
        assert gate.states[before + 1] == "working"
        await more(sources, "store")


@on_loop
async def test_a_server_that_forgets_counts_afresh(server: RedisServer) -> None:
    few = counted(5, kind="fixed_window")
    async with opened(server.url) as gate:
        assert [(await gate.one(few)).allowed for _ in range(6)] == [True] * 5 + [False]
        server.call("FLUSHALL")
        assert [(await gate.one(few)).allowed for _ in range(6)] == [True] * 5 + [False]
        assert gate.changes == []


@on_loop
async def test_a_script_that_was_flushed_is_given_again_once_for_all_that_miss_it(server: RedisServer) -> None:
    async with opened(server.url) as gate:
        async with load(gate, counted()) as sources:
            for _ in range(5):
                await more(sources, "store")
                server.call("SCRIPT", "FLUSH")
                await more(sources, "store")
        assert set(sources) == {"store"}
        assert gate.changes == []
        server.call("SCRIPT", "FLUSH")
        server.call("CONFIG", "RESETSTAT")
        # Together in one write, settling and admitting.
        gate.store.settle([ask(counted(), "before", 3)], NOW)
        answers = await asyncio.gather(*(gate.one(counted(10), f"{number}") for number in range(50)))
        assert {told.source for told in answers} == {"store"}
        assert b"cmdstat_script|load:calls=1," in server.call("INFO", "commandstats")


@on_loop
async def test_exactly_the_limit_passes_while_the_script_is_flushed(server: RedisServer) -> None:
    few = counted(40, kind="fixed_window")
    async with opened(server.url) as gate:
        passed = 0
        for _ in range(10):
            server.call("SCRIPT", "FLUSH")
            passed += sum(told.allowed for told in await asyncio.gather(*(gate.one(few) for _ in range(7))))
        assert passed == 40


@on_loop
async def test_a_server_that_is_full_counts_nothing_until_there_is_room(server: RedisServer) -> None:
    async with opened(server.url) as gate:
        async with load(gate, counted()) as sources:
            await more(sources, "store")
            server.call("CONFIG", "SET", "maxmemory", "1")
            await more(sources, "open", 100)
            assert "OOM" in gate.changes[0][1]
            server.call("CONFIG", "SET", "maxmemory", "0")
            await gate.works_again()
            await more(sources, "store")
        assert gate.states == ["failing", "working"]


@on_loop
async def test_a_server_that_is_made_a_replica_counts_nothing(server: RedisServer) -> None:
    async with opened(server.url) as gate:
        async with load(gate, counted()) as sources:
            await more(sources, "store")
            server.call("REPLICAOF", HOST, free_port())
            await more(sources, "open", 100)
            server.call("REPLICAOF", "NO", "ONE")
            await gate.works_again()
            await more(sources, "store")
        assert gate.states == ["failing", "working"]
        assert any(word in gate.changes[0][1] for word in ("READONLY", "MASTERDOWN", "closed"))


@on_loop
async def test_a_server_that_is_not_there_at_first_is_found_later(tmp_path: Path) -> None:
    server = RedisServer(tmp_path)
    async with opened(server.url) as gate:
        assert gate.states == ["failing"]
        assert (await gate.one(counted(on_error="closed"))).allowed is False
        with server:
            await gate.works_again()
            assert (await gate.one(counted(on_error="closed"))).source == "store"
            assert gate.states == ["failing", "working"]
            gate.store.close()


@pytest.mark.parametrize(("on_error", "passes"), [("open", 30), ("closed", 0), ("local", 4)])
def test_each_group_says_what_holds_without_the_server(
    tmp_path: Path, on_error: Literal["local", "open", "closed"], passes: int
) -> None:
    @on_loop
    async def test() -> None:
        of = group(limit("fixed_window", 20), on_error=on_error)
        of.local = group(limit("fixed_window", 4))
        async with opened(f"redis://{HOST}:{free_port()}") as gate:
            told = [await gate.one(of) for _ in range(30)]
        assert sum(each.allowed for each in told) == passes
        assert {each.source for each in told} == {on_error}

    test()


@on_loop
async def test_a_loss_of_an_idle_connection_is_not_worth_a_word(server: RedisServer) -> None:
    async with opened(server.url) as gate:
        await gate.one(counted())
        server.call("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await eventually(lambda: "away" in repr(gate.store))
        await eventually(lambda: "open, 0 outstanding" in repr(gate.store))
        assert (await gate.one(counted())).source == "store"
        assert gate.changes == []


@on_loop
async def test_a_server_that_is_loading_is_tried_until_it_has_and_told_of_once() -> None:
    tries = 0

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal tries
        tries += 1
        while await reader.read(65536):
            writer.write(b"-LOADING Redis is loading the dataset in memory\r\n")
        writer.close()

    listener = await asyncio.start_server(refuse, HOST, 0)
    port = listener.sockets[0].getsockname()[1]
    async with opened(f"redis://{HOST}:{port}") as gate:
        await eventually(lambda: tries >= 3)
        assert gate.states == ["failing"]
        assert "LOADING" in gate.changes[0][1]
    listener.close()


# -- beginnings and ends ------------------------------------------------------------------------------------------


@on_loop
async def test_requests_that_come_before_the_first_connection_wait_for_it(server: RedisServer) -> None:
    gate = Gate(settings_of(server.url, timeout=10.0))
    told = await asyncio.gather(*(gate.one(counted(3, on_error="closed"), "early") for _ in range(5)))
    assert [(each.source, each.allowed) for each in told] == [("store", True)] * 3 + [("store", False)] * 2
    assert gate.changes == []
    gate.store.close()


@on_loop
async def test_requests_wait_for_the_first_connection_no_longer_than_for_an_answer(server: RedisServer) -> None:
    server.pause()
    gate = Gate(settings_of(server.url, timeout=0.2, connect_timeout=20.0))
    assert {told.source for told in await asyncio.gather(*(gate.one(counted()) for _ in range(5)))} == {"open"}
    assert gate.store.admit([ask(counted())], NOW) == [Told(True, (), "open")]
    assert gate.states == ["failing"]
    server.resume()
    await gate.works_again()
    gate.store.close()


@on_loop
async def test_what_was_counted_locally_is_given_back_locally(server: RedisServer) -> None:
    busy = group(limit("concurrency", 1), on_error="local")
    async with opened(server.url, timeout=0.2, connect_timeout=0.2) as gate:
        await gate.works_again()
        server.pause()
        assert (await gate.one(busy)).source == "local"
        assert not (await gate.one(busy)).allowed
        gate.store.settle([ask(busy, cost=-1)], NOW, local=True)
        assert (await gate.one(busy)).allowed
        server.resume()
        await gate.works_again()
        await counts_again(gate, busy)


@on_loop
async def test_a_store_that_is_closed_waits_for_its_answers_and_then_decides_without_servers(
    server: RedisServer,
) -> None:
    async with opened(server.url) as gate:
        store: RedisStore = gate.store
        waiting = asyncio.create_task(gate.one(counted()))
        await asyncio.sleep(0)
        store.close()
        assert (await waiting).source == "store"
        assert (await gate.one(counted())).source == "open"
        await eventually(lambda: server.clients() == 0)


def test_the_script_is_the_one_the_server_knows(redis: RedisServer) -> None:
    with Client(redis.port) as client:
        assert client.call("SCRIPT", "LOAD", SCRIPT.text) == SCRIPT.sha.encode()
