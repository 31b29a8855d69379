"""Instances over time: heard of, lapsed, checked, known again after a restart, and shared by gateways.

Time is a number that the tests move on; only the database is real.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from headgate.control.log import Log
from headgate.control.registrations.checks import FAILURES, Checks
from headgate.control.registrations.instance import Instance
from headgate.control.registrations.ledger import Unavailable
from headgate.control.registrations.registrations import TICK, Registrations
from headgate.discovery.registry import RegistrySource
from headgate.discovery.settings import RegistryDiscovery
from headgate.discovery.source import Given, NotFound
from tests.discovery.stand_in import Asked, Heard, Reply, running, serving
from tests.loops import on_plain_loop
from tests.proxy.http2_upstream import Asked as AskedHttp2
from tests.proxy.http2_upstream import Http2Upstream, Link
from tests.proxy.stage import resolved, to


class Told(Log):
    """Keeps what is logged."""

    __slots__ = ("lines",)

    def __init__(self) -> None:
        super().__init__("control")
        self.lines: list[str] = []

    def __call__(self, level: str, message: str, **fields: object) -> None:
        self.lines.append(message)


def chat(port: int = 8001, **more: Any) -> Instance:
    return Instance("", "chat", "10.0.0.1", port, ttl=30.0)._replace(**more)


class Scene:
    """The registrations of one control process."""

    def __init__(self, folder: Path, url: str | None = None, start: float = 1000.0, **settings: Any) -> None:
        self.now = start
        self.log = Told()
        self._tasks: list[asyncio.Task[Any]] = []
        self.config = resolved(
            {
                **to("http://a"),
                "state_dir": str(folder),
                "registrations": settings,
                "database": {"poll": 60, **({"url": url} if url else {})},
            }
        )
        self.registrations = Registrations(
            self.log, self._spawn, environ={}, clock=lambda: self.now, chance=lambda: 0.0
        )
        self.registrations.follow(self.config)

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        self._tasks.append(asyncio.get_running_loop().create_task(work))
        return self._tasks[-1]

    async def register(self, instance: Instance) -> str:
        known, _ = await self.registrations.register(instance)
        return known.instance.id

    def wait(self, seconds: float) -> None:
        """Let time pass as a process that runs sees it."""
        for _ in range(round(seconds / TICK)):
            self.now += TICK
            self.registrations.tick()

    async def settle(self) -> None:
        """Wait until no check is under way."""
        checks = [each for each in self._tasks if "_check" in repr(each.get_coro())]
        await asyncio.gather(*checks)

    async def turn(self) -> None:
        await self.registrations._turn()

    @property
    def ports(self) -> list[int]:
        return sorted(each.port for each in self.registrations.endpoints("chat"))

    async def close(self) -> None:
        self.registrations.close()
        await self.kill()

    async def kill(self) -> None:
        """End without a last word."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


@asynccontextmanager
async def scene(folder: Path, url: str | None = None, **settings: Any) -> AsyncIterator[Scene]:
    made = Scene(folder, url, **settings)
    try:
        yield made
    finally:
        await made.close()


# -- time ----------------------------------------------------------------------------------------------------------


@on_plain_loop
async def test_who_is_not_heard_of_is_dropped_when_its_time_is_over(tmp_path: Path) -> None:
    async with scene(tmp_path) as gateway:
        quiet, loud = await gateway.register(chat(1)), await gateway.register(chat(2, ttl=40))
        gateway.wait(29)
        assert gateway.ports == [1, 2]
        assert await gateway.registrations.renew(loud) is not None
        gateway.wait(2)
        assert gateway.ports == [2]
        assert await gateway.registrations.renew(quiet) is None
        assert [line for line in gateway.log.lines if "dropped" in line] == [
            "nothing was heard of an instance of chat, and it is dropped"
        ]
        gateway.wait(40)
        assert gateway.ports == []


@on_plain_loop
async def test_a_process_that_stood_still_drops_nobody(tmp_path: Path) -> None:
    async with scene(tmp_path) as gateway:
        await gateway.register(chat())
        gateway.wait(20)
        gateway.now += 3600
        gateway.registrations.tick()
        gateway.wait(9)
        assert gateway.ports == [8001]
        gateway.wait(2)
        assert gateway.ports == []


@pytest.mark.parametrize("later", [5.0, -900.0, 1e9], ids=["soon", "its clock began anew", "years later"])
@on_plain_loop
async def test_after_a_restart_each_has_all_its_time_to_be_heard_of(later: float, tmp_path: Path) -> None:
    first = Scene(tmp_path)
    id_ = await first.register(chat())
    first.wait(29)
    await first.close()
    second = Scene(tmp_path, start=1029 + later)
    try:
        with pytest.raises(NotFound):
            second.registrations.endpoints("chat")
        await second.registrations.every()
        second.wait(29)
        assert second.ports == [8001]
        assert await second.registrations.renew(id_) is not None
        second.wait(29)
        assert second.ports == [8001]
    finally:
        await second.close()


