"""HTTP/2 for the clients of the soak, on the h2 library: several requests at once on a connection.

To a crowd a `Lane` is what a connection of HTTP/1.1 is: one request at a time. So many lanes share a `Link`, and when
the last of them has been left, the link is closed. Who is told to go (GOAWAY) asks the rest elsewhere: a request that
the other side says it has not processed (RFC 9113 sections 6.8 and 8.7) ends unanswered.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from bench.answer import Answer, BrokenAnswerError
from bench.client import PATIENCE_SECONDS, Ask, Outcome, check

_LANES = 16


class Codec(h2.connection.H2Connection):
    """h2, but a GOAWAY of the other side ends no stream in progress (RFC 9113 section 6.8)."""

    def _receive_goaway_frame(self, frame: Any) -> Any:
        state, waiting = self.state_machine.state, self._data_to_send
        self._data_to_send = bytearray()
        told = super()._receive_goaway_frame(frame)
        self.state_machine.state, self._data_to_send = state, waiting
        return told


class _Stream:
    __slots__ = ("begun", "body", "head", "left", "number", "waiter", "whole")

    def __init__(self, number: int, body: bytes, whole: bool) -> None:
        self.number = number
        self.left = body
        self.whole = whole
        self.begun = False
        self.head: dict[str, str] = {}
        self.body: list[bytes] = []
        self.waiter: asyncio.Future[Answer | None] = asyncio.get_running_loop().create_future()


class Link(asyncio.Protocol):
    """One connection. `lanes` counts those that are used, `given` all there have been."""

    def __init__(self) -> None:
        config = h2.config.H2Configuration(client_side=True, header_encoding="latin-1")
        self._codec = Codec(config)
        self._streams: dict[int, _Stream] = {}
        self.lanes = self.given = 0
        self.local_port = 0
        self.opened = asyncio.get_running_loop().time()
        self.usable = False
        self._takes: dict[type[Any], Callable[[Any], None]] = {
            h2.events.ResponseReceived: self._take_head,
            h2.events.DataReceived: self._take_data,
            h2.events.StreamEnded: self._take_end,
            h2.events.StreamReset: self._take_reset,
            h2.events.ConnectionTerminated: self._take_goaway,
        }

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast and no check: the transports of uvloop are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self.local_port = transport.get_extra_info("sockname")[1]
        self.usable = True
        self._codec.initiate_connection()
        self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            events = self._codec.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            self._end(BrokenAnswerError(f"a rule of HTTP/2 was broken: {error!r}"))
            self._transport.abort()
            return
        for event in events:
            take = self._takes.get(type(event))
            if take is not None:
                take(event)
        for stream in list(self._streams.values()):
            self._send(stream)
        self._flush()

    def connection_lost(self, _error: Exception | None) -> None:
        self._end(None)

    # -- what came -------------------------------------------------------------------------------------------------

    def _take_head(self, event: Any) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.begun = True
            stream.head = dict(event.headers)

    def _take_data(self, event: Any) -> None:
        stream = self._streams.get(event.stream_id)
        if stream is not None:
            stream.body.append(event.data)
        # What a stream that ended took of the connection's window is given back with it.
        with suppress(h2.exceptions.StreamClosedError):
            self._codec.acknowledge_received_data(event.flow_controlled_length, event.stream_id)

    def _take_end(self, event: Any) -> None:
        stream = self._streams.pop(event.stream_id, None)
        if stream is not None:
            status = int(stream.head[":status"])
            _settle(stream, Answer(status, stream.head, b"".join(stream.body), last=False))

    def _take_reset(self, event: Any) -> None:
        stream = self._streams.pop(event.stream_id, None)
        if stream is not None:
            _settle(stream, None)

    def _take_goaway(self, event: Any) -> None:
        self.usable = False
        for stream in list(self._streams.values()):
            if stream.number > event.last_stream_id:
                del self._streams[stream.number]
                _settle(stream, None)

    def _end(self, result: BrokenAnswerError | None) -> None:
        self.usable = False
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            _settle(stream, result)

    # -- what is sent ----------------------------------------------------------------------------------------------

    def begin(self, ask: Ask) -> _Stream:
        """Send a request; what its body has no room for now goes when there is."""
        fields, body, whole = _translated(ask)
        number = self._codec.get_next_available_stream_id()
        self._streams[number] = stream = _Stream(number, body, whole)
        self._codec.send_headers(number, fields, end_stream=whole and not body)
        self._send(stream)
        self._flush()
        return stream

    def _send(self, stream: _Stream) -> None:
        while stream.left:
            room = min(self._codec.local_flow_control_window(stream.number), self._codec.max_outbound_frame_size)
            if not room:
                return
            piece, stream.left = stream.left[:room], stream.left[room:]
            self._codec.send_data(stream.number, piece, end_stream=stream.whole and not stream.left)

    def give_up(self, stream: _Stream) -> None:
        """Leave in the middle of a request."""
        if self._streams.pop(stream.number, None) is not None:
            self._codec.reset_stream(stream.number, h2.errors.ErrorCodes.CANCEL)
            self._flush()

    def _flush(self) -> None:
        data = self._codec.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def leave(self) -> None:
        """Take note that a lane is not used any more."""
        self.lanes -= 1
        if not self.lanes and (self.given == _LANES or not self.usable):
            self.usable = False
            self._transport.close()


class Lane:
    """One request at a time on a link that is shared."""

    __slots__ = ("_left", "_link")

    def __init__(self, link: Link) -> None:
        self._link = link
        self._left = False
        link.lanes += 1
        link.given += 1

    @property
    def usable(self) -> bool:
        """Tell whether another request may be sent."""
        return self._link.usable and not self._left

    @property
    def opened(self) -> float:
        """Return the loop time at which the link began."""
        return self._link.opened

    @property
    def local_port(self) -> int:
        """Return the port of the link at this end."""
        return self._link.local_port

    def close(self) -> None:
        """Leave."""
        if not self._left:
            self._left = True
            self._link.leave()

    async def ask(self, ask: Ask) -> tuple[Outcome, str, Answer | None]:
        """Send the request and return how it ended, and what was wrong."""
        if not self.usable:
            return Outcome.UNANSWERED, "the connection had ended", None
        if b"\r\n\r\n" not in ask.data:
            # Nobody leaves in the middle of a head here: that would be the end of all the others of the link.
            return Outcome.GOOD, "", None
        stream = self._link.begin(ask)
        try:
            async with asyncio.timeout(random.random() * 0.06 if ask.abort else PATIENCE_SECONDS):
                answer = await stream.waiter
        except BrokenAnswerError as error:
            return Outcome.WRONG, str(error), None
        except TimeoutError:
            self._link.give_up(stream)
            if ask.abort:
                return Outcome.GOOD, "", None
            return Outcome.HUNG, f"no whole answer in {PATIENCE_SECONDS:g} s", None
        if answer is None:
            if stream.begun:
                return Outcome.CUT, "the stream ended in the middle of the answer", None
            return Outcome.UNANSWERED, "the stream ended before an answer", None
        outcome, words = (Outcome.GOOD, "") if ask.abort else check(ask, answer)
        return outcome, words, answer


class Lanes:
    """Who wants a lane gets one, on a link that has room, or on a new one."""

    def __init__(self) -> None:
        self._link: Link | None = None
        self._lock = asyncio.Lock()

    async def connect(self, port: int) -> Lane:
        """Return a lane to 127.0.0.1:`port`; raises OSError."""
        async with self._lock:
            link = self._link
            if link is None or not link.usable or link.given == _LANES:
                _, link = await asyncio.get_running_loop().create_connection(Link, "127.0.0.1", port)
                self._link = link
            return Lane(link)


def _settle(stream: _Stream, result: Answer | BrokenAnswerError | None) -> None:
    if stream.waiter.done():
        return
    if isinstance(result, BrokenAnswerError):
        stream.waiter.set_exception(result)
    else:
        stream.waiter.set_result(result)


def _translated(ask: Ask) -> tuple[list[tuple[str, str]], bytes, bool]:
    """Return fields and body of a request that is written as HTTP/1.1, and whether that is all of it."""
    head, _, body = ask.data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    told = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    pseudo = {":method": method, ":scheme": "http", ":authority": told.pop("host"), ":path": target}
    if told.pop("transfer-encoding", "") != "chunked":
        return [*pseudo.items(), *told.items()], body, True
    pieces, ended = [], False
    while body and not ended:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        pieces.append(body[:length])
        body = body[length + 2 :]
        ended = length == 0
    return [*pseudo.items(), *told.items()], b"".join(pieces), ended and not ask.abort
