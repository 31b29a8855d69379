"""All tries of a request but a plain first one: what follows a failure or a status that is tried again, and the bounds
in time that a route sets besides the plain timeouts.

    loop { wait -> pick an endpoint, another one if there is any -> connection -> send the body that was kept -> head }

Laws: made when it is needed, so a request that goes well on a plain route pays nothing for it; nothing is tried again
once a head went out; waits end with the client, with the deadline, and with the time the exchange has in all; at most
one answer is ever passed on, and the connection of one that is not is either read to its end or closed.
"""

from __future__ import annotations

from random import random
from typing import TYPE_CHECKING

from headgate.core.clock import monotonic, wall
from headgate.core.failure import Failure
from headgate.core.message import ResponseHead
from headgate.policy.deadline import expired
from headgate.policy.grpc import PUSHBACK, GrpcTimeout, counts_as, pushed_back
from headgate.policy.retry import IDEMPOTENT, retry_after
from headgate.proxy import grpc
from headgate.proxy.cluster import Cluster, Target
from headgate.proxy.hedge import Race
from headgate.proxy.notes import Notes
from headgate.proxy.pause import pause
from headgate.proxy.plan import RouteRuntime
from headgate.wire.call import Call
from headgate.wire.outgoing import Outgoing
from headgate.wire.replay import KeptBody
from headgate.wire.timers import NEVER

if TYPE_CHECKING:
    from headgate.proxy.exchange import Exchange
    from headgate.proxy.gateway import Gateway

# Seconds by which timers of the event loop, which counts in milliseconds, may come before their time.
_EARLY = 0.001
_TIMEOUT = GrpcTimeout()


