"""The whole life of one request, top to bottom: one coroutine (run by core.steps, in the calls that bring the bytes).

    refuse what the wire refused -> id, client -> own endpoints -> route -> [gates] -> rewrite
    -> loop { pick endpoint -> connection -> send -> head of the answer, or a Failure that retry may absorb }
    -> relay the body -> finish

Laws: the only place that does I/O for a request; knows no HTTP version; every exit passes through `_finish`, exactly
once; a Failure becomes an answer in one place (`_fail`) and only while no head went out.
"""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any

from headgate.core.clock import monotonic, wall
from headgate.core.failure import Failure
from headgate.core.message import Fields, RequestHead, ResponseHead, may_have_body
from headgate.core.steps import Reply, Steps
from headgate.core.uri import BadTarget
from headgate.policy.retry import IDEMPOTENT
from headgate.proxy.cluster import Cluster, Target
from headgate.proxy.plan import Plan, RouteRuntime
from headgate.wire.compression import Encoder, EncodingSink
from headgate.wire.dates import http_date
from headgate.wire.forwarded import Client
from headgate.wire.outgoing import Outgoing
from headgate.wire.pool import Pool
from headgate.wire.stream import ClientStream
from headgate.wire.upstream import UpstreamConnection

if TYPE_CHECKING:
    from headgate.proxy.gateway import Gateway


