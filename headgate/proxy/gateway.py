"""The data plane of one worker: listeners, the current Plan, and what outlives a Plan.

Laws: `apply` builds everything of a new Plan before it changes anything, then swaps one reference; requests in flight
finish on the Plan they began with; pools live on where their settings are equal.
"""

from __future__ import annotations

import asyncio
import gc
import math
import resource
import socket
import ssl
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from headgate.config.field_kinds import answer_field_kinds
from headgate.config.resolve import ResolvedConfig, ResolvedService
from headgate.core.clock import monotonic
from headgate.core.endpoint import Endpoint
from headgate.core.failure import Failure
from headgate.core.message import ResponseHead
from headgate.policy.overload_settings import Overload
from headgate.policy.shedding import LoadShedder
from headgate.proxy.access import AccessLogWriter
from headgate.proxy.audit import AuditWriter
from headgate.proxy.authentication import Authentication
from headgate.proxy.breaking import Say
from headgate.proxy.cache_store import CacheOpening
from headgate.proxy.callout import Callouts
from headgate.proxy.cluster import Cluster, PoolKey, Target, pool_key
from headgate.proxy.exchange import Exchange
from headgate.proxy.external import ExternalServices
from headgate.proxy.filling import Caching
from headgate.proxy.limiting import Limiter
from headgate.proxy.listening import Listening
from headgate.proxy.mirror import Mirrors
from headgate.proxy.own import LocalAnswers, OwnAnswer
from headgate.proxy.plan import Plan
from headgate.proxy.plugins import Plugins
from headgate.proxy.recording import Recorder
from headgate.proxy.refresh import Refreshes
from headgate.stores.board import Board
from headgate.telemetry.cells import SlotWriter
from headgate.telemetry.metrics import Metrics
from headgate.wire.call import Call
from headgate.wire.forwarded import Hop
from headgate.wire.outbox import Outbox
from headgate.wire.pool import Pool
from headgate.wire.resolver import Resolver
from headgate.wire.settings import ALPN
from headgate.wire.stream import ClientStream, Downstream
from headgate.wire.timers import TimerWheel, WheelDriver
from headgate.wire.tunnel import Tunnel
from headgate.wire.whole import WholeAnswers

# Requests make no reference cycles, so collections find next to nothing, and the default of 700 objects would have
# one every few requests (measured: 4 us of each). Faults do make some; this bounds what they hold.
_COLLECT_AFTER = (50_000, 20, 100)
_OBSERVE_SECONDS = 1.0
# Several looks at the lateness of the loop in each interval of policy.shedding.
_SENSE_SECONDS = 0.1