@on_plain_loop
async def test_a_process_that_is_killed_has_written_down_who_registered(tmp_path: Path) -> None:
    first = Scene(tmp_path)
    await first.register(chat(metadata={"v": 1}))
    await first.kill()
    async with scene(tmp_path) as second:
        (known,) = await second.registrations.every()
        assert known.instance.metadata == {"v": 1}


@on_plain_loop
async def test_what_was_said_last_is_written_down_at_the_end(tmp_path: Path) -> None:
    first = Scene(tmp_path)
    stays, leaves = await first.register(chat(1)), await first.register(chat(2))
    await first.registrations.renew(stays, "unhealthy")
    await first.registrations.remove(leaves)
    await first.close()
    async with scene(tmp_path) as second:
        (known,) = await second.registrations.every()
        assert (known.instance.id, known.status) == (stays, "unhealthy")


# -- health --------------------------------------------------------------------------------------------------------


@on_plain_loop
async def test_what_an_instance_says_of_itself_counts_at_once(tmp_path: Path) -> None:
    async with scene(tmp_path) as gateway:
        id_ = await gateway.register(chat())
        await gateway.registrations.renew(id_, "unhealthy")
        assert gateway.ports == []
        await gateway.turn()
        await gateway.registrations.renew(id_)
        assert gateway.ports == []
        await gateway.registrations.renew(id_, "healthy")
        assert gateway.ports == [8001]


@on_plain_loop
async def test_checks_say_how_an_instance_is_and_that_it_lives(tmp_path: Path) -> None:
    status = 200

    async def answer(asked: Asked, reply: Reply) -> None:
        assert asked.path == "/up"
        assert asked.fields["connection"] == "close"
        reply.json({}, status)
        await reply.cut()

    async with serving(answer) as server, scene(tmp_path, check_interval=10) as gateway:
        known, _ = await gateway.registrations.register(
            Instance("", "chat", "127.0.0.1", server.port, health_check="/up", ttl=300)
        )
        seen: list[str] = []
        for count, answered in enumerate([200] * 5 + [500] * 4 + [200], 1):
            status = answered
            gateway.wait(10)
            await server.until_asked(count)
            await gateway.settle()
            seen.append(known.status)
        assert seen == ["healthy"] * 5 + ["healthy"] * (FAILURES - 1) + ["unhealthy"] * (5 - FAILURES) + ["healthy"]
        assert known.health.why == ""
        assert [line for line in gateway.log.lines if "healthy" in line][1:] == [
            f"the instance {known.instance.id} of chat is unhealthy: status 500",
            f"the instance {known.instance.id} of chat is healthy",
        ]


@on_plain_loop
async def test_an_instance_of_a_service_of_http2_is_asked_over_http2(tmp_path: Path) -> None:
    statuses = [200]

    def play(link: Link, asked: AskedHttp2) -> None:
        link.answer(asked, b"x", status=statuses[0] if asked.target == "/up" else 404)

    async with Http2Upstream(play) as upstream, scene(tmp_path, check_interval=10) as gateway:
        service = {"name": "chat", "discovery": {"type": "registry"}, "protocol": "http2"}
        gateway.registrations.follow(replace(gateway.config, services=resolved({"services": [service]}).services))
        port = int(upstream.url.rpartition(":")[2])
        known, _ = await gateway.registrations.register(
            Instance("", "chat", "127.0.0.1", port, health_check="/up", ttl=300)
        )
        gateway.wait(10)
        await gateway.settle()
        assert known.health.well
        statuses[0] = 503
        for _ in range(FAILURES):
            gateway.wait(10)
            await gateway.settle()
        assert (known.health.well, known.health.why) == (False, "status 503")


@on_plain_loop
async def test_who_never_was_well_is_out_at_once_and_dropped_in_the_end(tmp_path: Path) -> None:
    async with scene(tmp_path, check_interval=10, check_timeout=1) as gateway:
        known, _ = await gateway.registrations.register(Instance("", "chat", "127.0.0.1", 1, health_check="/", ttl=30))
        gateway.wait(TICK)
        await gateway.settle()
        assert (known.status, gateway.ports) == ("unhealthy", [])
        gateway.wait(31)
        assert await gateway.registrations.every() == []


@on_plain_loop
async def test_one_that_has_moved_is_not_judged_by_where_it_was(tmp_path: Path) -> None:
    async with scene(tmp_path) as gateway:
        known, _ = await gateway.registrations.register(chat(id="a", health_check="/"))
        known.health.note("status 500", gateway.now)
        assert known.status == "unhealthy"
        known, _ = await gateway.registrations.register(chat(id="a", health_check="/", weight=5))
        assert known.status == "unhealthy"
        known, _ = await gateway.registrations.register(chat(2, id="a", health_check="/"))
        assert known.status == "unknown"


def test_first_checks_and_all_others_are_spread() -> None:
    least, most = Checks(lambda: 0.0), Checks(lambda: 1.0)
    assert (least.begin(100, 30).due, most.begin(100, 30).due, most.begin(100, 1).due) == (100, 102, 101)
    assert (least.later(30), most.later(30)) == (30, 27)


