"""A client's HTTP/2 connection: its requests become `Http2Stream`s, each served as soon as its read was taken.

States: open -> leaving (GOAWAY that refuses nothing, and a PING) -> left (GOAWAY with the last stream that is served)
-> hanging up (our side closed, what still comes is discarded) -> closed.

Laws:
- One stream too many is refused alone (REFUSED_STREAM), and safe to be asked again.
- Nobody who leaves in good order loses a request: a stream that was on its way when we said that we leave is served
  (RFC 9113 section 6.8), one that comes behind that is refused as not processed.
- One deadline: the nearest of those that count, looked at anew when it has passed.
"""

from __future__ import annotations

import asyncio
import socket

from h2.errors import ErrorCodes
from h2.settings import SettingCodes

from headgate.core.clock import monotonic
from headgate.core.failure import Failure
from headgate.core.message import Fields
from headgate.wire.http2.codec import Codec
from headgate.wire.http2.fields import FieldDecoder
from headgate.wire.http2.guard import FrameGuard
from headgate.wire.http2.head import refused_head, request_head, to_keep
from headgate.wire.http2.link import Http2Link
from headgate.wire.http2.stream import Http2Stream
from headgate.wire.rules import Rules
from headgate.wire.timers import NEVER
from headgate.wire.tls import certificate_shown

_HIGHEST = 2**31 - 1
_LEAVING = b"leaving!"
# Seconds for the answer to the PING that goes with the first GOAWAY: who has none in flight answers at once.
_PONG_SECONDS = 1.0
# Seconds, and bytes, that are read on behind our end, so that a reset does not destroy our last frames on their way.
_LINGER_SECONDS = 2.0
_LINGER_BYTES = 1 << 20
# Seconds that a client has for its first request when the gateway stops: accepted a moment ago, it is on its way.
_FIRST_REQUEST = 1.0
# Bytes that the kernel takes beyond what it may send: more of a download there would stand before every other answer
# (measured by Cloudflare and h2o, who set it for HTTP/2, too). TCP_NOTSENT_LOWAT of linux/tcp.h.
_NOTSENT_LOWAT = 25
_UNSENT = 131_072
# RFC 9113 section 6.5.2: 32 bytes for each field come on top of its name and value.
_PER_FIELD = 32


