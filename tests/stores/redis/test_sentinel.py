"""The master that sentinels know: found, verified, and followed when it changes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hiredis import ReplyError

from tests.proxy.peers import eventually, free_port
from tests.proxy.stage import on_loop
from tests.stores.redis.access import RIGHTS
from tests.stores.redis.clusters import wait_until
from tests.stores.redis.gates import counted, load, more, opened
from tests.stores.redis.servers import HOST, RedisServer

NAME = "counts"
PASSWORD = "of the sentinel"


class Watched:
    """A master, a replica, and two sentinels of which one is enough."""

    def __init__(self, folder: Path) -> None:
        self.master = RedisServer(folder)
        self.replica = RedisServer(folder, "--replicaof", f"{HOST} {self.master.port}")
        self.sentinels = [RedisServer(folder, sentinel=self._configuration()) for _ in range(2)]

    def _configuration(self) -> str:
        return (
            f"sentinel monitor {NAME} {HOST} {self.master.port} 1\n"
            # A busy machine may hold up a master that is well.
            f"sentinel down-after-milliseconds {NAME} 60000\n"
            f"sentinel failover-timeout {NAME} 3000\n"
            f'requirepass "{PASSWORD}"\n'
            f'sentinel sentinel-pass "{PASSWORD}"\n'
        )

    @property
    def urls(self) -> list[str]:
        return [sentinel.url for sentinel in self.sentinels]

    def master_port(self) -> int:
        """Return the port of the master the first sentinel knows."""
        answer = self.sentinels[0].call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", NAME, user=(PASSWORD,))
        return int(answer[1])

    def fails_over(self) -> bool:
        """Begin a failover, once the sentinel knows the replica to be good."""
        try:
            return bool(self.sentinels[0].call("SENTINEL", "FAILOVER", NAME, user=(PASSWORD,)))
        except ReplyError:
            return False

    def is_impatient(self) -> None:
        """Let the first sentinel call a master gone that says nothing; the other one votes for it."""
        self.sentinels[0].call("SENTINEL", "SET", NAME, "down-after-milliseconds", 500, user=(PASSWORD,))

    def replicas_known(self) -> int:
        return len(self.sentinels[0].call("SENTINEL", "REPLICAS", NAME, user=(PASSWORD,)))


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    servers = Watched(tmp_path)
    with ExitStack() as stack:
        for server in (servers.master, servers.replica):
            stack.enter_context(server)
        wait_until(lambda: b"master_link_status:up" in servers.replica.call("INFO", "replication"))
        for server in servers.sentinels:
            stack.enter_context(server)
            # How often they look at the servers, in milliseconds, else ten seconds; and a quarter of how long they let
            # one who was the master go on as one, else eight seconds.
            server.call("SENTINEL", "DEBUG", "INFO-PERIOD", 200, "PUBLISH-PERIOD", 200, user=(PASSWORD,))
        wait_until(lambda: servers.replicas_known() == 1)
        yield servers


VALUES: dict[str, Any] = {"mode": "sentinel", "sentinel_master": NAME, "sentinel_password": PASSWORD}


def test_the_master_is_found_and_a_sentinel_that_is_away_is_passed_over(watched: Watched) -> None:
    @on_loop
    async def test() -> None:
        async with opened(f"redis://{HOST}:{free_port()}", *watched.urls, **VALUES) as gate:
            assert (await gate.one(counted())).source == "store"
            assert gate.changes == []
            assert (watched.master.clients(), watched.replica.clients()) == (1, 0)

    test()


def test_a_user_needs_no_more_rights_than_the_documentation_says(watched: Watched) -> None:
    @on_loop
    async def test() -> None:
        watched.master.call("ACL", "SETUSER", "counter", "on", ">secret", *RIGHTS.split(), "+role")
        async with opened(*watched.urls, **VALUES, username="counter", password="secret") as gate:
            assert (await gate.one(counted())).source == "store"
            assert gate.changes == []

    test()


def test_another_master_is_followed_when_the_first_is_killed(watched: Watched) -> None:
    @on_loop
    async def test() -> None:
        async with opened(*watched.urls, **VALUES) as gate:
            async with load(gate, counted()) as sources:
                await more(sources, "store")
                watched.master.kill()
                watched.is_impatient()
                await more(sources, "open")
                await gate.works_again()
                await more(sources, "store")
            assert gate.states == ["failing", "working"]
            assert watched.replica.clients() == 1
            assert watched.master_port() == watched.replica.port

    test()


def test_another_master_is_followed_when_the_first_was_only_put_down(watched: Watched) -> None:
    @on_loop
    async def test() -> None:
        async with opened(*watched.urls, **VALUES) as gate:
            async with load(gate, counted()) as sources:
                await more(sources, "store")
                await eventually(watched.fails_over)
                await eventually(lambda: _clients(watched.replica) == 1)
                await gate.works_again()
                await more(sources, "store")
            assert gate.states in (["failing", "working"], [])
            assert watched.master.clients() == 0

    test()


def _clients(server: RedisServer) -> int:
    """Count its gateways; none while it changes its role and so hangs up on all who are there."""
    try:
        return server.clients()
    except ConnectionError:
        return 0


def test_what_sentinels_name_must_itself_say_that_it_is_the_master(watched: Watched) -> None:
    @on_loop
    async def test() -> None:
        watched.replica.call("CONFIG", "SET", "replica-read-only", "no")
        watched.master.kill()
        watched.sentinels[0].kill()
        # This one has been told that the replica is the master.
        wrong = RedisServer(
            watched.master.folder, sentinel=f"sentinel monitor {NAME} {HOST} {watched.replica.port} 9\n"
        )
        with wrong:
            async with opened(wrong.url, **VALUES | {"sentinel_password": ""}) as gate:
                assert gate.states == ["failing"]
                assert "not the master" in gate.changes[0][1]

    test()


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"sentinel_master": "another"}, "knows no master of the name another"),
        ({"sentinel_password": "wrong"}, "WRONGPASS"),
        ({"sentinel_password": ""}, "NOAUTH"),
    ],
)
def test_what_sentinels_refuse_is_said_without_passwords(watched: Watched, values: dict[str, str], reason: str) -> None:
    @on_loop
    async def test() -> None:
        async with opened(*watched.urls, **VALUES | values) as gate:
            assert gate.states == ["failing"]
            assert reason in gate.changes[0][1]
            assert "wrong" not in gate.changes[0][1]

    test()
