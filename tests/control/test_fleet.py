"""Workers that talk nonsense: strangers talk to workers, and control is nobody's to take along."""

from __future__ import annotations

import asyncio
import json
import struct
from pathlib import Path
from typing import Any

import pytest

from headgate.control.fleet import Fleet
from headgate.control.frames import LONGEST_SAID
from headgate.control.log import Line, Log
from headgate.control.messages import PackedPlan

HELLO = {"type": "hello", "worker": 1, "version": 0}
CEILING = 10.0
NONSENSE = {
    "no JSON": b"{",
    "no text": b"\xff\xfe",
    "no object": b"[]",
    "a number": b"1",
    "no type": b"{}",
    "deep": b"[" * 200_000,
    "no version": b'{"type": "took"}',
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


async def a_plan_is_taken(fleet: Fleet, path: Path) -> None:
    """See that all is well: a worker of another number takes a plan, and nobody else is asked."""
    worker = await Worker.at(path, {**HELLO, "worker": 2})
    published = asyncio.ensure_future(fleet.publish(PackedPlan(7, b"plan")))
    await worker.reader.readexactly(8)
    worker.say({"type": "took", "version": 7})
    outcome = await published
    assert (outcome.ok, outcome.workers) == (True, 1)
    worker.writer.close()
    while fleet._meetings:  # noqa: ASYNC110 (the end of a connection, in its own time)
        await asyncio.sleep(0)


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
    "hello", [[], {}, {"worker": "1", "version": 0}, {"worker": True, "version": 0}, {"worker": 1, "version": []}]
)
def test_whoever_does_not_say_who_he_is_is_no_worker(hello: Any, tmp_path: Path) -> None:
    async def scenario() -> None:
        fleet, path = Fleet(Log("control")), tmp_path / "control.sock"
        async with asyncio.timeout(CEILING), await fleet.listen(path):
            await (await Worker.at(path, hello)).gone()
            await a_plan_is_taken(fleet, path)

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
