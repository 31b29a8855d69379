"""What the connections of one listener share.

Law: a reload replaces it whole, and connections keep theirs.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from headgate.wire.head import HeadReader
from headgate.wire.outbox import Outbox
from headgate.wire.paused import PausedClients
from headgate.wire.settings import HttpLimits
from headgate.wire.timers import TimerWheel

if TYPE_CHECKING:
    from headgate.wire.stream import ClientStream, Downstream


class Rules:
    """The limits and helpers of one listener's connections, and whom they tell."""

    __slots__ = (
        "handler",
        "heads",
        "http2",
        "limits",
        "on_close",
        "on_open",
        "on_switch",
        "on_violation",
        "outbox",
        "paused",
        "small_head",
        "wheel",
    )

    def __init__(
        self,
        limits: HttpLimits,
        heads: HeadReader,
        wheel: TimerWheel,
        outbox: Outbox,
        handler: Callable[[ClientStream], None],
        on_open: Callable[[Downstream], bool],
        on_close: Callable[[Downstream], None],
        on_switch: Callable[[Downstream, Downstream], None],
        on_violation: Callable[[str], None],
        http2: bool,
    ) -> None:
        """`on_switch`: the first is replaced by the second, on the same socket; `on_violation`: of HTTP/2, by kind."""
        self.limits = limits
        self.heads = heads
        self.small_head = heads.small_head
        self.wheel = wheel
        self.paused = PausedClients(wheel)
        self.outbox = outbox
        self.handler = handler
        self.on_open = on_open
        self.on_close = on_close
        self.on_switch = on_switch
        self.on_violation = on_violation
        self.http2 = http2
