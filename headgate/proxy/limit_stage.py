"""The limits that one request is held against at one place of its way, compiled: whom they count, by which numbers.

A stage is made of parts: limits with the same key, the same conditions and the same manner of refusing are one part,
decided as one group. A part has one variant for each tier its limits name, and one for all other callers.

Law: what a caller sends becomes a key only through a digest (policy.limit.key), so nothing grows with what it sends;
the keys remembered to spare the digest are bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple, get_args

from headgate.config.resolve import ResolvedConfig, ResolvedRoute, ScopedLimit
from headgate.core.identity import Kind
from headgate.policy.limit.group import PEEK, Group
from headgate.policy.limit.headers import Told
from headgate.policy.limit.key import address_part, digest, value_part
from headgate.policy.limit.quota import group, together
from headgate.policy.limit.settings import Limit
from headgate.policy.match import Match
from headgate.policy.pattern import field_value
from headgate.policy.route import Matched, RouteRule, RouteTable, has_parameters, without_parameters
from headgate.stores.store import Ask
from headgate.stores.store import Told as Answer

if TYPE_CHECKING:
    from headgate.proxy.exchange import Exchange

# Known without the route and without the caller's identity.
_EARLY = ("address", "host", "method", "path")
_REMEMBERED = 16_384
# A crowd of far more keys than are remembered would throw each of them out before it comes again.
_PATIENCE = 16 * _REMEMBERED
# Bytes of a key beyond which it is made anew each time: what is remembered is a few megabytes, whatever clients send.
_REMEMBERED_BYTES = 256
_DEFAULT = ""

MARKS = {kind: kind[:1].encode() for kind in get_args(Kind)}

# A text is an address, bytes are any other part of a key.
KeyValue = str | bytes
KeyValues = KeyValue | tuple[KeyValue, ...]
KeySource = Callable[["Exchange"], KeyValue]


class Later(NamedTuple):
    """A limit whose real cost the answer tells, in this header: its place in the group, what was reserved."""

    place: int
    header: bytes
    reserved: int


class Variant:
    """The group of a part for callers of one tier.

    `settled`: something is left to do when a request has ended; `plain`: nothing is once it is admitted.
    """

    __slots__ = (
        "_known",
        "_peek",
        "_strangers",
        "_words",
        "concurrent",
        "costs",
        "group",
        "later",
        "plain",
        "settled",
    )

    def __init__(self, group: Group, limits: Sequence[Limit]) -> None:
        by_name = {limit.name: limit for limit in limits}
        mine = [by_name[name] for name in group.names]
        self.group = group
        self.costs = tuple(limit.cost.request for limit in mine)
        self.concurrent = tuple(place for place, limit in enumerate(mine) if limit.type == "concurrency")
        self.later = tuple(
            Later(place, limit.cost.header.lower().encode(), limit.cost.request)
            for place, limit in enumerate(mine)
            if limit.cost.header is not None
        )
        shaping = any(limit.max_delay for limit in mine)
        self.settled = bool(self.concurrent or self.later)
        self.plain = not (self.settled or shaping or group.shadow)
        self._words = [(limit.name, limit.window, limit.type) for limit in mine]
        self._peek = (PEEK,) * len(self.costs)
        self._known: dict[KeyValues, Question] = {}
        self._strangers = 0

    def question(self, values: KeyValues) -> Question:
        """Ask for the key of these values."""
        known = self._known.get(values)
        if known is None:
            each = values if isinstance(values, tuple) else (values,)
            parts = [address_part(value) if isinstance(value, str) else value for value in each]
            known = Question(self, Ask(self.group, digest(self.group.fingerprint, parts), self.costs))
            if self._has_room() and sum(map(len, parts)) <= _REMEMBERED_BYTES:
                self._known[values] = known
        return known

    def _has_room(self) -> bool:
        """Tell whether one more may be remembered; those that are make room for others once in a while."""
        if len(self._known) < _REMEMBERED:
            return True
        self._strangers += 1
        if self._strangers >= _PATIENCE:
            self._strangers = 0
            self._known.clear()
        return False

    def peek(self, values: KeyValues) -> Question:
        """Ask what holds for the key of these values, and consume nothing."""
        return Question(self, self.question(values).ask._replace(costs=self._peek))

    def told(self, answer: Answer) -> list[Told]:
        """Read what the store answered, or the worker by itself with its share of the numbers."""
        allowed, raws, source = answer
        algorithms = self.group.algorithms if source == "store" else self.group.local.algorithms
        if len(raws) == 1:
            name, window, type_ = self._words[0]
            return [(name, window, type_, algorithms[0].read(allowed, raws[0]))]
        return [
            (name, window, type_, algorithm.read(allowed, raw))
            for (name, window, type_), algorithm, raw in zip(self._words, algorithms, raws, strict=False)
        ]


class Question:
    """What a request asks of the store, `alone` as a list of its own, and the variant that reads the answer."""

    __slots__ = ("alone", "ask", "variant")

    def __init__(self, variant: Variant, ask: Ask) -> None:
        self.variant = variant
        self.ask = ask
        self.alone = (ask,)


class Part:
    """Limits that are counted together."""

    __slots__ = ("_condition", "_exempt", "_source", "_sources", "_tiers", "_variants", "key", "names", "scope")

    def __init__(self, scope: str, limits: Sequence[Limit], share: int, local_share: int) -> None:
        first = limits[0]
        self.scope = scope
        self.names = tuple(limit.name for limit in limits)
        self.key = tuple(first.key)
        self._tiers = tuple(dict.fromkeys(tier for limit in limits for tier in limit.tiers))
        self._sources = tuple(_source(name) for name in first.key)
        self._source = self._sources[0] if len(self._sources) == 1 else None
        self._condition = _table([first.match]) if first.match is not None else None
        self._exempt = _table([Match(path=path) for path in first.exempt]) if first.exempt else None
        self._variants: dict[str, Variant | None] = {}
        for tier in (_DEFAULT, *self._tiers):
            made = group(limits, tier, share, scope=scope)
            if made is not None:
                made.local = group(limits, tier, local_share, scope=scope) or made
            self._variants[tier] = Variant(made, limits) if made is not None else None

    def question(self, exchange: Exchange) -> Question | None:
        """Return what this request asks; None when it is not limited here."""
        if self._condition is not None and not _may_hold(self._condition, exchange):
            return None
        variant = self._variants[_DEFAULT] if not self._tiers else self._of_tier(exchange)
        if variant is None:
            return None
        source = self._source
        values = source(exchange) if source is not None else tuple([each(exchange) for each in self._sources])
        if self._exempt is not None and _holds(self._exempt, exchange):
            return variant.peek(values)
        return variant.question(values)

    def exempts(self, path: str) -> bool:
        """Tell whether nothing is consumed at a path."""
        return self._exempt is not None and isinstance(self._exempt.match("", path, "GET", [], b""), Matched)

    def keys(self, parts: Sequence[bytes]) -> set[bytes]:
        """Return under which keys a store counts these parts of a key (policy.limit.key), of callers of any tier."""
        groups = [variant.group for variant in self._variants.values() if variant is not None]
        return {digest(group.fingerprint, parts) for group in groups}

    def _of_tier(self, exchange: Exchange) -> Variant | None:
        way = exchange.way
        tier = way.tier if way is not None and way.tier is not None else exchange.identity.tier
        return self._variants[tier] if tier in self._variants else self._variants[_DEFAULT]


class LimitStage:
    """All limits of one place on the way; `only` is the one part of most."""

    __slots__ = ("only", "parts")

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = tuple(parts)
        self.only = parts[0] if len(parts) == 1 else None


class Stages:
    """All stages of a plan; equal ones are one object, so that a large table of routes stays small."""

    __slots__ = ("_late", "_local_share", "_made", "_services", "_share", "_shown", "early", "refused")

    def __init__(self, config: ResolvedConfig) -> None:
        workers = config.workers if isinstance(config.workers, int) else 1
        # A worker with a memory of its own counts a part of the traffic only, and enforces its part of each limit.
        self._share = workers if config.store.type == "memory" else 1
        self._local_share = workers
        if config.store.type == "redis":
            # With a file for it, all workers of a gateway count together while the servers are away.
            self._local_share = config.store.gateways * (1 if config.store.counts_together else workers)
        limits = [ScopedLimit("gateway", limit) for limit in config.limits]
        self._late = tuple(each for each in limits if not is_early(each.limit))
        self._services = {service.name: service for service in config.services}
        self._made: dict[tuple[tuple[int, ...], str], LimitStage | None] = {}
        self.early = self._stage(each for each in limits if is_early(each.limit))
        # Of requests that are refused on the way to the others.
        self.refused = self._stage(each for each in self._late if each.limit.refused)
        self._shown = self._stage(each for each in limits if each.limit.exempt)

    def of(self, route: ResolvedRoute, service: str) -> LimitStage | None:
        """Return the stage behind a route's match for what goes to `service`, or for what is answered here ("")."""
        found = self._services.get(service)
        limit = found.rate_limit if found is not None else None
        own = (ScopedLimit(f"service {service}", limit),) if limit is not None else ()
        limits = (*self._late, *route.limits, *own)
        key = tuple(id(each.limit) for each in limits), route.name if route.settings.limits else ""
        if key not in self._made:
            self._made[key] = self._stage(limits)
        return self._made[key]

    def shown(self, paths: Iterable[str]) -> dict[str, LimitStage]:
        """Return what is told at those paths that are answered before all limits: those which exempt them."""
        parts = self._shown.parts if self._shown is not None else ()
        found = {path: [part for part in parts if part.exempts(path)] for path in paths}
        return {path: LimitStage(exempting) for path, exempting in found.items() if exempting}

    def parts(self) -> Iterator[Part]:
        """List the parts of all stages that were asked for, each once."""
        stages = [self.early, *self._made.values()]
        yield from {id(part): part for stage in stages if stage is not None for part in stage.parts}.values()

    def _stage(self, limits: Iterable[ScopedLimit]) -> LimitStage | None:
        by_scope: dict[str, list[Limit]] = {}
        for scope, limit in limits:
            by_scope.setdefault(scope, []).append(limit)
        parts = [
            Part(scope, members, self._share, self._local_share)
            for scope, all_ in by_scope.items()
            for members in together(all_)
        ]
        return LimitStage(parts) if parts else None


