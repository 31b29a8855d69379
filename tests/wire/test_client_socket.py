"""What still comes behind the last answer is dropped, for a while and so much of it; then the socket is closed.

Law: no test waits; the moment is what `at` says.
"""

from __future__ import annotations

import pytest

from headgate.core.failure import Failure
from headgate.wire import client_socket
from tests.wire.fake import FakeClient, FakeTransport


class Hour:
    """The clock of a connection."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        monkeypatch.setattr(client_socket, "monotonic", lambda: self.now)


@pytest.fixture
def at(monkeypatch: pytest.MonkeyPatch) -> Hour:
    return Hour(monkeypatch)


UPLOAD = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000000\r\n\r\n" + bytes(1000)
PIECE = bytes(1000)


def refused() -> FakeClient:
    """A client whose upload is answered while it sends."""
    client = FakeClient(answers=False).feed(UPLOAD)
    client.asked[0].stream.fail(Failure("payload_too_large"))
    return client


def test_what_comes_behind_an_answer_is_dropped_for_as_long_as_it_comes(at: Hour) -> None:
    client = refused()
    assert client.connection.deadline == at.now + 2
    for at.now in range(1001, 1029):
        client.feed(PIECE)
        assert client.connection.deadline == at.now + 2
    for at.now in (1028.5, 1029.5):
        client.feed(PIECE)
        assert client.connection.deadline == 1030
    assert not client.transport.aborted
    client.connection.on_deadline(1030)
    assert client.transport.aborted


def test_only_so_much_is_dropped(at: Hour, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_socket, "_LINGER_BYTES", 3 * len(PIECE))
    client = refused()
    for aborted in (False, False, False, True):
        client.feed(PIECE)
        assert client.transport.aborted is aborted


def test_nobody_is_waited_for_while_the_gateway_stops(at: Hour) -> None:
    client = refused()
    client.connection.drain()
    at.now += 1
    client.feed(PIECE)
    assert client.connection.deadline == 1002


def test_behind_a_broken_head_there_is_a_moment_only(at: Hour) -> None:
    client = FakeClient().feed(b"no head of any kind\r\n\r\n")
    at.now += 1
    client.feed(PIECE)
    assert (client.connection.deadline, client.transport.closed) == (1002, True)


def test_over_tls_the_socket_is_closed_when_nothing_comes_any_more(at: Hour, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FakeTransport, "can_write_eof", lambda _: False)
    client = refused()
    assert not client.transport.closed
    client.connection.on_deadline(1002)
    assert (client.transport.closed, client.transport.aborted) == (True, False)
    client.connection.on_deadline(1004)
    assert client.transport.aborted
