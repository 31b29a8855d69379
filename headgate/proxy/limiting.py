"""Rate limits at work in one worker: the store, what requests hold in it, and what they are told.

    ask (the store decides) -> decide (refuse, delay or go on) -> charge what the answer says it cost -> release

Laws: refusing and admitting is the store's, in one step; a request that waits for a store waits no longer than the
store's own bound; charging and releasing delay nobody. What was admitted is released exactly once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from math import ceil
from typing import TYPE_CHECKING, NamedTuple

from headgate.config.resolve import ResolvedConfig
from headgate.core.clock import monotonic, wall
from headgate.core.failure import Failure
from headgate.core.message import Fields
from headgate.core.steps import Reply, Steps
from headgate.policy.limit.headers import UNITS, Told, retry_after, told_reset
from headgate.policy.limit.settings import MOST_COST
from headgate.policy.pattern import field_value
from headgate.proxy.breaking import Say
from headgate.proxy.limit_stage import LimitStage, Question, Variant
from headgate.proxy.pause import pause
from headgate.proxy.store import open_store
from headgate.stores.fallback import FAILING
from headgate.stores.store import Ask, Store
from headgate.stores.store import Told as Answer
from headgate.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from headgate.proxy.exchange import Exchange

_BEFORE_LIMITS = frozenset(
    (
        *("route_not_found", "method_not_allowed", "address_forbidden", "forbidden", "tenant_forbidden"),
        *("missing_credentials", "invalid_credentials", "invalid_token", "expired_token", "invalid_api_key"),
        *("identity_unavailable", "untrusted_host", "origin_forbidden"),
    )
)
"""Why requests are refused that the limits behind routing have not counted."""
_UNREADABLE = frozenset(
    (
        *("bad_request", "bad_host", "bad_path", "uri_too_long", "headers_too_large", "header_refused"),
        *("payload_too_large", "expectation_failed", "coding_not_implemented", "version_not_supported"),
    )
)
"""The same, unless the request was on its way to a service already: then its body is at fault, and it was counted."""

_MICROSECONDS = 1_000_000
# Less than a third of the time after which a concurrency lease lapses.
_RENEW_SECONDS = 8.0
_SWEEP_SECONDS = 0.1


class Held(NamedTuple):
    """What a request holds of a variant in a store; `local` where what took the store's place counted it."""

    store: Store
    variant: Variant
    ask: Ask
    local: bool


