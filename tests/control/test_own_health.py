"""The gateway's own health: the machine, what it depends on, and that neither is asked twice or for long."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from headgate.config.admin_settings import Dependency, Threshold
from headgate.config.admin_settings import OwnHealth as Settings
from headgate.config.resolve import resolve
from headgate.config.schema import Config
from headgate.control.log import Log
from headgate.control.machine import Machine
from headgate.control.own_health import SLOW_NETWORK, OwnHealth, judged, round_trip, shortest_trip, worst
from tests.control.test_dependencies import redis, server

# -- what is shown -------------------------------------------------------------------------------------------------


def follow(own: OwnHealth, folder: Path, **settings: Any) -> None:
    own.follow(resolve(Config(health=Settings(**settings), state_dir=str(folder))))


def started() -> tuple[OwnHealth, list[asyncio.Task[None]]]:
    tasks: list[asyncio.Task[None]] = []

    def spawn(work: Any) -> asyncio.Task[None]:
        tasks.append(asyncio.get_running_loop().create_task(work))
        return tasks[-1]

    return OwnHealth(Log("test"), spawn), tasks


async def end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def eventually(happened: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while not happened():  # noqa: ASYNC110 (a server's answer, in its own time)
            await asyncio.sleep(0.01)


def test_a_dependency_comes_and_goes_and_only_its_name_is_shown(tmp_path: Path) -> None:
    async def run() -> None:
        own, tasks = started()
        try:
            async with server(redis()) as port:
                url = f"redis://:hidden@127.0.0.1:{port}"
                good = Dependency(name="cache", url=f"redis://127.0.0.1:{port}", interval=0.1, ready=True)
                bad = Dependency(name="vectors", url=url.replace("redis", "http"), interval=0.1, critical=True)
                follow(own, tmp_path, dependencies=[good, bad])
                # Not known is not ready: a gateway that needs it must not say so before it has looked.
                assert own.not_ready() == "cache"
                assert own.dependencies()["cache"]["ok"] == "unknown"
                assert not own.has_looked
                await eventually(lambda: all(each["ok"] != "unknown" for each in own.dependencies().values()))
                shown = own.dependencies()
                assert (shown["cache"]["status"], shown["cache"]["ok"], shown["cache"]["error"]) == (
                    "healthy",
                    "ok",
                    None,
                )
                assert shown["cache"]["response_time_ms"] >= 0
                assert (shown["vectors"]["status"], shown["vectors"]["ok"]) == ("unhealthy", "error")
                assert own.not_ready() == ""
                assert "hidden" not in str(shown)
                assert "127.0.0.1" not in str(shown)
            await eventually(lambda: own.not_ready() == "cache")
            assert own.dependencies()["cache"]["status"] == "degraded"
            follow(own, tmp_path)
            assert own.dependencies() == {}
            assert own.not_ready() == ""
        finally:
            await end(tasks)

    asyncio.run(run())


def test_the_machine_is_looked_at(tmp_path: Path) -> None:
    async def run() -> None:
        own, tasks = started()
        try:
            follow(own, tmp_path, memory=Threshold(degraded=0, unhealthy=0))
            assert {each["status"] for each in own.checks().values()} == {"unknown"}
            await eventually(lambda: own.checks()["network"]["status"] != "unknown")
            assert own.has_looked
            checks = own.checks()
            assert checks["memory"]["status"] == "unhealthy"
            assert all(0 <= checks[name]["usage_percent"] <= 100 for name in ("memory", "cpu", "disk"))
            assert checks["network"]["status"] == "healthy"
        finally:
            await end(tasks)

    asyncio.run(run())


def test_a_round_trip_stays_on_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    hosts = []
    opening = asyncio.open_connection

    async def noted(host: str, *more: Any, **named: Any) -> Any:
        hosts.append(host)
        return await opening(host, *more, **named)

    monkeypatch.setattr(asyncio, "open_connection", noted)
    assert asyncio.run(round_trip()) >= 0
    assert hosts == ["127.0.0.1"]


@pytest.mark.parametrize(
    ("trips", "shortest"),
    [
        ([0.1], 0.1),
        # One that took long says that this process stood still; three in a row say that the network does.
        ([3.0, 0.1], 0.1),
        ([2.5, 3.0, 2.0], 2.0),
        ([OSError, 0.1], 0.1),
        ([OSError, OSError, OSError], 2 * SLOW_NETWORK),
    ],
)
def test_the_shortest_round_trip_counts(trips: list[float | type[OSError]], shortest: float) -> None:
    coming = iter(trips)

    async def trip() -> float:
        taken = next(coming)
        if isinstance(taken, float):
            return taken
        raise taken

    assert asyncio.run(shortest_trip(trip)) == shortest
    assert not list(coming)


@pytest.mark.parametrize(
    ("use", "said"), [(None, "unknown"), (80.0, "healthy"), (80.1, "degraded"), (90.0, "degraded"), (90.1, "unhealthy")]
)
def test_a_use_is_judged(use: float | None, said: str) -> None:
    assert judged(use, Threshold(degraded=80, unhealthy=90)) == said


def test_the_worst_counts() -> None:
    assert worst() == worst("unknown", "healthy") == "healthy"
    assert worst("healthy", "degraded", "unknown") == "degraded"
    assert worst("degraded", "unhealthy", "healthy") == "unhealthy"


# -- the machine ---------------------------------------------------------------------------------------------------


def group(folder: Path, **files: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("__", ".")).write_text(text)


def machine(tmp_path: Path, line: str = "0::/pod/one\n") -> Machine:
    own = tmp_path / "cgroup"
    own.write_text(line)
    return Machine(tmp_path / "fs", own)


def test_the_limit_of_a_container_is_the_whole(tmp_path: Path) -> None:
    group(
        tmp_path / "fs/pod/one",
        memory__max="1000\n",
        memory__current="700\n",
        memory__stat="anon 1\ninactive_file 200\n",
    )
    assert machine(tmp_path).memory() == 50.0
    # A group without a limit of its own lives in the one above it.
    group(tmp_path / "fs/pod/one", memory__max="max\n")
    group(tmp_path / "fs/pod", memory__max="2000", memory__current="500", memory__stat="")
    assert machine(tmp_path).memory() == 25.0


def test_the_quota_of_a_container_is_the_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("headgate.control.machine.monotonic", lambda: now[0])
    folder = tmp_path / "fs/pod/one"
    group(folder, cpu__max="200000 100000\n", cpu__stat="usage_usec 1000000\n")
    looked = machine(tmp_path)
    assert looked.cpu() == 0.0
    now[0] += 10
    group(folder, cpu__stat="usage_usec 11000000\n")
    # Ten of twenty seconds of two processors.
    assert looked.cpu() == 50.0
    group(folder, cpu__stat="usage_usec 99000000\n")
    now[0] += 10
    assert looked.cpu() == 100.0


@pytest.mark.parametrize("line", ["", "0::/../../etc\n", "1:memory:/x\n", "0::/gone\n"])
def test_without_a_group_the_machine_is_the_whole(tmp_path: Path, line: str) -> None:
    (tmp_path / "fs").mkdir()
    looked = machine(tmp_path, line)
    assert 0 < looked.memory() <= 100
    assert 0 <= looked.cpu() <= 100


def test_the_disk_of_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    assert 0 < Machine.disk(tmp_path / "a" / "b") <= 100
