"""A client that speaks HTTP/2, on the h2 library: several streams at once, every event to be seen.

    async with gateway(to(upstream)) as rig:
        client = await http2(rig)
        stream = client.request("/x", ("x-name", "value"))
        assert (await stream.answer()).body == b"hello"

`answer` is the Message of tests.proxy.peers, so that one test can hold both versions to the same. By default all that
comes is acknowledged at once; a stream that is to be read slowly has `hold = True`, and `acknowledge` gives room.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Any, Self, cast

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
from h2.settings import SettingCodes, Settings

from tests.proxy.peers import CEILING, Cut, Message, eventually
from tests.proxy.stage import ADDRESS, Rig

AUTHORITY = "example.test"
Pairs = tuple[tuple[str, str], ...]


class ClientStream:
    """One request of ours, and what came as its answer so far."""

    def __init__(self, client: Http2Client, number: int, method: str) -> None:
        self.client = client
        self.number = number
        self.method = method
        self.events: list[Any] = []
        self.head: Message | None = None
        self.interim: list[Message] = []
        self.body = b""
        self.trailers: list[tuple[str, str]] = []
        self.complete = False
        self.reset_by_peer: int | None = None
        self.hold = client.hold
        self.unacknowledged = 0

    # -- what we send ----------------------------------------------------------------------------------------------

    async def send(self, data: bytes = b"", *, end: bool = False, trailers: Pairs = ()) -> None:
        """Send a piece of the body as the windows allow; `trailers` end it."""
        codec = self.client.codec
        while data:
            await self.client.until(lambda: self.over or codec.local_flow_control_window(self.number) > 0)
            if self.over:
                raise Cut(f"stream {self.number} is over")
            room = min(codec.local_flow_control_window(self.number), codec.max_outbound_frame_size)
            piece, data = data[:room], data[room:]
            codec.send_data(self.number, piece, end_stream=end and not data and not trailers)
            self.client.flush()
            if end and not data and not trailers:
                return
        if trailers:
            codec.send_headers(self.number, list(trailers), end_stream=True)
        elif end:
            codec.end_stream(self.number)
        self.client.flush()

    def reset(self, code: int = h2.errors.ErrorCodes.CANCEL) -> None:
        """Give the request up."""
        self.client.codec.reset_stream(self.number, code)
        self.client.flush()

    def acknowledge(self, size: int | None = None) -> None:
        """Give room for so many more bytes; by default for all that was held back."""
        size = self.unacknowledged if size is None else size
        self.unacknowledged -= size
        if size:
            self.client.codec.acknowledge_received_data(size, self.number)
            self.client.flush()

    # -- what came -------------------------------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Tell whether nothing more can come."""
        return self.complete or self.reset_by_peer is not None or self.client.lost

    async def started(self) -> Message:
        """Wait for the answer's head."""
        await self.client.until(lambda: self.head is not None or self.over)
        if self.head is None:
            raise Cut(f"no head on stream {self.number}: {self._why()}")
        return self.head

    async def answer(self) -> Message:
        """Wait for the whole answer.

        Raises:
            Cut: when the stream or the connection ends before it.
        """
        message = await self.started()
        await self.client.until(lambda: self.over)
        if not self.complete:
            raise Cut(f"in a body, {len(self.body)} bytes: {self._why()}")
        message.body, message.trailers, message.interim = self.body, self.trailers, self.interim
        return message

    async def received(self, size: int) -> bytes:
        """Wait for so many bytes of the body, and return all that came."""
        await self.client.until(lambda: len(self.body) >= size or self.over)
        if len(self.body) < size:
            raise Cut(f"in a body, {len(self.body)} of {size} bytes: {self._why()}")
        return self.body

    async def reset_code(self) -> int:
        """Wait until the peer resets the stream, be it behind a whole answer; return with which code."""
        await self.client.until(lambda: self.reset_by_peer is not None or self.client.lost)
        assert self.reset_by_peer is not None, f"not reset: {self._why()}"
        return self.reset_by_peer

    def _why(self) -> str:
        if self.reset_by_peer is not None:
            return f"RST_STREAM {self.reset_by_peer}"
        return f"connection lost, GOAWAY {self.client.goaways}" if self.client.lost else "complete"

    def take(self, event: Any) -> None:
        """Take an event of h2."""
        self.events.append(event)
        if isinstance(event, h2.events.InformationalResponseReceived):
            self.interim.append(_message(event.headers))
        elif isinstance(event, h2.events.ResponseReceived):
            self.head = _message(event.headers)
        elif isinstance(event, h2.events.DataReceived):
            self.body += event.data or b""
            self.unacknowledged += event.flow_controlled_length or 0
            if not self.hold:
                self.acknowledge()
        elif isinstance(event, h2.events.TrailersReceived):
            self.trailers = [(name.decode(), value.decode("latin-1")) for name, value in event.headers or ()]
        elif isinstance(event, h2.events.StreamEnded):
            self.complete = True
        elif isinstance(event, h2.events.StreamReset):
            self.reset_by_peer = int(event.error_code or 0)


