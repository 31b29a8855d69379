"""What a worker has to say to a control that does not listen: it is lost, and never heaped up."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from headgate.control.children import Seat
from headgate.control.frames import read_frame
from headgate.control.link import Link
from headgate.control.worker import _MOST_UNREAD, Gateway, Worker
from headgate.stores.board import Board
from headgate.telemetry.cells import SlotRegion
from tests.proxy.peers import eventually, within
from tests.proxy.stage import on_loop


class Quiet:
    """A data plane that does nothing but talk."""

    tell: Callable[[dict[str, Any]], None]

    def abort(self) -> None:
        """Have nothing to cut."""


@on_loop
async def test_what_control_does_not_read_is_lost_from_a_bound_on(tmp_path: Path) -> None:
    loop, met = asyncio.get_running_loop(), asyncio.Event()
    readers: list[asyncio.StreamReader] = []
    writers: list[asyncio.StreamWriter] = []

    def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        readers.append(reader)
        writers.append(writer)
        # The kernel's buffer and the worker's own are all there is.
        cast(asyncio.Transport, writer.transport).pause_reading()
        met.set()

    server = await asyncio.start_unix_server(meet, str(tmp_path / "control.sock"))
    master, mine = Link.pair()
    seat = Seat(1, mine, tmp_path, [SlotRegion.create(1 << 14, 1 << 10)], -1, 1, Board.private())
    gateway = Quiet()
    worker = Worker(seat, lambda *_: cast(Gateway, gateway), loop)
    running = loop.create_task(worker.run())
    try:
        await within(met.wait())
        await eventually(lambda: worker._control is not None)
        assert worker._control is not None
        transport = worker._control.transport
        size = 2**20
        for number in range(20):
            gateway.tell({"type": "records", "number": number, "records": ["x" * size]})
        assert _MOST_UNREAD <= transport.get_write_buffer_size() < _MOST_UNREAD + 2 * size
        cast(asyncio.Transport, writers[0].transport).resume_reading()
        assert json.loads(await within(read_frame(readers[0])))["type"] == "hello"
        numbers = [json.loads(await within(read_frame(readers[0])))["number"] for _ in range(4)]
        # With room again it talks again.
        gateway.tell({"type": "records", "number": 99, "records": []})
        while numbers[-1] != 99:
            numbers.append(json.loads(await within(read_frame(readers[0])))["number"])
        # The first ones came whole.
        assert numbers[:-1] == list(range(len(numbers) - 1))
        assert _MOST_UNREAD // size <= len(numbers) - 1 < 20
    finally:
        assert master.send({"type": "abort"})
        await within(running)
        master.close()
        mine.close()
        for each in writers:
            each.close()
        server.close()
