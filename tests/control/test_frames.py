"""Frames carry bodies of any length over a stream."""

from __future__ import annotations

import asyncio
import socket

import pytest

from headgate.control.frames import read_frame, write_frame


def test_frames_of_any_length() -> None:
    bodies = [b"", b"x", b"y" * 3_000_000]

    async def scenario() -> list[bytes]:
        left, right = socket.socketpair()
        reader, other = await asyncio.open_connection(sock=left)
        _, writer = await asyncio.open_connection(sock=right)
        for body in bodies:
            write_frame(writer, body)
        received = [await read_frame(reader) for _ in bodies]
        writer.close()
        with pytest.raises(asyncio.IncompleteReadError):
            await read_frame(reader)
        other.close()
        await asyncio.gather(writer.wait_closed(), other.wait_closed())
        return received

    assert asyncio.run(scenario()) == bodies


def test_a_length_out_of_all_reason_is_refused() -> None:
    async def scenario() -> None:
        reader = asyncio.StreamReader()
        reader.feed_data(b"\xff\xff\xff\xff")
        with pytest.raises(ConnectionError):
            await read_frame(reader)

    asyncio.run(scenario())
