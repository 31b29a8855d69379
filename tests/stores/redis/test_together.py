"""Several gateways on one server are one: limit L, exactly L pass."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import uvloop

from tests.proxy.peers import eventually, free_port
from tests.proxy.stage import on_loop
from tests.stores.contract import ask, group, limit
from tests.stores.processes import together
from tests.stores.redis.gates import NOW, counted, load, more, opened
from tests.stores.redis.servers import RedisServer

LIMIT = 500


def test_exactly_the_limit_passes_three_gateways(redis: RedisServer) -> None:
    @on_loop
    async def test() -> None:
        redis.call("FLUSHALL")
        of = group(limit("sliding_window", LIMIT, exact=True), limit("token_bucket", LIMIT))
        url, patient = redis.url, 10.0
        async with (
            opened(url, timeout=patient) as one,
            opened(url, timeout=patient) as two,
            opened(url, timeout=patient) as three,
        ):
            gates = [one, two, three]
            told = await asyncio.gather(*(gates[turn % 3].one(of) for turn in range(3 * LIMIT)))
            # What refills while they ask: the bucket's, whose window is a minute; the log's nothing.
            assert sum(each.allowed for each in told) == LIMIT
            assert {each.source for each in told} == {"store"}
            assert [gate.changes for gate in gates] == [[], [], []]

    test()


def test_exactly_the_limit_passes_three_processes(redis: RedisServer) -> None:
    redis.call("FLUSHALL")
    url = redis.url

    def work(number: int) -> tuple[int, dict[str, int]]:
        async def ask_all() -> tuple[int, dict[str, int]]:
            passed = 0
            sources: Counter[str] = Counter()
            async with opened(url, timeout=10.0) as gate:
                for _ in range(LIMIT // 50):
                    told = await asyncio.gather(*(gate.one(counted(LIMIT, kind="fixed_window")) for _ in range(100)))
                    passed += sum(each.allowed for each in told)
                    sources.update(each.source for each in told)
            return passed, dict(sources)

        return uvloop.run(ask_all())

    answers = together(3, work)
    assert sum(passed for passed, _ in answers) == LIMIT
    assert [sources for _, sources in answers] == [{"store": 2 * LIMIT}] * 3


@on_loop
async def _three_lose_their_server(folder: Path) -> None:
    few = group(limit("fixed_window", 30), on_error="local")
    few.local = group(limit("fixed_window", 10))
    server = RedisServer(folder, port=free_port())
    with server:
        async with opened(server.url) as one, opened(server.url) as two, opened(server.url) as three:
            gates = [one, two, three]
            async with load(one, counted()) as first, load(two, counted()) as second, load(three, counted()) as third:
                for sources in (first, second, third):
                    await more(sources, "store")
                server.kill()
                for sources in (first, second, third):
                    await more(sources, "open")
                passed = sum([(await gate.one(few)).allowed for gate in gates for _ in range(40)])
                server.start()
                for gate in gates:
                    await gate.works_again()
            assert passed == 30
            assert [gate.states for gate in gates] == [["failing", "working"]] * 3


def test_without_their_server_three_gateways_enforce_their_shares(tmp_path: Path) -> None:
    _three_lose_their_server(tmp_path)


def test_what_runs_at_the_same_time_is_counted_over_gateways(redis: RedisServer) -> None:
    @on_loop
    async def test() -> None:
        redis.call("FLUSHALL")
        busy = group(limit("concurrency", 3))
        async with opened(redis.url) as one, opened(redis.url) as two:
            assert [(await gate.one(busy)).allowed for gate in (one, two, one, two)] == [True, True, True, False]
            # Nobody gives back what another holds.
            two.store.settle([ask(busy, cost=-3)], NOW)
            await two.one(counted(), "behind it")
            assert [(await gate.one(busy)).allowed for gate in (one, two)] == [True, False]
            one.store.settle([ask(busy, cost=-1)], NOW)
            await eventually(lambda: "0 outstanding" in repr(one.store))
            assert (await two.one(busy)).allowed

    test()
