"""Links carry whole messages with sockets on them; frames carry bodies of any length over a stream."""

from __future__ import annotations

import asyncio
import socket

import pytest

from headgate.control.channel import Link, read_frame, write_frame


def test_a_message_arrives_whole_with_its_sockets() -> None:
    master, child = Link.pair()
    with socket.create_server(("127.0.0.1", 0)) as one, socket.create_server(("127.0.0.1", 0)) as two:
        assert master.send({"type": "listener", "address": "a"}, [one, two])
        assert master.send({"type": "drain"})
        received = child.receive()
        assert received is not None
        message, sockets = received
        assert message == {"type": "listener", "address": "a"}
        assert [each.getsockname() for each in sockets] == [one.getsockname(), two.getsockname()]
        assert not any(each.get_inheritable() for each in sockets)
    assert child.receive() == ({"type": "drain"}, [])
    with pytest.raises(BlockingIOError):
        child.receive()
    # The passed descriptor is the same listening socket, although the sender closed its own.
    with socket.create_connection(sockets[0].getsockname()):
        accepted, _ = sockets[0].accept()
        accepted.close()
    for each in sockets:
        each.close()
    master.close()
    assert child.receive() is None
    assert not child.send({"type": "too late"})
    child.close()


def test_a_side_that_does_not_read_is_noticed_instead_of_waited_for() -> None:
    master, child = Link.pair()
    sent = 0
    while master.send({"type": "x", "text": "y" * 1000}):
        sent += 1
        assert sent < 100_000
    assert sent > 10
    assert child.receive() is not None
    master.close()
    child.close()


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
