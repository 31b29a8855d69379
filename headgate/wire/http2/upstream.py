"""A connection to an upstream endpoint that speaks HTTP/2: many requests at once, each a call on a stream of its own.

States: opening (until the upstream's SETTINGS are here) -> shared -> leaving (nothing new; it ends with its last call).

Laws:
- Nobody sends a request before the SETTINGS came: whoever answers something else speaks no HTTP/2 and was sent none,
  and no request is refused for a number of streams that could have been known.
- A connection on which nothing was heard while somebody waited is asked whether it is there (PING). Without an answer
  it ends: all its calls would go on waiting for nobody, and new ones join them.
- A GOAWAY, too many requests, the end of its numbers, or a pool that is retired: it leaves, and its calls end as they
  will. Pushed answers are refused in the SETTINGS.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from headgate.core.clock import monotonic
from headgate.core.failure import Failure
from headgate.core.message import Fields
from headgate.wire.http1_answer import MOST_FIELDS, MOST_HEAD
from headgate.wire.http2.call import Http2Call
from headgate.wire.http2.codec import Codec
from headgate.wire.http2.fields import FieldDecoder
from headgate.wire.http2.guard import FrameGuard
from headgate.wire.http2.lane import Lane
from headgate.wire.http2.link import Http2Link
from headgate.wire.settings import Http2Limits
from headgate.wire.upstream import HIGH_WATER, UpstreamConnection

if TYPE_CHECKING:
    from headgate.wire.pool import Pool

# Seconds without a byte from an upstream that owes answers, until it is asked whether it is there, and from then on
# until it is not. gRPC: 20 s for the answer.
_QUIET = 10.0
_PATIENCE = 5.0
# Until it is asked a second time without having said anything else: servers of gRPC take that for an attack within five
# minutes (GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS).
_ASK_AGAIN = 330.0
_QUESTION = b"headgate"
# Bytes of an answer that an upstream may send ahead of its client: 8 MB a second where the way there and back takes
# 30 ms. Of a slow client so many are held.
_STREAM_WINDOW = 262_144
_SETTINGS = {
    SettingCodes.ENABLE_PUSH: 0,
    SettingCodes.INITIAL_WINDOW_SIZE: _STREAM_WINDOW,
    SettingCodes.MAX_HEADER_LIST_SIZE: MOST_HEAD,
}
# Streams are reset as often as we open some: there is no harm in it.
_BOUNDS = Http2Limits(max_resets=100_000)


class Http2Upstream(Http2Link):
    """One connection to one endpoint.

    `most`: requests that it carries at once; `calls`: those that it carries; `served`: all that it was given.
    `counted`: whether the pool counts it as open; `heard`: how many reads it has had; `broken`: it ends because the
    upstream broke the rules of the protocol.
    """

    __slots__ = (
        "_arrived",
        "_asked",
        "_heard_before",
        "_ready",
        "broken",
        "calls",
        "counted",
        "heard",
        "idle_since",
        "leaving",
        "most",
        "pool",
        "served",
    )

    def __init__(self, pool: Pool) -> None:
        codec = Codec(True, _SETTINGS, FieldDecoder(MOST_FIELDS, MOST_HEAD))
        super().__init__(codec, FrameGuard(_BOUNDS, MOST_HEAD, preface=False), HIGH_WATER)
        self.pool = pool
        self.broken = False
        self.most = 0
        self.calls = 0
        self.served = 0
        self.counted = False
        self.leaving = False
        self.heard = 0
        self.idle_since = 0.0
        self._arrived: list[Http2Call] = []
        self._asked = False
        self._heard_before = 0
        self._ready: asyncio.Future[None] = pool.loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin; the window of the connection lets no stream that is held back hold back another."""
        super().connection_made(transport)
        self.widen(self.pool.limits.max_streams * _STREAM_WINDOW)

    # -- for the pool ----------------------------------------------------------------------------------------------

    async def ready(self) -> None:
        """Wait for the upstream's SETTINGS; whoever gives up ends the connection.

        Raises:
            Failure: upstream_reset or upstream_protocol; nothing was sent.
        """
        try:
            await self._ready
        except BaseException:
            self.give_up(ErrorCodes.NO_ERROR, "given up")
            raise
        if not self.most:
            self.give_up(ErrorCodes.NO_ERROR, "of no use")
            raise Failure("upstream_protocol", f"{self.pool.endpoint.name}: allows no requests")

    @property
    def room(self) -> int:
        """Count the requests that it can carry besides those that it does."""
        return 0 if self.leaving or self.ending else self.most - self.calls

    def begin(self) -> Http2Call:
        """Take a place for a request; the call gives it up."""
        self.calls += 1
        self.pool.calls += 1
        if self.calls >= self.most:
            self.pool.filled(self)
        return Http2Call(self)

    def left(self) -> None:
        """Learn that a call has given its place up."""
        self.calls -= 1
        self.pool.calls -= 1
        if self.transport is None:
            return
        if not self.calls:
            if self.leaving:
                self.give_up(ErrorCodes.NO_ERROR, "")
                return
            self.idle_since = now = monotonic()
            self._wait_until(now + self.pool.limits.idle_timeout)
        self.pool.freed(self)

    def leave(self) -> None:
        """Take no more requests, and close behind those that are under way."""
        if not self.leaving:
            self.leaving = True
            self.pool.filled(self)
            if not self.calls and self.transport is not None:
                self.give_up(ErrorCodes.NO_ERROR, "")

    # -- for calls -------------------------------------------------------------------------------------------------

    def sends(self) -> int:
        """Count a request that is about to be sent; return how many those are."""
        self.served += 1
        limits = self.pool.limits
        if limits.max_requests and self.served >= limits.max_requests:
            self.leave()
        if self.deadline > (until := monotonic() + _QUIET) or self.calls == 1:
            self._asked = False
            self._heard_before = self.heard
            self._wait_until(until)
        return self.served

    def doubt(self) -> None:
        """Learn that a request had no answer in time, and nothing was heard meanwhile, or no stream: take no more."""
        self.leave()

    # -- the link --------------------------------------------------------------------------------------------------

    def cork(self) -> None:
        """Have what is to be sent leave at the end of this turn."""
        self.pool.outbox.for_upstream(self)

    @property
    def tunnels(self) -> bool:
        """Tell whether the upstream takes extended CONNECT."""
        return bool(self.codec.remote_settings.enable_connect_protocol)

    def uncork(self) -> None:
        """Write what there is."""
        try:
            super().uncork()
        except RuntimeError:
            if self.counted:
                raise
            # Whoever was connecting gave up in this moment: uvloop then closes the socket without a word to us.
            self.connection_lost(None)

    def data_received(self, data: bytes) -> None:
        """Take bytes from the socket."""
        self.heard += 1
        super().data_received(data)

    def taken(self) -> None:
        """Let those go on whose answers' heads came, now that all that came with them is here."""
        if self._arrived:
            arrived, self._arrived = self._arrived, []
            for call in arrived:
                call.arrived()

    def interim_came(self, lane: Lane, fields: Fields) -> None:
        """Take the head of an interim answer."""
        cast(Http2Call, lane.carried).interim_came(fields)

    def response_came(self, lane: Lane, fields: Fields, ended: bool) -> None:
        """Take an answer's head."""
        call = cast(Http2Call, lane.carried)
        if call.head_came(fields, ended):
            self._arrived.append(call)

    def settings_came(self) -> None:
        """Learn how many requests the upstream takes at once."""
        had = self.room
        self.most = min(self.pool.limits.max_streams, len(self.lanes) + self.streams_left)
        if not self._ready.done():
            self._ready.set_result(None)
        elif self.counted and had <= 0 < self.room:
            self.pool.freed(self)
        elif self.counted and self.room <= 0:
            self.pool.filled(self)

    def goaway_came(self, code: int, last: int) -> None:
        """Leave; calls above `last` know already that they were not processed."""
        self.leave()

    def refused(self, kind: str, sentence: str) -> None:
        """Learn that the upstream broke the rules of the protocol."""
        self.broken = True
        if self.pool.on_violation is not None:
            self.pool.on_violation(kind)
        self._never("upstream_protocol", sentence)

    def _never(self, reason: str, why: str) -> None:
        if not self._ready.done():
            self._ready.set_exception(Failure(reason, f"{self.pool.endpoint.name}: {why}"))
            # Whoever was to wait for it may have gone.
            self._ready.exception()

    def closed(self, why: str) -> None:
        """Learn that the connection is gone."""
        self.leaving = True
        self.pool.wheel.cancel(self)
        self.pool.lost_shared(self)
        self._never("upstream_reset", why)

    # -- deadlines -------------------------------------------------------------------------------------------------

    def _wait_until(self, deadline: float) -> None:
        self.deadline = deadline
        if deadline < self.wheel_at:
            self.pool.wheel.arm(self, deadline)

    def on_deadline(self, now: float) -> None:
        """Close an idle connection; ask a quiet one whether it is there."""
        if not self.calls:
            self.leave()
        elif self.heard != self._heard_before:
            only_answered = self._asked and self.heard == self._heard_before + 1
            self._asked = False
            self._heard_before = self.heard
            self._wait_until(now + (_ASK_AGAIN if only_answered else _QUIET))
        elif self._asked:
            self.give_up(ErrorCodes.NO_ERROR, "no answer to a PING")
        else:
            self._asked = True
            self.ping(_QUESTION)
            self._wait_until(now + _PATIENCE)


