"""A request and its answer as an ASGI server tells and takes them: messages in, messages out.

Laws: what the exchange writes waits here until the server has taken it, and its source is paused meanwhile; a body that
is not taken is not asked for either. An answer that is cut is never ended: what the server makes of that shows its
client that it is not complete.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final

from headgate.core.clock import monotonic
from headgate.core.failure import Failure
from headgate.core.message import UNKNOWN_LENGTH, Field, Fields, RequestHead, ResponseHead, may_have_body
from headgate.wire.pace import BodyPace, next_look
from headgate.wire.rules import Rules
from headgate.wire.stream import ClientStream
from headgate.wire.timers import NEVER

if TYPE_CHECKING:
    from headgate.wire.tunnel import TunnelEnd

Message = dict[str, Any]

# Seconds.
_MOMENT: Final = 0.1
# The server writes its own, on every answer.
_OF_THE_SERVER: Final = frozenset((b"date", b"server"))
_LINE: Final = b": "


class AsgiClient:
    """Who asks from one address, over any number of connections: they are the server's."""

    __slots__ = ("address", "forwarding", "rules", "stopping")

    certificate = b""

    def __init__(self, rules: Rules, address: str) -> None:
        self.rules = rules
        self.address = address
        self.forwarding: object = None
        self.stopping = False

    def judge_again(self) -> None:
        """No request waits here."""

    def drain(self) -> None:
        """The connection is the server's to close."""

    def end(self) -> None:
        """And so it is here."""


