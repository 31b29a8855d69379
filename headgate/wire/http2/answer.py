"""The answer to a request on a stream of HTTP/2, as it comes: the half of a call that is a source (wire.http2.call).

Laws: an answer that is reset, or that differs from its Content-Length, never looks complete to its sink; what nobody
took yet is bounded, and beyond it the upstream waits.
"""

from __future__ import annotations

from collections.abc import Callable

from headgate.core.failure import Failure
from headgate.core.message import Fields, ResponseHead, may_have_body
from headgate.core.steps import Reply
from headgate.wire.answer_head import MAX_INTERIM
from headgate.wire.http1 import FieldKinds
from headgate.wire.http2.head import response_head, response_trailers
from headgate.wire.http2.lane import Lane
from headgate.wire.pieces import keep
from headgate.wire.pipe import Sink

# Bytes of an answer that wait for somebody to take them before the upstream has to wait, too.
_MOST_WAITING = 65536


class IncomingAnswer:
    """An answer. `method` is that of its request; `gone`: nobody is interested any more."""

    __slots__ = (
        "_interim",
        "_kinds",
        "_left",
        "_paused",
        "_pieces",
        "_relayed",
        "_sink",
        "_uncounted",
        "_waiting",
        "answered_at",
        "bytes_in",
        "ended",
        "gone",
        "head",
        "informed",
        "lane",
        "method",
        "trailers",
    )

    def __init__(self, kinds: FieldKinds) -> None:
        self.lane: Lane | None = None
        self.gone = False
        self.method = ""
        self.head: ResponseHead | None = None
        self.ended = True
        self.bytes_in = 0
        self.answered_at = 0.0
        self.informed: Callable[[ResponseHead], None] | None = None
        self.trailers: Fields = []
        self._kinds = kinds
        self._interim = 0
        # Bytes that are still to come by the answer's length; or none is known.
        self._left = 0
        self._uncounted = True
        self._pieces: list[bytes] | None = None
        self._waiting = 0
        self._sink: Sink | None = None
        self._relayed: Reply[None] | None = None
        self._paused = False

    # -- for the call to implement ---------------------------------------------------------------------------------

    def broken(self, detail: str) -> None:
        """Reset an answer that is none."""
        raise NotImplementedError

    def expect_more(self) -> None:
        """Wait for the next piece, for a while."""
        raise NotImplementedError

    def rest(self) -> None:
        """Wait for nothing."""
        raise NotImplementedError

    # -- what comes ------------------------------------------------------------------------------------------------

    def interim_came(self, fields: Fields) -> None:
        """Take the head of an interim answer."""
        if self.gone:
            return
        self._interim += 1
        if self._interim > MAX_INTERIM:
            self.broken("too many interim answers")
            return
        try:
            head = response_head(fields, self._kinds, self.method, False)
        except Failure as failure:
            self.broken(failure.detail)
            return
        if head.status != 100 and self.informed is not None:
            self.informed(head)

    def head_came(self, fields: Fields, ended: bool) -> bool:
        """Take the head of the answer; tell whether there is one for whoever waits (`arrived`)."""
        if self.gone:
            return False
        try:
            self.head = head = response_head(fields, self._kinds, self.method, ended)
        except Failure as failure:
            self.broken(failure.detail)
            return False
        if not may_have_body(self.method, head.status):
            # None at all: HTTP/1 would have the client read it as its next answer.
            self._uncounted = False
        elif head.length >= 0:
            self._uncounted = False
            self._left = head.length
        return True

    def data_came(self, data: bytes) -> None:
        """Take one piece of the body."""
        if self.ended:
            return
        size = len(data)
        self.bytes_in += size
        if not self._uncounted:
            self._left -= size
            if self._left < 0:
                self.broken("more of a body than it has")
                return
        if self.answered_at:
            self.expect_more()
        if self._sink is not None:
            self._sink.write(data)
            return
        if self._pieces is None:
            self._pieces = [data]
        else:
            keep(self._pieces, data)
        self._waiting += size
        if self._waiting >= _MOST_WAITING and self.lane is not None:
            self.lane.hold()

    def end_came(self, trailers: Fields) -> None:
        """Take the end of the answer."""
        if self.ended:
            return
        if not self._uncounted and self._left:
            self.broken("less than its Content-Length")
            return
        if trailers:
            try:
                self.trailers = response_trailers(trailers)
            except Failure as failure:
                self.broken(failure.detail)
                return
        self.ended = True
        self.rest()
        if self._relayed is not None:
            self._answer_ended()

    def _answer_ended(self) -> None:
        sink, self._sink = self._sink, None
        relayed, self._relayed = self._relayed, None
        if sink is not None:
            sink.finish(self.trailers)
        if relayed is not None:
            relayed.set(None)

    def take(self) -> bytes:
        """Return what has arrived of the answer's body and was not taken yet."""
        pieces, self._pieces = self._pieces, None
        if pieces is None:
            return b""
        if self._waiting >= _MOST_WAITING and self.lane is not None and not self._paused:
            self.lane.let_go()
        self._waiting = 0
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
        """Take no more of the answer; the wait is now the client's, not the upstream's."""
        if not self._paused and not self.ended and self.lane is not None:
            self._paused = True
            self.rest()
            self.lane.hold()

    def resume(self) -> None:
        """Take the answer again."""
        if self._paused:
            self._paused = False
            if self.lane is not None and not self.gone:
                self.lane.let_go()
                if not self.ended:
                    self.expect_more()