class Agreement(asyncio.Protocol):
    """Takes a new connection until it is known which version it speaks, which TLS has settled (RFC 7301)."""

    __slots__ = ("_agreed", "_opened", "_pool", "_transport")

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._agreed: str | None = None
        self._opened: UpstreamConnection | Http2Upstream | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin with the version that was agreed on; without TLS it was known before (RFC 9113 section 3.3)."""
        self._transport = cast(asyncio.Transport, transport)
        tls = transport.get_extra_info("ssl_object")
        self._agreed = "h2" if tls is None else tls.selected_alpn_protocol()
        opened: UpstreamConnection | Http2Upstream
        opened = Http2Upstream(self._pool) if self._agreed == "h2" else UpstreamConnection(self._pool)
        self._opened = opened
        self._transport.set_protocol(opened)
        opened.connection_made(transport)

    async def reached(self, must: bool) -> UpstreamConnection | Http2Upstream:
        """Return the connection when requests can be sent on it; `must`: it has to speak HTTP/2.

        Raises:
            Failure: tls, upstream_reset or upstream_protocol; nothing was sent.
        """
        opened = self._opened
        assert opened is not None
        if isinstance(opened, Http2Upstream):
            await opened.ready()
        elif must:
            opened.close()
            raise Failure("tls", f"{self._pool.endpoint.name}: does not agree to HTTP/2 (ALPN: {self._agreed})")
        return opened