class AsgiStream(ClientStream):
    """One request. `has_more`: there is something to send, or nothing will come any more."""

    __slots__ = (
        "_head",
        "_out",
        "_pace",
        "_paused",
        "_read",
        "_read_at",
        "_sending_since",
        "_waiter",
        "_waiting",
        "cut",
        "deadline",
        "has_more",
        "left",
        "on_stalled",
        "wanted",
        "wheel_at",
    )

    def __init__(self, client: AsgiClient, head: RequestHead, started: float) -> None:
        super().__init__(client, head, started)
        # What the server has not been given yet.
        self._head: Message | None = None
        self._out: list[bytes] = []
        self._waiting = 0
        self._paused = False
        self.has_more = False
        self._waiter: asyncio.Future[None] | None = None
        # Clear while no more of the body is asked for.
        self.wanted: asyncio.Event | None = None
        self.left = False
        self.cut = False
        self.deadline = self.wheel_at = NEVER
        self._pace: BodyPace | None = None
        # What begins to read, and when.
        self._read: Callable[[], None] | None = None
        self._read_at = NEVER
        # Since when the server takes what it was given last.
        self._sending_since = NEVER
        # Told that it does not.
        self.on_stalled: Callable[[], object] = lambda: None

    # -- the request body ------------------------------------------------------------------------------------------

    def watch(self) -> None:
        """Have an eye on the pace of a body whose rest is still to come."""
        now = monotonic()
        self._pace = BodyPace(now, self.bytes_in, False)
        self.connection.rules.wheel.arm(self, next_look(now, self.connection.rules.limits))

    def came(self, message: Message) -> bool:
        """Take what the server said; return whether more may come."""
        if message["type"] != "http.request":
            self.client_left()
            return False
        if self._pace is not None:
            self._pace.last_byte = monotonic()
        body = message.get("body", b"")
        if body and not self.head.length:
            # A server need not show how the body was framed.
            self.head.length = UNKNOWN_LENGTH
        if 0 <= self.head.length < self.bytes_in + len(body):
            self.fail(Failure("bad_request", "more than Content-Length says"))
        elif body:
            self.feed(body)
        if message.get("more_body", False):
            return True
        self._pace = None
        if self.failure is None:
            if 0 <= self.head.length != self.bytes_in:
                self.fail(Failure("bad_request", "less than Content-Length says"))
            else:
                self.feed_end()
        return True

    def client_left(self) -> None:
        """Learn that the client is gone."""
        self.left = True
        self.settle()
        if not self.done:
            self.fail(Failure("client_closed"))
        self._wake()

    def ask(self) -> None:
        """The server asks the client for its body when it is asked for it."""

    def pause(self) -> None:
        """Ask the server for nothing more."""
        if self.wanted is None:
            self.wanted = asyncio.Event()
        self.wanted.clear()
        if self._pace is not None:
            self._pace.held_back = True

    def resume(self) -> None:
        """Ask again."""
        if self.wanted is not None:
            self.wanted.set()
        if self._pace is not None:
            self._pace.last_byte = monotonic()

    def may_be_silent(self) -> None:
        """Have no eye on the pace any more."""
        self._pace = None

    # -- the answer, as the exchange gives it ----------------------------------------------------------------------

    def inform(self, head: ResponseHead) -> None:
        """Leave interim answers out: ASGI has no message for them."""

    def respond(self, head: ResponseHead, body: bytes, complete: bool) -> None:
        """Give the head and the `body` that is there; `complete`: nothing follows."""
        self.responded = True
        length = head.length
        if length == UNKNOWN_LENGTH and complete and may_have_body(self.head.method, head.status):
            length = len(body)
        fields = self._fields(head)
        if length >= 0:
            fields.append((b"content-length", b"%d" % length))
        self._head = {"type": "http.response.start", "status": head.status, "headers": fields}
        if body:
            self._put(body)
        self.done = complete
        self._wake()

    def _fields(self, head: ResponseHead) -> Fields:
        fields = [(name.lower(), value) for name, value in head.fields if name.lower() not in _OF_THE_SERVER]
        for block in head.blocks:
            for line in block.split(b"\r\n"):
                name, _, value = line.partition(_LINE)
                fields.append((name.lower(), value))
        return fields

    def switch(self, head: ResponseHead) -> None:
        """No request is taken for one that asks for another protocol (head)."""
        raise NotImplementedError

    def detach(self) -> tuple[TunnelEnd | None, bytes]:
        """And so there is nothing to leave to a tunnel."""
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        """Give one piece of the body."""
        self._put(data)
        self._wake()

    def finish(self, trailers: Sequence[Field] = ()) -> None:
        """End the answer; its trailers are left out."""
        self.done = True
        self._wake()

    def source_failed(self, failure: Failure) -> None:
        """Cut an answer whose rest will not come."""
        self.done = self.cut = True
        if self.failure is None:
            # It ends by our hand: that is not the client's leaving.
            self.failure = failure
        self._wake()

    @property
    def gone(self) -> bool:
        """Tell whether the client is no longer there."""
        return self.left

    def _put(self, data: bytes) -> None:
        self.bytes_out += len(data)
        self._out.append(data)
        self._hold(len(data))

    def _hold(self, size: int) -> None:
        """Count what waits for the server, and pause its source where it is enough."""
        self._waiting += size
        if self._waiting >= self.connection.rules.limits.buffer and not self._paused and self.source is not None:
            self._paused = True
            self.source.pause()

    # -- the answer, as the server takes it ------------------------------------------------------------------------

    async def something(self) -> None:
        """Wait until there is something to send, or nothing will come any more."""
        if not self.has_more:
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def _wake(self) -> None:
        self.has_more = True
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)

    def messages(self) -> list[Message]:
        """Take what is there to be sent; the last one of an answer says so, unless it was cut."""
        self.has_more = False
        found = []
        if self._head is not None:
            found.append(self._head)
            self._head = None
        ended = self.done and not self.cut
        if self._out or ended:
            body = self._out[0] if len(self._out) == 1 else b"".join(self._out)
            self._out = []
            found.append({"type": "http.response.body", "body": body, "more_body": not ended})
        return found

    def sending(self) -> None:
        """Give the server its time to take what it is given now."""
        now = monotonic()
        self._sending_since = now
        rules = self.connection.rules
        due = now + rules.limits.write_timeout
        if due < self.deadline:
            rules.wheel.arm(self, due)

    def sent(self) -> None:
        """Learn that the server has taken all that it was given: there is room again."""
        self._sending_since = NEVER
        self._waiting = self._left_over()
        if self._paused and self._waiting < self.connection.rules.limits.buffer:
            self._paused = False
            if self.source is not None and not self.done:
                self.source.resume()

    def read_later(self, read: Callable[[], None]) -> None:
        """Begin to wait for the client to leave, if the answer takes longer than a moment."""
        self._read = read
        self._read_at = monotonic() + _MOMENT
        self.connection.rules.wheel.arm(self, self._read_at)

    def _left_over(self) -> int:
        return sum(map(len, self._out))

    def settle(self) -> None:
        """Wait for nothing any more."""
        self._pace = self._read = None
        self._read_at = self._sending_since = NEVER
        self.connection.rules.wheel.cancel(self)

    # -- deadlines -------------------------------------------------------------------------------------------------

    def on_deadline(self, now: float) -> None:
        """Act on a body that comes too slowly, or an answer that is not taken."""
        if now >= self._read_at and self._read is not None:
            self._read_at = NEVER
            self._read()
        rules = self.connection.rules
        limits = rules.limits
        due = self._sending_since + limits.write_timeout
        if now >= due:
            self.client_left()
            self.on_stalled()
            return
        pace = self._pace
        if pace is not None:
            if pace.is_too_slow(now, self.bytes_in, self.wanted is not None and not self.wanted.is_set(), limits):
                self._pace = None
                self.fail(Failure("request_timeout", "body"))
            else:
                due = min(due, next_look(now, limits))
        due = min(due, self._read_at)
        if due != NEVER:
            rules.wheel.arm(self, due)
