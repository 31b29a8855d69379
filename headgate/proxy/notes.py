"""What is noted of one request while it is under way: gates and tries with their times, and who could have been chosen.

Notes are made for requests that are recorded; and, in case that they end badly, for those whose first try failed.

Laws: everything noted is bounded; a request without notes pays one look for each place where something would be noted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING

from headgate.core.clock import monotonic
from headgate.core.failure import Failure
from headgate.proxy.gates import Answered, Gate
from headgate.telemetry.access_log import clipped
from headgate.telemetry.record import MOST_ATTEMPTS, MOST_CANDIDATES, Attempt, Candidate
from headgate.telemetry.record import Gate as GateRecord
from headgate.telemetry.trace import Ids

if TYPE_CHECKING:
    from headgate.proxy.cluster import Cluster, Target
    from headgate.proxy.exchange import Exchange
    from headgate.wire.call import Call
    from headgate.wire.outgoing import Outgoing

_MICRO = 6
# Seconds below which nothing was waited for: some gates are coroutines that mostly go straight through.
_WAITED = 0.0001


class Notes:
    """Of one request. `sampled` says why it is recorded; while it is empty that is decided at the end."""

    __slots__ = ("_ids", "_started", "attempts", "cache", "candidates", "gates", "plan", "sampled", "unkept")

    def __init__(self, sampled: str, started: float, plan: int, ids: Ids) -> None:
        """Begin for a request that began at `started` (monotonic seconds) on the plan of this number."""
        self.sampled = sampled
        self.plan = plan
        self._started = started
        self._ids = ids
        self.gates: list[GateRecord] = []
        self.attempts: list[Attempt] = []
        self.candidates: list[Candidate] | None = None
        # What the cache did and why, in words of RFC 9211: the member of Cache-Status behind its name.
        self.cache = ""
        # And why it did not keep what the service answered, in a word of policy.cache.storing.
        self.unkept = ""

    def after(self, moment: float) -> float:
        """Return a moment of the monotonic clock as seconds after the request began."""
        return round(max(0.0, moment - self._started), _MICRO)

    def watched(self, gates: Sequence[Gate]) -> list[Gate]:
        """Return gates that note what they decide."""
        return [Watched(gate, self) for gate in gates]

    # -- tries -----------------------------------------------------------------------------------------------------

    def tried(self, cluster: Cluster, target: Target | None, now: float) -> None:
        """Note that an endpoint was chosen for a try; None: there was none."""
        if self.candidates is None:
            self.candidates = candidates_of(cluster)
        if target is not None and len(self.attempts) < MOST_ATTEMPTS:
            self.attempts.append(self.attempt(target.endpoint.name, now))

    def attempt(self, endpoint: str, now: float) -> Attempt:
        """Make a try that began at `now`; its end below zero says that it is under way."""
        return {"endpoint": endpoint, "span_id": self._ids.span(), "at": self.after(now), "end": -1.0}

    def sent(self, exchange: Exchange, upstream: Call, request: Outgoing, target: Target | None = None) -> None:
        """Note that a try, the one in hand if not another `target`, has its connection; tell the upstream its span."""
        target = target or exchange.target
        attempt = self._open(target) if target is not None else None
        if attempt is None:
            return
        attempt["reused"] = upstream.served > 0
        trace, tracer = exchange.trace, exchange.plan.tracer
        if trace is not None and tracer is not None:
            request.trace = tracer.lines(trace, attempt["span_id"], trace.span_id)

    def ended(self, target: Target, now: float, head: float = 0.0, status: int = 0, error: str = "") -> None:
        """Note how a try ended; `head` is the moment at which the head of its answer came, 0 if none did."""
        attempt = self._open(target)
        if attempt is None:
            return
        attempt["end"] = self.after(now)
        if status:
            attempt["status"] = status
            attempt["head"] = self.after(head or now)
        if error:
            attempt["error"] = error

    def retried(self, why: str) -> None:
        """Note why another try follows the last one: a key of REASONS, "status" or "hedge"."""
        if self.attempts:
            self.attempts[-1]["retried"] = why

    def _open(self, target: Target) -> Attempt | None:
        """Return the try at an endpoint that is under way."""
        name = target.endpoint.name
        return next((each for each in self.attempts if each["end"] < 0 and each["endpoint"] == name), None)


def candidates_of(cluster: Cluster) -> list[Candidate]:
    """List who could be chosen at present."""
    counted = cluster.counted
    return [
        {"endpoint": each.endpoint.name, "weight": round(each.weight, 3)}
        | ({"in_flight": each.in_flight} if counted else {})  # type: ignore[misc]
        for each in cluster.targets[:MOST_CANDIDATES]
    ]


class Watched:
    """A gate, and the notes of the one request that comes to it."""

    __slots__ = ("_gate", "_notes", "name")

    def __init__(self, gate: Gate, notes: Notes) -> None:
        self._gate = gate
        self._notes = notes
        self.name = gate.name

    def enter(self, exchange: Exchange) -> Awaitable[None] | None:
        """Enter the gate.

        Raises:
            Failure, Answered: as the gate does.
        """
        noted: GateRecord = {"gate": self.name, "verdict": "pass"}
        self._notes.gates.append(noted)
        began = monotonic()
        try:
            pending = self._gate.enter(exchange)
        except (Failure, Answered) as end:
            _refused(noted, end)
            raise
        return None if pending is None else self._wait(noted, pending, began)

    async def _wait(self, noted: GateRecord, pending: Awaitable[None], began: float) -> None:
        try:
            await pending
        except (Failure, Answered) as end:
            _refused(noted, end)
            raise
        finally:
            seconds = monotonic() - began
            if seconds >= _WAITED:
                noted["at"], noted["seconds"] = self._notes.after(began), round(seconds, _MICRO)


def _refused(noted: GateRecord, end: Failure | Answered) -> None:
    if isinstance(end, Answered):
        noted["verdict"] = "answer"
        noted["detail"] = str(end.status)
    else:
        noted["verdict"] = "deny"
        noted["detail"] = clipped(str(end))