class Gateway:
    """One worker's data plane."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        slot: SlotWriter,
        worker: int,
        board: Board | None = None,
        say: Say = lambda *_, **__: None,
    ) -> None:
        """`say` takes lines for the operator: level, message, fields."""
        self.loop = loop
        self.say = say
        self.recorder = Recorder(self, worker)
        # A gateway that is nobody's worker has the only slot of a board of its own.
        self.board_slot = max(0, worker - 1)
        self.board = board or Board.private(self.board_slot + 1)
        self.board.clear_slot(self.board_slot)
        self.metrics = Metrics(slot, str(worker))
        if slot.inherited:
            self.metrics.cells[self.metrics.worker_restarts] += 1
        self.wheel = TimerWheel()
        self.outbox = Outbox(loop)
        self.ready = False
        self.draining = False
        self.started = monotonic()
        self.plan: Plan | None = None
        self.own = LocalAnswers()
        self.in_flight = 0
        self._idle: asyncio.Future[None] | None = None
        self._driver = WheelDriver(self.wheel, loop)
        self._resolver = Resolver()
        self._pools: dict[PoolKey, Pool] = {}
        # By ResolvedService.source.
        self._endpoint_sets: dict[str, tuple[Endpoint, ...]] = {}
        self._access = AccessLogWriter(loop, self.metrics)
        self.audit = AuditWriter(loop, self.metrics)
        self.limiter, self.cached = Limiter(loop, self.metrics, say), CacheOpening(loop, self.metrics, say)
        self.mirrors, self.refreshes, self.caching = Mirrors(), Refreshes(), Caching(self.cached)
        # How to say something to control; whoever runs this as a worker connects it.
        self.tell: Callable[[dict[str, Any]], bool] = lambda _: False
        self.callouts = Callouts(self.wheel, self.outbox, self._resolver)
        self.authentication = Authentication(self)
        self._external = ExternalServices()
        self._plugins = Plugins(self.metrics)
        self.shedder = LoadShedder(Overload())
        self._overload = Overload()
        self.log: Callable[[Exchange], None] = self._access.write
        self._listening = Listening(self)
        self._raise_file_limit()
        self._observed = loop.call_later(_OBSERVE_SECONDS, self._observe, monotonic() + _OBSERVE_SECONDS)
        self._sensed = loop.call_later(_SENSE_SECONDS, self._sense, monotonic() + _SENSE_SECONDS)

    # -- plans -----------------------------------------------------------------------------------------------------

    def apply(self, plan: ResolvedConfig, sockets: dict[str, list[socket.socket]]) -> None:
        """Build all of a new Plan, then swap.

        Raises:
            ValueError: with a sentence; everything stays as it was.
        """
        pools: dict[PoolKey, Pool] = {}
        answers = WholeAnswers(answer_field_kinds(plan))

        def pool_for(service: ResolvedService, endpoint: Endpoint) -> Pool:
            context = _context(service, endpoint)
            key = pool_key(service, endpoint, context)
            pool = pools.get(key) or self._pools.get(key)
            if pool is None:
                pool = self._pool(service, endpoint, context, answers)
            pools[key] = pool
            return pool

        def cluster_for(service: ResolvedService) -> Cluster:
            service = self._with_endpoints(service)
            return Cluster(service, self.metrics, pool_for, self.board, self.board_slot, plan.zone, self.say)

        draft = self.callouts.draft()
        ways, use_ways = self.authentication.prepare(plan, draft)
        external = self._external.draft(draft)
        plugins = self._plugins.draft(plan)
        built = Plan(plan, self.metrics, cluster_for, ways, external, plugins)
        swap_listeners = self._listening.prepare(plan, sockets)
        swaps = [*self._prepared(plan), use_ways, lambda: self._external.use(external), draft.swap, plugins.swap]
        # From here on nothing can fail.
        for swap in swaps:
            swap()
        retired = [pool for key, pool in self._pools.items() if key not in pools]
        self._pools = pools
        self.own.follow(plan)
        if self.plan is not None:
            for name, cluster in built.clusters.items():
                cluster.follow(self.plan.clusters.get(name))
        self.plan = built
        if plan.overload != self._overload:
            self.shedder, self._overload = LoadShedder(plan.overload), plan.overload
        for pool in pools.values():
            pool.answers = answers
        swap_listeners()
        for pool in retired:
            pool.retire()
        # A Plan is large and lives long: the collector need not walk it again and again.
        gc.freeze()
        gc.set_threshold(*_COLLECT_AFTER)

    def _pool(
        self, service: ResolvedService, endpoint: Endpoint, context: ssl.SSLContext | None, answers: WholeAnswers
    ) -> Pool:
        tls = None if context is None else (context, service.tls.server_name or endpoint.host)
        shared = self.wheel, self.outbox, answers, self._resolver
        return Pool(endpoint, service.pool, *shared, tls, service.protocol, self.metrics.violated_upstream)

    def _prepared(self, plan: ResolvedConfig) -> list[Callable[[], None]]:
        """Prepare logs, limits and stores; each function returned swaps one in and cannot fail."""
        telemetry = plan.telemetry
        logs = [self._access.prepare(telemetry), self.audit.prepare(telemetry.audit)]
        return [*logs, self.limiter.prepare(plan), self.cached.prepare(plan)]

    def take_key_sets(self, sets: Mapping[str, bytes], answers: Sequence[str]) -> None:
        """Use these keys of issuers from now on (control.messages.KeySets)."""
        self.authentication.take_key_sets(sets, answers)

    def take_endpoint_sets(self, sets: Mapping[str, tuple[Endpoint, ...]], whole: bool) -> None:
        """Let services have these endpoints from now on (control.messages.EndpointSets); what stays is not touched."""
        self._endpoint_sets = dict(sets) if whole else {**self._endpoint_sets, **sets}
        if self.plan is None:
            return
        left: list[Target] = []
        for cluster in self.plan.clusters.values():
            endpoints = self._endpoint_sets.get(cluster.source)
            if endpoints is None:
                continue
            try:
                left += cluster.take(endpoints)
            except ValueError as error:
                # Asked for again with the next message, whatever that is about.
                self.say("error", f"{cluster.name} stays with the endpoints it has: {error}")
        gone = {target.pool for target in left}
        if gone:
            gone -= {target.pool for cluster in self.plan.clusters.values() for target in cluster.targets}
            for key in [key for key, pool in self._pools.items() if pool in gone]:
                self._pools.pop(key).retire()

    def _with_endpoints(self, service: ResolvedService) -> ResolvedService:
        """Give a service the endpoints that were found out for it, if it is one of those."""
        if not service.source:
            return service
        found = self._endpoint_sets.get(service.source)
        before = self.plan.clusters.get(service.name) if self.plan is not None else None
        if found is None and before is not None and before.source == service.source:
            found = before.endpoints
        return replace(service, endpoints=found or ())

    def take_own_answers(
        self,
        answers: Mapping[str, Mapping[str, OwnAnswer]],
        not_ready: str = "",
        seen: float = 0.0,
        again: float = math.inf,
    ) -> None:
        """Answer so at own endpoints from now on (control.messages.OwnAnswers)."""
        self.own.take(answers, not_ready, seen, again)

    def forget_counts(self, keys: Sequence[bytes], done: Callable[[int], None]) -> None:
        """Begin afresh with these keys of the store of limits; `done` is told what Store.forget returns."""
        self.limiter.forget(keys, done)

    def tell_records(self) -> None:
        """Tell control the records of all requests that have ended, and keep none back."""
        self.recorder.flush()

    # -- requests --------------------------------------------------------------------------------------------------

    def handle(self, stream: ClientStream) -> None:
        """Begin the exchange of one request."""
        plan = self.plan
        assert plan is not None
        self.in_flight += 1
        self.metrics.begin()
        if stream.head.path[-1:] == "/":
            plan.read_own(stream.head)
        Exchange(self, plan, stream).start()

    def finished(self) -> None:
        """Learn that an exchange is over."""
        self.in_flight -= 1
        if self._idle is not None:
            self.settle()

    def settle(self) -> None:
        """Wake whoever waits for idleness, if it has come: no request, and no client that still has to be told."""
        if self._idle is not None and not self.in_flight and not self._listening.connected and not self._idle.done():
            self._idle.set_result(None)

    def hop(self, connection: Downstream) -> Hop:
        """Return what is known of a client's side of the way, made once for a connection and a plan."""
        hop, plan = connection.forwarding, self.plan
        assert plan is not None
        if not isinstance(hop, Hop) or hop.rules is not plan.forwarding:
            # A proxy that a reload trusts no more is not trusted on its old connections either.
            address = "" if connection.address == "unix:" else connection.address
            hop = connection.forwarding = Hop(plan.forwarding, address, connection.rules.heads.scheme)
        return hop

    async def tunnel(self, stream: ClientStream, upstream: Call, head: ResponseHead, idle: float) -> None:
        """Join client and upstream until either leaves or both are silent for `idle` seconds."""
        stream.on_failed = None
        stream.switch(head)
        client, ahead = stream.detach()
        server, behind = upstream.detach()
        if client is None or server is None:
            upstream.close()
            raise Failure("client_closed" if client is None else "upstream_reset", "before the tunnel began")
        tunnel = Tunnel(self.wheel, idle, client, server)
        cells, cell = self.metrics.cells, self.metrics.upgrades_open
        cells[cell] += 1
        try:
            tunnel.start(ahead, behind)
            await tunnel.ended
        finally:
            cells[cell] -= 1
            tunnel.cut()
            stream.bytes_in += tunnel.client.bytes
            stream.bytes_out += tunnel.upstream.bytes

    def report(self, request_id: str, kind: str, places: str) -> None:
        """Tell the operator of a fault of our own, with the id the client was given."""
        self.say("error", "internal error", request_id=request_id, kind=kind, traceback=places)

    def _observe(self, due: float) -> None:
        """Write the gauges that would cost too much to keep with every request."""
        now = monotonic()
        self.metrics.loop_lag(max(0.0, now - due))
        self.metrics.cells[self.metrics.pressure] = int(self.shedder.pressure * 1000)
        if self.plan is not None:
            for cluster in self.plan.clusters.values():
                cluster.observe(self.metrics.cells, now)
        self.authentication.observe(now)
        self._observed = self.loop.call_later(_OBSERVE_SECONDS, self._observe, now + _OBSERVE_SECONDS)

    def _sense(self, due: float) -> None:
        """Tell the shedder how late the loop is."""
        now = monotonic()
        self.shedder.observe(max(0.0, now - due), now)
        self._sensed = self.loop.call_later(_SENSE_SECONDS, self._sense, now + _SENSE_SECONDS)

    # -- the end ---------------------------------------------------------------------------------------------------

    def set_ready(self, ready: bool) -> None:
        """Let /ready say so."""
        self.ready = ready

    def begin_drain(self) -> None:
        """Turn readiness off; every answer from now on closes its connection."""
        self.ready = False
        self.draining = True
        self._listening.begin_drain()

    async def stop_accepting(self) -> None:
        """Accept what is queued, then close the listening sockets and idle connections."""
        await self._listening.stop()

    async def wait_idle(self, timeout: float) -> bool:
        """Wait until nothing is in flight and all answers have left, at most `timeout` seconds; tell whether so."""
        self._idle = self.loop.create_future()
        self.settle()
        await asyncio.wait([self._idle], timeout=timeout)
        self.recorder.flush()
        self._access.close()
        self.audit.close()
        return self._idle.done()

    def abort(self) -> None:
        """Cut what is left."""
        self._listening.abort()
        self.mirrors.close()
        self.refreshes.close()
        for pool in self._pools.values():
            pool.retire()
        self.limiter.close()
        self.cached.close()
        self.authentication.close()
        self.callouts.close()
        self._observed.cancel()
        self._sensed.cancel()
        self._driver.close()
        self.recorder.flush()
        self._access.close()
        self.audit.close()

    def reopen_logs(self) -> None:
        """Open the log files anew under their names."""
        self._access.reopen()
        self.audit.reopen()

    def _raise_file_limit(self) -> None:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        try:
            if soft != hard:
                resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError) as error:
            # The kernel's own bound lies below the hard one, or a filter of system calls forbids it.
            self.say("warning", "the limit of open files cannot be raised", files=soft, cause=str(error))


def _context(service: ResolvedService, endpoint: Endpoint) -> ssl.SSLContext | None:
    """Return how connections to an endpoint are secured as its files are now, or None where they are not.

    Raises:
        ValueError: if a file cannot be used.
    """
    if endpoint.scheme != "https":
        return None
    from headgate.wire.tls import client_context

    settings, protocols = service.tls, ALPN[service.protocol]
    return client_context(
        ca=settings.ca, cert=settings.cert, key=settings.key, verify=settings.verify, protocols=protocols
    )
