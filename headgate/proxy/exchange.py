"""The whole life of one request, top to bottom: one coroutine (run by core.steps, in the calls that bring the bytes).

    id, client -> refuse what the wire refused -> preflights, hosts -> limits by address -> own endpoints -> route
    -> who asks, and may they -> limits by identity -> other gates -> breaker -> rewrite
    -> loop { pick endpoint -> connection -> send -> head of the answer, or a Failure that retry may absorb }
    -> relay the body -> finish

Laws: the only place that does I/O for a request; knows no HTTP version; every exit passes through `finish`, exactly
once; a Failure becomes an answer in one place (proxy.refusal) and only while no head went out.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING

from headgate.core.clock import monotonic
from headgate.core.failure import Failure
from headgate.core.identity import ANONYMOUS, Identity
from headgate.core.message import UNKNOWN_LENGTH, Fields, ResponseHead, may_have_body
from headgate.core.steps import Reply, Steps
from headgate.core.trace import kind_of, places_of
from headgate.policy.limit.headers import Told
from headgate.policy.retry import IDEMPOTENT
from headgate.proxy import grpc, guards
from headgate.proxy.caching import serve
from headgate.proxy.cluster import Cluster, Target
from headgate.proxy.dress import dress
from headgate.proxy.finish import finish
from headgate.proxy.forward import upstream_request
from headgate.proxy.gates import Answered
from headgate.proxy.limiting import Held
from headgate.proxy.notes import Notes
from headgate.proxy.overload import Place, shed
from headgate.proxy.own import after
from headgate.proxy.placeholders import value_of
from headgate.proxy.plan import Plan, RouteRuntime
from headgate.proxy.refusal import fail
from headgate.proxy.strangers import turned_away
from headgate.proxy.tries import Tries
from headgate.wire.call import Call
from headgate.wire.compression import Encoder, EncodingSink
from headgate.wire.dates import http_date
from headgate.wire.forwarded import Client
from headgate.wire.outgoing import Outgoing
from headgate.wire.pool import Pool
from headgate.wire.replay import KeptBody
from headgate.wire.stream import ClientStream

if TYPE_CHECKING:
    from headgate.proxy.gateway import Gateway
    from headgate.proxy.plugins import Visit


class Exchange:
    """One request. Its attributes from `wall` to `error` are what the access log reads (telemetry.access_log)."""

    __slots__ = (
        "attempts",
        "bytes_in",
        "bytes_out",
        "cache",
        "client",
        "cluster",
        "connection",
        "correlation_id",
        "detail",
        "duration",
        "encoder",
        "endpoint",
        "error",
        "forwarded",
        "gateway",
        "grpc_status",
        "held",
        "host",
        "identity",
        "ids",
        "method",
        "notes",
        "outcome",
        "params",
        "path",
        "peer",
        "place",
        "plan",
        "refused",
        "request_id",
        "route",
        "service",
        "status",
        "steps",
        "stream",
        "target",
        "ticket",
        "told",
        "trace",
        "tried_at",
        "upstream",
        "version",
        "visit",
        "wall",
        "way",
    )
    # Known at the end (proxy.finish).
    duration: float
    bytes_in: int
    bytes_out: int
    wall: float

    def __init__(self, gateway: Gateway, plan: Plan, stream: ClientStream) -> None:
        head = stream.head
        self.gateway = gateway
        self.plan = plan
        self.stream: ClientStream = stream
        self.way: RouteRuntime | None = None
        self.params: dict[str, str] = {}
        self.cluster: Cluster | None = None
        self.target: Target | None = None
        self.connection: Call | None = None
        self.peer: Client | None = None
        self.encoder: Encoder | None = None
        self.place: Place | None = None
        self.ticket = self.grpc_status = -1
        self.identity: Identity = ANONYMOUS
        self.forwarded: Fields = []
        self.told: list[Told] | None = None
        self.held: list[Held] | None = None
        self.refused: Told | None = None
        self.visit: Visit | None = None
        self.notes: Notes | None = None
        self.trace = plan.tracer.begin(head.traces) if plan.tracer is not None else None
        self.method = head.method
        self.path = head.path
        self.host = head.host
        self.client = stream.connection.address
        self.request_id = self.correlation_id = request_id = plan.ids.choose(head.ids)
        self.ids = plan.ids.fields(request_id)
        self.version = head.version
        self.route = self.service = self.endpoint = self.cache = self.error = self.detail = ""
        self.status = self.outcome = self.attempts = 0
        self.tried_at = self.upstream = 0.0
        self.steps = Steps(self._run())
        # The client left, or its body broke.
        stream.on_failed = self.steps.interrupt

    def start(self) -> None:
        """Serve the request, up to the first wait."""
        self.steps.go_on()

    async def _run(self) -> None:
        stream = self.stream
        try:
            self._arrive()
            if self.plan.entry is not None and self.plan.entry.answered(self):
                return
            if (pending := self._count()) is not None:
                await pending
            way = self._enter()
            if way is None:
                return
            for gate in way.gates if self.notes is None else self.notes.watched(way.gates):
                pending = gate.enter(self)
                if pending is not None:
                    await pending
            cluster, way = self.cluster, self.way or way  # A gate may have sent it another way (proxy.by_name).
            if cluster is None:
                self._answer_here(way)
                return
            if way.cache is not None:
                if (pending := serve(self, way, way.cache, cluster)) is not None:
                    await pending
                return
            guards.enter(self.gateway, self, way, cluster)
            request = upstream_request(self, way)
            body, response, failed = b"", None, None
            if not (way.careful or stream.head.grpc):
                try:
                    pool = self.aim(cluster)
                    upstream = pool.take(self.method in IDEMPOTENT)
                    if upstream is None:
                        upstream = await pool.connecting(way.timeouts.connect)
                    body = stream.take()
                    response = await self.send(upstream, request, body)
                except Failure as failure:
                    failed = failure
            if response is None or response.status in way.retry.statuses:
                response = await Tries(self.gateway, self, way, cluster, request, body).run(failed, response)
            relayed = self.pass_on(response, self.heard(cluster, response), way)
            if relayed is not None:
                await relayed
                self.release()
        except Failure as failure:
            fail(self, await turned_away(self, failure))
        except Answered as answer:
            self.respond(answer.status, answer.content_type, answer.body, answer.fields)
        except Exception as error:
            self._fault(error)
        finally:
            finish(self)

    def _fault(self, error: Exception) -> None:
        """Take an error of our own."""
        self.gateway.report(self.request_id, kind_of(error), places_of(error))
        fail(self, Failure("internal", kind_of(error)))

    def _arrive(self) -> None:
        """Learn who the client is; refuse what the wire refused.

        Raises:
            Failure: what the wire found.
        """
        stream = self.stream
        head = stream.head
        client = self.gateway.hop(stream.connection).client(head.host, head.port, head.forwarding, head.version)
        self.client = client.address
        if stream.failure is not None:
            raise stream.failure
        self.peer = client

    def _count(self) -> Awaitable[None] | None:
        """Hold the request against the limits that need no route."""
        own = self.gateway.own
        if self.path in own.waits and (word := own.word(self.path, self.method, self.gateway.tell)) is not None:
            return after(word, self._hold)
        return self._hold()

    def _hold(self) -> Awaitable[None] | None:
        limits, shown = self.plan.limits, self.plan.limits_shown
        if limits is None and not shown:
            return None
        # Who asks how the gateway is must not be told that it asks too often: that would take the gateway out.
        if self.path in self.gateway.own:
            limits = shown.get(self.path)
        return self.gateway.limiter.admit(self, limits) if limits is not None else None

    def _enter(self) -> RouteRuntime | None:
        """Find the request's way and service; None when it was answered here."""
        stream, gateway = self.stream, self.gateway
        head = stream.head
        own = gateway.own.get(head.path)
        if own is not None:
            own(gateway, self)
            return None
        found = self.plan.route(head)
        self.params = found.params
        self.way = way = found.payload
        self.route = way.label
        if way.fixed is None and way.redirect is None:
            stream.limit_body(way.max_body)
            self.cluster = cluster = way.choose(head.fields)
            self.service = cluster.label
        share, trace = way.share, self.trace
        if share.left and stream.started < share.due and (trace is None or not trace.parent.sampled):
            share.left -= 1
        else:
            self.notes = gateway.recorder.begin(self, way)
        if gateway.in_flight > gateway.shedder.bar:
            shed(gateway, way)
        return way

    def _answer_here(self, route: RouteRuntime) -> None:
        """Answer a route that needs no upstream."""
        answer = route.fixed if route.redirect is None else route.redirect.answer(self.value)
        assert answer is not None
        fields = [(b"Date", http_date()), *answer.fields]
        if self.visit is not None:
            fields = self.visit.leave(answer.status, fields)
        self._respond(ResponseHead(answer.status, fields, len(answer.body)), answer.body)

    def value(self, name: str) -> str | None:
        """Return the text of a placeholder (policy.template)."""
        return value_of(self, name)

    def aim(self, cluster: Cluster, tried: tuple[Target, ...] = ()) -> Pool:
        """Choose an endpoint for the next try, another one than those `tried` if there is any.

        Raises:
            Failure: no_endpoint.
        """
        self.tried_at = now = monotonic()
        self.target = target = cluster.pick(now, tried, 0 if cluster.key_of is None else self.key(cluster))
        if self.notes is not None:
            self.notes.tried(cluster, target, now)
        if target is None:
            raise Failure("no_endpoint", cluster.name)
        self.attempts += 1
        self.endpoint = target.label
        return target.pool

    def key(self, cluster: Cluster) -> int:
        """Return what the balancer of a service goes by when it hashes."""
        key_of = cluster.key_of
        return 0 if key_of is None else key_of(self.stream.head.fields, self.client, self.path)

    def end_try(self, cluster: Cluster, now: float, seconds: float | None = None, ok: bool = True) -> None:
        """Count the try under way out; `seconds` until its head or its failure, None when it says nothing."""
        target, self.target = self.target, None
        if target is not None and cluster.counted:
            cluster.end(target, now, seconds, ok)

    def send(self, upstream: Call, request: Outgoing, body: bytes) -> Reply[ResponseHead]:
        """Send the request with the `body` that is there; the rest follows as it arrives."""
        stream, way = self.stream, self.way
        assert way is not None
        self.connection = upstream
        if self.notes is not None:
            self.notes.sent(self, upstream, request)
        upstream.informed = stream.inform
        # Trailers need chunks to stand behind.
        complete = stream.ended and not stream.trailers
        answer = upstream.send(request, body, complete, way.timeouts)
        if way.timeouts.total:
            upstream.bound(stream.started + way.timeouts.total)
        if not complete and not answer.done:
            upstream.source = stream
            if request.grpc and upstream.may_be_silent():
                stream.may_be_silent()
            stream.pipe_to(KeptBody(body, way.kept, upstream) if way.kept else upstream)
        return answer

    def heard(self, cluster: Cluster, response: ResponseHead) -> Call:
        """Note the head of an upstream's answer."""
        upstream = self.connection
        assert upstream is not None
        self.upstream = upstream.answered_at - self.tried_at
        cluster.series.answered(response.status, self.upstream, self.method)
        return upstream

    def prepare(self, response: ResponseHead) -> None:
        """Make the head of a service's answer the one that the client gets."""
        self.status = response.status
        if response.limited and self.told is not None:
            response.fields = self.plan.limit_headers.cleared(response.fields)
        if self.held is not None:
            self.gateway.limiter.charge(self.held, response.fields)
        if self.visit is not None:
            response.fields = self.visit.leave(response.status, response.fields)
        if response.status == 101:
            self.connection = None
            guards.switched(self)
        elif self.way is not None and self.way.compressor is not None:
            self.encoder = self.way.compressor.begin(self.stream.head, response)
        dress(self, response)

    def pass_on(self, response: ResponseHead, upstream: Call, way: RouteRuntime) -> Awaitable[None] | None:
        """Pass an upstream's answer on; what is returned, if anything, is to be waited for."""
        self.prepare(response)
        if response.status == 101:
            return self.gateway.tunnel(self.stream, upstream, response, way.timeouts.tunnel)
        if upstream.ended and not upstream.trailers:
            body = upstream.take()
            self.release()
            if self.encoder is None:
                self.stream.respond(response, body, True)
            else:
                self.give(response, body)
            return None
        return self._pass_on(response, upstream)

    def give(self, head: ResponseHead, body: bytes) -> None:
        """Answer with a head that is prepared, and a body that is here to its end."""
        if self.encoder is not None:
            body = self.encoder.encode(body) + self.encoder.finish()
        self.stream.respond(head, body, True)

    def _pass_on(self, response: ResponseHead, upstream: Call) -> Reply[None]:
        """Pass on what is here, and the rest as it comes."""
        stream, encoder = self.stream, self.encoder
        stream.source = upstream
        stream.respond(response, b"" if encoder is not None else upstream.take(), False)
        if stream.head.grpc:
            return upstream.relay(grpc.CallSink(self, response))
        return upstream.relay(stream if encoder is None else EncodingSink(encoder, stream))

    def release(self) -> None:
        """Be done with the upstream."""
        upstream, self.connection = self.connection, None
        if upstream is not None:
            self.stream.sink = None
            upstream.release()

    def respond(self, status: int, content_type: bytes, body: bytes, extra: Fields | None = None) -> None:
        """Answer by ourselves."""
        fields: Fields = [(b"Date", http_date()), *(extra or ())]
        if body or status not in (204, 304):
            fields.append((b"Content-Type", content_type))
        self._respond(ResponseHead(status, fields, len(body)), body)

    def _respond(self, head: ResponseHead, body: bytes) -> None:
        dress(self, head)
        self.status = head.status
        if self.stream.head.grpc:
            body = grpc.trailers_only(self, head, body)
        if head.status in (204, 304):
            # RFC 9110 section 8.6: a 204 MUST NOT have a length, a 304 none but that of the answer it stands for.
            head.length = UNKNOWN_LENGTH
        self.stream.respond(head, body if may_have_body(self.method, head.status) else b"", True)