class Exchange:
    """One request. Its attributes from `wall` to `error` are what the access log reads (telemetry.access_log)."""

    __slots__ = (
        "_client",
        "_cluster",
        "_encoder",
        "_gateway",
        "_ids",
        "_params",
        "_plan",
        "_route",
        "_steps",
        "_stream",
        "_target",
        "_tried",
        "_tried_at",
        "_upstream",
        "attempts",
        "bytes_in",
        "bytes_out",
        "client",
        "correlation_id",
        "duration",
        "endpoint",
        "error",
        "host",
        "method",
        "path",
        "request_id",
        "route",
        "service",
        "status",
        "upstream",
        "wall",
    )

    def __init__(self, gateway: Gateway, plan: Plan, stream: ClientStream) -> None:
        head = stream.head
        self._gateway = gateway
        self._plan = plan
        self._stream = stream
        self._route: RouteRuntime | None = None
        self._params: dict[str, str] = {}
        self._cluster: Cluster | None = None
        self._target: Target | None = None
        self._upstream: UpstreamConnection | None = None
        self._client: Client | None = None
        self._encoder: Encoder | None = None
        self._tried: tuple[Target, ...] = ()
        self._tried_at = 0.0
        self.method = head.method
        self.path = head.path
        self.host = head.host
        self.client = stream.connection.address
        self.request_id = self.correlation_id = request_id = plan.ids.choose(head.ids)
        self._ids = plan.ids.fields(request_id)
        self.route = self.service = self.endpoint = self.error = ""
        self.status = self.attempts = 0
        self.upstream = 0.0
        stream.on_failed = self._interrupt
        gateway.metrics.begin()
        self._steps = Steps(self._run())

    def start(self) -> None:
        """Serve the request, up to the first wait."""
        self._steps.go_on()

    async def _run(self) -> None:
        stream = self._stream
        try:
            route = self._enter()
            if route is None:
                return
            request = self._outgoing(route, stream.head)
            if route.mirror is not None:
                self._maybe_mirror(route, request)
            body = b""
            while True:
                try:
                    pool = self._aim()
                    upstream = pool.take(self.method in IDEMPOTENT)
                    if upstream is None:
                        upstream = await pool.connecting(route.timeouts.connect)
                    body += stream.take()
                    response = await self._send(upstream, request, body)
                    break
                except Failure as failure:
                    self._settle(failure, body)
            self._answered(response)
            if response.status == 101:
                await self._gateway.tunnel(stream, upstream, response, route.timeouts.tunnel)
            elif upstream.ended and not upstream.trailers:
                self._pass_whole(response, upstream)
            else:
                await self._pass_on(response, upstream)
                self._release()
        except Failure as failure:
            self._fail(failure)
        except Exception as error:
            self._gateway.report(self.request_id, "".join(traceback.format_exception(error)))
            self._fail(Failure("internal", repr(error)))
        finally:
            self._finish()

    def _interrupt(self, failure: Failure) -> None:
        """Stop: the client left, or its body broke."""
        self._steps.interrupt(failure)

    def _enter(self) -> RouteRuntime | None:
        """Find the request's way; None when it was answered here."""
        stream, gateway = self._stream, self._gateway
        head = stream.head
        if stream.failure is not None:
            raise stream.failure
        own = gateway.own.get(head.path)
        if own is not None:
            own(gateway, self)
            return None
        found = self._plan.route(head)
        self._params = found.params
        self._route = route = found.payload
        self.route = route.label
        self._client = client = gateway.hop(stream.connection).client(
            head.host, head.port, head.forwarding, head.version
        )
        self.client = client.address
        if route.fixed is not None or route.redirect is not None:
            self._answer_here(route)
            return None
        stream.limit_body(route.max_body)
        self._cluster = cluster = route.choose(head.fields)
        self.service = cluster.label
        return route

    def _answer_here(self, route: RouteRuntime) -> None:
        """Answer a route that needs no upstream."""
        answer = route.fixed if route.redirect is None else route.redirect.answer(self.value)
        assert answer is not None
        fields = [(b"Date", http_date()), *answer.fields]
        self._respond(ResponseHead(answer.status, self.dressed(fields), len(answer.body)), answer.body)

    def _outgoing(self, route: RouteRuntime, head: RequestHead) -> Outgoing:
        """Make the request that the upstream sees."""
        client = self._client
        assert client is not None
        fields = head.fields
        fields += self._ids
        if route.edit_request is not None:
            fields = route.edit_request.apply([*fields, *client.pairs], self.value)
        path, query = head.path, head.query
        if route.rewrite is not None:
            try:
                path = route.rewrite(path, self._params)
            except BadTarget as error:
                raise Failure("bad_path", f"rewritten: {error.reason}") from None
        if route.edit_query is not None:
            query = route.edit_query.apply(query)
        target = path.encode() if query is None else b"%b?%b" % (path.encode(), query)
        request = Outgoing(head.method, target, fields, head.length)
        if route.edit_request is None:
            request.block = client.lines
        if route.host is not None:
            request.authority = head.authority if route.host == "preserve" else route.host.encode()
        if head.upgrade in route.upgrades:
            request.upgrade = head.upgrade
        return request

    def value(self, name: str) -> str | None:
        """Return the text of a placeholder (policy.template)."""
        head = self._stream.head
        match name:
            case "client" | "host" | "method" | "path" | "request_id":
                return str(getattr(self, name))
            case "query":
                return (head.query or b"").decode("latin-1")
            case "route":
                return self._route.name if self._route is not None else None
            case "service":
                return self._cluster.name if self._cluster is not None else None
        return self._params.get(name.removeprefix("params."))

    def _maybe_mirror(self, route: RouteRuntime, request: Outgoing) -> None:
        mirror, cluster, stream = route.mirror, route.mirror_cluster, self._stream
        if mirror is not None and cluster is not None and stream.ended and not request.upgrade and mirror.chosen():
            self._gateway.mirrors.send(cluster, request, stream.peek(), route.timeouts)

    def _aim(self) -> Pool:
        """Choose an endpoint for the next try."""
        cluster = self._cluster
        assert cluster is not None
        self.attempts += 1
        self._tried_at = now = monotonic()
        self._target = target = cluster.pick(now, self._tried)
        if target is None:
            raise Failure("no_endpoint", cluster.name)
        self.endpoint = target.label
        return target.pool

    def _send(self, upstream: UpstreamConnection, request: Outgoing, body: bytes) -> Reply[ResponseHead]:
        """Send the request with the `body` that is there; the rest follows as it arrives."""
        stream, route = self._stream, self._route
        assert route is not None
        self._upstream = upstream
        upstream.informed = stream.inform
        # Trailers need chunks to stand behind.
        complete = stream.ended and not stream.trailers
        answer = upstream.send(request, body, complete, route.timeouts)
        if route.timeouts.total:
            upstream.bound(stream.started + route.timeouts.total)
        if not complete and not answer.done:
            upstream.source = stream
            stream.pipe_to(upstream)
        return answer

    def _settle(self, failure: Failure, body: bytes) -> None:
        """Take a try that failed: let there be another one, or raise the failure.

        Raises:
            Failure: this one.
        """
        stream, route, cluster, target = self._stream, self._route, self._cluster, self._target
        assert route is not None
        assert cluster is not None
        stream.sink = None
        if target is None or failure.side == "client":
            # Nobody was tried, or the client left or broke its body: not the upstream's failure.
            raise failure
        cluster.series.failed(failure.reason)
        replayable = not failure.sent or (stream.ended and stream.bytes_in == len(body))
        if not route.retry.allows(failure, self.method, self.attempts, replayable=replayable):
            raise failure
        cluster.series.retried(failure.reason)
        self._tried = (*self._tried, target)

    def _answered(self, response: ResponseHead) -> None:
        """Note the head of the answer, and put on it what belongs on every answer."""
        cluster, upstream = self._cluster, self._upstream
        assert cluster is not None
        assert upstream is not None
        self.upstream = upstream.answered_at - self._tried_at
        cluster.series.answered(response.status, self.upstream)
        self.status = response.status
        if response.status == 101:
            self._upstream = None
        elif self._route is not None and self._route.compressor is not None:
            self._encoder = self._route.compressor.begin(self._stream.head, response)
        response.fields = self.dressed(response.fields)

    def _pass_whole(self, response: ResponseHead, upstream: UpstreamConnection) -> None:
        """Pass on an answer that is here to its end."""
        body = upstream.take()
        self._release()
        if self._encoder is not None:
            body = self._encoder.encode(body) + self._encoder.finish()
        self._stream.respond(response, body, True)

    def _pass_on(self, response: ResponseHead, upstream: UpstreamConnection) -> Reply[None]:
        """Pass on what is here, and the rest as it comes."""
        stream, encoder = self._stream, self._encoder
        stream.source = upstream
        stream.respond(response, b"" if encoder is not None else upstream.take(), False)
        return upstream.relay(stream if encoder is None else EncodingSink(encoder, stream))

    def _release(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            self._stream.sink = None
            upstream.release()

    def dressed(self, fields: Fields) -> Fields:
        """Return the fields with what belongs on every answer."""
        plan, route = self._plan, self._route
        fields += self._ids
        if plan.via is not None:
            fields.append(plan.via)
        if route is not None and route.edit_response is not None:
            return route.edit_response.apply(fields, self.value)
        return fields

    def respond(self, status: int, content_type: bytes, body: bytes, extra: Fields | None = None) -> None:
        """Answer by ourselves."""
        fields: Fields = [(b"Date", http_date()), *(extra or ())]
        if body or status not in (204, 304):
            fields.append((b"Content-Type", content_type))
        self._respond(ResponseHead(status, self.dressed(fields), len(body)), body)

    def _respond(self, head: ResponseHead, body: bytes) -> None:
        self.status = head.status
        self._stream.respond(head, body if may_have_body(self.method, head.status) else b"", True)

    def _fail(self, failure: Failure) -> None:
        """Turn a Failure into an answer, or into a visible cut where one is under way."""
        stream = self._stream
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.close()
        left = failure.reason == "client_closed"
        if left and stream.done:
            # It left with the whole answer, before its exchange had its turn.
            return
        self.error = failure.reason
        if stream.responded:
            if left:
                self.status = self._plan.errors.status(failure.reason)
            if not stream.done:
                stream.source_failed(failure)
            return
        shapes = self._plan.errors
        self.status = shapes.status(failure.reason)
        if stream.gone:
            return
        extra: Fields = []
        retry_after = None
        if failure.reason == "method_not_allowed":
            extra.append((b"Allow", failure.detail.encode()))
        elif self.status == 503:
            retry_after = 1
            extra.append((b"Retry-After", b"1"))
        self._gateway.metrics.error(failure.reason)
        body = shapes.body(failure.reason, lambda: self._values(retry_after))
        self.respond(self.status, shapes.content_type, body, extra)

    def _values(self, retry_after: int | None) -> dict[str, Any]:
        return {
            "request_id": self.request_id,
            "correlation_id": self.correlation_id,
            "retry_after": retry_after,
            "path": self.path,
            "method": self.method,
            "service": self._cluster.name if self._cluster is not None else None,
            "route": self._route.name if self._route is not None else None,
        }

    def _finish(self) -> None:
        stream = self._stream
        stream.on_failed = None
        self.duration = duration = monotonic() - stream.started
        self.bytes_in = stream.bytes_in
        self.bytes_out = stream.bytes_out
        route = self._route
        if route is None:
            series = self._plan.unrouted
        elif self._cluster is not None and self._cluster is route.only:
            series = route.only_series
        else:
            series = route.series[self._cluster.name if self._cluster is not None else ""]
        series.finish(self.method, self.status, duration, stream.bytes_in, stream.bytes_out)
        self.wall = wall()
        self._gateway.log(self)
        self._gateway.finished()
