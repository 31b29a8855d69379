"""h2's connection, with what a gateway needs otherwise.

Laws:
- h2 decides what a peer may send and when; what we send is written by the link, and h2's state is told.
- GOAWAY ends no stream that is in progress (RFC 9113 section 6.8): h2 would neither read nor send after one.
- How many streams a peer may open is judged by the subclass of the link: one too many is refused alone (section
  5.1.2), where h2 would end the connection.
- What is wrong with one message is judged by wire.http2.head, and ends its stream alone (section 8.1.1).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from h2.config import H2Configuration
from h2.connection import AllowedStreamIDs, ConnectionState, H2Connection
from h2.errors import ErrorCodes
from h2.events import ConnectionTerminated, Event
from h2.settings import SettingCodes, Settings
from h2.stream import H2Stream, H2StreamStateMachine, StreamClosedBy, StreamInputs, StreamState
from hpack.struct import Header
from hyperframe.frame import Frame, GoAwayFrame, RstStreamFrame, SettingsFrame

from headgate.wire.http2.fields import FieldDecoder


class _Stream(H2Stream):
    """A stream whose fields are judged by others."""

    def _initialize_content_length(self, headers: Iterable[Header]) -> None:
        """Leave Content-Length to whoever has the body."""

    def _process_received_headers(self, headers: Iterable[Header], *_: Any) -> list[Header]:
        return headers if type(headers) is list else list(headers)


def _end_sent(machine: H2StreamStateMachine) -> None:
    """Take the step of SEND_END_STREAM, which is in order: the link sends nothing on a lane that is closed."""
    if machine.state is StreamState.HALF_CLOSED_REMOTE:
        machine.state = StreamState.CLOSED
        machine.stream_closed_by = StreamClosedBy.SEND_END_STREAM
    else:
        machine.state = StreamState.HALF_CLOSED_LOCAL


class Codec(H2Connection):
    """The state of one connection. `unread_table`: the peer has changed its table's size, and was not answered yet."""

    # How a stream ended matters for as long as frames of it may be on their way.
    MAX_CLOSED_STREAMS = 1000

    def __init__(self, client: bool, settings: dict[SettingCodes, int], decoder: FieldDecoder) -> None:
        """Begin; `client`: we are the one that asks. `settings` are announced, and count at once."""
        super().__init__(
            H2Configuration(
                client_side=client,
                header_encoding=None,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
                validate_inbound_headers=False,
                normalize_inbound_headers=False,
            )
        )
        self.local_settings = Settings(client=client, initial_values=settings)
        self.max_inbound_frame_size = self.local_settings.max_frame_size
        self.decoder = decoder
        self.unread_table = False
        # Resets that were sent, by us or by h2 for a frame out of place.
        self.resets = 0

    def _prepare_for_sending(self, frames: list[Frame]) -> None:
        if frames:
            last = frames[-1]
            if type(last) is RstStreamFrame:
                self.resets += 1
                if self._closed_streams.get(last.stream_id) is StreamClosedBy.SEND_RST_STREAM:
                    # RFC 9113 section 5.4.2: one for a stream is enough; peers count them, as we do.
                    frames.pop()
            super()._prepare_for_sending(frames)

    @property
    def open_inbound_streams(self) -> int:
        """Leave counting to the link, which knows also what is reset but still at work."""
        return 0

    def _begin_new_stream(self, stream_id: int, allowed_ids: AllowedStreamIDs) -> H2Stream:
        # h2's own, but for the class of the stream.
        stream = super()._begin_new_stream(stream_id, allowed_ids)
        stream.__class__ = _Stream
        return stream

    def forget(self, number: int) -> None:
        """Let a stream go that is over."""
        stream = self.streams.pop(number, None)
        if stream is not None:
            self._closed_streams[number] = stream.closed_by

    # -- what we send ----------------------------------------------------------------------------------------------

    def open_stream(self) -> H2Stream:
        """Begin a stream of ours."""
        number = self.get_next_available_stream_id()
        if self.state_machine.state is ConnectionState.IDLE:
            self.state_machine.state = ConnectionState.CLIENT_OPEN
        return self._begin_new_stream(number, AllowedStreamIDs.ODD)

    def head_sent(self, stream: H2Stream, interim: bool, ended: bool) -> None:
        """Note a head, or trailers, that the link writes."""
        machine = stream.state_machine
        if machine.state is StreamState.IDLE:
            machine.process_input(StreamInputs.SEND_HEADERS)
        elif not interim:
            machine.headers_sent = True
        if ended:
            _end_sent(machine)

    def data_sent(self, stream: H2Stream, size: int, ended: bool) -> None:
        """Note a DATA frame that the link writes; it is within the windows."""
        stream.outbound_flow_control_window -= size
        self.outbound_flow_control_window -= size
        if ended:
            _end_sent(stream.state_machine)

    def go_away(self, code: int, last: int, debug: bytes) -> bytes:
        """Return a GOAWAY; streams go on."""
        return GoAwayFrame(stream_id=0, last_stream_id=last, error_code=code, additional_data=debug).serialize()

    # -- what comes: wire.http2.frames -----------------------------------------------------------------------------

    def begin_request(self, number: int, ended: bool) -> None:
        """Open the stream of a request whose head came; its number is above all others."""
        stream = _Stream(
            number,
            config=self.config,
            inbound_window_size=self.local_settings.initial_window_size,
            outbound_window_size=self.remote_settings.initial_window_size,
        )
        stream.max_outbound_frame_size = self.max_outbound_frame_size
        machine = stream.state_machine
        machine.state = StreamState.HALF_CLOSED_REMOTE if ended else StreamState.OPEN
        machine.client = False
        machine.headers_received = True
        self.streams[number] = stream
        self.highest_inbound_stream_id = number

    # -- what comes, and is left to h2 -----------------------------------------------------------------------------

    def _terminate_connection(self, error_code: ErrorCodes) -> None:
        """Leave GOAWAY to the link, which tells it with the sentence."""

    def _receive_goaway_frame(self, frame: GoAwayFrame) -> tuple[list[Frame], list[Event]]:
        event = ConnectionTerminated()
        event.error_code = frame.error_code
        event.last_stream_id = frame.last_stream_id
        return [], [event]

    def _receive_settings_frame(self, frame: SettingsFrame) -> tuple[list[Frame], list[Event]]:
        if SettingCodes.HEADER_TABLE_SIZE in frame.settings:
            self.unread_table = True
        return super()._receive_settings_frame(frame)
