"""The connection against a server of ours that answers as no Redis does: in pieces, late, too much, or nonsense."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing, suppress
from typing import Any

import pytest
from hiredis import Reader

from headgate.stores.redis import connection
from headgate.stores.redis.script import SCRIPT
from tests.proxy.peers import eventually
from tests.proxy.stage import on_loop
from tests.stores.contract import ask
from tests.stores.redis.gates import NOW, Gate, counted, counts_again, opened, settings_of
from tests.stores.redis.servers import HOST

ADMITTED = b"*4\r\n:1\r\n:5\r\n:0\r\n:1\r\n"
REFUSED = b"*4\r\n:0\r\n:9\r\n:0\r\n:1\r\n"

Answer = Callable[[list[bytes]], bytes]


class FakeServer:
    """It greets every connection as Redis would, and answers calls with what `answer` says."""

    def __init__(self) -> None:
        self.answer: Answer = lambda words: ADMITTED
        self.calls: list[list[bytes]] = []
        self.reads: list[int] = []
        self.pieces = 0
        self.connections = 0
        self.port = 0
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self._writers.append(writer)
        parser = Reader()
        # The gateway cuts connections off.
        with suppress(ConnectionError):
            while data := await reader.read(1 << 20):
                parser.feed(data)
                calls = []
                while words := parser.gets():
                    calls.append(words)
                self.reads.append(len(calls))
                for words in calls:
                    await self._write(writer, self._reply(words))
        writer.close()

    def _reply(self, words: list[bytes]) -> bytes:
        if words[0] == b"EVALSHA" and words[4] != b"trial":
            assert words[1] == SCRIPT.sha.encode()
            self.calls.append(words)
            return self.answer(words)
        return b":1\r\n" if words[0] == b"EVALSHA" else b"+OK\r\n"

    async def _write(self, writer: asyncio.StreamWriter, data: bytes) -> None:
        size = self.pieces or len(data) or 1
        for start in range(0, len(data), size):
            writer.write(data[start : start + size])
            await asyncio.sleep(0)

    def say(self, data: bytes) -> None:
        """Say something on the newest connection."""
        self._writers[-1].write(data)


@asynccontextmanager
async def fake(**values: Any) -> AsyncIterator[tuple[FakeServer, Gate]]:
    server = FakeServer()
    listener = await asyncio.start_server(server.serve, HOST, 0)
    server.port = listener.sockets[0].getsockname()[1]
    async with opened(f"redis://{HOST}:{server.port}", **{"timeout": 0.05} | values) as gate:
        assert gate.changes == []
        yield server, gate
    listener.close()


@on_loop
async def test_replies_cut_at_every_byte_are_the_same_replies() -> None:
    async with fake(timeout=10.0) as (server, gate):
        server.answer = lambda words: REFUSED if words[3].startswith(b"headgate:{0") else ADMITTED
        for pieces in range(1, 2 * len(ADMITTED)):
            server.pieces = pieces
            names = [f"{number}" for number in range(8)]
            told = await asyncio.gather(*(gate.one(counted(), name) for name in names))
            expected = [not ask(counted(), name).key.hex().startswith("0") for name in names]
            assert [each.allowed for each in told] == expected
        assert gate.changes == []


@on_loop
async def test_all_calls_of_one_turn_leave_in_one_write_and_are_answered_in_order() -> None:
    async with fake() as (server, gate):
        server.reads.clear()
        server.answer = lambda words: b"*4\r\n:1\r\n:%d\r\n:0\r\n:1\r\n" % len(server.calls)
        told = await asyncio.gather(*(gate.one(counted(), f"{number}") for number in range(100)))
        assert [each.raws[0][0] for each in told] == list(range(1, 101))
        assert server.reads == [100]


HOSTILE = {
    "no protocol": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "a number": b":1\r\n",
    "nothing": b"$-1\r\n",
    "a text": b"$2\r\nOK\r\n",
    "an empty list": b"*0\r\n",
    "too few numbers": b"*3\r\n:1\r\n:0\r\n:0\r\n",
    "too many numbers": b"*5\r\n:1\r\n:0\r\n:0\r\n:0\r\n:0\r\n",
    "texts for numbers": b"*4\r\n$1\r\n1\r\n:1\r\n:1\r\n:1\r\n",
    "a list in the list": b"*4\r\n:1\r\n*1\r\n:1\r\n:1\r\n:1\r\n",
    "an error in the list": b"*4\r\n:1\r\n-ERR x\r\n:1\r\n:1\r\n",
    "an error": b"-ERR something\r\n",
    "an error of nothing": b"-\r\n",
    "an error that is no text": b"-\xff\xfe\r\n",
    "MOVED where there is no cluster": b"-MOVED 1 127.0.0.1:1\r\n",
    "ASK of nothing": b"-ASK\r\n",
    "the script is never there": b"-NOSCRIPT No matching script\r\n",
    "a length below zero": b"$-5\r\n",
    "lists without end": b"*1\r\n" * 50,
    "numbers that are none": b":99999999999999999999999999\r\n",
    "not enough": b"*4\r\n:1\r\n",
}


@pytest.mark.parametrize("reply", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_reply_that_is_none_ends_the_connection_and_is_decided_without_it(reply: bytes) -> None:
    @on_loop
    async def test() -> None:
        async with fake() as (server, gate):
            server.answer = lambda words: reply
            told = await asyncio.gather(*(gate.one(counted(), f"{number}") for number in range(3)))
            assert {each.source for each in told} == {"open"}
            assert gate.states == ["failing"]
            server.answer = lambda words: ADMITTED
            await gate.works_again()
            assert (await gate.one(counted())).source == "store"
            assert gate.states == ["failing", "working"]

    test()


@on_loop
async def test_a_reply_nobody_asked_for_is_never_taken_for_anothers() -> None:
    async with fake() as (server, gate):
        server.say(REFUSED)
        await eventually(lambda: server.connections > 1)
        await counts_again(gate, counted())
        before = server.connections
        # Behind an answer, in the same piece.
        server.answer = lambda words: ADMITTED + REFUSED
        assert (await gate.one(counted())).source == "store"
        server.answer = lambda words: ADMITTED
        await eventually(lambda: server.connections > before)
        await counts_again(gate, counted())


@on_loop
async def test_what_speaks_another_protocol_is_said_to() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        with suppress(ConnectionError):
            await reader.read()
        writer.close()

    listener = await asyncio.start_server(serve, HOST, 0)
    async with opened(f"redis://{HOST}:{listener.sockets[0].getsockname()[1]}") as gate:
        assert gate.states == ["failing"]
        assert "does not speak Redis's protocol" in gate.changes[0][1]
    listener.close()


@on_loop
async def test_a_late_reply_reaches_nobody() -> None:
    async with fake() as (server, gate):
        server.answer = lambda words: b""
        assert (await gate.one(counted())).source == "open"
        assert gate.changes[0][1].endswith("no reply within 50 ms")
        # The connection it would have come over is gone, and the next answers belong to the next questions.
        server.say(REFUSED)
        server.answer = lambda words: ADMITTED
        await gate.works_again()
        assert (await gate.one(counted())).allowed


@on_loop
async def test_when_the_oldest_is_late_all_are_decided_at_once() -> None:
    async with fake() as (server, gate):
        server.answer = lambda words: ADMITTED if len(server.calls) <= 3 else b""
        told = await asyncio.gather(*(gate.one(counted(), f"{number}") for number in range(50)))
        assert [each.source for each in told] == ["store"] * 3 + ["open"] * 47
        assert gate.states == ["failing"]


@on_loop
async def test_a_loop_that_was_held_up_is_no_fault_of_the_server() -> None:
    async with fake() as (_, gate):
        for _ in range(3):
            waiting = asyncio.create_task(gate.one(counted()))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            hold_up(0.12)
            assert (await waiting).source == "store"
        assert gate.changes == []


@on_loop
async def test_nor_is_one_that_was_held_up_before_the_first_connection() -> None:
    server = FakeServer()
    listener = await asyncio.start_server(server.serve, HOST, 0)
    gate = Gate(settings_of(f"redis://{HOST}:{listener.sockets[0].getsockname()[1]}", timeout=0.5))
    with closing(listener), closing(gate.store):
        waiting = asyncio.create_task(gate.one(counted()))
        await asyncio.sleep(0)
        hold_up(0.6)
        assert (await waiting).source == "store"
        assert gate.changes == []


def hold_up(seconds: float) -> None:
    """Keep the loop busy, as a long step of anybody's would."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        pass