class _Codec(h2.connection.H2Connection):
    """h2, but a GOAWAY of the other side ends no stream in progress (RFC 9113 section 6.8)."""

    def _receive_goaway_frame(self, frame: Any) -> Any:
        state, waiting = self.state_machine.state, self._data_to_send
        self._data_to_send = bytearray()
        told = super()._receive_goaway_frame(frame)
        self.state_machine.state, self._data_to_send = state, waiting
        return told


class Http2Client(asyncio.Protocol):
    """One connection. `events`: all that h2 told, in order; `goaways`: (code, last stream, debug data) of each."""

    def __init__(self, settings: dict[SettingCodes, int] | None = None, hold: bool = False) -> None:
        # Nothing that we send is put right: a test may break rules.
        self.codec = _Codec(
            h2.config.H2Configuration(
                client_side=True, validate_outbound_headers=False, normalize_outbound_headers=False
            )
        )
        self.hold = hold
        self.events: list[Any] = []
        self.streams: dict[int, ClientStream] = {}
        self.goaways: list[tuple[int, int, bytes]] = []
        self.lost = False
        self.error: Exception | None = None
        self.transport: asyncio.Transport | None = None
        self._changed = asyncio.Event()
        ours = {SettingCodes(code): value for code, value in self.codec.local_settings.items()}
        ours |= {SettingCodes.ENABLE_PUSH: 0, **(settings or {})}
        self.codec.local_settings = Settings(client=True, initial_values=ours)

    # -- asyncio's side --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send the preface."""
        # uvloop's own over TLS is of no class that asyncio knows.
        self.transport = cast(asyncio.Transport, transport)
        self.codec.initiate_connection()
        self.flush()

    def data_received(self, data: bytes) -> None:
        """Take what came."""
        try:
            events = self.codec.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            # The gateway broke a rule: whoever waits learns of it.
            self.error = error
            self.abort()
            return
        for event in events:
            self.events.append(event)
            if isinstance(event, h2.events.ConnectionTerminated):
                said = (int(event.error_code or 0), int(event.last_stream_id or 0), event.additional_data or b"")
                self.goaways.append(said)
            stream = self.streams.get(getattr(event, "stream_id", None) or 0)
            if stream is not None:
                stream.take(event)
        self.flush()
        self._changed.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """End."""
        self.lost = True
        self._changed.set()

    @property
    def writer(self) -> Self:
        """Ourselves: the rig ends its clients by the transport of their writers."""
        return self

    # -- the test's side -------------------------------------------------------------------------------------------

    def request(
        self,
        target: str = "/",
        *fields: tuple[str, str],
        method: str = "GET",
        body: bytes | None = None,
        end: bool = True,
        authority: str = AUTHORITY,
        scheme: str = "http",
        more: Pairs = (),
    ) -> ClientStream:
        """Send a request's head; a `body` that fits the window goes with it. `more`: further pseudo-fields."""
        pseudo = [(":method", method), (":scheme", scheme), (":authority", authority), (":path", target), *more]
        ended = end and not body
        stream = self.fields([*pseudo, *fields], end=ended)
        stream.method = method
        if body:
            self.codec.send_data(stream.number, body, end_stream=end)
            self.flush()
        return stream

    def fields(self, fields: list[tuple[str, str]], end: bool = True) -> ClientStream:
        """Send a block of fields on a new stream, just as it is."""
        number = self.codec.get_next_available_stream_id()
        self.streams[number] = stream = ClientStream(self, number, "GET")
        encoded = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields]
        self.codec.send_headers(number, encoded, end_stream=end)
        self.flush()
        return stream

    async def ask(self, target: str = "/", *fields: tuple[str, str], **more: Any) -> Message:
        """Send a request and return its answer."""
        return await self.request(target, *fields, **more).answer()

    async def ping(self, data: bytes = b"12345678") -> None:
        """Ask for an answer, and wait for it: all that was sent before was taken."""
        self.codec.ping(data)
        self.flush()
        await self.until(lambda: self.lost or self.saw(h2.events.PingAckReceived) > 0)
        if self.lost:
            raise Cut(f"before the answer to a PING, GOAWAY {self.goaways}")

    def saw(self, kind: type[Any]) -> int:
        """Count the events of a kind that came."""
        return sum(isinstance(event, kind) for event in self.events)

    async def goaway(self) -> tuple[int, int, bytes]:
        """Wait for a GOAWAY, and return the last one."""
        await self.until(lambda: bool(self.goaways) or self.lost)
        if not self.goaways:
            raise Cut("no GOAWAY")
        return self.goaways[-1]

    async def closed(self) -> None:
        """Wait until the other side closes the connection."""
        await self.until(lambda: self.lost)

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait until something is so of what came."""
        async with asyncio.timeout(CEILING):
            while not is_so():
                assert self.error is None, f"the other side broke a rule: {self.error!r}"
                self._changed.clear()
                await self._changed.wait()
        assert self.error is None, f"the other side broke a rule: {self.error!r}"

    def flush(self) -> None:
        """Write what h2 has for the socket."""
        data = self.codec.data_to_send()
        if data:
            self.raw(data)

    def raw(self, data: bytes) -> None:
        """Write bytes, whatever they are."""
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)

    def pause(self) -> None:
        """Read nothing from the socket any more."""
        assert self.transport is not None
        self.transport.pause_reading()

    def resume(self) -> None:
        """Read the socket again."""
        assert self.transport is not None
        self.transport.resume_reading()

    def close(self) -> None:
        """Close in good order."""
        if not self.lost and self.transport is not None and not self.transport.is_closing():
            self.codec.close_connection()
            self.flush()
            self.transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self.transport is not None:
            self.transport.abort()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.abort()
        await eventually(lambda: self.lost)


async def connect(
    address: tuple[str, int],
    tls: ssl.SSLContext | None = None,
    name: str | None = None,
    settings: dict[SettingCodes, int] | None = None,
    hold: bool = False,
    receive_buffer: int = 0,
) -> Http2Client:
    """Connect, by prior knowledge or over TLS (whose context offers h2 by ALPN).

    `receive_buffer`: bytes of the socket's own, for one that is read slowly; `hold`: streams acknowledge nothing.
    """
    sock = socket.socket()
    sock.setblocking(False)
    if receive_buffer:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(CEILING):
        await loop.sock_connect(sock, address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        _, client = await loop.create_connection(
            lambda: Http2Client(settings, hold), sock=sock, ssl=tls, server_hostname=name if tls else None
        )
    return client


async def http2(rig: Rig, address: str = ADDRESS, **options: Any) -> Http2Client:
    """Connect to a gateway of tests.proxy.stage; `options` as for `connect`."""
    client = await connect(("127.0.0.1", rig.port(address)), **options)
    rig.clients.append(cast(Any, client))
    return client


def _message(headers: Any) -> Message:
    pairs = [(name.decode(), value.decode("latin-1")) for name, value in headers or ()]
    status = next((value for name, value in pairs if name == ":status"), "0")
    return Message(f"HTTP/2 {status} ", [pair for pair in pairs if not pair[0].startswith(":")])
