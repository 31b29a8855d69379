"""A service at run time: its endpoints, who of them gets requests, the balancer that chooses, and a pool for each.

Laws:
- The balancer decides from plain candidates; connections belong to pools, and pools outlive a reload whose settings
  for them are equal.
- What is known of an endpoint stands on the board, for all processes alike. It is read again when the board's version
  changed or a known moment has come (an ejection ends, a slow start gains), so a pick compares two numbers.
- The board's cells are the truth of what is in flight, over workers and over reloads. A candidate's count is a copy:
  it follows this worker's own attempts at once, those of others within RECOUNT seconds.
- A target lives as long as anybody has it in hand, and holds its record so long. One that left a set gets nothing new;
  attempts under way there end as if it had stayed. One that stays is the same object, so whoever tried it knows it.
"""

from __future__ import annotations

import random
import ssl
from collections.abc import Callable, Iterable
from dataclasses import replace

from headgate.catalog import BALANCERS
from headgate.config.resolve import ResolvedService
from headgate.core.endpoint import Endpoint
from headgate.policy.balance.balancer import Balancer, Candidate
from headgate.policy.balance.candidates import Standing, shares
from headgate.policy.balance.hash_key import HashKey
from headgate.policy.balance.settings import ConsistentHashSettings
from headgate.policy.concurrency import AdaptiveLimit
from headgate.policy.endpoint_record import DISABLED, EJECTED_UNTIL, UNHEALTHY, WELL_SINCE, record_name
from headgate.policy.retry import Budget
from headgate.proxy.breaking import Say, ServiceBreaker
from headgate.proxy.ejection import JudgedEndpoint, ServiceOutliers
from headgate.stores.board import OWN_CELLS, Board, Hold
from headgate.telemetry.access_log import json_fragment
from headgate.telemetry.metrics import Metrics
from headgate.wire.pool import Pool
from headgate.wire.settings import PoolLimits, UpstreamTls

# What makes two pools the same: where, how bounded, how secured, what is spoken. The context is another one when files
# changed: who was verified by authorities that are no longer trusted, or shown a certificate that was replaced, shall
# not serve on.
PoolKey = tuple[str, str, int, str, str, PoolLimits, UpstreamTls, str, ssl.SSLContext | None]

# Seconds between two looks at what other workers have in flight; for a large service so many for each endpoint, which
# holds the looks to about one percent of the time.
RECOUNT = 0.005
_RECOUNT_EACH = 0.0001
_MICROSECONDS = 1_000_000
# How often a retry asks the balancer for another endpoint than those tried before it looks for one by itself.
_ASKED_AGAIN = 4
# What of an endpoint makes it another one for who connects to it stands before this.
_SPOKEN_TO = Endpoint._fields.index("weight")
# Moves a key to another place on a ring (the golden ratio in 64 bits).
_ELSEWHERE = 0x9E3779B97F4A7C15
_KEY_BITS = (1 << 64) - 1


class Target(Candidate):
    """One endpoint as the exchange uses it. `record` is its place on the board (policy.endpoint_record)."""

    __slots__ = ("_hold", "judged", "label", "pool", "record")

    def __init__(self, endpoint: Endpoint, pool: Pool, hold: Hold) -> None:
        super().__init__(endpoint)
        self.label = json_fragment(endpoint.name)
        self.pool = pool
        self._hold = hold
        self.record = hold.base
        # Takes what attempts say of it, where outliers are ejected.
        self.judged: JudgedEndpoint | None = None