# -- several gateways and a database that is away ------------------------------------------------------------------


@asynccontextmanager
async def pair(folder: Path, address: str) -> AsyncIterator[tuple[Scene, Scene]]:
    async with scene(folder / "a", address) as one, scene(folder / "b", address) as other:
        yield one, other


@on_plain_loop
async def test_gateways_of_one_database_know_the_same_instances(tmp_path: Path, address: str) -> None:
    async with pair(tmp_path, address) as (one, other):
        first = await one.register(chat(1))
        assert await other.registrations.renew(first, "healthy") is not None
        assert other.ports == [1]
        await other.register(chat(2))
        await one.turn()
        assert one.ports == [1, 2]
        await one.registrations.remove(first)
        await one.turn()
        await other.turn()
        assert other.ports == [2]


@on_plain_loop
async def test_heard_of_by_one_is_heard_of_by_all(tmp_path: Path, address: str) -> None:
    async with pair(tmp_path, address) as (one, other):
        id_ = await one.register(chat())
        await other.registrations.every()
        for _ in range(5):
            for gateway in (one, other):
                gateway.wait(20)
            await other.registrations.renew(id_)
            await other.turn()
            await one.turn()
            assert (one.ports, other.ports) == ([8001], [8001])
        for gateway in (one, other, one, other):
            gateway.wait(31)
            await gateway.turn()
        assert (one.ports, other.ports) == ([], [])
        async with scene(tmp_path / "c", address) as third:
            assert await third.registrations.every() == []


@on_plain_loop
async def test_with_the_database_away_those_known_live_on_and_what_happened_is_written_later(tmp_path: Path) -> None:
    async with scene(tmp_path) as gateway:
        stays, leaves = await gateway.register(chat(1)), await gateway.register(chat(2))
        await gateway.turn()
        table = gateway.registrations._ledger._table
        assert table is not None
        turn, table.turn = table.turn, broken  # type: ignore[method-assign, assignment]
        for _ in range(3):
            with pytest.raises(Unavailable, match="it is away"):
                await gateway.turn()
        await gateway.registrations.renew(stays, "unhealthy")
        await gateway.registrations.renew(stays)
        await gateway.registrations.remove(leaves)
        assert (gateway.ports, len(await gateway.registrations.every())) == ([], 1)
        table.turn = turn  # type: ignore[method-assign]
        await gateway.turn()
        assert [line for line in gateway.log.lines if "regist" in line] == [
            "registrations cannot be read or written, those known go on: it is away",
            "the database of registrations answers again",
        ]
        async with scene(tmp_path) as second:
            (known,) = await second.registrations.every()
            assert (known.instance.id, known.instance.said) == (stays, "unhealthy")


def broken(*_: Any) -> Any:
    raise ValueError("it is away")


@on_plain_loop
async def test_who_registers_anew_while_its_leaving_is_not_written_down_stays(tmp_path: Path) -> None:
    async with scene(tmp_path) as gateway:
        id_ = await gateway.register(chat(id="a"))
        await gateway.registrations.remove(id_)
        await gateway.register(chat(2, id="a"))
        await gateway.turn()
        assert gateway.ports == [2]
        async with scene(tmp_path) as second:
            assert [each.instance.port for each in await second.registrations.every()] == [2]


@on_plain_loop
async def test_another_database_is_another_list(tmp_path: Path) -> None:
    async with scene(tmp_path / "a") as gateway:
        await gateway.register(chat())
        other = Scene(tmp_path / "b")
        gateway.registrations.follow(other.config)
        with pytest.raises(NotFound):
            gateway.registrations.endpoints("chat")
        assert await gateway.registrations.every() == []
        await other.close()


# -- the source ----------------------------------------------------------------------------------------------------


@on_plain_loop
async def test_a_source_says_each_change_once_and_no_empty_set_before_anything_is_known(tmp_path: Path) -> None:
    async with scene(tmp_path) as gateway:
        registrations = gateway.registrations
        given = Given("chat", {}, registrations.endpoints, registrations.listen, lambda: 0.0)
        async with running(RegistrySource(RegistryDiscovery(), given)) as heard:
            # It begins before anything is known, which is no failure.
            await asyncio.sleep(0)
            assert heard.sets == []
            await registrations.every()
            await heard.until(lambda: heard.names == [])
            id_ = await gateway.register(chat())
            await heard.until_names("10.0.0.1:8001")
            await registrations.renew(id_)
            await gateway.register(Instance("", "other", "10.0.0.9", 1))
            await registrations.renew(id_, "unhealthy")
            await heard.until(lambda: heard.names == [])
            await registrations.renew(id_, "healthy")
            await heard.until_names("10.0.0.1:8001")
            assert _names(heard) == [[], ["10.0.0.1:8001"], [], ["10.0.0.1:8001"]]
            assert heard.failures == []
        assert registrations._listeners == {}


def _names(heard: Heard) -> list[list[str]]:
    return [[each.name for each in found] for found in heard.sets]
