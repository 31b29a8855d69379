"""The own endpoints of a plan that are routes: looked for before all others, through the same gates.

One that control answers has a service of its own behind it, control's Unix socket, and is an ordinary route but for
that. One that the worker answers, where it asks for a credential, is answered by its last gate.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Container, Iterable, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

from headgate.config.admin_settings import BREAKER_ACTIONS
from headgate.config.field_kinds import request_field_kinds
from headgate.config.resolve import OWN_SERVICE, ResolvedConfig, ResolvedRoute, ResolvedService
from headgate.core.address import parse_endpoint
from headgate.core.failure import Failure
from headgate.policy.answer import FixedAnswer
from headgate.policy.balance.settings import RoundRobinSettings
from headgate.policy.route import Matched, NotFound, RouteRule, RouteTable
from headgate.proxy.by_name import ByName, Reached, named
from headgate.proxy.gates import Answered, IdentityGate
from headgate.proxy.limiting import LimitGate
from headgate.proxy.own import LocalAnswer
from headgate.proxy.permission import AccessGate, AddressGate
from headgate.wire.settings import PoolLimits, UpstreamTls

if TYPE_CHECKING:
    from headgate.config.admin_settings import Surface
    from headgate.proxy.cluster import Cluster
    from headgate.proxy.exchange import Exchange
    from headgate.proxy.gates import Gate
    from headgate.proxy.plan import RouteRuntime

    Compile = Callable[[ResolvedRoute], RouteRuntime]

CALLER = b"X-Headgate-Caller"
"""Field by which control learns who asks (JSON); nothing that a client sends gets there."""

# The last two are read again for the answer: its CORS, its compression.
_ASKING = frozenset((b"accept", b"content-type", b"origin", b"accept-encoding"))
# Of one process that has other things to do: a crowd of strangers waits in workers, and takes none of its descriptors.
_POOL = PoolLimits(max_connections=16, max_idle=4, max_pending=256)
# Stands where a route answers by itself; its gates have answered, or chosen another way, before it would be sent.
_NEVER = FixedAnswer(404, (), b"")


class LocalGate:
    """Answer here; the last gate of its route."""

    name = "own"
    __slots__ = ("_answer",)

    def __init__(self, answer: LocalAnswer) -> None:
        self._answer = answer

    def enter(self, exchange: Exchange) -> None:
        """Answer.

        Raises:
            Answered: always.
        """
        answer = self._answer.answer(exchange.gateway)
        raise Answered(answer.status, answer.content_type, answer.body, [])


class CallerGate:
    """Tell control who asks, and nothing else of what was shown; the last gate of its route."""

    name = "own"
    __slots__ = ()

    def enter(self, exchange: Exchange) -> None:
        """Put the caller on the request in place of all fields but those that say what is asked for."""
        head, who = exchange.stream.head, exchange.identity
        caller = {
            "kind": who.kind,
            "id": who.id,
            "tenant": who.tenant,
            "method": who.method,
            "address": exchange.client,
        }
        kept = [field for field in head.fields if field[0].lower() in _ASKING]
        head.fields = [*kept, (CALLER, json.dumps(caller).encode())]


class KnownGate:
    """Let through who asks about a service that there is, and wants a breaker to do what it can."""

    name = "own"
    __slots__ = ("_names",)

    def __init__(self, names: frozenset[str]) -> None:
        self._names = names

    def enter(self, exchange: Exchange) -> None:
        """Look at what the path names.

        Raises:
            Failure: there is nothing of that name.
        """
        if exchange.params.get("action", "reset") not in BREAKER_ACTIONS:
            raise Failure("route_not_found", "of its action")
        if named(exchange.params) not in self._names:
            raise Failure("service_not_found", "by its name")


class Compiled(NamedTuple):
    """A route of the operator's and what it became."""

    route: ResolvedRoute
    way: RouteRuntime


def without_slash(path: str, host: str, method: str, paths: Container[str], table: RouteTable[Any] | None) -> str:
    """Return the path of the own endpoint that one with a slash behind it means; the path itself where it means none.

    The slash counts for nothing, as it does in a prefix. `paths` are those of own endpoints as they are written,
    `table` is that of those which are routes; what goes on to a service has its path as it came.
    """
    short = path.rstrip("/")
    if not short or path in paths:
        return path
    if short not in paths:
        found = table.match(host, short, method, [], b"") if table is not None else NotFound(True)
        if isinstance(found, NotFound) or (isinstance(found, Matched) and "path" in found.params):
            return path
    return short


def own_service(config: ResolvedConfig) -> ResolvedService | None:
    """Return the service behind own endpoints that control answers; None where there are none."""
    if not any(route.destinations for route in config.own_routes):
        return None
    socket = config.surface_socket
    endpoints = (parse_endpoint(f"unix:{socket}"),) if socket is not None else ()
    return ResolvedService(OWN_SERVICE, endpoints, RoundRobinSettings(), _POOL, UpstreamTls())