class Http2Connection(Http2Link):
    """One connection of one client."""

    __slots__ = (
        "_arrived",
        "_certificate",
        "_data_looked_at",
        "_discarded",
        "_full_since",
        "_head_since",
        "_hungry_since",
        "_idle_since",
        "_last",
        "_leaving_since",
        "_left",
        "_served",
        "_unwritten",
        "address",
        "forwarding",
        "rules",
        "stopping",
    )

    def __init__(self, rules: Rules, address: str = "") -> None:
        """`address` is the client's where a load balancer told it; by default the socket's peer."""
        limits = rules.limits
        bounds = limits.http2
        codec = Codec(
            False,
            {
                SettingCodes.MAX_CONCURRENT_STREAMS: bounds.max_streams,
                SettingCodes.INITIAL_WINDOW_SIZE: bounds.stream_window,
                SettingCodes.MAX_HEADER_LIST_SIZE: limits.max_header_bytes + _PER_FIELD * limits.max_headers,
                SettingCodes.ENABLE_CONNECT_PROTOCOL: 1,
            },
            FieldDecoder(limits.max_headers, limits.max_header_bytes),
        )
        super().__init__(codec, FrameGuard(bounds, limits.max_header_bytes, True), limits.buffer)
        self.rules = rules
        self.address = address
        self.forwarding: object = None
        self.stopping = False
        self._certificate: bytes | None = None
        self._arrived: list[Http2Stream] = []
        self._served = 0
        # The highest stream that was admitted; how many bytes came behind our end.
        self._last = 0
        self._left = False
        self._discarded = 0
        # Since when each wait lasts; NEVER for those that do not.
        self._idle_since = NEVER
        self._head_since = NEVER
        self._leaving_since = NEVER
        self._full_since = NEVER
        self._hungry_since = NEVER
        # What was still to be written, or had left, when it was looked at last.
        self._unwritten = 0
        self._data_looked_at = 0

    # -- the connection --------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin, unless the gateway is full."""
        if not self.address:
            peer = transport.get_extra_info("peername")
            self.address = peer[0] if isinstance(peer, tuple) else "unix:"
        self._greet(transport)
        if not self.rules.on_open(self):
            self.give_up(ErrorCodes.ENHANCE_YOUR_CALM, "overloaded")
            return
        self.begin()

    def _greet(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.widen(self.rules.limits.http2.connection_window)
        sock = transport.get_extra_info("socket")
        if sock is not None and isinstance(sock.getsockname(), tuple):
            sock.setsockopt(socket.IPPROTO_TCP, _NOTSENT_LOWAT, _UNSENT)

    def begin(self) -> None:
        """Wait for the first request."""
        self._idle_since = monotonic()
        self._rearm()

    def take_over(self, transport: asyncio.Transport, preface: bytes) -> None:
        """Begin on a socket that was read by HTTP/1 until a client's preface was there, which is `preface` and more."""
        self._greet(transport)
        self.begin()
        transport.set_protocol(self)
        self.data_received(preface)

    @property
    def certificate(self) -> bytes:
        """What is known of the client's certificate (wire.tls.certificate_shown); empty when it has shown none."""
        if self._certificate is None:
            self._certificate = certificate_shown(self.transport) if self.transport is not None else b""
        return self._certificate

    def closed(self, why: str) -> None:
        """End; whoever works for this client was told."""
        self._arrived.clear()
        self.rules.wheel.cancel(self)
        self.rules.on_close(self)

    def cork(self) -> None:
        """Write at the end of this turn."""
        self.rules.outbox.for_client(self)

    def now(self) -> float:
        """Return the time (monotonic seconds)."""
        return monotonic()

    # -- requests --------------------------------------------------------------------------------------------------

    def request_came(self, number: int, fields: Fields, ended: bool) -> None:
        """Make a stream of a request's head; it is served when the read is taken."""
        bounds = self.rules.limits.http2
        if self._left or len(self.lanes) >= bounds.max_streams:
            # RFC 9113 section 8.7: it was not processed, so it may be asked again.
            self.turn_away(number, ErrorCodes.REFUSED_STREAM)
            if not self._left:
                self.blame()
            return
        heads = self.rules.heads
        failure: Failure | None = None
        try:
            head = request_head(heads, fields, ended)
        except Failure as refused:
            failure = to_keep(refused)
            head = refused_head(fields, heads.scheme)
        stream = Http2Stream(self, head, self.read_at)
        # What follows an extended CONNECT is no body: it waits, unacknowledged, for the tunnel.
        stream.ended = ended or bool(head.upgrade)
        stream.lane = lane = self.admit(number, stream, ended)
        if failure is not None:
            stream.failure = failure
            stream.malformed = True
        elif not ended:
            lane.hold()
        self._last = number
        self._arrived.append(stream)

    def taken(self) -> None:
        """Serve what came, but for what was given up in the same read."""
        if self.guard.in_head:
            if self._head_since == NEVER:
                self._head_since = self.read_at
                self._rearm()
        else:
            self._head_since = NEVER
        arrived = self._arrived
        if not arrived:
            return
        self._arrived = []
        rules = self.rules
        for stream in arrived:
            lane = stream.lane
            if lane is None or lane.closed:
                continue
            self._served += 1
            if not stream.ended and stream.failure is None:
                stream.watch()
            rules.handler(stream)
        if (self.stopping or self._served >= rules.limits.keepalive_requests > 0) and self._leaving_since == NEVER:
            self._leave()

    def lane_closed(self) -> None:
        """Wait for further requests, or close when that was the last one."""
        if self.lanes:
            return
        if self._left:
            self._hang_up_when_written()
            return
        self._idle_since = now = monotonic()
        if self._leaving_since == NEVER:
            due = now + self.rules.limits.keepalive_timeout
            if due < self.wheel_at:
                self.rules.wheel.arm(self, due)
            else:
                self.deadline = min(due, self.deadline) if self._waits() else due

    def judge_again(self) -> None:
        """Do nothing: no request waits here."""

    # -- the end ---------------------------------------------------------------------------------------------------

    def drain(self) -> None:
        """Close when what is in progress, or on its way, is answered; a client that has just come may ask once."""
        self.stopping = True
        if self._leaving_since != NEVER or self.ending:
            return
        if not self._served and not self.lanes:
            self._idle_since = monotonic() + _FIRST_REQUEST - self.rules.limits.keepalive_timeout
            self._rearm()
        else:
            self._leave()

    def _leave(self) -> None:
        """Say that we leave, and find out what was on its way until then (RFC 9113 section 6.8)."""
        self._leaving_since = monotonic()
        self.go_away(ErrorCodes.NO_ERROR, _HIGHEST)
        self.ping(_LEAVING)
        self._rearm()

    def pong_came(self, data: bytes) -> None:
        """Learn that the client knows that we leave."""
        if data == _LEAVING and self._leaving_since != NEVER:
            self._say_last()

    def _say_last(self) -> None:
        if self._left or self.ending:
            return
        self._left = True
        self.go_away(ErrorCodes.NO_ERROR, self._last)
        if not self.lanes:
            self._hang_up_when_written()

    def _hang_up_when_written(self) -> None:
        """Close in good order: everything was answered."""
        if not self.ending:
            self.uncork()
            self.ending = True
            self.hang_up()

    def hang_up(self) -> None:
        """Close our side, and read on for a moment."""
        transport = self.transport
        if transport is None:
            return
        if transport.can_write_eof():
            transport.write_eof()
        else:
            transport.close()
        self.rules.wheel.arm(self, monotonic() + max(_LINGER_SECONDS, self._writing_time(transport)))

    def _writing_time(self, transport: asyncio.Transport) -> float:
        return self.rules.limits.write_timeout if transport.get_write_buffer_size() else 0.0

    def rest_came(self, data: bytes) -> None:
        """Discard what comes behind the end."""
        self._discarded += len(data)
        if self._discarded > _LINGER_BYTES and self.transport is not None:
            self.transport.abort()

    def end(self) -> None:
        """Close now: visibly where an answer is owed or still on its way, else in good order."""
        transport = self.transport
        if transport is None:
            return
        if self.ending:
            transport.abort()
        elif self.lanes or transport.get_write_buffer_size():
            self.give_up(ErrorCodes.NO_ERROR, "stopped")
            if self.transport is not None:
                self.transport.abort()
        else:
            self._left = True
            self.go_away(ErrorCodes.NO_ERROR, self._last)
            self.uncork()
            self.ending = True
            transport.close()

    def refused(self, kind: str, sentence: str) -> None:
        """Count why a client was sent away."""
        self.rules.on_violation(kind)

    # -- deadlines -------------------------------------------------------------------------------------------------

    def pause_writing(self) -> None:
        """Learn that the client does not keep up."""
        super().pause_writing()
        self._full_since = monotonic()
        self._unwritten = self.transport.get_write_buffer_size() if self.transport is not None else 0
        self._rearm()

    def resume_writing(self) -> None:
        """Learn that the client caught up."""
        self._full_since = NEVER
        super().resume_writing()

    def went_hungry(self) -> None:
        """Learn that answers wait for the connection's window."""
        if self._hungry_since == NEVER or self._data_looked_at != self.data_out:
            self._hungry_since = monotonic()
            self._data_looked_at = self.data_out
            self._rearm()

    def _waits(self) -> bool:
        return min(self._head_since, self._leaving_since, self._full_since, self._hungry_since) != NEVER

    def _rearm(self) -> None:
        if not self.ending:
            self.rules.wheel.arm(self, self._due())

    def _due(self) -> float:
        limits = self.rules.limits
        due = self._full_since + limits.write_timeout
        if self.starved:
            due = min(due, self._hungry_since + limits.write_timeout)
        due = min(due, self._head_since + limits.header_timeout)
        if self._leaving_since != NEVER and not self._left:
            due = min(due, self._leaving_since + _PONG_SECONDS)
        if not self.lanes:
            due = min(due, self._idle_since + limits.keepalive_timeout)
        return due

    def on_deadline(self, now: float) -> None:
        """Act on the wait that took too long, if it is one still."""
        transport, limits = self.transport, self.rules.limits
        if transport is None:
            return
        if self.ending:
            transport.abort()
            return
        if now >= self._full_since + limits.write_timeout:
            left = transport.get_write_buffer_size()
            if left >= self._unwritten:
                transport.abort()
                return
            self._full_since, self._unwritten = now, left
        if self.starved and now >= self._hungry_since + limits.write_timeout:
            self.refused("stalled", "the connection's window stays closed")
            self.give_up(ErrorCodes.ENHANCE_YOUR_CALM, "window stays closed")
            return
        if now >= self._head_since + limits.header_timeout:
            self.refused("slow_head", "a head does not come to its end")
            self.give_up(ErrorCodes.ENHANCE_YOUR_CALM, "head too slow")
            return
        if self._leaving_since != NEVER:
            if not self._left and now >= self._leaving_since + _PONG_SECONDS:
                self._say_last()
        elif not self.lanes and now >= self._idle_since + limits.keepalive_timeout:
            self._leave()
        if not self.ending:
            self._rearm()