class Tries:
    """The tries of one request."""

    __slots__ = (
        "_charged",
        "_deadlines",
        "_gateway",
        "_head",
        "_late",
        "_until",
        "body",
        "cluster",
        "exchange",
        "request",
        "retry",
        "tried",
        "way",
    )

    def __init__(
        self,
        gateway: Gateway,
        exchange: Exchange,
        way: RouteRuntime,
        cluster: Cluster,
        request: Outgoing,
        body: bytes = b"",
    ) -> None:
        """Take a request of which `body` was sent with the first try, if there was one."""
        self._gateway = gateway
        self.exchange = exchange
        self.way = way
        self.cluster = cluster
        self.request = request
        self.body = body
        self.retry = way.retry
        self.tried: tuple[Target, ...] = ()
        # Places taken in the budget of the service.
        self._charged = 0
        # When the exchange has to be over, and the reason of its failure then.
        self._until = NEVER
        self._late = ""
        call = exchange.stream.head.grpc
        self._deadlines = way.deadlines if not call else (*way.deadlines, _TIMEOUT)
        started, timeouts = exchange.stream.started, way.timeouts
        # When the head of an answer has to be here.
        self._head = started + timeouts.head if timeouts.head else NEVER
        if timeouts.total:
            self._until, self._late = started + timeouts.total, "total_timeout"
        for deadline in self._deadlines:
            said = deadline.read(exchange.stream.head.fields, started)
            if said is not None and said < self._until:
                self._until, self._late = said, "deadline_exceeded"

    async def run(self, failure: Failure | None = None, response: ResponseHead | None = None) -> ResponseHead:
        """Make tries until there is an answer to pass on; after a first one that had this failure or response, if any.

        Raises:
            Failure: of the last try, or deadline_exceeded, or total_timeout.
        """
        try:
            while True:
                wait: float | None = 0.0
                if failure is not None:
                    wait = self._after(failure)
                elif response is not None:
                    wait = self._declined(response)
                    if wait is None:
                        return response
                if wait:
                    await pause(self._gateway.loop, wait)
                failure = response = None
                try:
                    response = await self._try()
                except Failure as error:
                    failure = error
        finally:
            self._refund()

    # -- one try ---------------------------------------------------------------------------------------------------

    async def _try(self) -> ResponseHead:
        exchange, stream, now = self.exchange, self.exchange.stream, monotonic()
        if expired(self._until, now):
            raise Failure(self._late)
        if self._until != NEVER:
            for deadline in self._deadlines:
                self.request.fields = deadline.replaced(self.request.fields, self._until, now)
        here = stream.ended and not stream.trailers and not self.request.upgrade
        if here and self.retry.hedge_after and self.retry.hedges(exchange.method):
            self.body += stream.take()
            return await Race(self._gateway, self).run()
        pool = exchange.aim(self.cluster, self.tried)
        self._number()
        upstream = pool.take(exchange.method in IDEMPOTENT)
        if upstream is None:
            upstream = await pool.connecting(self.connect_within(now))
        self.body += stream.take()
        answer = exchange.send(upstream, self.request, self.body)
        self.bind(upstream, now)
        response = await answer
        self.loosen(upstream)
        return response

    def _number(self) -> None:
        """Say which try it is, where a field of the request does."""
        editor, exchange = self.way.edit_request, self.exchange
        if editor is not None and editor.numbers and exchange.attempts > 1:
            self.request.fields = editor.renumbered(self.request.fields, exchange.value)

    def connect_within(self, started: float) -> float:
        """Return the seconds that a try begun at `started` may take to connect."""
        left = min(self._until, self._head) - started
        if self.retry.per_try_timeout:
            left = min(left, self.retry.per_try_timeout)
        connect: float = self.way.timeouts.connect
        return min(connect, left)

    def bind(self, upstream: Call, started: float) -> None:
        """Let a try begun at `started` end in time."""
        until, late = self._until, self._late
        # A first try has `response` alone, which begins when the request has come whole.
        if self._head < until and self.exchange.attempts > 1:
            until, late = self._head, "response_timeout"
        if self.retry.per_try_timeout and started + self.retry.per_try_timeout < until:
            until, late = started + self.retry.per_try_timeout, "response_timeout"
        if until != NEVER:
            upstream.bound(until, late)

    def loosen(self, upstream: Call) -> None:
        """Let the body of an answer, whose head came in time, take as long as the exchange may."""
        if self.retry.per_try_timeout or self._head != NEVER:
            upstream.loosen(self._until, self._late)

    # -- what follows ----------------------------------------------------------------------------------------------

    def _after(self, failure: Failure) -> float:
        """Take a try that failed; returns the seconds before the next one.

        Raises:
            Failure: this one when there may not be another, or the one that says that the time is over.
        """
        exchange, cluster, retry, target = self.exchange, self.cluster, self.retry, self.exchange.target
        if target is None or failure.side == "client":
            # Nobody was tried, or the client left or broke its body: not the upstream's failure.
            raise failure
        if failure.reason == self._late:
            cluster.series.failed(failure.reason, exchange.method)
            raise failure
        now = monotonic()
        self.lost(target, failure, now)
        exchange.end_try(cluster, now, now - exchange.tried_at, failure.side != "upstream")
        self._refund()
        if now >= self._until - _EARLY:
            raise Failure(self._late, failure.reason)
        held = self._held()
        elsewhere = any(each.weight and each not in self.tried for each in cluster.targets)
        replayable = held is not None or (not failure.sent and self._untouched())
        if not retry.allows(
            failure, exchange.method, exchange.attempts, replayable=replayable, elsewhere=elsewhere
        ) or (retry.charged(failure) and not self.charge()):
            raise failure
        wait = retry.wait(failure, exchange.attempts, random(), elsewhere=elsewhere)
        if now + wait >= min(self._until, self._head) - _EARLY:
            raise failure
        self._rewind(held)
        self.retried(failure.reason)
        return wait

    def _declined(self, response: ResponseHead) -> float | None:
        """Take an answer; returns the seconds before the next try, or None when this one is passed on."""
        exchange, retry = self.exchange, self.retry
        code = exchange.grpc_status = grpc.told(response) if exchange.stream.head.grpc else grpc.NOT_TOLD
        coded = code in retry.codes
        if not coded and response.status not in retry.statuses:
            return None
        self._refund()
        held, upstream, target = self._held(), exchange.connection, exchange.target
        assert upstream is not None
        assert target is not None
        if coded:
            allowed = retry.allows_code(code, exchange.attempts, replayable=held is not None)
            asked = pushed_back(response.get(PUSHBACK))
        else:
            allowed = retry.allows_answered(exchange.method, exchange.attempts, replayable=held is not None)
            asked = retry_after(response.get(b"retry-after"), wall())
        if not allowed or asked is None:
            return None
        wait = retry.wait_answered(asked, exchange.attempts, random())
        if wait is None or monotonic() + wait >= min(self._until, self._head) or not self.charge():
            return None
        self.tried = (*self.tried, target)
        seconds = upstream.answered_at - exchange.tried_at
        self.cluster.series.answered(response.status, seconds, exchange.method)
        outcome = counts_as(code) if coded else response.status
        if target.judged is not None:
            target.judged.answered(outcome, upstream.answered_at)
        exchange.end_try(self.cluster, upstream.answered_at, seconds, outcome < 500)
        exchange.grpc_status = grpc.NOT_TOLD
        notes = self.notes()
        if notes is not None:
            notes.ended(target, upstream.answered_at, upstream.answered_at, response.status)
        self.retried("status")
        self._rewind(held)
        exchange.connection = None
        # Gives the connection back if the answer has ended, and closes it if not.
        upstream.release()
        return wait

    def lost(self, target: Target, failure: Failure, now: float) -> None:
        """Count a try that failed at `target`."""
        self.tried = (*self.tried, target)
        self.cluster.series.failed(failure.reason, self.exchange.method)
        notes = self.notes()
        if notes is not None:
            notes.ended(target, now, error=failure.reason)
        if target.judged is not None and failure.side == "upstream":
            target.judged.failed(now)

    def notes(self) -> Notes | None:
        """Return what notes the tries of the request, from the first on that went badly."""
        exchange = self.exchange
        if exchange.notes is None:
            exchange.notes = self._gateway.recorder.doubt(exchange)
        return exchange.notes

    def retried(self, why: str) -> None:
        """Count another try; `why` is a key of REASONS, "status" or "hedge"."""
        self.cluster.series.retried(why)
        if self.exchange.notes is not None:
            self.exchange.notes.retried(why)

    def charge(self) -> bool:
        """Take a place in the budget of the service; tell whether there was one."""
        active = sum(each.pool.active for each in self.cluster.targets)
        if not self.cluster.budget.begin(self.retry, active):
            return False
        self._charged += 1
        return True

    def _refund(self) -> None:
        """Give the places in the budget back: no try is under way."""
        for _ in range(self._charged):
            self.cluster.budget.end()
        self._charged = 0

    def _held(self) -> bytes | None:
        """Return all of the body that was sent, or None when it is not held."""
        sink = self.exchange.stream.sink
        if isinstance(sink, KeptBody):
            return sink.whole
        return self.body if sink is None and len(self.body) <= self.retry.buffer else None

    def _untouched(self) -> bool:
        """Tell whether nothing of the body has left besides what is held as `body`: it was not streamed on."""
        stream = self.exchange.stream
        return stream.sink is None or stream.bytes_in <= len(self.body)

    def _rewind(self, held: bytes | None) -> None:
        """Let the next try begin with the body that is held; what arrives meanwhile waits."""
        stream = self.exchange.stream
        if stream.sink is not None:
            stream.sink = None
            # The upstream that is gone may have held the client back.
            stream.resume()
        if held is not None:
            self.body = held
