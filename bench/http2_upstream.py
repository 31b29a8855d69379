"""An upstream of the soak that speaks HTTP/2, on the h2 library: answers with what it got, and misbehaves on request.

The query asks for it as of `bench.upstream`, whose answers these are: `delay`, `size`, `name`, `close=before` and
`close=middle` (RST_STREAM), and further `close=refused` (REFUSED_STREAM once for each request, then it is answered) and
`close=going` (GOAWAY; what is in progress is answered, what comes behind it is not read, and the connection ends).
"""

from __future__ import annotations

import asyncio
import zlib
from collections import Counter
from contextlib import suppress
from typing import Any, cast
from urllib.parse import parse_qsl

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions

from bench.http2 import Codec
from bench.stage import free_port
from bench.upstream import written

_CUT_SECONDS = 0.02


class Http2Upstream:
    """A server in this process; `seen` counts how often the head of each request has come, by its id."""

    def __init__(self, name: str = "one") -> None:
        self.name = name
        self.seen: Counter[str] = Counter()
        self.refused: set[str] = set()
        self.port = 0
        self.open: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen."""
        self.port = self.port or free_port()
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", self.port, backlog=4096)

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        if self._server:
            self._server.close()
        for connection in list(self.open):
            connection.drop()


class _Request:
    def __init__(self, fields: dict[str, str]) -> None:
        self.query = dict(parse_qsl(fields[":path"].partition("?")[2]))
        self.id = fields.get("x-soak-id", "")
        self.caller = fields.get("x-soak-caller", "")
        self.received = self.crc = 0


class _Connection(asyncio.Protocol):
    def __init__(self, server: Http2Upstream) -> None:
        self._server = server
        self._codec = Codec(h2.config.H2Configuration(client_side=False, header_encoding="latin-1"))
        self._requests: dict[int, _Request] = {}
        self._left: dict[int, bytes] = {}
        self._last = 0
        self._ended = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A cast and no check: the transports of uvloop are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._server.open.add(self)
        self._codec.initiate_connection()
        self._flush()

    def connection_lost(self, _error: Exception | None) -> None:
        self._server.open.discard(self)

    def drop(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        try:
            events = self._codec.receive_data(data)
        except h2.exceptions.ProtocolError:
            self._flush()
            self._transport.close()
            return
        for event in events:
            self._take(event)
        self._send()

    def _take(self, event: Any) -> None:
        if isinstance(event, h2.events.RequestReceived):
            if self._last and event.stream_id > self._last:
                return
            request = _Request(dict(cast(Any, event.headers)))
            self._requests[event.stream_id] = request
            self._server.seen[request.id] += 1
        elif isinstance(event, h2.events.DataReceived):
            found = self._requests.get(event.stream_id)
            if found is not None:
                found.received += len(event.data)
                found.crc = zlib.crc32(event.data, found.crc)
            with suppress(h2.exceptions.StreamClosedError):
                self._codec.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
        elif isinstance(event, h2.events.StreamReset):
            self._requests.pop(event.stream_id, None)
            self._left.pop(event.stream_id, None)
        elif isinstance(event, h2.events.StreamEnded) and event.stream_id in self._requests:
            delay = float(self._requests[event.stream_id].query.get("delay", 0))
            asyncio.get_running_loop().call_later(delay, self._answer, event.stream_id)

    def _answer(self, number: int) -> None:
        request = self._requests.pop(number, None)
        if request is None or self._transport.is_closing():
            return
        way = request.query.get("close")
        if way == "before":
            self._codec.reset_stream(number, h2.errors.ErrorCodes.INTERNAL_ERROR)
        elif way == "refused" and request.id not in self._server.refused:
            self._server.refused.add(request.id)
            self._codec.reset_stream(number, h2.errors.ErrorCodes.REFUSED_STREAM)
        else:
            name = request.query.get("name", request.id)
            size = int(request.query.get("size", 50))
            body = written(name, request.received, request.crc, self._server.name, request.caller, size)
            fields = [(":status", "200"), ("content-type", "application/json"), ("x-soak-id", name)]
            self._codec.send_headers(number, [*fields, ("content-length", str(len(body)))])
            if way == "middle":
                self._codec.send_data(number, body[: len(body) // 2])
                # Together with the head it would be no answer at all.
                asyncio.get_running_loop().call_later(_CUT_SECONDS, self._cut, number)
            else:
                self._left[number] = body
        if way == "going" and not self._last:
            self._last = self._codec.highest_inbound_stream_id
            self._transport.write(self._codec.data_to_send() + _goaway(self._last))
        self._send()

    def _cut(self, number: int) -> None:
        with suppress(h2.exceptions.ProtocolError):
            self._codec.reset_stream(number, h2.errors.ErrorCodes.INTERNAL_ERROR)
        self._flush()

    def _send(self) -> None:
        for number in list(self._left):
            while body := self._left.get(number):
                room = min(
                    self._codec.local_flow_control_window(number), self._codec.max_outbound_frame_size, len(body)
                )
                if room <= 0:
                    break
                self._codec.send_data(number, body[:room], end_stream=room == len(body))
                self._left[number] = body[room:]
            if not self._left[number]:
                del self._left[number]
        self._flush()
        if self._last and not self._requests and not self._left and not self._ended:
            # Closed with something unread, it would be reset, and what was just sent lost on its way.
            self._ended = True
            self._transport.write_eof()

    def _flush(self) -> None:
        data = self._codec.data_to_send()
        if data and not self._ended and not self._transport.is_closing():
            self._transport.write(data)


def _goaway(last: int) -> bytes:
    """Return the frame that ends a connection in good order, which h2 would take for the end of all streams."""
    return b"\0\0\x08\7\0\0\0\0\0" + last.to_bytes(4, "big") + bytes(4)
