"""A body that goes to many while it arrives: each gets all of it at a pace of his own, and nothing is held for ever."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headgate.core.failure import Failure
from headgate.core.message import Field
from headgate.proxy.fanout import PIECE, Gathered, Reader, Room


class Client:
    """A sink that takes only so many pieces at a time."""

    def __init__(self, patience: int) -> None:
        self.got = b""
        self.ends: list[str] = []
        self.reader: Reader | None = None
        self._patience = self._left = patience

    def read(self, body: Gathered, start: int = 0, stop: int = -1) -> None:
        """Begin to read."""
        self.reader = Reader(body, self, start, stop)
        self.reader.pump()

    def write(self, data: bytes) -> None:
        """Take a piece."""
        assert data
        assert len(data) <= PIECE
        self.got += data
        self._left -= 1
        if self._left <= 0 and self.reader is not None:
            self.reader.pause()

    def go_on(self) -> None:
        """Take more."""
        self._left = self._patience
        if self.reader is not None:
            self.reader.resume()

    def finish(self, trailers: Sequence[Field] = ()) -> None:
        """Take the end."""
        self.ends.append("whole")

    def source_failed(self, failure: Failure) -> None:
        """Take the cut."""
        self.ends.append(failure.reason)


class Upstream:
    """A source that counts how often it had to wait."""

    def __init__(self) -> None:
        self.waits = 0
        self.waiting = False

    def pause(self) -> None:
        """Wait."""
        assert not self.waiting
        self.waiting = True
        self.waits += 1

    def resume(self) -> None:
        """Go on."""
        assert self.waiting
        self.waiting = False

    def held(self) -> bool:
        """Tell whether it waits."""
        return self.waiting


STEPS = st.lists(
    st.one_of(
        st.integers(1, 200_000).map(lambda size: ("piece", size)),
        st.integers(1, 3).map(lambda patience: ("joins", patience)),
        st.integers(0, 5).map(lambda which: ("reads", which)),
        st.integers(0, 5).map(lambda which: ("leaves", which)),
        st.tuples(st.integers(0, 300_000), st.integers(0, 300_000)).map(lambda part: ("part", *sorted(part))),
    ),
    max_size=40,
)


@given(steps=STEPS, most=st.sampled_from([0, 1000, 100_000, 10**9]), room=st.sampled_from([0, 50_000, 10**9]))
def test_everybody_gets_what_he_asked_for(steps: list[tuple[Any, ...]], most: int, room: int) -> None:
    kept, upstream = Room(room), Upstream()
    body = Gathered(most, kept)
    body.source = upstream
    sent = b""
    clients: list[tuple[Client, int, int]] = []
    left: set[int] = set()
    for step in steps:
        match step:
            case ("piece", size):
                data = bytes([len(sent) % 251]) * size
                sent += data
                body.write(data)
            case ("joins", patience) if body.keeping and body.from_start:
                clients.append((Client(patience), 0, -1))
                clients[-1][0].read(body)
            case ("part", start, stop) if body.keeping and body.from_start and start < stop:
                clients.append((Client(1), start, stop))
                clients[-1][0].read(body, start, stop)
            case ("reads", which) if which < len(clients):
                clients[which][0].go_on()
            case ("leaves", which) if which < len(clients):
                reader = clients[which][0].reader
                assert reader is not None
                if not clients[which][0].ends:
                    left.add(which)
                reader.leave()
        assert body.keeping == (len(sent) <= most and len(sent) <= room)
    body.finish()
    for _ in range(len(sent) // PIECE + len(steps) + 2):
        for client, *_ in clients:
            client.go_on()
    for number, (client, start, stop) in enumerate(clients):
        wanted = sent[start:] if stop < 0 else sent[start:stop]
        if number in left:
            assert wanted.startswith(client.got)
            assert not client.ends
        else:
            assert client.got == wanted
            assert client.ends == ["whole"]
    if body.keeping:
        assert body.whole() == sent
        body.let_go()
    # Whatever was taken is given back, and nothing is held.
    assert kept.left == room
    assert not body.read


def test_nobody_waits_for_anybody_while_the_whole_may_be_kept() -> None:
    body, upstream = Gathered(10**9, Room(10**9)), Upstream()
    body.source = upstream
    slow, fast = Client(1), Client(10**9)
    slow.read(body)
    fast.read(body)
    for _ in range(100):
        body.write(bytes(PIECE))
    assert len(fast.got) == 100 * PIECE
    assert len(slow.got) == PIECE
    assert not upstream.waits


def test_the_upstream_waits_for_the_slowest_of_those_who_read_what_is_not_kept() -> None:
    body, upstream = Gathered(0, Room(0)), Upstream()
    body.source = upstream
    slow, fast = Client(1), Client(10**9)
    slow.read(body)
    fast.read(body)
    written = 0
    while not upstream.held():
        body.write(bytes(PIECE))
        written += 1
        assert written < 100
    while upstream.held():
        slow.go_on()
    assert len(slow.got) < len(fast.got)
    # Nor does it wait for one who has left.
    while not upstream.held():
        body.write(bytes(PIECE))
    assert slow.reader is not None
    slow.reader.leave()
    assert not upstream.waiting


@pytest.mark.parametrize("most", [0, 10**9])
def test_a_cut_is_told_to_all_even_to_those_who_wait(most: int) -> None:
    room = Room(10**9)
    body = Gathered(most, room)
    clients = [Client(1), Client(10**9)]
    for client in clients:
        client.read(body)
    body.write(bytes(PIECE))
    body.write(bytes(PIECE))
    body.source_failed(Failure("upstream_reset"))
    assert [client.ends for client in clients] == [["upstream_reset"]] * 2
    assert not body.keeping
    assert room.left == 10**9
