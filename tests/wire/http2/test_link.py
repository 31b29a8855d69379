"""What waits for a peer that asks and does not read: bounded, and nothing is read from it meanwhile."""

from __future__ import annotations

import asyncio
from typing import cast

import h2.config
import h2.connection

from headgate.core.message import ResponseHead
from headgate.wire import http1
from headgate.wire.head import HeadReader
from headgate.wire.http2.connection import Http2Connection
from headgate.wire.outbox import Outbox
from headgate.wire.rules import Rules
from headgate.wire.settings import HttpLimits
from headgate.wire.stream import ClientStream
from headgate.wire.timers import TimerWheel
from tests.wire.fake import AtOnce, FakeTransport


def connected(limits: HttpLimits) -> tuple[Http2Connection, FakeTransport, list[ClientStream]]:
    """Connect without a socket; requests are listed, and answered by whoever likes."""
    asked: list[ClientStream] = []
    kinds = http1.request_kinds(["X-Request-ID"], limits.underscores)
    rules = Rules(
        limits,
        HeadReader(limits, "http", kinds, http1.response_kinds()),
        TimerWheel(),
        Outbox(cast(asyncio.AbstractEventLoop, AtOnce())),
        asked.append,
        on_open=lambda _: True,
        on_close=lambda _: None,
        on_switch=lambda _before, _after: None,
        on_violation=lambda _: None,
        http2=True,
    )
    transport = FakeTransport()
    connection = Http2Connection(rules)
    connection.connection_made(cast(asyncio.Transport, transport))
    return connection, transport, asked


def client() -> h2.connection.H2Connection:
    codec = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True))
    codec.initiate_connection()
    return codec


def ask(codec: h2.connection.H2Connection) -> bytes:
    number = codec.get_next_available_stream_id()
    pseudo = [(":method", "GET"), (":scheme", "http"), (":authority", "a.test"), (":path", "/")]
    codec.send_headers(number, pseudo, end_stream=True)
    codec.streams.pop(number)
    data: bytes = codec.data_to_send()
    return data


def test_a_peer_that_does_not_read_is_not_read() -> None:
    connection, transport, asked = connected(HttpLimits())
    peer = client()
    connection.data_received(peer.data_to_send())
    connection.pause_writing()
    written = len(transport.written)
    served = 0
    while transport.reading:
        connection.data_received(ask(peer))
        for stream in asked:
            stream.respond(ResponseHead(200, [(b"X-Long", b"v" * 4000)], 0), b"", True)
            served += 1
        asked.clear()
        assert served < 100
    assert len(transport.written) == written
    connection.resume_writing()
    assert cast(bool, getattr(transport, "reading"))  # noqa: B009
    # Every answer leaves: nothing was dropped.
    assert len(transport.written) > served * 4000
    connection.connection_lost(None)


def test_answers_with_bodies_wait_in_their_lanes_and_count_as_streams() -> None:
    limits = HttpLimits()
    connection, transport, asked = connected(limits)
    peer = client()
    connection.data_received(peer.data_to_send())
    connection.pause_writing()
    for _ in range(limits.http2.max_streams + 50):
        connection.data_received(ask(peer))
        for stream in asked:
            stream.respond(ResponseHead(200, [], 10), b"0123456789", True)
        asked.clear()
    assert len(connection.lanes) == limits.http2.max_streams
    assert all(lane.queued == 10 for lane in connection.lanes.values())
    connection.resume_writing()
    assert not connection.lanes
    assert transport.written.count(b"0123456789") == limits.http2.max_streams
    connection.connection_lost(None)


def test_what_is_answered_in_one_turn_is_written_once() -> None:
    connection, transport, asked = connected(HttpLimits())
    writes: list[bytes] = []
    peer = client()
    connection.data_received(peer.data_to_send() + b"".join(ask(peer) for _ in range(10)))
    connection.rules.outbox._loop = held = cast(asyncio.AbstractEventLoop, _Held())
    setattr(transport, "write", writes.append)  # noqa: B010
    for stream in asked:
        stream.respond(ResponseHead(200, [], 1), b"x", True)
    assert not writes
    cast(_Held, held).run()
    assert len(writes) == 1
    assert writes[0].count(b"x") == 10
    connection.connection_lost(None)


class _Held:
    """A loop whose turn ends when told."""

    def __init__(self) -> None:
        self._due: list[object] = []

    def call_soon(self, callback: object) -> None:
        self._due.append(callback)

    def run(self) -> None:
        due, self._due = self._due, []
        for each in due:
            each()  # type: ignore[operator]
