"""The answer on an HTTP/1 connection to an upstream, as it comes: the half of the connection that is a source.

The other half, which asks, is wire.upstream.

Laws:
- Whatever an upstream sends outside an answer (an idle connection that speaks, bytes behind the end, a second answer)
  makes the connection unusable: they could only become somebody else's answer.
- A HEAD answer has no body whatever its Content-Length says; llhttp cannot be told, so its parser is not used again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

import httptools

from headgate.core.clock import monotonic
from headgate.core.failure import Failure
from headgate.core.message import UNKNOWN_LENGTH, Fields, ResponseHead, may_have_body
from headgate.core.steps import Reply
from headgate.wire.answer_head import MAX_INTERIM, response_head
from headgate.wire.challenge import accept
from headgate.wire.outgoing import Outgoing
from headgate.wire.pieces import keep
from headgate.wire.pipe import Sink
from headgate.wire.settings import Timeouts
from headgate.wire.timers import NEVER

if TYPE_CHECKING:
    from headgate.wire.pool import Pool

# Precedent: the same bounds as for requests (Envoy: 100 fields, 60 KiB), doubled for generous upstreams.
MOST_FIELDS = 200
MOST_HEAD = 131_072
# Bytes of an answer that may be framing (head, chunk sizes, extensions, trailers): 16 a byte of body, and this on top.
_FRAMING = 262_144
_FRAMING_PER_BYTE = 16


class IncomingHttp1Answer(asyncio.Protocol):
    """An answer, and the next one when another request was sent. `_request` is what it answers."""

    __slots__ = (
        "_challenge",
        "_fields",
        "_head",
        "_head_bytes",
        "_interim",
        "_interims",
        "_left",
        "_parser",
        "_paused",
        "_pieces",
        "_raw",
        "_relayed",
        "_request",
        "_reusable",
        "_sink",
        "_spoilt",
        "_timeouts",
        "_until_close",
        "_waiter",
        "answered_at",
        "bytes_in",
        "deadline",
        "ended",
        "informed",
        "kept",
        "pool",
        "trailers",
        "transport",
    )

    def __init__(self, pool: Pool) -> None:
        # Of the connection.
        self.pool = pool
        self.transport: asyncio.Transport | None = None
        self.deadline = NEVER
        # Seconds that the upstream said to keep an idle connection; -1 while it did not say.
        self.kept = -1
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._spoilt = False
        # Of the request that is answered.
        self._request: Outgoing | None = None
        self._timeouts: Timeouts | None = None
        self._challenge = b""
        self._waiter: Reply[ResponseHead] | None = None
        # Of the answer.
        self.ended = True
        self.bytes_in = 0
        self.answered_at = 0.0
        self.informed: Callable[[ResponseHead], None] | None = None
        self._fields: Fields = []
        self.trailers: Fields = []
        self._head: ResponseHead | None = None
        self._head_bytes = 0
        self._interim = 0
        self._interims: list[ResponseHead] | None = None
        self._left = 0
        self._raw = False
        self._until_close = False
        self._reusable = False
        self._pieces: list[bytes] | None = None
        self._sink: Sink | None = None
        self._relayed: Reply[None] | None = None
        self._paused = False

    # -- for the connection to implement ---------------------------------------------------------------------------

    def close(self) -> None:
        """Close at once; what is still on its way is of no interest."""
        raise NotImplementedError

    def fail(self, reason: str, detail: str = "") -> None:
        """Tell whoever waits, once, and close."""
        raise NotImplementedError

    def wait_until(self, deadline: float) -> None:
        """Wait until `deadline` (monotonic seconds), if the exchange may last so long."""
        raise NotImplementedError

    # -- what comes ------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Take bytes from the socket."""
        if self._raw:
            self._count(data)
        elif self.ended or self._parser is None:
            # Unsolicited: RFC 9112 section 9.2 lets us only close.
            self.close()
        else:
            self._feed(data)

    def _feed(self, data: bytes) -> None:
        assert self._parser is not None
        if not self.bytes_in and self._take_whole(data):
            return
        self.bytes_in += len(data)
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as upgrade:
            self._switched(data[upgrade.args[0] :])
            return
        except httptools.HttpParserError as error:
            if not self.ended:
                cause = error.__context__
                self.fail("upstream_protocol", cause.detail if isinstance(cause, Failure) else str(error))
                return
            # The answer is whole, and behind it came something that is none.
            self._spoilt = True
        if self._interims is not None:
            self._pass_interims()
        head = self._head
        if head is None:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD:
                self.fail("upstream_protocol", "head too large")
            return
        if self.ended:
            self.deadline = NEVER
            if self._request is not None and self._request.method == "HEAD":
                self._parser = httptools.HttpResponseParser(self)
            if self._sink is not None:
                # Behind this call the connection may already be sending somebody else's request.
                self._answer_ended()
                return
        else:
            if head.length > 0 and not self._until_close:
                # From here on the length is all there is to know: the rest is counted and not parsed.
                self._raw = True
                self._parser = None
            elif self.bytes_in > _FRAMING + _FRAMING_PER_BYTE * (head.length - self._left):
                self.fail("upstream_protocol", "too much framing")
                return
            self._expect_more()
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            self.answered_at = monotonic()
            waiter.set(head)

    def _take_whole(self, data: bytes) -> bool:
        """Take a plain answer whose head came whole, without the parser; tell whether it was one."""
        request, waiter = self._request, self._waiter
        if request is None or waiter is None or request.method == "HEAD":
            return False
        whole = self.pool.answers.read(data)
        if whole is None:
            return False
        self._head, body = whole
        self.bytes_in = len(data)
        self._pieces = [body] if body else None
        self._reusable = True
        self._left = self._head.length - len(body)
        if self._left:
            self._raw = True
            self._expect_more()
        else:
            self.deadline = NEVER
            self.ended = True
        self._waiter = None
        self.answered_at = monotonic()
        waiter.set(self._head)
        return True

    def _count(self, data: bytes) -> None:
        size = len(data)
        self.bytes_in += size
        if size < self._left:
            self._left -= size
            self._push(data)
            self._expect_more()
            return
        if size > self._left:
            self._spoilt = True
            data = data[: self._left]
        self._raw = False
        if self._parser is None:
            self._parser = httptools.HttpResponseParser(self)
        self._push(data)
        self._answer_ended()

    def _expect_more(self) -> None:
        if self._timeouts is not None and not self._paused:
            self.wait_until(monotonic() + self._timeouts.idle)

    def _switched(self, rest: bytes) -> None:
        """Take a 101; that it is the one that was asked for, its head has shown (RFC 9110 section 7.8)."""
        head = self._head
        if head is None or self.transport is None:
            self.fail("upstream_protocol", "switched without being asked")
            return
        # What comes next is the tunnel's, which begins with the exchange's next turn.
        self.transport.pause_reading()
        self._pieces = [rest] if rest else None
        self._parser = None
        self.deadline = NEVER
        self.ended = True
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            self.answered_at = monotonic()
            waiter.set(head)

    # -- callbacks of the parser -----------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """Notice an answer that nobody asked for from its first byte, so that its half never awaits the next one's."""
        if self.ended:
            self._spoilt = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect a field; behind the head these are trailers, which the sink judges."""
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Make the head; a Failure raised here stops the parser."""
        parser, request = self._parser, self._request
        fields, self._fields = self._fields, []
        if self._head is not None or self.ended or parser is None or request is None:
            self._spoilt = True
            return
        status = parser.get_status_code()
        if len(fields) > MOST_FIELDS:
            raise Failure("upstream_protocol", "too many fields")
        head, until_close, kept = response_head(status, fields, self.pool.answers.kinds, request.method)
        if status < 200 and status != 101:
            self._interim += 1
            if self._interim > MAX_INTERIM:
                raise Failure("upstream_protocol", "too many interim answers")
            if status != 100:
                self._interims = [*(self._interims or ()), head]
            return
        if status == 101:
            if not request.upgrade or head.upgrade != request.upgrade:
                raise Failure("upstream_protocol", "switched to a protocol that was not asked for")
            if self._challenge and head.get(b"sec-websocket-accept") != accept(self._challenge):
                raise Failure("upstream_protocol", "no answer to the key of a WebSocket")
        persistent = parser.should_keep_alive()
        chunked = not until_close and head.length == UNKNOWN_LENGTH
        if chunked or not persistent:
            head.version = parser.get_http_version()
            self._check_version(head.version, chunked and may_have_body(request.method, status))
        self._head = head
        self._until_close = until_close
        if kept >= 0:
            self.kept = kept
        self._left = head.length
        self._reusable = persistent and not until_close
        if request.method == "HEAD" and status != 101:
            self.ended = True

    def _check_version(self, version: str, chunked: bool) -> None:
        # RFC 9112 section 6.1: a coding in HTTP/1.0 means the framing is faulty.
        if version != "1.1" and (version != "1.0" or chunked):
            raise Failure("upstream_protocol", f"HTTP/{version}")

    def on_body(self, data: bytes) -> None:
        """Take a piece of the body."""
        if self.ended:
            self._spoilt = True
            return
        self._left -= len(data)
        self._push(data)

    def on_message_complete(self) -> None:
        """Note the end of an answer; interim ones have none of their own."""
        if self._head is not None:
            self.trailers, self._fields = self._fields, []
            self.ended = True

    # -- to whoever takes it ---------------------------------------------------------------------------------------

    def _push(self, data: bytes) -> None:
        if self._sink is not None:
            self._sink.write(data)
        elif self._pieces is None:
            self._pieces = [data]
        else:
            keep(self._pieces, data)

    def _pass_interims(self) -> None:
        interims, self._interims = self._interims or [], None
        for head in interims:
            if self.informed is not None:
                self.informed(head)

    def _answer_ended(self) -> None:
        self.ended = True
        self.deadline = NEVER
        sink, self._sink = self._sink, None
        relayed, self._relayed = self._relayed, None
        if sink is not None:
            sink.finish(self.trailers)
        if relayed is not None:
            relayed.set(None)

    def take(self) -> bytes:
        """Return what has arrived of the body and was not taken yet."""
        pieces, self._pieces = self._pieces, None
        if pieces is None:
            return b""
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def relay(self, sink: Sink) -> Reply[None]:
        """Send the rest of the answer to `sink` as it arrives. The reply comes with its end, or is its Failure."""
        relayed: Reply[None] = Reply()
        self._relayed = relayed
        self._sink = sink
        rest = self.take()
        if rest:
            sink.write(rest)
        if self.ended:
            self._answer_ended()
        return relayed

    def pause(self) -> None:
        """Stop reading the upstream; the wait is now the client's, not the upstream's."""
        if not self._paused and self.transport is not None and not self.ended:
            self._paused = True
            self.deadline = NEVER
            self.transport.pause_reading()

    def resume(self) -> None:
        """Read the upstream again."""
        if self._paused:
            self._paused = False
            if self.transport is not None:
                self.transport.resume_reading()
                if not self.ended:
                    self._expect_more()
