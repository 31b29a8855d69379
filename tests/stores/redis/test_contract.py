"""Redis as a store of limits like any other: the contract, on one server and on a cluster of three."""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, TypeVar

import pytest
import uvloop

from headgate.policy.limit.group import PEEK
from headgate.stores.store import Ask, Told
from tests.stores.contract import Open, StoreContract
from tests.stores.redis.clusters import RedisCluster
from tests.stores.redis.gates import Gate, settings_of
from tests.stores.redis.servers import RedisServer

T = TypeVar("T")


class Waiting:
    """A store whose `admit` waits, and whose `settle` is done when it returns."""

    def __init__(self, gate: Gate, loop: uvloop.Loop) -> None:
        self._gate = gate
        self._loop = loop

    def admit(self, asks: Sequence[Ask], now: int) -> list[Told]:
        told = self._loop.run_until_complete(self._gate.ask(asks, now))
        assert all(each.source == "store" for each in told)
        return told

    def settle(self, asks: Sequence[Ask], now: int, *, local: bool = False) -> None:
        async def settle() -> None:
            self._gate.store.settle(asks, now, local=local)

        self._loop.run_until_complete(settle())
        # A look at the same keys comes back behind it.
        self.admit([each._replace(costs=(PEEK,) * len(each.costs)) for each in asks], now)

    def forget(self, keys: Sequence[bytes]) -> int:
        return self._loop.run_until_complete(self._gate.forget(keys))

    def sweep(self, now: int) -> None:
        self._gate.store.sweep(now)


@pytest.fixture
def loop() -> Iterator[uvloop.Loop]:
    loop = uvloop.new_event_loop()
    yield loop
    loop.close()


class _OnRedis(StoreContract):
    """Stores of one test are gateways that share the servers."""

    def opened(self, loop: uvloop.Loop, *urls: str, **values: Any) -> Iterator[Open]:
        gates: list[Gate] = []

        async def make(owner: int) -> Gate:
            # A minute is not long for a machine that is busy; the contract's clock does not go by itself.
            gate = Gate(settings_of(*urls, timeout=10.0, **values), owner, server_time=False)
            gates.append(gate)
            await gate.ready()
            return gate

        def run(work: Coroutine[Any, Any, T]) -> T:
            return loop.run_until_complete(work)

        async def close() -> None:
            for gate in gates:
                assert gate.changes == []
                gate.store.close()

        yield lambda owner: Waiting(run(make(owner)), loop)
        run(close())


class TestSingle(_OnRedis):
    @pytest.fixture
    def open_store(self, redis: RedisServer, loop: uvloop.Loop) -> Iterator[Open]:
        redis.call("FLUSHALL")
        yield from self.opened(loop, redis.url)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    with RedisCluster(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


class TestCluster(_OnRedis):
    @pytest.fixture
    def open_store(self, cluster: RedisCluster, loop: uvloop.Loop) -> Iterator[Open]:
        for server in cluster.masters:
            server.call("FLUSHALL")
        yield from self.opened(loop, cluster.masters[0].url, mode="cluster")
