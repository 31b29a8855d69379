"""A stream of HTTP/2 as the end of a tunnel (RFC 8441): what comes as DATA comes out, END_STREAM is the socket's end.

Laws: as for a socket (wire.tunnel): bytes of which the other end is full are not acknowledged; when the stream is over,
for whatever reason, the other end is closed, once. What still comes when the other end is gone is not read: the stream
is reset behind our END_STREAM.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

from headgate.core.message import Fields
from headgate.wire.http2.lane import Lane
from headgate.wire.pipe import Source
from headgate.wire.tunnel import Tunnel, TunnelEnd


class LaneEnd:
    """A lane as the end of a tunnel, in place of what it carried before."""

    __slots__ = ("_code", "_lane", "_left", "_over", "_peer", "_tunnel", "bytes", "source")

    def __init__(self, lane: Lane, code: int, left: Callable[[], None]) -> None:
        """`code` resets the stream where it does not end by itself; `left` is told once that it is over."""
        self._lane = lane
        self._code = code
        self._left = left
        self._over = False
        self._tunnel: Tunnel | None = None
        self._peer: TunnelEnd = self
        # Whoever writes here is paused through it, while the far side does not keep up.
        self.source: Source | None = None
        self.bytes = 0

    # -- as the end of a tunnel ------------------------------------------------------------------------------------

    def join(self, tunnel: Tunnel, peer: TunnelEnd) -> None:
        """Take the stream over."""
        self._tunnel = tunnel
        self._peer = peer
        self.source = peer
        if not self._lane.closed:
            self._lane.carried = self

    def came(self, data: bytes) -> None:
        """Hand bytes to the other end."""
        self.bytes += len(data)
        cast(Tunnel, self._tunnel).heard()
        self._peer.write(data)

    def write(self, data: bytes) -> None:
        """Send bytes as the windows allow."""
        self._lane.write(data)

    def pause(self) -> None:
        """Acknowledge nothing more."""
        self._lane.hold()

    def resume(self) -> None:
        """Acknowledge what came, and what comes."""
        if not self._lane.closed:
            self._lane.let_go()

    def settle(self) -> None:
        """Act on an end that came before the tunnel did."""
        if self._lane.closed:
            self.lane_closed()
        elif self._lane.peer_ended:
            self.end_came([])

    def close(self) -> None:
        """End the stream behind what was written."""
        self._lane.finish()

    def abort(self) -> None:
        """Reset the stream."""
        self._lane.reset(self._code)

    # -- as what a lane carries ------------------------------------------------------------------------------------

    def data_came(self, data: bytes) -> None:
        """Take bytes from the stream."""
        self.came(data)

    def end_came(self, trailers: Fields) -> None:
        """Close: half a tunnel is no use to anybody."""
        self._peer.close()
        self._lane.finish()

    def ended_first(self) -> None:
        """Learn that our END_STREAM has left, and the far side's is not here: nobody listens any more."""
        self._lane.reset(self._code)

    def reset_came(self, code: int) -> None:
        """Learn that the far side has reset the stream; `lane_closed` has acted."""

    def link_lost(self, why: str) -> None:
        """Learn that the connection is gone."""
        self.lane_closed()

    def lane_closed(self) -> None:
        """Close the other end too."""
        if not self._over and self._tunnel is not None:
            self._over = True
            self._left()
            self._peer.close()
            self._tunnel.end_lost()

    def stalled(self) -> None:
        """A tunnel's silence is what ends it, not the far side's pace."""

    def moved(self) -> None:
        """Nothing waits on it."""
