"""Who left is told so, who is there is not, and nobody is looked at for nothing. No loop: the test turns the wheel."""

from __future__ import annotations

import socket
import struct
from asyncio import Transport
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, cast

import pytest

from headgate.wire.paused import PausedClients
from headgate.wire.timers import TimerWheel


class Client:
    """A connection of a client that the gateway does not read."""

    def __init__(self, clients: PausedClients, stack: ExitStack) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.far = stack.enter_context(socket.create_connection(server.getsockname()))
            self.near = stack.enter_context(server.accept()[0])
        self.transport: Transport | None = cast(Transport, self)
        self.clients = clients
        self.closing = False
        self.told = 0

    def get_extra_info(self, name: str) -> Any:
        assert name == "socket"
        return self.near

    def is_closing(self) -> bool:
        return self.closing

    def left(self) -> None:
        self.told += 1
        self.clients.discard(self)

    def reset(self) -> None:
        self.far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.far.close()


class Stage:
    """Paused clients, and the wheel that has them looked at."""

    def __init__(self, stack: ExitStack) -> None:
        self.wheel = TimerWheel()
        self.clients = PausedClients(self.wheel)
        self.stack = stack
        self.now = 1.0

    def client(self) -> Client:
        client = Client(self.clients, self.stack)
        self.clients.add(client)
        return client

    def turn(self) -> None:
        self.now += self.wheel.tick
        self.wheel.advance(self.now)


@pytest.fixture
def stage() -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(stack)


def test_the_end_of_sending_is_seen_behind_bytes_that_nobody_read(stage: Stage) -> None:
    client = stage.client()
    client.far.sendall(b"x" * 1000)
    stage.turn()
    assert client.told == 0
    client.far.shutdown(socket.SHUT_WR)
    stage.turn()
    assert client.told == 1
    assert client.near.recv(2000) == b"x" * 1000


def test_a_reset_is_seen(stage: Stage) -> None:
    client = stage.client()
    client.reset()
    stage.turn()
    assert client.told == 1


def test_only_who_left_is_told(stage: Stage) -> None:
    clients = [stage.client() for _ in range(5)]
    for number in (1, 3):
        clients[number].far.close()
    for _ in range(3):
        stage.turn()
    assert [client.told for client in clients] == [0, 1, 0, 1, 0]
    assert repr(stage.clients) == "<PausedClients 3>"


def test_who_is_read_again_or_closing_is_not_looked_at(stage: Stage) -> None:
    again, closing, closed = (stage.client() for _ in range(3))
    stage.clients.discard(again)
    closing.closing = True
    closed.transport = None
    for client in (again, closing, closed):
        client.reset()
    stage.turn()
    assert (again.told, closing.told, closed.told) == (0, 0, 0)


def test_nothing_is_filed_while_nobody_is_paused(stage: Stage) -> None:
    assert len(stage.wheel) == 0
    client = stage.client()
    for _ in range(10):
        stage.clients.discard(client)
        stage.clients.add(client)
    assert len(stage.wheel) == 1
    for _ in range(5):
        stage.turn()
        assert len(stage.wheel) == 1
    stage.clients.discard(client)
    stage.turn()
    assert len(stage.wheel) == 0
    # The next one is looked at again.
    stage.clients.add(client)
    client.far.close()
    stage.turn()
    assert client.told == 1