def is_early(limit: Limit) -> bool:
    """Tell whether a limit of the gateway can be decided before routing, so that it counts every request there is."""
    return not limit.tiers and all(name in _EARLY or name.startswith("header:") for name in limit.key)


# -- conditions ---------------------------------------------------------------------------------------------------


def _table(matches: Iterable[Match]) -> RouteTable[None]:
    return RouteTable([RouteRule(f"limit {place}", match, None, place) for place, match in enumerate(matches)])


def _may_hold(table: RouteTable[None], exchange: Exchange) -> bool:
    """Tell whether it holds, or may for an upstream that looks at a path without its parameters."""
    if _holds(table, exchange):
        return True
    path = exchange.stream.head.path
    return has_parameters(path) and _holds(table, exchange, without_parameters(path))


def _holds(table: RouteTable[None], exchange: Exchange, path: str = "") -> bool:
    head = exchange.stream.head
    return isinstance(table.match(head.host, path or head.path, head.method, head.fields, head.query or b""), Matched)


# -- keys ---------------------------------------------------------------------------------------------------------


def _source(name: str) -> KeySource:
    if name.startswith("header:"):
        wanted = name.removeprefix("header:").lower().encode()
        return lambda exchange: _value(field_value(exchange.stream.head.fields, wanted), exchange)
    return _SOURCES[name]


