"""An HTTP/2 connection, the part that both sides share: frames in to lanes, lanes out to frames.

    data_received -> FrameGuard -> h2 -> events -> a lane's `Carried`, or a method of the subclass

Laws:
- h2 (wire.http2.codec) holds the protocol's state; nothing that the guard refused reaches it.
- What is to be sent in one turn of the loop leaves in one write (wire.outbox). Lanes with something to send take turns,
  one frame each, within their window, the connection's and what the socket takes.
- No handler runs before all frames of the read that brought its request were taken.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from headgate.core.message import Fields
from headgate.wire.http2.lane import Carried, Lane

if TYPE_CHECKING:
    from headgate.wire.timers import TimerWheel


class Http2Link(asyncio.Protocol):
    """One connection. A subclass says what a head means, and corks for its side of the outbox (`cork`)."""

    __slots__ = ("deadline", "lanes", "transport", "wheel", "wheel_at")

    # -- the connection: asyncio calls these -----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Send our preface: SETTINGS and the connection's window."""

    def data_received(self, data: bytes) -> None:
        """Take bytes from the socket."""

    def connection_lost(self, exc: Exception | None) -> None:
        """End: every lane is told (`link_lost`), then the subclass (`closed`)."""

    # -- for the subclass to call ----------------------------------------------------------------------------------

    def open_lane(self, carried: Carried) -> Lane:
        """Begin a stream of ours (a client's side only); its head is sent by `Lane.head`.

        Raises:
            Failure: when the peer or the protocol allows no further stream (`streams_left` tells before).
        """
        raise NotImplementedError

    @property
    def streams_left(self) -> int:
        """Count the streams that may be opened now: within the peer's MAX_CONCURRENT_STREAMS; 0 after a GOAWAY."""
        raise NotImplementedError

    def go_away(self, code: int, last: int, debug: bytes = b"") -> None:
        """Send GOAWAY; streams go on. `last` is the highest stream of the peer that was or will be served."""
        raise NotImplementedError

    def ping(self, data: bytes) -> None:
        """Send PING with eight bytes; `pong_came` is called with its answer."""
        raise NotImplementedError

    def end(self, code: int, sentence: str) -> None:
        """Close at once, with GOAWAY; every lane is told."""
        raise NotImplementedError

    # -- for the subclass to implement -----------------------------------------------------------------------------

    def cork(self) -> None:
        """Have `uncork` called at the end of this turn of the loop."""
        raise NotImplementedError

    def request_came(self, number: int, fields: Fields, ended: bool) -> None:
        """Take a request's head (a server's side); lanes are made by `self.admit(number, carried)`."""

    def interim_came(self, lane: Lane, fields: Fields) -> None:
        """Take the head of an interim answer (a client's side)."""

    def response_came(self, lane: Lane, fields: Fields, ended: bool) -> None:
        """Take an answer's head (a client's side); `ended`: `end_came` follows at once."""

    def settings_came(self) -> None:
        """Learn that the peer's SETTINGS came (`streams_left` may have changed; extended CONNECT may be allowed)."""

    def goaway_came(self, code: int, last: int) -> None:
        """Learn that the peer serves no stream of ours above `last`: each of those had `reset_came(REFUSED_STREAM)`."""

    def pong_came(self, data: bytes) -> None:
        """Take the answer to a `ping`."""

    def refused(self, kind: str, sentence: str) -> None:
        """Learn that the peer broke the rules and the connection ends for it (`kind` of FrameGuard, or "protocol")."""

    def lane_closed(self, lane: Lane) -> None:
        """Learn that a stream is over on both sides: its number is free."""

    def closed(self, why: str) -> None:
        """Learn that the connection is gone, after its lanes."""
