"""Upstreams that speak HTTP/2, on the h2 library, played by hand: several streams at once, any frame at any time.

    async with Http2Upstream() as upstream, gateway(to(upstream, service={"protocol": "http2"})) as rig:
        client = await rig.client()
        await client.send(get("/x"))
        link = await upstream.accepted()
        asked = await link.asked()
        link.answer(asked, b"hello")

`play` answers by itself instead; `settings` are announced. Everything that came is acknowledged at once, but for links
with `hold`.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self, cast

import h2.config
import h2.connection
import h2.events
import h2.exceptions
from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from tests.proxy.peers import Cut, Message, eventually

Pairs = tuple[tuple[str, str], ...]


class Asked(Message):
    """A request that came; `ended` when its body has, `reset` with the code when it was given up."""

    def __init__(self, number: int, fields: list[tuple[str, str]]) -> None:
        pseudo = dict(field for field in fields if field[0][:1] == ":")
        super().__init__(
            f"{pseudo[':method']} {pseudo.get(':path', '')}", [each for each in fields if each[0][:1] != ":"]
        )
        self.number = number
        self.pseudo = pseudo
        self.ended = False
        self.reset: int | None = None
        self.unacknowledged = 0


class Link(asyncio.Protocol):
    """One connection of the gateway."""

    def __init__(self, server: Http2Upstream) -> None:
        self._server = server
        self.hold = server.hold
        self.transport: asyncio.Transport | None = None
        self.codec = h2.connection.H2Connection(
            h2.config.H2Configuration(
                client_side=False,
                header_encoding="utf-8",
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.requests: dict[int, Asked] = {}
        self.events: list[Any] = []
        self.lost = False
        self._new: asyncio.Queue[Asked] = asyncio.Queue()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.codec.local_settings.update({int(code): value for code, value in self._server.settings.items()})
        self.codec.local_settings.acknowledge()
        self.codec.initiate_connection()
        self.flush()
        self._server.links.append(self)
        self._server.new.put_nowait(self)

    def data_received(self, data: bytes) -> None:
        try:
            events = self.codec.receive_data(data)
        except h2.exceptions.ProtocolError as error:
            self.events.append(error)
            self.flush()
            assert self.transport is not None
            self.transport.close()
            return
        for event in events:
            self._happened(event)
        self.flush()

    def _happened(self, event: Any) -> None:
        self.events.append(event)
        asked = self.requests.get(getattr(event, "stream_id", 0) or 0)
        if isinstance(event, h2.events.RequestReceived):
            asked = Asked(event.stream_id, cast(list[tuple[str, str]], event.headers))
            self.requests[event.stream_id] = asked
            asked.ended = event.stream_ended is not None
            self._new.put_nowait(asked)
            if self._server.play is not None and asked.ended:
                self._server.play(self, asked)
        elif asked is None:
            return
        elif isinstance(event, h2.events.DataReceived):
            asked.body += event.data
            asked.unacknowledged += event.flow_controlled_length
            if not self.hold:
                self.acknowledge(asked)
        elif isinstance(event, h2.events.TrailersReceived):
            asked.trailers = cast(list[tuple[str, str]], event.headers)
        elif isinstance(event, h2.events.StreamEnded) and not asked.ended:
            asked.ended = True
            if self._server.play is not None:
                self._server.play(self, asked)
        elif isinstance(event, h2.events.StreamReset):
            asked.reset = int(event.error_code)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        self.transport = None

    # -- what came -------------------------------------------------------------------------------------------------

    async def asked(self, *, ended: bool = False) -> Asked:
        """Wait for the next request; `ended`: with its whole body."""
        await eventually(lambda: not self._new.empty() or self.lost)
        if self._new.empty():
            raise Cut("no request came")
        asked = self._new.get_nowait()
        if ended:
            await eventually(lambda: asked.ended or self.lost)
        return asked

    def seen(self, kind: type[Any]) -> list[Any]:
        """List the events of this kind."""
        return [event for event in self.events if isinstance(event, kind)]

    def acknowledge(self, asked: Asked) -> None:
        """Give room for what came."""
        size, asked.unacknowledged = asked.unacknowledged, 0
        if size:
            with suppress(h2.exceptions.ProtocolError):
                self.codec.acknowledge_received_data(size, asked.number)
            self.flush()

    # -- what is sent ----------------------------------------------------------------------------------------------

    def head(self, asked: Asked, *fields: tuple[str, str], status: int = 200, end: bool = False) -> None:
        """Send the head of an answer."""
        self.codec.send_headers(asked.number, [(":status", str(status)), *fields], end_stream=end)
        self.flush()

    def data(self, asked: Asked, data: bytes = b"", *, end: bool = False) -> None:
        """Send a piece that the windows allow."""
        size = self.codec.max_outbound_frame_size
        pieces = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
        for piece in pieces[:-1]:
            self.codec.send_data(asked.number, piece)
        self.codec.send_data(asked.number, pieces[-1], end_stream=end)
        self.flush()

    def trailers(self, asked: Asked, *fields: tuple[str, str]) -> None:
        """End an answer with trailers."""
        self.codec.send_headers(asked.number, list(fields), end_stream=True)
        self.flush()

    def answer(self, asked: Asked, body: bytes = b"", *fields: tuple[str, str], status: int = 200) -> None:
        """Send a whole answer with its length."""
        length = ("content-length", str(len(body)))
        self.codec.send_headers(asked.number, [(":status", str(status)), length, *fields], end_stream=not body)
        if body:
            self.data(asked, body, end=True)
        self.flush()

    def reset(self, asked: Asked, code: ErrorCodes = ErrorCodes.INTERNAL_ERROR) -> None:
        """Reset a stream."""
        self.codec.reset_stream(asked.number, code)
        self.flush()

    def go_away(self, last: int, code: ErrorCodes = ErrorCodes.NO_ERROR) -> None:
        """Send GOAWAY; h2 would end with it, so the frame is written by hand."""
        content = last.to_bytes(4, "big") + int(code).to_bytes(4, "big")
        self.raw(len(content).to_bytes(3, "big") + b"\x07\x00" + bytes(4) + content)

    def raw(self, data: bytes) -> None:
        """Send bytes."""
        assert self.transport is not None
        self.flush()
        self.transport.write(data)

    def flush(self) -> None:
        """Send what the codec has to say."""
        if self._server.silent:
            return
        data = self.codec.data_to_send()
        if data and self.transport is not None:
            self.transport.write(data)

    def cut(self) -> None:
        """Close at once."""
        if self.transport is not None:
            self.transport.abort()


class Http2Upstream:
    """A server."""

    def __init__(
        self,
        play: Callable[[Link, Asked], None] | None = None,
        *,
        settings: dict[SettingCodes, int] | None = None,
        tls: ssl.SSLContext | None = None,
        silent: bool = False,
        hold: bool = False,
    ) -> None:
        """`silent`: nothing is ever sent, no SETTINGS either; `hold`: nothing that comes is acknowledged."""
        self.play = play
        self.settings = settings or {}
        self.tls = tls
        self.silent = silent
        self.hold = hold
        self.links: list[Link] = []
        self.new: asyncio.Queue[Link] = asyncio.Queue()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.get_running_loop().create_server(lambda: Link(self), "127.0.0.1", 0, ssl=self.tls)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for link in self.links:
            link.cut()

    @property
    def url(self) -> str:
        """Where it listens."""
        assert self._server is not None
        port: int = self._server.sockets[0].getsockname()[1]
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{port}"

    async def accepted(self) -> Link:
        """Wait for the next connection."""
        await eventually(lambda: not self.new.empty())
        return self.new.get_nowait()


def replying(body: bytes = b"", *fields: tuple[str, str], status: int = 200) -> Callable[[Link, Asked], None]:
    """Make the play of an upstream that answers every request alike."""

    def play(link: Link, asked: Asked) -> None:
        # What followed in the same read may have been a reset, or a GOAWAY, behind which h2 sends nothing more.
        with suppress(h2.exceptions.ProtocolError):
            link.answer(asked, body, *fields, status=status)

    return play