def _value(value: bytes | None, exchange: Exchange, mark: bytes = b"=") -> str | bytes:
    """Return the part of the key; for a caller who lacks the value its address, which is a text."""
    return value_part(value, mark) if value else exchange.client


def _text(value: str) -> bytes:
    return value_part(value.encode("utf-8", "surrogateescape"))


def _user(exchange: Exchange) -> str | bytes:
    identity = exchange.identity
    return _value(identity.id.encode() if identity.kind == "user" else None, exchange)


def _api_key(exchange: Exchange) -> str | bytes:
    identity = exchange.identity
    return _value(identity.id.encode() if identity.kind == "api_key" else None, exchange)


def _identity(exchange: Exchange) -> str | bytes:
    identity = exchange.identity
    return _value(identity.id.encode(), exchange, MARKS[identity.kind])


def _address(exchange: Exchange) -> str:
    return exchange.client


def _service(exchange: Exchange) -> bytes:
    return _text(exchange.cluster.name if exchange.cluster is not None else "")


def _route(exchange: Exchange) -> bytes:
    return _text(exchange.way.name if exchange.way is not None else "")


_SOURCES: dict[str, KeySource] = {
    "address": _address,
    "user": _user,
    "api_key": _api_key,
    "identity": _identity,
    "tenant": lambda exchange: _value(exchange.identity.tenant.encode(), exchange),
    "tier": lambda exchange: _text(exchange.identity.tier),
    "service": _service,
    "route": _route,
    "host": lambda exchange: _text(exchange.stream.head.host),
    "method": lambda exchange: _text(exchange.stream.head.method),
    "path": lambda exchange: _text(exchange.stream.head.path),
}
