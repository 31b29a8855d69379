"""Clients that are not read for a while, looked at so that their leaving is noticed all the same.

The event loop does not poll a socket whose reading is paused (libuv has no interest in it then). A client that leaves
while the upstream is slow to take its body, or behind as many requests as may wait, would be noticed with the next
write to it, and its work would go on until then.

Laws: costs nothing while nobody is paused, and a set's insertion for who is; all are looked at with one system call a
turn of the timer wheel. Here it is only noticed: the connection itself reads on and finds the end.

Limit: an end of sending that stands behind more bytes than the socket's buffer holds has not arrived here, as TCP has
it; a reset has, whatever stands before it.
"""

from __future__ import annotations

import select
from asyncio import Transport
from typing import Protocol

from headgate.wire.timers import NEVER, TimerWheel

# RDHUP also where unread bytes stand before the end of the client's sending, as nginx looks for it.
_LEFT = select.POLLRDHUP | select.POLLHUP | select.POLLERR


class Paused(Protocol):
    """A client's connection."""

    transport: Transport | None

    def left(self) -> None:
        """Learn that the client is gone, behind what was not read yet."""


class PausedClients:
    """The connections of one listener that are paused."""

    __slots__ = ("_clients", "_wheel", "deadline", "wheel_at")

    def __init__(self, wheel: TimerWheel) -> None:
        self._wheel = wheel
        self._clients: set[Paused] = set()
        self.deadline = NEVER
        self.wheel_at = NEVER

    def add(self, client: Paused) -> None:
        """Look after a client from now on, every `TICK` seconds."""
        self._clients.add(client)
        if self.wheel_at == NEVER:
            # Long due, that is with the wheel's next turn.
            self._wheel.arm(self, 0.0)

    def discard(self, client: Paused) -> None:
        """Forget a client: it is read again, or closed. The next turn finds out whether anybody is left."""
        self._clients.discard(client)

    def on_deadline(self, now: float) -> None:
        """Look at all of them."""
        poll = select.poll()
        by_descriptor: dict[int, Paused] = {}
        for client in self._clients:
            transport = client.transport
            if transport is None or transport.is_closing():
                # Its descriptor may be somebody else's by now.
                continue
            descriptor = transport.get_extra_info("socket").fileno()
            poll.register(descriptor, _LEFT)
            by_descriptor[descriptor] = client
        for descriptor, _ in poll.poll(0):
            by_descriptor[descriptor].left()
        if self._clients:
            self._wheel.arm(self, now)

    def __repr__(self) -> str:
        return f"<PausedClients {len(self._clients)}>"
