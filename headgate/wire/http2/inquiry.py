"""One question over HTTP/2 on a connection of its own, for whoever asks now and then: health checks.

Laws: what comes is bounded, and no more is kept than is asked for; whatever the peer sends that is no answer is a
Failure. FrameGuard and h2 hold the rules; nothing is shared with other questions, so nothing here needs to be fast.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from headgate.core.clock import monotonic
from headgate.core.failure import Failure
from headgate.core.message import Fields
from headgate.wire.http2.guard import FrameGuard
from headgate.wire.settings import Http2Limits

_PIECE = 16 * 1024
# Bytes of frames, all kinds together, that an answer may take besides what is asked for of its body.
_MOST_BESIDES = 256 * 1024
_MOST_FIELDS = 32 * 1024
_STREAM = 1


class Answer(NamedTuple):
    """A status, as many bytes of the body as were asked for, and the fields of the head and behind the body."""

    status: int
    body: bytes
    fields: Fields


class _Told:
    """What was told so far."""

    __slots__ = ("_most", "body", "ended", "fields", "status")

    def __init__(self, most: int) -> None:
        self._most = most
        self.status = 0
        self.body = bytearray()
        self.fields: Fields = []
        self.ended = False

    def take(self, event: Event) -> None:
        """Take what happened.

        Raises:
            Failure: the answer will not come.
        """
        match event:
            case ResponseReceived(headers=headers) | TrailersReceived(headers=headers):
                for name, value in headers or ():
                    self._field(bytes(name), bytes(value))
            case DataReceived(data=data) if data:
                self.body += data[: self._most - len(self.body)]
            case StreamEnded():
                self.ended = True
            case StreamReset() if not self.ended:
                raise Failure("upstream_reset", f"the stream was reset with error {event.error_code}", sent=True)
            case ConnectionTerminated() if not self.ended:
                raise Failure("upstream_reset", f"the connection was ended with error {event.error_code}", sent=True)

    def _field(self, name: bytes, value: bytes) -> None:
        if name == b":status":
            self.status = int(value) if value.isdigit() else 0
        else:
            self.fields.append((name, value))


async def inquire(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, fields: Fields, body: bytes, most: int
) -> Answer:
    """Send a request on a fresh connection; return its answer with at most `most` bytes of its body.

    Raises:
        Failure: upstream_reset or upstream_protocol.
    """
    codec = H2Connection(H2Configuration(client_side=True, header_encoding=None))
    wanted = {SettingCodes.ENABLE_PUSH: 0, SettingCodes.MAX_HEADER_LIST_SIZE: _MOST_FIELDS}
    codec.local_settings = Settings(client=True, initial_values=wanted)
    codec.decoder.max_header_list_size = _MOST_FIELDS
    codec.initiate_connection()
    codec.send_headers(_STREAM, fields, end_stream=not body)
    if body:
        codec.send_data(_STREAM, body, end_stream=True)
    guard = FrameGuard(Http2Limits(), _MOST_FIELDS, False)
    told, seen = _Told(most), 0
    while not told.ended:
        writer.write(codec.data_to_send())
        try:
            piece = await reader.read(_PIECE)
        except ConnectionError as error:
            raise Failure("upstream_reset", f"the connection was cut: {error.strerror or error}", sent=True) from None
        if not piece:
            raise Failure("upstream_reset", "the connection was closed before the end of the answer", sent=True)
        seen += len(piece)
        if seen > most + _MOST_BESIDES:
            raise Failure("upstream_protocol", f"more than {_MOST_BESIDES} bytes besides the answer", sent=True)
        violation = guard.look(piece, monotonic())
        if violation is not None:
            raise Failure("upstream_protocol", f"no HTTP/2 answer: {violation.sentence}", sent=True)
        try:
            for event in codec.receive_data(piece):
                told.take(event)
                if isinstance(event, DataReceived) and event.flow_controlled_length and not told.ended:
                    codec.acknowledge_received_data(event.flow_controlled_length, _STREAM)
        except ProtocolError as error:
            raise Failure("upstream_protocol", f"no HTTP/2 answer: {error}", sent=True) from None
    return Answer(told.status, bytes(told.body), told.fields)
