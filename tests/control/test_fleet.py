"""Workers that talk nonsense: strangers talk to workers, and control is nobody's to take along. Plans on their way."""

from __future__ import annotations

import asyncio
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from headgate.control import fleet as fleet_module
from headgate.control.fleet import Fleet
from headgate.control.frames import LONGEST_SAID, read_frame
from headgate.control.log import Line, Log
from headgate.control.messages import OwnAnswers, PackedPlan

HELLO = {"type": "hello", "worker": 1, "version": 0}
CEILING = 60.0
NONSENSE = {
    "no JSON": b"{",
    "no text": b"\xff\xfe",
    "no object": b"[]",
    "a number": b"1",
    "no type": b"{}",
    "deep": b"[" * 200_000,
    "no version": b'{"type": "took"}',
    "no reason": b'{"type": "rejected", "version": 1, "error": ["reason"]}',
    "what a listener cannot take": b'{"type": "records", "records": [{}], "dropped": 0}',
}


class Worker:
    """One that says what a test has it say."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    @classmethod
    async def at(cls, path: Path, hello: Any = HELLO) -> Worker:
        worker = cls(*await asyncio.open_unix_connection(str(path)))
        worker.say(hello)
        return worker

    def say(self, message: Any) -> None:
        body = message if isinstance(message, bytes) else json.dumps(message).encode()
        self.writer.write(struct.pack("!I", len(body)) + body)

    async def gone(self) -> None:
        """Wait until control has hung up."""
        try:
            await self.reader.read()
        except ConnectionError:
            pass
        self.writer.close()


def heard(_: int, message: dict[str, Any]) -> None:
    for record in message["records"]:
        assert record["request_id"]


async def leave(fleet: Fleet, *workers: Worker) -> None:
    """Hang up, and wait until control has seen it."""
    for worker in workers:
        worker.writer.close()
        await worker.writer.wait_closed()
    while fleet._meetings:  # noqa: ASYNC110 (the end of a connection, in its own time)
        await asyncio.sleep(0)


async def a_plan_is_taken(fleet: Fleet, path: Path) -> None:
    """See that all is well: a worker of another number takes a plan, and nobody else is asked."""
    worker = await Worker.at(path, {**HELLO, "worker": 2})
    published = asyncio.ensure_future(fleet.publish(PackedPlan(7, b"plan")))
    await worker.reader.readexactly(8)
    worker.say({"type": "took", "version": 7})
    outcome = await published
    assert (outcome.ok, outcome.workers) == (True, 1)
    await leave(fleet, worker)


@pytest.mark.parametrize("what", NONSENSE)
def test_a_worker_that_talks_nonsense_is_hung_up_on(what: str, tmp_path: Path) -> None:
    lines: list[Line] = []

    async def scenario() -> None:
        fleet, path = Fleet(Log("control")), tmp_path / "control.sock"
        fleet.on_said.append(heard)
        async with asyncio.timeout(CEILING), await fleet.listen(path):
            worker = await Worker.at(path)
            worker.say(NONSENSE[what])
            await worker.gone()
            await a_plan_is_taken(fleet, path)

    Log.listeners.append(lines.append)
    try:
        asyncio.run(scenario())
    finally:
        Log.listeners.remove(lines.append)
    assert [line.message for line in lines] == ["what worker-1 says cannot be understood"]


@pytest.mark.parametrize(
    "hello",
    [
        [],
        {},
        {"worker": "1", "version": 0},
        {"worker": True, "version": 0},
        {"worker": 1, "version": []},
        {"worker": 1, "version": -1},
        {"worker": 1, "version": 2**31},
    ],
)
def test_whoever_does_not_say_who_he_is_is_no_worker(hello: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        fleet, path = Fleet(Log("control")), tmp_path / "control.sock"
        async with asyncio.timeout(CEILING), await fleet.listen(path):
            await (await Worker.at(path, hello)).gone()
            await a_plan_is_taken(fleet, path)

    asyncio.run(scenario())


@pytest.mark.parametrize("said", [[41, 7], [7, 41], [0, 41]])
def test_numbers_go_above_those_of_workers_whose_plans_nobody_knows(said: list[int], tmp_path: Path) -> None:
    async def scenario() -> None:
        fleet, path = Fleet(Log("control"), strangers=True), tmp_path / "control.sock"
        async with asyncio.timeout(CEILING), await fleet.listen(path):
            workers = [await Worker.at(path, {**HELLO, "worker": n, "version": v}) for n, v in enumerate(said, 1)]
            await fleet.meet(len(said))
            assert fleet.next_version == 42
            await leave(fleet, *workers)

    asyncio.run(scenario())


def test_a_plan_that_nobody_knows_is_replaced_whatever_its_number_is(tmp_path: Path) -> None:
    """Two plans had the number 1: the worker that came late went on with the one of control's predecessor."""

    async def scenario() -> None:
        fleet, path = Fleet(Log("control"), strangers=True), tmp_path / "control.sock"
        async with asyncio.timeout(CEILING), await fleet.listen(path):
            first = await Worker.at(path, {**HELLO, "version": 1})
            published = asyncio.ensure_future(fleet.publish(PackedPlan(1, b"ours")))
            assert await first.reader.readexactly(8) == b"\0\0\0\x04ours"
            first.say({"type": "took", "version": 1})
            assert (await published).ok
            late = await Worker.at(path, {**HELLO, "worker": 2, "version": 1})
            assert await late.reader.readexactly(8) == b"\0\0\0\x04ours"
            await leave(fleet, first, late)
            # Who has it already does not build it once more because control was away for a moment.
            again = await Worker.at(path, {**HELLO, "version": 1})
            fleet.publish_beside(OwnAnswers({}))
            frame = await read_frame(again.reader)
            assert frame != b"ours"
            await leave(fleet, again)

    asyncio.run(scenario())


