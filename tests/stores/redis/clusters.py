"""A Redis Cluster for tests: three masters with a third of the slots each, and replicas where they are wanted."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from types import TracebackType

from headgate.stores.redis.cluster import SLOTS
from tests.proxy.peers import free_port
from tests.stores.redis.servers import CEILING, HOST, RedisServer


class RedisCluster:
    """The servers, started and joined."""

    def __init__(self, folder: Path, *, replicas: int = 0) -> None:
        """The first `replicas` masters get one replica each."""
        # Who has nobody to take over need not be given up soon: a busy machine may hold them all up.
        patience = 1000 if replicas else 60_000
        self.masters = [_server(folder, patience) for _ in range(3)]
        self.replicas = [_server(folder, patience) for _ in range(replicas)]
        self._stack = ExitStack()

    @property
    def servers(self) -> list[RedisServer]:
        return [*self.masters, *self.replicas]

    def id_of(self, server: RedisServer) -> str:
        name: bytes = server.call("CLUSTER", "MYID")
        return name.decode()

    def __enter__(self) -> RedisCluster:
        with ExitStack() as stack:
            for server in self.servers:
                stack.enter_context(server)
            self._join()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._stack.close()

    def _join(self) -> None:
        first = self.masters[0]
        bounds = [SLOTS * place // 3 for place in range(4)]
        for place, server in enumerate(self.masters):
            server.call("CLUSTER", "ADDSLOTSRANGE", bounds[place], bounds[place + 1] - 1)
            server.call("CLUSTER", "SET-CONFIG-EPOCH", place + 1)
        for server in self.servers[1:]:
            server.call("CLUSTER", "MEET", HOST, first.port, first.bus)
        wait_until(lambda: all(_knows(server, len(self.servers)) for server in self.servers))
        for master, replica in zip(self.masters, self.replicas, strict=False):
            replica.call("CLUSTER", "REPLICATE", self.id_of(master))
            wait_until(partial(_follows, replica))


def wait_until(is_so: Callable[[], bool]) -> None:
    """Wait until something is so; for what servers do among themselves."""
    end = time.monotonic() + CEILING
    while not is_so():
        assert time.monotonic() < end, "it never came to be so"
        time.sleep(0.01)


def _server(folder: Path, patience: int) -> RedisServer:
    """Make one that takes others for gone when they say nothing for so many milliseconds."""
    bus = free_port()
    server = RedisServer(
        folder,
        "--cluster-enabled", "yes", "--cluster-node-timeout", str(patience), "--cluster-port", str(bus),
        "--cluster-replica-validity-factor", "0",
    )  # fmt: skip
    server.bus = bus
    return server


def _knows(server: RedisServer, count: int) -> bool:
    info = server.call("CLUSTER", "INFO")
    return b"cluster_state:ok" in info and b"cluster_known_nodes:%d" % count in info


def _follows(server: RedisServer) -> bool:
    return b"master_link_status:up" in server.call("INFO", "replication")