def own_table(
    config: ResolvedConfig, compiled: Sequence[Compiled], clusters: dict[str, Cluster], compile_route: Compile
) -> RouteTable[RouteRuntime] | None:
    """Compile the own endpoints; None where there are none. `compiled` are all routes of the operator's.

    Raises:
        ValueError: with a sentence, when one cannot be made.
    """
    leading = _by_service(compiled) if config.service_routes else {}
    reached = {
        route.service: _reached(route, config, leading.get(route.service, []), clusters, compile_route)
        for route in config.service_routes
    }
    rules: list[RouteRule[RouteRuntime]] = []
    for item, route in zip(config.surface, config.own_routes, strict=True):
        if item.view in ("health", "ready", "live"):
            if route.auth.mode == "none":
                # Answered before there is any route (proxy.own).
                continue
            way = compile_route(route)
            local = LocalAnswer(item.path, item.view, route.settings.match.method)
            way.gates = (*without(way.gates, LimitGate), LocalGate(local))
            way.fixed = _NEVER
        elif item.view == "proxy":
            way = compile_route(route)
            way.gates = (_by_name(way, item, route, config, reached, compile_route),)
            way.fixed = _NEVER
        else:
            way = compile_route(route)
            known = (KnownGate(_names(item, config)),) if item.missing == "error" else ()
            way.gates = (*way.gates, *known, CallerGate())
        rules.append(RouteRule(route.name, route.settings.match, way, route.order))
    return RouteTable(rules) if rules else None


def _names(item: Surface, config: ResolvedConfig) -> frozenset[str]:
    """Return the names that the path of an item may have in it."""
    return frozenset(each.name for each in config.services if item.view != "reset_breaker" or each.breaker is not None)


def without(gates: Iterable[Gate], *kinds: type) -> tuple[Gate, ...]:
    """Return those gates that are of none of these kinds."""
    return tuple(gate for gate in gates if not isinstance(gate, kinds))


def _by_name(
    way: RouteRuntime,
    item: Surface,
    route: ResolvedRoute,
    config: ResolvedConfig,
    reached: dict[str, Reached],
    compile_route: Compile,
) -> ByName:
    """Make the gate of a view `proxy`, for the services that its item lists."""
    names = item.services or list(reached)
    judge = _judge(way.gates)
    # A credential that is bound to a service is good here for that service.
    judges = {
        name: judge and _judge(compile_route(replace(route, service=name)).gates) for name in names if name in reached
    }
    return ByName(
        identity=way.gate,
        before=without(way.gates, IdentityGate, AccessGate, LimitGate),
        judge=judge,
        judges=judges,
        reached={name: reached[name] for name in judges},
        http=config.http,
        kinds=request_field_kinds(config),
        most=item.max_body if "{" in item.path else route.max_body,
        enveloped="{" not in item.path,
    )


def _judge(gates: Iterable[Gate]) -> AccessGate | None:
    return next((gate for gate in gates if isinstance(gate, AccessGate)), None)


def _by_service(compiled: Sequence[Compiled]) -> dict[str, list[Compiled]]:
    """Return the routes that lead to each service, and those of its own that answer by themselves."""
    found: dict[str, list[Compiled]] = {}
    for each in compiled:
        for name in each.way.clusters or (each.route.service,):
            found.setdefault(name, []).append(each)
    return found


def _reached(
    plain: ResolvedRoute,
    config: ResolvedConfig,
    routes: Sequence[Compiled],
    clusters: dict[str, Cluster],
    compile_route: Compile,
) -> Reached:
    """Find out what is asked of whom reaches a service by these routes; `plain` is what holds for all of it."""
    leading = [each for each in routes if each.way.clusters]
    table = RouteTable(
        [RouteRule(each.route.name, each.route.settings.match, each.way, each.route.order) for each in routes],
        "file" if config.route_order == "file" else "specific",
    )
    way = compile_route(plain)
    strict: list[Gate] = []
    seen = {id(plain.auth)}
    for each in leading:
        if id(each.route.auth) not in seen:
            seen.add(id(each.route.auth))
            alike = compile_route(replace(plain, auth=each.route.auth, addresses=None, limits=(), plugins=()))
            strict += without(alike.gates, LimitGate)
    addresses = [gate for each in leading for gate in each.way.gates if isinstance(gate, AddressGate)]
    strict += [gate for gate in dict.fromkeys(addresses) if gate not in way.gates]
    way.gate = way.gate or next((gate for gate in strict if isinstance(gate, IdentityGate)), None)
    closed = any(each.route.settings.plugins for each in leading)
    return Reached(clusters[plain.service], table, way, tuple(strict), closed)
