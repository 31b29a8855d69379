"""Two endpoints asked the same: when the first is slow the second is asked too, and the head that comes first wins.

Laws: only for idempotent requests whose body is here (policy.retry); the second is another endpoint and has a place in
the retry budget; exactly one answer leaves this file; the connection of the other is closed, never used again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.core.clock import monotonic
from headgate.core.failure import Failure
from headgate.core.message import ResponseHead
from headgate.core.steps import Reply, Steps
from headgate.proxy.cluster import Target
from headgate.wire.call import Call

if TYPE_CHECKING:
    from headgate.proxy.gateway import Gateway
    from headgate.proxy.tries import Tries


class Runner:
    """One of the two."""

    __slots__ = ("_race", "response", "started", "steps", "target", "upstream")

    def __init__(self, race: Race, target: Target, started: float) -> None:
        self._race = race
        self.target = target
        self.started = started
        self.upstream: Call | None = None
        self.response: ResponseHead | None = None
        self.steps = Steps(self._run())

    async def _run(self) -> None:
        race, tries, pool = self._race, self._race.tries, self.target.pool
        try:
            upstream = pool.take(True)
            if upstream is None:
                upstream = await pool.connecting(tries.connect_within(self.started))
            self.upstream = upstream
            if tries.exchange.notes is not None:
                tries.exchange.notes.sent(tries.exchange, upstream, tries.request, self.target)
            answer = upstream.send(tries.request, tries.body, True, tries.way.timeouts)
            tries.bind(upstream, self.started)
            self.response = await answer
        except Failure as failure:
            race.lost(self, failure)
        except Exception as error:
            race.broken(error)
        else:
            race.won(self)

    def stop(self) -> None:
        """Give up."""
        if self.upstream is not None:
            self.upstream.close()
        self.steps.interrupt(Failure("client_closed", "another endpoint was faster"))


class Race:
    """The first try of a request, and a second one beside it if need be."""

    __slots__ = ("_gateway", "_over", "_runners", "tries")

    def __init__(self, gateway: Gateway, tries: Tries) -> None:
        self._gateway = gateway
        self.tries = tries
        self._runners: list[Runner] = []
        self._over: Reply[Runner] = Reply()

    async def run(self) -> ResponseHead:
        """Return the head that came first; the exchange then holds its connection.

        Raises:
            Failure: of the last that ran, when none brought an answer.
        """
        tries, exchange = self.tries, self.tries.exchange
        exchange.aim(tries.cluster, tries.tried)
        assert exchange.target is not None
        timer = self._gateway.loop.call_later(tries.retry.hedge_after, self._hedge)
        try:
            self._start(exchange.target, exchange.tried_at)
            winner = await self._over
        except Exception:
            self._end(None)
            raise
        finally:
            timer.cancel()
        self._end(winner)
        assert winner.upstream is not None
        assert winner.response is not None
        self._hand_over(winner)
        exchange.connection = winner.upstream
        tries.loosen(winner.upstream)
        return winner.response

    def _end(self, winner: Runner | None) -> None:
        """Stop all but the winner; the exchange counts out the one whose target it has in hand."""
        runners, self._runners = self._runners, []
        for each in runners:
            if each is not winner:
                each.stop()
                if self.tries.exchange.notes is not None:
                    self.tries.exchange.notes.ended(each.target, monotonic())
                if winner is not None or each.target is not self.tries.exchange.target:
                    self._count_out(each, None)

    def _start(self, target: Target, now: float) -> None:
        runner = Runner(self, target, now)
        self._runners.append(runner)
        runner.steps.go_on()

    def _hedge(self) -> None:
        """Ask another endpoint, if there is one and the budget allows it."""
        tries, now = self.tries, monotonic()
        tried = (*tries.tried, *(each.target for each in self._runners))
        if not any(each.weight and each not in tried for each in tries.cluster.targets) or not tries.charge():
            return
        target = tries.cluster.pick(now, tried, tries.exchange.key(tries.cluster))
        if target is None:
            return
        if target in tried:
            # Whoever else there was went out since the last pick.
            if tries.cluster.counted:
                tries.cluster.end(target, now)
            return
        tries.exchange.attempts += 1
        notes = tries.notes()
        tries.retried("hedge")
        if notes is not None:
            notes.tried(tries.cluster, target, now)
        self._start(target, now)

    def won(self, runner: Runner) -> None:
        """Take the first head."""
        self._over.set(runner)

    def lost(self, runner: Runner, failure: Failure) -> None:
        """Take a failure: the other may still win."""
        if runner not in self._runners:
            return
        self._runners.remove(runner)
        if self._runners:
            now = monotonic()
            self.tries.lost(runner.target, failure, now)
            self._count_out(runner, now - runner.started)
            self._hand_over(self._runners[0])
        else:
            self._hand_over(runner)
            self._over.fail(failure)

    def _hand_over(self, runner: Runner) -> None:
        """Let the exchange have this try in hand: it counts it out, and the log names its endpoint."""
        exchange = self.tries.exchange
        exchange.target, exchange.tried_at = runner.target, runner.started
        exchange.endpoint = runner.target.label

    def _count_out(self, runner: Runner, seconds: float | None) -> None:
        cluster = self.tries.cluster
        if cluster.counted:
            cluster.end(runner.target, monotonic(), seconds, False)

    def broken(self, error: Exception) -> None:
        """Take a fault of our own."""
        self._over.fail(error)
