"""A byte tunnel between a client and an upstream, after a 101 (WebSocket).

Law: both sockets leave their HTTP protocols for a `TunnelEnd` each; what one end cannot write pauses the other's
reading; either end's close closes the other after what was written has left; silence ends both.
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


class TunnelEnd(asyncio.Protocol):
    """One socket of a tunnel."""

    __slots__ = ("bytes", "owner", "peer", "transport", "tunnel")

    def __init__(self, tunnel: Tunnel, owner: Owner, transport: asyncio.Transport) -> None:
        self.tunnel = tunnel
        self.owner = owner
        self.transport: asyncio.Transport | None = transport
        self.peer: TunnelEnd = self
        self.bytes = 0

    def data_received(self, data: bytes) -> None:
        """Hand bytes to the other end."""
        self.bytes += len(data)
        self.tunnel.heard()
        if self.peer.transport is not None:
            self.peer.transport.write(data)

    def eof_received(self) -> bool:
        """Close: WebSocket has its own closing handshake, and half a tunnel is no use to anybody."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Close the other end too."""
        self.transport = None
        self.owner.connection_lost(exc)
        if self.peer.transport is not None:
            self.peer.transport.close()
        self.tunnel.end_lost()

    def pause_writing(self) -> None:
        """Pause the other end's reading."""
        if self.peer.transport is not None:
            self.peer.transport.pause_reading()

    def resume_writing(self) -> None:
        """Let the other end read again."""
        if self.peer.transport is not None:
            self.peer.transport.resume_reading()


class Tunnel:
    """Both ends, and the time since one of them spoke. `idle` in seconds."""

    __slots__ = ("_idle", "_open", "client", "deadline", "ended", "upstream", "wheel", "wheel_at")

    def __init__(
        self,
        wheel: TimerWheel,
        idle: float,
        client: tuple[Owner, asyncio.Transport],
        upstream: tuple[Owner, asyncio.Transport],
    ) -> None:
        self.wheel = wheel
        self.deadline = NEVER
        self.wheel_at = NEVER
        self._idle = idle
        self._open = 2
        self.ended: Reply[None] = Reply()
        self.client = TunnelEnd(self, *client)
        self.upstream = TunnelEnd(self, *upstream)
        self.client.peer, self.upstream.peer = self.upstream, self.client

    def start(self, from_client: bytes, from_upstream: bytes) -> None:
        """Switch both sockets over; what was read ahead goes first."""
        ends = ((self.client, from_client), (self.upstream, from_upstream))
        for end, _ in ends:
            transport = cast(asyncio.Transport, end.transport)
            transport.set_protocol(end)
        for end, _ in ends:
            cast(asyncio.Transport, end.transport).resume_reading()
        # Behind it, since what was read ahead may fill the other end's buffer, which pauses its sender again.
        for end, ahead in ends:
            if ahead:
                end.data_received(ahead)
        self.wheel.arm(self, monotonic() + self._idle)

    def heard(self) -> None:
        """Note that an end spoke."""
        self.deadline = monotonic() + self._idle

    def on_deadline(self, now: float) -> None:
        """End a silent tunnel."""
        self.cut()

    def cut(self) -> None:
        """Close both ends at once."""
        for end in (self.client, self.upstream):
            if end.transport is not None:
                end.transport.abort()

    def end_lost(self) -> None:
        """Learn that one end is closed; with both, the tunnel is over."""
        self._open -= 1
        if not self._open:
            self.wheel.cancel(self)
            self.ended.set(None)