def test_a_plan_that_control_died_over_is_replaced_though_the_next_one_has_its_number(tmp_path: Path) -> None:
    async def scenario() -> None:
        fleet, path = Fleet(Log("control"), PackedPlan(3, b"kept")), tmp_path / "control.sock"
        async with asyncio.timeout(CEILING), await fleet.listen(path):
            first = await Worker.at(path, {**HELLO, "version": 3})
            published = asyncio.ensure_future(fleet.publish(PackedPlan(fleet.next_version, b"ours")))
            assert await first.reader.readexactly(8) == b"\0\0\0\x04ours"
            first.say({"type": "took", "version": 4})
            assert (await published).ok
            late = await Worker.at(path, {**HELLO, "worker": 2, "version": 4})
            assert await late.reader.readexactly(8) == b"\0\0\0\x04ours"
            await leave(fleet, first, late)

    asyncio.run(scenario())


def test_who_knows_the_plan_in_force_takes_no_number_from_a_worker(tmp_path: Path) -> None:
    async def scenario() -> None:
        fleet, path = Fleet(Log("control"), PackedPlan(3, b"ours")), tmp_path / "control.sock"
        async with asyncio.timeout(CEILING), await fleet.listen(path):
            worker = await Worker.at(path, {**HELLO, "version": 9})
            assert await worker.reader.readexactly(8) == b"\0\0\0\x04ours"
            assert fleet.next_version == 4
            await leave(fleet, worker)

    asyncio.run(scenario())


def test_a_worker_does_not_make_control_hold_more_than_it_may_say(tmp_path: Path) -> None:
    async def scenario() -> None:
        fleet, path = Fleet(Log("control")), tmp_path / "control.sock"
        async with asyncio.timeout(CEILING), await fleet.listen(path):
            worker = await Worker.at(path)
            worker.writer.write(struct.pack("!I", LONGEST_SAID + 1))
            await worker.gone()
            await a_plan_is_taken(fleet, path)

    asyncio.run(scenario())


@pytest.mark.parametrize("answer", [{"type": "took"}, {"type": "rejected", "error": "no"}])
def test_who_asks_what_is_in_force_waits_for_a_plan_that_is_on_its_way(answer: dict[str, str], tmp_path: Path) -> None:
    async def scenario() -> None:
        fleet, path = Fleet(Log("control")), tmp_path / "control.sock"
        order: list[str] = []

        async def bring() -> None:
            await fleet.publish(PackedPlan(7, b"plan"))
            order.append("followed")

        async def ask() -> None:
            await fleet.settled()
            order.append("told")

        async with asyncio.timeout(CEILING), await fleet.listen(path):
            await ask()
            worker = await Worker.at(path)
            bringing = asyncio.ensure_future(bring())
            await worker.reader.readexactly(8)
            asking = asyncio.ensure_future(ask())
            worker.say({**answer, "version": 7})
            await asyncio.gather(asking, bringing)
            assert order == ["told", "followed", "told"]
            await leave(fleet, worker)

    asyncio.run(scenario())


def test_nobody_waits_for_ever_for_a_plan_that_is_on_its_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fleet_module, "SETTLING_PATIENCE", 0.0)

    async def scenario() -> None:
        fleet = Fleet(Log("control"))
        publishing = asyncio.ensure_future(fleet.publish(PackedPlan(7, b"plan")))
        await asyncio.sleep(0)
        await fleet.settled()
        assert not publishing.done()
        publishing.cancel()
        await asyncio.gather(publishing, return_exceptions=True)

    asyncio.run(scenario())
