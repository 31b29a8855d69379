"""One stream of an HTTP/2 connection: what waits to be sent on it, and what came on it and is not acknowledged yet.

Laws:
- Bytes leave a lane in order, and only the link (wire.http2.link) takes them, in its turn among the others.
- Bytes that came are acknowledged when they were taken: what is held back holds back the peer, never the memory.
- A lane that is closed sends nothing and hears nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from headgate.core.message import Field, Fields
from headgate.wire.pipe import Source

if TYPE_CHECKING:
    from headgate.wire.http2.link import Http2Link


class Carried(Protocol):
    """What a lane carries: a client's request (wire.http2.stream) or a call to an upstream (wire.http2.call).

    `source`: where comes from what is written to the lane; it is paused while the peer does not keep up.
    """

    source: Source | None

    def data_came(self, data: bytes) -> None:
        """Take one piece of the body, never empty."""

    def end_came(self, trailers: Fields) -> None:
        """Take the end of what the peer sends, with its trailers as they came (`wire.http2.head` judges them)."""

    def reset_came(self, code: int) -> None:
        """Learn that the peer has reset the stream (RFC 9113 section 7: the code); the lane is closed."""

    def link_lost(self, why: str) -> None:
        """Learn that the connection is gone; the lane is closed."""

    def stalled(self) -> None:
        """Learn that bytes wait for the peer's window: it has `write_timeout` to move."""

    def moved(self) -> None:
        """Learn that none wait any more."""


class Lane:
    """One stream. `number`: its identifier; `queued`: bytes that wait; `sent`: bytes of DATA that left."""

    __slots__ = (
        "_ending",
        "_held",
        "_pieces",
        "_source_paused",
        "_trailers",
        "_unacknowledged",
        "carried",
        "closed",
        "in_turn",
        "link",
        "number",
        "queued",
        "sent",
        "waiting",
    )

    def __init__(self, link: Http2Link, number: int, carried: Carried) -> None:
        self.link = link
        self.number = number
        self.carried = carried
        self.closed = False
        # Out.
        self.queued = 0
        self.sent = 0
        self.in_turn = False
        self.waiting = False
        self._pieces: deque[bytes] | None = None
        self._ending = False
        self._trailers: Sequence[Field] = ()
        self._source_paused = False
        # In.
        self._held = False
        self._unacknowledged = 0

    def head(self, fields: Fields, ended: bool) -> None:
        """Send a head: pseudo-fields first, names in any case; `ended`: nothing follows it."""
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        """Send a piece of the body, as the windows allow; the source is paused when too much waits."""
        raise NotImplementedError

    def finish(self, trailers: Sequence[Field] = ()) -> None:
        """End what we send behind what waits, with trailers if there are any."""
        raise NotImplementedError

    def hold(self) -> None:
        """Acknowledge nothing that comes from now on: its taker is full."""
        raise NotImplementedError

    def let_go(self) -> None:
        """Acknowledge what came meanwhile, and again what comes."""
        raise NotImplementedError

    def reset(self, code: int) -> None:
        """Close the stream at once: what waits is dropped, the peer is told `code` (h2.errors.ErrorCodes)."""
        raise NotImplementedError