class Cluster:
    """One service.

    `targets` are all its endpoints in their order, those that get nothing at present included; `source` names who tells
    them (control.messages.EndpointSets), empty where they are configured. `key_of` finds the key for `pick` where the
    balancer hashes, else it is None. With `counted` each pick that returned a target is owed an `end`.
    """

    __slots__ = (
        "_balancer",
        "_board",
        "_cells",
        "_changes",
        "_limit",
        "_outliers",
        "_own",
        "_pool_for",
        "_recount",
        "_service",
        "_slot",
        "_until",
        "_version",
        "_zone",
        "adaptive",
        "breaker",
        "budget",
        "counted",
        "key_of",
        "label",
        "name",
        "series",
        "source",
        "targets",
    )

    def __init__(
        self,
        service: ResolvedService,
        metrics: Metrics,
        pool_for: Callable[[ResolvedService, Endpoint], Pool],
        board: Board | None = None,
        slot: int = 0,
        zone: str = "",
        say: Say = lambda *_, **__: None,
    ) -> None:
        """Build it over `board`, on which this worker has `slot`; None: nobody else is to know. `zone` is ours.

        `say` takes lines for the operator: level, message, fields.

        Raises:
            ValueError: with a sentence, when the board is full.
        """
        self.name = service.name
        self.label = json_fragment(service.name)
        self.source = service.source
        self.series = metrics.upstream(service.name)
        self._service = service
        self._zone = zone
        self._board = board if board is not None else Board.private()
        self._cells = self._board.cells
        self._slot = slot
        self._own = OWN_CELLS + slot
        self._pool_for = pool_for
        self.targets = self._made(service.endpoints)
        # Chance makes gateways begin at different places, so that they do not march in step.
        build = BALANCERS[service.balancer.type].build
        self._balancer: Balancer[Target] = build(service.balancer, random.random)
        self._balancer.share(self._cells, lambda: self._board.claim(f"turns {service.name}"))
        self._balancer.take(self.targets)
        self.counted = self._balancer.counted
        self.breaker = (
            ServiceBreaker(service.name, service.breaker, self._board, metrics, say) if service.breaker else None
        )
        self._outliers = ServiceOutliers(service, self._board, metrics, say) if service.outlier else None
        self._have_judged()
        self.budget = Budget()
        self.adaptive = AdaptiveLimit(service.adaptive) if service.adaptive is not None else None
        self._limit = metrics.gauge("headgate_concurrency_limit", service.name) if self.adaptive is not None else -1
        settings = service.balancer
        self.key_of = HashKey(settings).of if isinstance(settings, ConsistentHashSettings) else None
        # No version is -1 and every moment is later than this one: the first pick looks at everything.
        self._version = -1
        self._until = self._changes = self._recount = 0.0

    def pick(self, now: float, tried: Iterable[Target] = (), key: int = 0) -> Target | None:
        """Choose an endpoint, one that was not tried yet if there is any; with `counted` it has one more in flight.

        `now` in monotonic seconds; `key` is what `key_of` returned.
        """
        if now >= self._until or self._board.version != self._version:
            self._look(now)
        target = self._balancer.pick(now, key)
        if target is None:
            return None
        if tried and target in tried:
            target = self._another(target, now, tried, key)
        if self.counted:
            self._balancer.begin(target)
            self._cells[target.record + self._own] += 1
        return target

    def end(self, target: Target, now: float, seconds: float | None = None, ok: bool = True) -> None:
        """Count an attempt out, once for each pick where `counted`.

        `seconds` until the answer's head came, or until it failed (not `ok`); None: it says nothing of the endpoint,
        because the client left.
        """
        self._cells[target.record + self._own] -= 1
        self._balancer.end(target, now, seconds, ok)

    def follow(self, previous: Cluster | None) -> None:
        """Go on with what the same service of the previous Plan has learned, where the settings are equal."""
        if previous is not None:
            self.budget = previous.budget
            if previous._service.adaptive == self._service.adaptive:
                self.adaptive = previous.adaptive
            known = {each.endpoint.name: each for each in previous.targets}
            for target in self.targets:
                if target.endpoint.name in known:
                    target.remember(known[target.endpoint.name])

    def take(self, endpoints: tuple[Endpoint, ...]) -> list[Target]:
        """Have these endpoints from now on; return the targets that left. Equal ones change nothing.

        One that is spoken to as before stays, with all that is known of it, whatever its weight and zone are now.

        Raises:
            ValueError: with a sentence; everything stays as it was.
        """
        if endpoints == self._service.endpoints:
            return []
        before = {each.endpoint[:_SPOKEN_TO]: each for each in self.targets}
        fresh = iter(self._made(tuple(each for each in endpoints if each[:_SPOKEN_TO] not in before)))
        targets = []
        for endpoint in endpoints:
            target = before.pop(endpoint[:_SPOKEN_TO], None)
            if target is None:
                target = next(fresh)
            target.endpoint = endpoint
            targets.append(target)
        left = list(before.values())
        for target in left:
            # Its attempts end as they will: they count in no sum of those that are there, and judge nobody.
            target.weight = 0.0
            target.judged = None
        self.targets = targets
        self._service = replace(self._service, endpoints=endpoints)
        if self._outliers is not None:
            self._outliers.take([(each.endpoint.name, each.record) for each in targets])
            self._have_judged()
        self._balancer.take(targets)
        self._version = -1
        self._until = self._changes = self._recount = 0.0
        return left

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Return the endpoints of the targets."""
        return self._service.endpoints

    def _made(self, endpoints: tuple[Endpoint, ...]) -> list[Target]:
        """Make targets.

        Raises:
            ValueError: with a sentence, when the board is full or a pool cannot be secured.
        """
        service = self._service
        pools = [self._pool_for(service, each) for each in endpoints]
        holds = self._board.hold([record_name(service.name, each.name) for each in endpoints], self._slot)
        return [Target(*each) for each in zip(endpoints, pools, holds, strict=True)]

    def _have_judged(self) -> None:
        if self._outliers is not None:
            for target, judged in zip(self.targets, self._outliers.endpoints, strict=True):
                target.judged = judged

    def observe(self, cells: memoryview, now: float) -> None:
        """Write how many connections there are into the service's gauges; review whose answers were bad."""
        if self._outliers is not None:
            self._outliers.tick(now)
        pools = [target.pool for target in self.targets]
        idle = sum(pool.idle for pool in pools)
        cells[self.series.idle] = idle
        cells[self.series.busy] = sum(pool.open for pool in pools) - idle
        if self.adaptive is not None:
            cells[self._limit] = self.adaptive.limit

    def _another(self, target: Target, now: float, tried: Iterable[Target], key: int) -> Target:
        """Return one that was not tried, or `target` when all were."""
        for turn in range(1, _ASKED_AGAIN + 1):
            other = self._balancer.pick(now, (key + turn * _ELSEWHERE) & _KEY_BITS)
            if other is not None and other not in tried:
                return other
        # The others may weigh so little, or have so much to do, that their turn is far away.
        rest = [each for each in self.targets if each.weight > 0 and each not in tried]
        return min(rest, key=lambda each: (each.in_flight + 1) / each.weight, default=target)

    def _look(self, now: float) -> None:
        """Read from the board what has changed, and when to look again."""
        board = self._board
        version = board.version
        changed = False
        if version != self._version or now >= self._changes:
            self._version = version
            changed = self._weigh(now)
        if self.counted and (changed or now >= self._recount):
            cells, slots = self._cells, board.slots
            for target in self.targets:
                first = target.record + OWN_CELLS
                target.in_flight = max(0, sum(cells[first : first + slots]))
            self._recount = now + max(RECOUNT, len(self.targets) * _RECOUNT_EACH)
            changed = True
        if changed:
            self._balancer.take(self.targets)
        self._until = min(self._changes, self._recount) if self.counted else self._changes

    def _weigh(self, now: float) -> bool:
        """Decide how much of its weight each endpoint has at present; tell whether that is news."""
        cells, service = self._cells, self._service
        standings = []
        for target in self.targets:
            at = target.record
            standings.append(
                Standing(cells[at + DISABLED], cells[at + UNHEALTHY], cells[at + EJECTED_UNTIL], cells[at + WELL_SINCE])
            )
        weights, until = shares(service.endpoints, standings, service.candidates, self._zone, int(now * _MICROSECONDS))
        # Rounded up: at that moment it has happened.
        self._changes = (until + 1) / _MICROSECONDS
        changed = False
        for target, weight in zip(self.targets, weights, strict=True):
            if target.weight != weight:
                target.weight = weight
                changed = True
        return changed

    def __repr__(self) -> str:
        return f"<Cluster {self.name} endpoints={len(self.targets)}>"


def pool_key(service: ResolvedService, endpoint: Endpoint, context: ssl.SSLContext | None) -> PoolKey:
    """Name the pool that serves `endpoint` of `service`, secured by `context`."""
    where = endpoint.scheme, endpoint.host, endpoint.port, endpoint.unix, endpoint.prefix
    return *where, service.pool, service.tls, service.protocol, context
