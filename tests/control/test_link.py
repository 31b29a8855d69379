"""A link carries whole messages with sockets on them, and notices who is gone or does not read."""

from __future__ import annotations

import os
import socket

import pytest

from headgate.control.link import Link


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
        sockets[0].settimeout(10)
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


def test_a_duplicate_never_makes_the_shared_socket_block_for_others() -> None:
    # A Unix listener is one open socket for all workers. A second worker that took it and duplicated it used to
    # switch it to blocking under the first, whose accept then hung until the next client came.
    master, child = Link.pair()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setblocking(False)
        assert master.send({"type": "listener"}, [listening])
        received = child.receive()
        assert received is not None
        (passed,) = received[1]
        copy = passed.dup()
        assert not os.get_blocking(listening.fileno())
        copy.close()
        passed.close()
    master.close()
    child.close()
