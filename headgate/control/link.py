"""The link between the master and a child: a pair of SOCK_SEQPACKET sockets made before the fork.

One packet is one JSON object, and file descriptors may ride on it (SCM_RIGHTS), so a message is never split and never
loses its sockets. Nobody blocks on a link.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Iterable, Mapping
from typing import Any

_PACKET = 128 * 1024
_DESCRIPTORS = 64


class Link:
    """One end of the pair between the master and a child. Never blocks."""

    __slots__ = ("_socket",)

    def __init__(self, end: socket.socket) -> None:
        end.setblocking(False)
        self._socket = end

    @classmethod
    def pair(cls) -> tuple[Link, Link]:
        """Make both ends."""
        one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        return cls(one), cls(other)

    def fileno(self) -> int:
        """Return the descriptor, for a selector or an event loop."""
        return self._socket.fileno()

    def send(self, message: Mapping[str, Any], sockets: Iterable[socket.socket] = ()) -> bool:
        """Send one message with `sockets` on it; False when the other side is gone or does not read."""
        packet = json.dumps(message).encode()
        try:
            socket.send_fds(self._socket, [packet], [each.fileno() for each in sockets])
        except (BlockingIOError, BrokenPipeError, ConnectionResetError):
            return False
        return True

    def receive(self) -> tuple[dict[str, Any], list[socket.socket]] | None:
        """Return the next message with its sockets (non-blocking), or None at the end.

        Raises BlockingIOError when no message waits.
        """
        try:
            packet, descriptors, _, _ = socket.recv_fds(self._socket, _PACKET, _DESCRIPTORS)
        except ConnectionResetError:
            return None
        sockets = [socket.socket(fileno=each) for each in descriptors]
        for each in sockets:
            each.set_inheritable(False)
            # "Blocking" belongs to the open socket that all processes share, and socket.dup() sets it to what this
            # object believes: one that believed in blocking would make the accept of another process hang.
            each.setblocking(False)
        return (json.loads(packet), sockets) if packet else None

    def close(self) -> None:
        """Close this end; the other side reads the end of the link."""
        self._socket.close()