class Limiter:
    """The limits of one worker."""

    def __init__(self, loop: asyncio.AbstractEventLoop, metrics: Metrics, say: Say) -> None:
        self._say = say
        self._loop = loop
        self._metrics = metrics
        self._cells: dict[tuple[str, str], int] = {}
        self._holding: set[Exchange] = set()
        self._store: Store | None = None
        self._settings: object = None
        self._timer: asyncio.TimerHandle | None = None
        self._renewed = 0.0
        self._observed: dict[int, int] = {}

    def prepare(self, config: ResolvedConfig) -> Callable[[], None]:
        """Open the store of a plan; the function returned swaps it in and cannot fail. Without limits there is none.

        Raises:
            ValueError: with a sentence, when it cannot be opened.
        """
        wanted = config.store if _has_limits(config) else None
        if wanted == self._settings:
            return lambda: None
        store = open_store(wanted, self._changed, self._loop) if wanted is not None else None
        return lambda: self._use(wanted, store)

    def _use(self, settings: object, store: Store | None) -> None:
        old, self._store, self._settings = self._store, store, settings
        self._observed.clear()
        if old is not None:
            # What requests still hold there goes with it, or expires by itself.
            old.close()
        self._metrics.cells[self._metrics.store_failing] = 0
        if store is not None and self._timer is None:
            self._timer = self._loop.call_later(_SWEEP_SECONDS, self._tick)

    def _changed(self, state: str, reason: str) -> None:
        failing = state == FAILING
        self._metrics.cells[self._metrics.store_failing] = int(failing)
        if failing:
            self._say("error", "the store of the limits fails; each limit's on_error decides", reason=reason)
        else:
            self._say("info", "the store of the limits works again")

    # -- on the way in ---------------------------------------------------------------------------------------------

    def admit(self, exchange: Exchange, stage: LimitStage) -> Awaitable[None] | None:
        """Hold a request against the limits of a stage; what is returned, if anything, is to be waited for.

        Raises:
            Failure: rate_limited, or limits_unavailable; also from the wait.
        """
        store = self._store
        only = stage.only
        if store is None:
            # A reload took the last limit away while this request waited for something else.
            return None
        if only is not None:
            question = only.question(exchange)
            questions = [question] if question is not None else []
        else:
            questions = [found for part in stage.parts if (found := part.question(exchange)) is not None]
        if not questions:
            return None
        asks = questions[0].alone if len(questions) == 1 else [question.ask for question in questions]
        answers = store.admit(asks, int(monotonic() * _MICROSECONDS))
        if isinstance(answers, Reply):
            return self._admit_later(exchange, store, questions, answers)
        return self._decide(exchange, store, questions, answers)

    async def turn_away(self, exchange: Exchange, failure: Failure) -> Failure:
        """Count a request that failed on its way to limits which count those, too; return what to refuse it for."""
        stage = exchange.plan.limits_refused
        if stage is None or exchange.path in exchange.gateway.own:
            return failure
        reason, aimed = failure.reason, exchange.cluster is not None
        if reason not in _BEFORE_LIMITS and (aimed or reason not in _UNREADABLE):
            return failure
        try:
            pending = self.admit(exchange, stage)
            if pending is not None:
                await pending
        except Failure as instead:
            return instead
        return failure

    async def _admit_later(
        self, exchange: Exchange, store: Store, questions: list[Question], reply: Reply[list[Answer]]
    ) -> None:
        try:
            answers = await reply
        except Failure:
            # The client left. What it was about to hold is let go as soon as it is known to be held.
            Steps(self._abandon(store, questions, reply)).go_on()
            raise
        turn = self._decide(exchange, store, questions, answers)
        if turn is not None:
            await turn

    async def _abandon(self, store: Store, questions: list[Question], reply: Reply[list[Answer]]) -> None:
        answers = await reply
        self._release(_held(store, questions, answers, _refusing(questions, answers) is not None))

    def _decide(
        self, exchange: Exchange, store: Store, questions: list[Question], answers: Sequence[Answer]
    ) -> Awaitable[None] | None:
        """Refuse, or note what is held and told; return a wait for the turn that a leaky bucket gave."""
        if len(questions) == 1 and questions[0].variant.plain and answers[0].allowed:
            told = questions[0].variant.told(answers[0])
            exchange.told = told if exchange.told is None else exchange.told + told
            return None
        refusing = _refusing(questions, answers)
        delay = 0
        exchange.told = all_told = list(exchange.told or ())
        for question, answer in zip(questions, answers, strict=True):
            for each in question.variant.told(answer):
                all_told.append(each)
                name, _, _, reading = each
                if not answer.allowed and question.ask.group.shadow:
                    self._count("headgate_limit_shadow_total", name)
                if reading.delay > delay and refusing is None:
                    delay = reading.delay
                    self._count("headgate_limit_delayed_total", name)
        held = _held(store, questions, answers, refusing is not None)
        if held:
            exchange.held = [*(exchange.held or ()), *held]
            if any(each.variant.concurrent for each in held):
                self._holding.add(exchange)
        if refusing is not None:
            self._refuse(exchange, refusing.variant.told(answers[questions.index(refusing)]))
        return pause(self._loop, delay / _MICROSECONDS) if delay else None

    def _refuse(self, exchange: Exchange, told: list[Told]) -> None:
        if not told:
            raise Failure("limits_unavailable", "the store of the limits does not answer", retry_after=1.0)
        worst = exchange.refused = max(told, key=_wait)
        name, _, _, reading = worst
        way, cluster = exchange.way, exchange.cluster
        route, service = way.name if way is not None else "", cluster.name if cluster is not None else ""
        self._metrics.limit_refused(name, exchange.identity.kind, route, service, exchange.method)
        raise Failure("rate_limited", name, retry_after=retry_after([reading]))

    def _count(self, family: str, limit: str) -> None:
        index = self._cells.get((family, limit))
        if index is None:
            index = self._cells[family, limit] = self._metrics.counter(family, limit)
        self._metrics.cells[index] += 1

    # -- afterwards ------------------------------------------------------------------------------------------------

    def charge(self, helds: Iterable[Held], fields: Fields) -> None:
        """Charge what an answer with these fields says it cost, beyond what was reserved."""
        for held in helds:
            amounts = [0] * len(held.ask.costs)
            for later in held.variant.later:
                cost = _cost(field_value(fields, later.header))
                amounts[later.place] = cost - later.reserved if cost is not None else 0
            if any(amounts):
                self._settle(held, amounts)

    def release(self, exchange: Exchange) -> None:
        """Give back what a request held while it lasted."""
        if exchange in self._holding and exchange.held is not None:
            self._holding.discard(exchange)
            self._release(exchange.held)

    def _release(self, helds: Iterable[Held]) -> None:
        for each in helds:
            places = each.variant.concurrent
            if places:
                self._settle(each, [-cost if place in places else 0 for place, cost in enumerate(each.ask.costs)])

    def _settle(self, held: Held, amounts: Sequence[int]) -> None:
        # What has this key in another store than the present one is somebody else's.
        if held.store is self._store:
            ask = held.ask._replace(costs=tuple(amounts))
            held.store.settle([ask], int(monotonic() * _MICROSECONDS), local=held.local)

    def forget(self, keys: Sequence[bytes], done: Callable[[int], None]) -> None:
        """Begin afresh with these keys of the store; `done` is told what Store.forget returns."""
        found = self._store.forget(keys) if self._store is not None else 0
        if isinstance(found, Reply):
            Steps(_tell(found, done)).go_on()
        else:
            done(found)

    def _tick(self) -> None:
        """Let the store forget what has expired, and renew what long requests hold."""
        now = monotonic()
        self._timer = None
        if self._store is None:
            return
        self._store.sweep(int(now * _MICROSECONDS))
        self._observe(self._store)
        if now - self._renewed > _RENEW_SECONDS:
            self._renewed = now
            long = {(each.ask.key, each.local): each for holder in self._holding for each in holder.held or ()}
            for each in long.values():
                if each.variant.concurrent:
                    self._settle(each, [0] * len(each.ask.costs))
        self._timer = self._loop.call_later(_SWEEP_SECONDS, self._tick)

    def _observe(self, store: Store) -> None:
        cells, metrics = self._metrics.cells, self._metrics
        for cell, counted in ((metrics.store_evicted, store.evicted), (metrics.store_fallback, store.elsewhere)):
            cells[cell] += counted - self._observed.get(cell, 0)
            self._observed[cell] = counted

    def close(self) -> None:
        """Let go of the store."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._use(None, None)


class LimitGate:
    """The limits of a route, which depend on the service that a request goes to."""

    name = "limits"
    __slots__ = ("_by_service", "_only", "_only_stage")

    def __init__(self, by_service: Mapping[str, LimitStage | None], only: str) -> None:
        """Take the stages by service, "" for requests that are answered here; `only` is where most of them go."""
        self._by_service = by_service
        self._only = only
        self._only_stage = by_service[only]

    def enter(self, exchange: Exchange) -> Awaitable[None] | None:
        """Hold a request against them.

        Raises:
            Failure: rate_limited, or limits_unavailable; also from the wait.
        """
        cluster = exchange.cluster
        name = cluster.name if cluster is not None else ""
        stage = self._only_stage if name == self._only else self._by_service[name]
        return exchange.gateway.limiter.admit(exchange, stage) if stage is not None else None


async def _tell(found: Reply[int], done: Callable[[int], None]) -> None:
    done(await found)


def _has_limits(config: ResolvedConfig) -> bool:
    return bool(
        config.limits
        or any(route.limits for route in config.routes)
        or any(service.rate_limit is not None for service in config.services)
    )


def placeholders(exchange: Exchange) -> dict[str, object]:
    """Return what error bodies may say of limits: the one that refused, and each by its window."""
    known: dict[str, object] = {
        f"limit_per_{unit.lower()}": reading.limit
        for _, window, type_, reading in exchange.told or ()
        if type_ != "concurrency" and (unit := UNITS.get(window))
    }
    if exchange.refused is not None:
        name, window, type_, reading = exchange.refused
        seconds = ceil(told_reset(exchange.refused) / _MICROSECONDS)
        known |= {"limit_name": name, "limit": reading.limit, "remaining": reading.remaining}
        known |= {"reset": seconds, "reset_epoch": int(wall()) + seconds}
        if type_ != "concurrency":
            known["window"] = ceil(window)
    return known


def _held(store: Store, questions: list[Question], answers: Sequence[Answer], refused: bool) -> list[Held]:
    """List what a request has to settle later; who was exempt has nothing to, who was refused what shadows counted."""
    return [
        Held(store, each.variant, each.ask, answer.source == "local")
        for each, answer in zip(questions, answers, strict=True)
        if each.variant.settled
        and answer.raws
        and answer.allowed
        and each.ask.costs is each.variant.costs
        and (not refused or each.ask.group.shadow)
    ]


def _refusing(questions: list[Question], answers: Sequence[Answer]) -> Question | None:
    """Return what refused, the longest wait first where several did."""
    found = [
        (max(map(_wait, question.variant.told(answer)), default=0), question)
        for question, answer in zip(questions, answers, strict=True)
        # Who only looks is refused nothing, though a store that fails closed lets nobody in.
        if not answer.allowed and not question.ask.group.shadow and question.ask.costs is question.variant.costs
    ]
    return max(found, key=lambda each: each[0])[1] if found else None


def _wait(told: Told) -> int:
    return told[3].wait


def _cost(value: bytes | None) -> int | None:
    """Read a cost from a header; None for what is no whole number."""
    text = value.strip() if value is not None else b""
    return min(int(text), MOST_COST) if text.isdigit() and len(text) < 20 else None
