"""The books of a pool: whatever is cancelled, refused or closed, the count of open connections is right."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

import uvloop

from headgate.core.address import parse_endpoint
from headgate.core.failure import Failure
from headgate.wire import http1
from headgate.wire.outbox import Outbox
from headgate.wire.pool import Pool
from headgate.wire.resolver import Resolver
from headgate.wire.settings import PoolLimits
from headgate.wire.timers import TimerWheel
from headgate.wire.upstream import UpstreamConnection
from headgate.wire.whole import WholeAnswers

CEILING = 60.0


class Server:
    """Accepts; what was accepted can be closed."""

    def __init__(self) -> None:
        self.accepted: list[asyncio.Transport] = []

    async def __aenter__(self) -> str:
        outer = self

        class Accepted(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                outer.accepted.append(cast(asyncio.Transport, transport))

        self._server = await asyncio.get_running_loop().create_server(Accepted, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aexit__(self, *_: object) -> None:
        for transport in self.accepted:
            transport.abort()
        self._server.close()
        await turns()


def run(scenario: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        async with asyncio.timeout(CEILING):
            await scenario()

    loop = uvloop.new_event_loop()
    try:
        loop.run_until_complete(main())
    finally:
        loop.close()


def pool_to(url: str, **limits: int) -> Pool:
    loop = asyncio.get_running_loop()
    answers = WholeAnswers(http1.response_kinds())
    return Pool(parse_endpoint(url), PoolLimits(**limits), TimerWheel(), Outbox(loop), answers, Resolver())


async def turns(number: int = 5) -> None:
    for _ in range(number):
        await asyncio.sleep(0)


async def settled(is_so: Callable[[], bool]) -> None:
    while not is_so():  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def opened(pool: Pool) -> UpstreamConnection:
    """Wait for a connection of HTTP/1, which is its own call."""
    connection = await pool.connect(5)
    assert isinstance(connection, UpstreamConnection)
    return connection


def done_with(connection: UpstreamConnection) -> None:
    """Give a connection back as after an exchange."""
    connection.pool.put(connection)


def test_the_last_one_put_is_the_first_one_taken() -> None:
    async def scenario() -> None:
        async with Server() as url:
            pool = pool_to(url)
            assert pool.take(True) is None
            made = [await opened(pool) for _ in range(3)]
            for connection in made:
                done_with(connection)
            assert [pool.take(True) for _ in range(3)] == made[::-1]
            assert pool.take(True) is None
            assert repr(pool).endswith("open=3 idle=0 waiting=0>")
            for connection in made:
                connection.close()
            await settled(lambda: pool.open == 0)

    run(scenario)


def test_more_than_may_be_idle_are_closed() -> None:
    async def scenario() -> None:
        async with Server() as url:
            pool = pool_to(url, max_idle=1)
            made = [await opened(pool) for _ in range(3)]
            for connection in made:
                done_with(connection)
            await settled(lambda: pool.open == 1)
            assert pool.take(True) is made[0]
            made[0].close()
            await settled(lambda: pool.open == 0)

    run(scenario)


def test_one_in_doubt_is_looked_at_before_it_gets_what_must_not_be_repeated() -> None:
    async def scenario() -> None:
        server = Server()
        async with server as url:
            pool = pool_to(url)
            connection = await opened(pool)
            await settled(lambda: len(server.accepted) == 1)
            done_with(connection)
            connection.idle_since -= 1
            server.accepted[0].write(b"x")
            # The kernel has it, the loop has not had a turn yet.
            assert pool.take(False) is None
            await settled(lambda: pool.open == 0)

    run(scenario)


def test_refused_and_timed_out_connections_are_not_counted() -> None:
    async def scenario() -> None:
        async with Server() as url:
            pass
        pool = pool_to(url, max_connections=1)
        for _ in range(3):
            try:
                await pool.connect(5)
            except Failure as failure:
                assert failure.reason == "connect_refused"
                assert not failure.sent
            assert pool.open == 0

    run(scenario)


def test_whoever_gives_up_while_connecting_leaves_the_books_even() -> None:
    async def scenario() -> None:
        async with Server() as url:
            pool = pool_to(url, max_connections=2)
            # Cancelled at every turn of the loop that connecting takes, and some beyond.
            for patience in range(12):
                task = asyncio.create_task(pool.connect(5))
                await turns(patience)
                task.cancel()
                (result,) = await asyncio.gather(task, return_exceptions=True)
                if isinstance(result, UpstreamConnection):
                    result.close()
                await settled(lambda: pool.open == 0)

    run(scenario)


def test_whoever_gives_up_while_waiting_loses_nobody_a_connection() -> None:
    async def scenario() -> None:
        async with Server() as url:
            pool = pool_to(url, max_connections=1)
            connection = await opened(pool)
            for last_moment in (False, True):
                first, second = (asyncio.create_task(pool.connect(5)) for _ in range(2))
                await turns()
                if last_moment:
                    # Handed over and cancelled in the same turn.
                    done_with(connection)
                    first.cancel()
                else:
                    first.cancel()
                    await turns()
                    done_with(connection)
                assert await second is connection
                assert first.cancelled() or first.exception() is not None
            alone = asyncio.create_task(pool.connect(5))
            await turns()
            done_with(connection)
            alone.cancel()
            await turns()
            assert pool.take(True) is connection
            connection.close()
            await settled(lambda: pool.open == 0)

    run(scenario)


def test_a_place_that_falls_vacant_is_one_place() -> None:
    async def scenario() -> None:
        async with Server() as url:
            pool = pool_to(url, max_connections=1)
            connection = await opened(pool)
            waiting = [asyncio.create_task(pool.connect(5)) for _ in range(3)]
            await turns()
            connection.close()
            late = None
            for task in waiting:
                late = late or asyncio.create_task(pool.connect(5))
                made = await task
                assert pool.open == 1
                made.close()
            assert late is not None
            (await late).close()
            await settled(lambda: pool.open == 0)

    run(scenario)


def test_a_retired_pool_keeps_nothing() -> None:
    async def scenario() -> None:
        async with Server() as url:
            pool = pool_to(url)
            idle, busy = await opened(pool), await opened(pool)
            done_with(idle)
            pool.retire()
            await settled(lambda: pool.open == 1)
            done_with(busy)
            await settled(lambda: pool.open == 0)
            late = await opened(pool)
            done_with(late)
            await settled(lambda: pool.open == 0)

    run(scenario)
