"""The view `proxy`: a request that names the service it wants goes on as a request of that service.

It comes as a path behind the item's own, or whole in an envelope (proxy.envelope). Laws:
- It reaches services of the configuration only, and of those the item's list.
- Who asks is learned from the request as it came; what is asked is judged as it goes on.
- What its item asks of a caller holds, and what the service asks: where a route that leads to the service takes such a
  request and leaves its path alone, all that stands on this route (gates, limits, timeouts, edits; one that answers by
  itself, answers). Otherwise all that any route to the service asks of callers, and limits, timeouts and plugins of the
  service; where a route to it has plugins of its own, such requests are refused, for a plugin may be what guards it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import unquote

from headgate.core.failure import Failure
from headgate.core.uri import BadTarget, join
from headgate.policy.route import Matched, RouteTable, has_parameters
from headgate.proxy.envelope import Envelope, Invalid, open_envelope
from headgate.proxy.gates import Answered, IdentityGate
from headgate.proxy.overload import shed
from headgate.wire import http1
from headgate.wire.gather import gather, here
from headgate.wire.settings import HttpLimits

if TYPE_CHECKING:
    from collections.abc import Iterable

    from headgate.proxy.cluster import Cluster
    from headgate.proxy.exchange import Exchange
    from headgate.proxy.gates import Gate
    from headgate.proxy.permission import AccessGate
    from headgate.proxy.plan import RouteRuntime


class Reached(NamedTuple):
    """A service as it is reached by name.

    `table` holds the routes that lead to it, and those of its own that answer by themselves; `way` is for requests that
    none of them takes, with the gates of the service, to which `strict` adds those of all the routes. `closed`: a route
    has plugins, which nothing stands in for.
    """

    cluster: Cluster
    table: RouteTable[RouteRuntime]
    way: RouteRuntime
    strict: tuple[Gate, ...]
    closed: bool


class ByName:
    """The gate that sends requests on."""

    name = "proxy"
    __slots__ = (
        "_before",
        "_enveloped",
        "_http",
        "_identity",
        "_judge",
        "_judges",
        "_kinds",
        "_most",
        "_reached",
    )

    def __init__(
        self,
        *,
        identity: IdentityGate | None,
        before: tuple[Gate, ...],
        judge: AccessGate | None,
        judges: Mapping[str, AccessGate | None],
        reached: Mapping[str, Reached],
        http: HttpLimits,
        kinds: http1.FieldKinds,
        most: int | None,
        enveloped: bool,
    ) -> None:
        """Take the gates of the item, `judges` by service, and what it reaches; `most` bytes of a body, None: any."""
        self._identity = identity
        self._before = before
        self._judge = judge
        self._judges = judges
        self._reached = reached
        self._http = http
        self._kinds = kinds
        self._most = most
        self._enveloped = enveloped

    async def enter(self, exchange: Exchange) -> None:
        """Turn the request into the one that it asks for, and pass all gates of that.

        Raises:
            Failure: it is refused.
            Answered: the envelope is none.
        """
        await _pass(exchange, (*self._before, self._identity) if self._identity is not None else self._before)
        asked = await self._open(exchange) if self._enveloped else None
        name = asked.service if asked is not None else named(exchange.params)
        reached = self._reached.get(name)
        judge = self._judges[name] if reached is not None else self._judge
        if judge is not None:
            judge.enter(exchange)
        if reached is None:
            raise Failure("service_not_found", "by its name")
        path = asked.path if asked is not None else self._rest(exchange)
        way, params, gates = _way(reached, exchange, path, asked)
        # Who is refused from here on is told by it how to ask.
        exchange.way, exchange.route = way, way.label
        known = [gate for gate in gates if isinstance(gate, IdentityGate)]
        for gate in known:
            if not gate.knows(exchange.identity):
                await _pass(exchange, (gate,))
        self._become(exchange, reached, way, path, asked)
        exchange.params = params
        if exchange.gateway.in_flight > exchange.gateway.shedder.bar:
            shed(exchange.gateway, way)
        await _pass(exchange, [gate for gate in gates if not isinstance(gate, IdentityGate)])

    async def _open(self, exchange: Exchange) -> Envelope:
        stream = exchange.stream
        assert self._most is not None
        body = here(stream)
        if body is None or len(body) > self._most:
            body = await gather(stream, self._most)
        if body is None:
            raise Failure("payload_too_large", f"an envelope of more than {self._most} bytes")
        try:
            return open_envelope(body, self._kinds, self._http)
        except Invalid as invalid:
            text = json.dumps({"detail": invalid.detail}).encode()
            raise Answered(422, b"application/json", text, []) from None

    def _rest(self, exchange: Exchange) -> str:
        """Return the path behind the name of the service, in normal form."""
        try:
            return join(
                "/", exchange.params.get("path", ""), self._http.merge_slashes, self._http.encoded_slashes == "keep"
            )
        except BadTarget as error:
            raise Failure("bad_path", f"behind the service: {error.reason}") from None

    def _become(
        self, exchange: Exchange, reached: Reached, way: RouteRuntime, path: str, asked: Envelope | None
    ) -> None:
        """Be from here on what is asked for."""
        stream, head = exchange.stream, exchange.stream.head
        head.path = exchange.path = path
        if asked is not None:
            if len(asked.body) > way.max_body:
                raise Failure("payload_too_large", f"more than {way.max_body} bytes in an envelope")
            head.method = exchange.method = asked.method
            head.query = asked.query
            head.fields = asked.fields
            head.shown = None
            head.upgrade = b""
            head.length = len(asked.body)
            stream.take()
            stream.trailers = []
            stream.give_back([asked.body] if asked.body else [])
        else:
            most = way.max_body if self._most is None else min(way.max_body, self._most)
            stream.limit_body(most)
        if way.fixed is None and way.redirect is None:
            exchange.cluster = reached.cluster
            exchange.service = reached.cluster.label


async def _pass(exchange: Exchange, gates: Iterable[Gate]) -> None:
    for gate in gates if exchange.notes is None else exchange.notes.watched(tuple(gates)):
        pending = gate.enter(exchange)
        if pending is not None:
            await pending


def named(params: Mapping[str, str]) -> str:
    """Return the name of the service that a path has in it, empty for none."""
    return unquote(params.get("service_name") or params.get("service") or "")


def _way(
    reached: Reached, exchange: Exchange, path: str, asked: Envelope | None
) -> tuple[RouteRuntime, dict[str, str], tuple[Gate, ...]]:
    """Return the way that a request takes to the service, its named parts, and its gates.

    Raises:
        Failure: bad_path, route_not_found.
    """
    head = exchange.stream.head
    method, fields, query = (
        (head.method, head.fields, head.query) if asked is None else (asked.method, asked.fields, asked.query)
    )
    found = reached.table.match(head.host, path, method, fields, query or b"")
    if isinstance(found, Matched) and found.payload.rewrite is None:
        if has_parameters(path):
            other = reached.table.bare(found, head.host, path, method, fields, query or b"")
            if other is not None:
                raise Failure("bad_path", f"without its parameters (;) it is a path of the route {other.route}")
        return found.payload, found.params, found.payload.gates
    if reached.closed:
        raise Failure("route_not_found", f"{reached.cluster.name}: a route to it has plugins, and none takes this path")
    return reached.way, {}, (*reached.strict, *reached.way.gates)
