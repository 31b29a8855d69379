"""Accepting connections whose first bytes are a PROXY protocol header, with or without TLS behind it.

The header stands before the TLS handshake, so it has to be taken off the socket before an event loop's transport reads:
we accept, look (MSG_PEEK), take exactly the header's bytes, and hand the socket to the loop.

States of a socket: waiting (for its header, under a deadline) -> opening (in the loop's hands; TLS handshake) -> gone
from here. Laws: sockets in both states are bounded, and at the bound accepting pauses; every socket is closed here or
belongs to a transport.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from ssl import SSLContext

from headgate.core.clock import monotonic
from headgate.wire.forwarded import TrustPolicy, parse_address
from headgate.wire.proxy_protocol import MAX_HEADER, BadProxyHeader, parse
from headgate.wire.timers import NEVER, TimerWheel

__all__ = ["ProxyAcceptor", "ProxyRules"]

# Accepted in one turn of the loop at most, so that a burst does not starve the connections being served.
_ACCEPTS_A_TURN = 64
# Out of descriptors: the listening socket stays readable, and trying at once again would spin.
_RETRY_SECONDS = 0.5

Factory = Callable[[tuple[str, int]], asyncio.BaseProtocol]
"""Makes the protocol of a connection from the client's address and port."""


@dataclass(frozen=True, slots=True)
class ProxyRules:
    """Who may send the header and how long we wait; `tls` gives the context that a new connection shall use."""

    trust: TrustPolicy
    tls: Callable[[], SSLContext] | None = None
    header_timeout: float = 5.0
    handshake_timeout: float = 10.0
    max_pending: int = 1024


class ProxyAcceptor:
    """Accepts on one listening socket, which stays the caller's to close."""

    __slots__ = (
        "_closed",
        "_factory",
        "_listening",
        "_loop",
        "_opening",
        "_retry",
        "_rules",
        "_sock",
        "_waiting",
        "_wheel",
        "refused",
    )

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        factory: Factory,
        rules: ProxyRules,
        wheel: TimerWheel,
    ) -> None:
        """Begin to accept on `sock`, which listens already."""
        sock.setblocking(False)
        self._loop = loop
        self._sock = sock
        self._factory = factory
        self._rules = rules
        self._wheel = wheel
        self._closed = False
        self._listening = False
        self._retry: asyncio.TimerHandle | None = None
        self._waiting: set[_Waiting] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self.refused = {"untrusted": 0, "bad_header": 0, "closed": 0, "timeout": 0, "handshake": 0}
        """Connections that did not come to be, by reason."""
        self._listen()

    def __repr__(self) -> str:
        return f"<ProxyAcceptor waiting={len(self._waiting)} opening={len(self._opening)} refused={self.refused}>"

    def close(self) -> None:
        """Stop accepting and drop what has not come to be; opened connections go on."""
        self._closed = True
        self._pause()
        if self._retry is not None:
            self._retry.cancel()
        for waiting in list(self._waiting):
            self._release(waiting)
            waiting.sock.close()
        for task in self._opening:
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait until the handshakes that `close` cut off are gone."""
        while self._opening:
            await asyncio.wait(list(self._opening))

    def _listen(self) -> None:
        self._retry = None
        if not self._listening and not self._closed:
            self._loop.add_reader(self._sock, self._accept)
            self._listening = True

    def _pause(self) -> None:
        if self._listening:
            self._loop.remove_reader(self._sock)
            self._listening = False

    def _accept(self) -> None:
        for _ in range(_ACCEPTS_A_TURN):
            if len(self._waiting) + len(self._opening) >= self._rules.max_pending:
                self._pause()
                return
            try:
                sock, address = self._sock.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError:
                self._pause()
                self._retry = self._loop.call_later(_RETRY_SECONDS, self._listen)
                return
            peer = ("", 0) if sock.family == socket.AF_UNIX else (address[0].partition("%")[0], address[1])
            if not self._rules.trust.trusts(parse_address(peer[0]) or ""):
                self.refused["untrusted"] += 1
                sock.close()
                continue
            self._wait(sock, peer)

    def _wait(self, sock: socket.socket, peer: tuple[str, int]) -> None:
        sock.setblocking(False)
        waiting = _Waiting(self, sock, peer)
        self._waiting.add(waiting)
        self._wheel.arm(waiting, monotonic() + self._rules.header_timeout)
        self._loop.add_reader(sock, waiting.look)

    def _release(self, waiting: _Waiting) -> None:
        self._loop.remove_reader(waiting.sock)
        self._wheel.cancel(waiting)
        self._waiting.discard(waiting)

    def refuse(self, waiting: _Waiting, reason: str) -> None:
        """Close a socket whose header did not come or was bad."""
        self._release(waiting)
        waiting.sock.close()
        self.refused[reason] += 1
        self._resume()

    def open(self, waiting: _Waiting, client: tuple[str, int]) -> None:
        """Hand a socket whose header was taken off to the event loop."""
        self._release(waiting)
        task = self._loop.create_task(self._opened(waiting, client))
        self._opening.add(task)
        task.add_done_callback(partial(self._settled, waiting))

    async def _opened(self, waiting: _Waiting, client: tuple[str, int]) -> None:
        tls = self._rules.tls
        context = tls() if tls is not None else None
        protocol = self._factory(client)
        waiting.handed_over = True
        try:
            await self._loop.connect_accepted_socket(
                lambda: protocol,
                waiting.sock,
                ssl=context,
                ssl_handshake_timeout=None if context is None else self._rules.handshake_timeout,
            )
        except OSError:
            # TLS errors, resets and the handshake's timeout are all of this kind, and all the client's own affair.
            self.refused["handshake"] += 1

    def _settled(self, waiting: _Waiting, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        # A task that is cancelled before its first step runs none of its code, so this cannot stand there.
        if not waiting.handed_over:
            waiting.sock.close()
        self._resume()

    def _resume(self) -> None:
        if self._retry is None:
            self._listen()


class _Waiting:
    """One accepted socket whose header has not come whole."""

    __slots__ = ("_acceptor", "_header", "_peer", "deadline", "handed_over", "sock", "wheel_at")

    def __init__(self, acceptor: ProxyAcceptor, sock: socket.socket, peer: tuple[str, int]) -> None:
        self._acceptor = acceptor
        self._peer = peer
        self._header = b""
        self.handed_over = False
        self.sock = sock
        self.deadline = NEVER
        self.wheel_at = NEVER

    def on_deadline(self, _now: float) -> None:
        self._acceptor.refuse(self, "timeout")

    def look(self) -> None:
        """Read on: everything up to the header's end is taken off the socket, and nothing behind it."""
        try:
            peeked = self.sock.recv(MAX_HEADER, socket.MSG_PEEK)
            if not peeked:
                self._acceptor.refuse(self, "closed")
                return
            header = parse(self._header + peeked)
            # Bytes of an unfinished header are taken too: left there, the socket would stay readable and spin.
            self.sock.recv(len(peeked) if header is None else header.consumed - len(self._header))
        except (BlockingIOError, InterruptedError):
            return
        except BadProxyHeader:
            self._acceptor.refuse(self, "bad_header")
            return
        except OSError:
            self._acceptor.refuse(self, "closed")
            return
        if header is None:
            self._header += peeked
        elif header.local:
            self._acceptor.open(self, self._peer)
        else:
            self._acceptor.open(self, (header.source_addr, header.source_port))
