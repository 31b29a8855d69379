"""A byte tunnel between a client and an upstream, after a 101 (WebSocket), or after a 200 to an extended CONNECT.

Law: what carried the two requests leaves HTTP for a `TunnelEnd` each, a socket or a stream of HTTP/2 (wire.http2.end);
what one end cannot write pauses the other's reading; either end's close closes the other after what was written has
left; silence ends both.
"""

from __future__ import annotations

import asyncio
from typing import Protocol, cast

from headgate.core.clock import monotonic
from headgate.core.steps import Reply
from headgate.wire.timers import NEVER, TimerWheel


class Owner(Protocol):
    """The HTTP connection that a socket belonged to: it keeps the books and is told of the end."""

    def connection_lost(self, exc: Exception | None) -> None:
        """Learn that the socket is closed."""


class TunnelEnd(Protocol):
    """One end, as the other one sees it: a Source of the bytes that come to it, and where bytes go.

    What comes is handed to `peer.write`, and counted in `bytes`. The tunnel is told of each piece (`heard`), and once
    of the end (`end_lost`), as the peer is (`close`).
    """

    def join(self, tunnel: Tunnel, peer: TunnelEnd) -> None:
        """Take bytes from now on as the tunnel's; nothing is read before `resume`."""

    def came(self, data: bytes) -> None:
        """Hand bytes that came to the other end."""

    def write(self, data: bytes) -> None:
        """Send bytes, if there is still somebody to take them."""

    def pause(self) -> None:
        """Stop reading."""

    def resume(self) -> None:
        """Read again."""

    def settle(self) -> None:
        """Act on an end that came before the tunnel did."""

    def close(self) -> None:
        """End when all that was written has left."""

    def abort(self) -> None:
        """End at once."""

    # Last, for above it the name would hide the type.
    bytes: int


class SocketEnd(asyncio.Protocol):
    """A socket as the end of a tunnel."""

    __slots__ = ("_owner", "_peer", "_transport", "_tunnel", "bytes")

    def __init__(self, owner: Owner, transport: asyncio.Transport) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = transport
        self._tunnel: Tunnel | None = None
        self._peer: TunnelEnd = self
        self.bytes = 0

    def join(self, tunnel: Tunnel, peer: TunnelEnd) -> None:
        """Take the socket over."""
        self._tunnel = tunnel
        self._peer = peer
        if self._transport is not None:
            self._transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        """Take bytes from the socket."""
        self.came(data)

    def came(self, data: bytes) -> None:
        """Hand bytes to the other end."""
        self.bytes += len(data)
        cast(Tunnel, self._tunnel).heard()
        self._peer.write(data)

    def eof_received(self) -> bool:
        """Close: WebSocket has its own closing handshake, and half a tunnel is no use to anybody."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the other end too."""
        self._transport = None
        self._owner.connection_lost(exc)
        self._peer.close()
        cast(Tunnel, self._tunnel).end_lost()

    def pause_writing(self) -> None:
        """Pause the other end's reading."""
        self._peer.pause()

    def resume_writing(self) -> None:
        """Let the other end read again."""
        self._peer.resume()

    def write(self, data: bytes) -> None:
        """Write, if the socket is still there."""
        if self._transport is not None:
            self._transport.write(data)

    def pause(self) -> None:
        """Stop reading."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._transport is not None:
            self._transport.resume_reading()

    def settle(self) -> None:
        """A socket tells of its end when it is read."""

    def close(self) -> None:
        """Close when all is written."""
        if self._transport is not None:
            self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()


class Tunnel:
    """Both ends, and the time since one of them spoke. `idle` in seconds."""

    __slots__ = ("_idle", "_open", "client", "deadline", "ended", "upstream", "wheel", "wheel_at")

    def __init__(self, wheel: TimerWheel, idle: float, client: TunnelEnd, upstream: TunnelEnd) -> None:
        self.wheel = wheel
        self.deadline = NEVER
        self.wheel_at = NEVER
        self._idle = idle
        self._open = 2
        self.ended: Reply[None] = Reply()
        self.client = client
        self.upstream = upstream

    def start(self, from_client: bytes, from_upstream: bytes) -> None:
        """Switch both ends over; what was read ahead goes first."""
        self.client.join(self, self.upstream)
        self.upstream.join(self, self.client)
        self.client.resume()
        self.upstream.resume()
        # Behind it, since what was read ahead may fill the other end's buffer, which pauses its sender again.
        if from_client:
            self.client.came(from_client)
        if from_upstream:
            self.upstream.came(from_upstream)
        self.wheel.arm(self, monotonic() + self._idle)
        self.client.settle()
        self.upstream.settle()

    def heard(self) -> None:
        """Note that an end spoke."""
        self.deadline = monotonic() + self._idle

    def on_deadline(self, now: float) -> None:
        """End a silent tunnel."""
        self.cut()

    def cut(self) -> None:
        """Close both ends at once."""
        self.client.abort()
        self.upstream.abort()

    def end_lost(self) -> None:
        """Learn that one end is closed; with both, the tunnel is over."""
        self._open -= 1
        if not self._open:
            self.wheel.cancel(self)
            self.ended.set(None)