def test_what_is_outstanding_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "MOST_OUTSTANDING", 10)

    @on_loop
    async def test() -> None:
        async with fake() as (server, gate):
            answers = [gate.store.admit([ask(counted(), f"{number}")], NOW) for number in range(15)]
            assert sum(isinstance(answer, list) for answer in answers) == 5
            await eventually(lambda: all(isinstance(answer, list) or answer.done for answer in answers))
            assert len(server.calls) == 10
            # The server is none the worse for it.
            assert (await gate.one(counted())).source == "store"
            assert gate.changes == []

    test()


@on_loop
async def test_a_receiver_that_fails_harms_no_other() -> None:
    class Failing:
        def on_reply(self, reply: Any, link: connection.Link) -> None:
            raise RuntimeError("on purpose")

        def on_lost(self) -> None:
            raise RuntimeError("on purpose")

    loop = asyncio.get_running_loop()
    faults: list[Any] = []
    loop.set_exception_handler(lambda _, context: faults.append(context["exception"]))
    async with fake() as (_, gate):
        link = gate.store._topology.link(b"")
        assert link is not None
        link.send(connection.packed("PING"), Failing())
        assert (await gate.one(counted())).source == "store"
        link.send(connection.packed("PING"), Failing())
        waiting = asyncio.create_task(gate.one(counted()))
        await asyncio.sleep(0)
        link.end("on purpose")
        assert (await waiting).source == "open"
    assert [str(fault) for fault in faults] == ["on purpose"] * 2
