"""The socket of an HTTP/1 client: what is written to it, and how it comes to its end.

What is read from it is wire.http1_requests.

States: open -> stopped (an error or our wish to close: what still comes is discarded) -> closed; a stopped one may
linger before.

Laws:
- What was corked is written before anything else, and before the end.
- What still comes behind the last answer is read and dropped for a while: a client that reads only when all is sent
  would find our answer lost in a reset (RFC 9112 section 9.6).
"""

from __future__ import annotations

import asyncio
import socket
import struct

from headgate.core.clock import monotonic
from headgate.wire.rules import Rules
from headgate.wire.timers import NEVER
from headgate.wire.tls import certificate_shown

# What comes behind the last answer is dropped for so long, with so long a silence in it, and so much of it. nginx gives
# 30 and 5 seconds and any number of bytes (lingering_time, lingering_timeout).
_LINGER_SECONDS = 30.0
_LINGER_SILENCE = 2.0
_LINGER_BYTES = 1 << 30
_RESET = struct.pack("ii", 1, 0)


class ClientSocket(asyncio.Protocol):
    """The half of a client's connection that is written, and its end."""

    __slots__ = (
        "_certificate",
        "_corked",
        "_lingers",
        "_stopped",
        "_unread",
        "_unwritten",
        "address",
        "deadline",
        "rules",
        "stopping",
        "transport",
        "wheel_at",
    )

    def __init__(self, rules: Rules, address: str) -> None:
        self.rules = rules
        self.transport: asyncio.Transport | None = None
        self.address = address
        self.deadline = NEVER
        self.wheel_at = NEVER
        # The gateway stops, and serves what has come.
        self.stopping = False
        self._certificate: bytes | None = None
        self._stopped = False
        self._corked = b""
        # Bytes that the client had not taken when we last looked; -1 while it keeps up.
        self._unwritten = -1
        # Bytes that came behind the end, and until when they are dropped; 0.0 before the last answer.
        self._unread = 0
        self._lingers = 0.0

    # -- for the connection to implement ---------------------------------------------------------------------------

    def resume(self) -> None:
        """Read the socket again."""
        raise NotImplementedError

    def on_deadline(self, now: float) -> None:
        """Act on the wait that took too long."""
        raise NotImplementedError

    # -- what is written -------------------------------------------------------------------------------------------

    @property
    def certificate(self) -> bytes:
        """What is known of the client's certificate (wire.tls.certificate_shown); empty when it has shown none."""
        if self._certificate is None:
            self._certificate = certificate_shown(self.transport) if self.transport is not None else b""
        return self._certificate

    def write(self, data: bytes) -> None:
        """Write, if the client is still there."""
        if self._corked:
            self.uncork()
        if self.transport is not None:
            self.transport.write(data)

    def write_both(self, head: bytes, body: bytes) -> None:
        """Write two pieces as one."""
        if self._corked:
            self.uncork()
        if self.transport is not None:
            self.transport.writelines((head, body))

    def cork(self, data: bytes) -> None:
        """Write a whole answer, together with those of this turn of the loop (wire.outbox)."""
        if self._corked:
            self._corked += data
        elif self.transport is not None:
            self._corked = data
            self.rules.outbox.for_client(self)

    def uncork(self) -> None:
        """Write what was held back."""
        data, self._corked = self._corked, b""
        if data and self.transport is not None:
            self.transport.write(data)

    def _inspect_writing(self, transport: asyncio.Transport, now: float) -> None:
        """Give a client that takes something more time for the rest."""
        left = transport.get_write_buffer_size()
        if left >= self._unwritten:
            transport.abort()
            return
        self._unwritten = left
        self.rules.wheel.arm(self, now + self.rules.limits.write_timeout)

    # -- the end ---------------------------------------------------------------------------------------------------

    def cut(self, reset: bool = False) -> None:
        """Close at once and visibly: what was sent is not complete; `reset`: also where only that would show it."""
        self._stopped = True
        if self.transport is not None:
            if reset and (sock := self.transport.get_extra_info("socket")) is not None:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            self.transport.abort()

    def _close(self) -> None:
        """Close when all is written, for which the client has its time."""
        self._stopped = True
        self.uncork()
        transport = self.transport
        if transport is not None:
            transport.close()
            if transport.get_write_buffer_size():
                self.rules.wheel.arm(self, monotonic() + self.rules.limits.write_timeout)

    def _linger(self, arriving: bool = False) -> None:
        """Close our side, and read on so that a reset does not destroy the answer: for long while a body arrives."""
        self._stopped = True
        self.uncork()
        transport = self.transport
        if transport is None:
            return
        if transport.can_write_eof():
            transport.write_eof()
        elif not arriving:
            transport.close()
            return
        # TLS has no half that could be closed: by its length the client knows the answer whole.
        self.resume()
        now = monotonic()
        self._lingers = now + (_LINGER_SECONDS if arriving else _LINGER_SILENCE)
        self.rules.wheel.arm(self, now + _LINGER_SILENCE)

    def _drop(self, size: int) -> None:
        """Take note of what came behind the end; whoever still sends has more time, unless the gateway stops."""
        self._unread += size
        if self._unread > _LINGER_BYTES:
            self.cut()
        elif self._lingers and self._unwritten < 0 and not self.stopping:
            self.deadline = min(monotonic() + _LINGER_SILENCE, self._lingers)

    def _inspect_end(self, transport: asyncio.Transport, now: float) -> None:
        """End what was given its time; over TLS with a word first, for which the client has a moment."""
        unwritten = transport.get_write_buffer_size()
        if unwritten:
            # Our answer is still on its way: it may take its time as long as it moves.
            self._unwritten = unwritten
            self.rules.wheel.arm(self, now + self.rules.limits.write_timeout)
        elif self._lingers and not transport.can_write_eof() and not transport.is_closing():
            self._lingers = 0.0
            transport.close()
            self.rules.wheel.arm(self, now + _LINGER_SILENCE)
        else:
            transport.abort()
