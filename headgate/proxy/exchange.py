"""The whole life of one request, top to bottom: one coroutine, one task.

    refuse what the wire refused -> id, client -> own endpoints -> route -> [gates] -> rewrite
    -> loop { pick endpoint -> connection -> send -> head of the answer, or a Failure that retry may absorb }
    -> relay the body -> finish

Laws: the only place that does I/O for a request; knows no HTTP version; every exit passes through `_finish`, exactly
once; a Failure becomes an answer in one place (`_fail`) and only while no head went out.
"""

from __future__ import annotations

import asyncio
import traceback
from typing import TYPE_CHECKING, Any

from headgate.core.clock import monotonic, wall
from headgate.core.failure import Failure
from headgate.core.message import Fields, RequestHead, ResponseHead
from headgate.policy.retry import IDEMPOTENT
from headgate.proxy.cluster import Cluster, Target
from headgate.proxy.dates import http_date
from headgate.proxy.plan import Plan, RouteRuntime
from headgate.wire.stream import ClientStream
from headgate.wire.upstream import Outgoing, UpstreamConnection

if TYPE_CHECKING:
    from headgate.proxy.gateway import Gateway


class Exchange:
    """One request. Its attributes from `wall` to `error` are what the access log reads (telemetry.access_log)."""

    __slots__ = (
        "_begun",
        "_cluster",
        "_failure",
        "_gateway",
        "_params",
        "_plan",
        "_route",
        "_stream",
        "_target",
        "_task",
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
        self._begun = False
        self._failure: Failure | None = None
        self._route: RouteRuntime | None = None
        self._params: dict[str, str] = {}
        self._cluster: Cluster | None = None
        self._target: Target | None = None
        self._upstream: UpstreamConnection | None = None
        self.method = head.method
        self.path = head.path
        self.host = head.host
        self.client = stream.connection.address
        self.request_id = self.correlation_id = plan.ids.choose(head.ids)
        self.route = self.service = self.endpoint = self.error = ""
        self.status = self.attempts = 0
        self.upstream = 0.0
        stream.on_failed = self._interrupt
        gateway.metrics.begin()
        self._task = gateway.loop.create_task(self.run())

    async def run(self) -> None:
        """Serve the request."""
        self._begun = True
        try:
            await self._serve()
        except Failure as failure:
            self._fail(failure)
        except asyncio.CancelledError:
            self._fail(self._stream.failure or Failure("client_closed"))
        except Exception as error:
            self._gateway.report(self.request_id, "".join(traceback.format_exception(error)))
            self._fail(Failure("internal", repr(error)))
        finally:
            self._finish()

    def _interrupt(self, failure: Failure) -> None:
        """Stop: the client left, or its body broke. `run` looks for it by itself before it begins."""
        if self._begun:
            self._task.cancel()

    async def _serve(self) -> None:
        stream = self._stream
        head = stream.head
        if stream.failure is not None:
            raise stream.failure
        own = self._gateway.own.get(head.path)
        if own is not None:
            own(self._gateway, self)
            return
        found = self._plan.route(head)
        self._params = found.params
        self._route = route = found.payload
        self.route = route.label
        stream.limit_body(route.max_body)
        self._cluster = cluster = self._choose(route, head)
        self.service = cluster.label
        request = self._outgoing(route, head)
        if head.upgrade in route.upgrades:
            request.upgrade = head.upgrade
        response = await self._ask(route, cluster, request)
        await self._answer(route, response)

    def _choose(self, route: RouteRuntime, head: RequestHead) -> Cluster:
        cluster = route.only
        if cluster is None:
            raise Failure("no_endpoint")
        return cluster

    def _outgoing(self, route: RouteRuntime, head: RequestHead) -> Outgoing:
        """Make the request that the upstream sees."""
        client = self._gateway.hop(self._stream.connection).client(head.host, head.port, head.forwarding, head.version)
        self.client = client.address
        fields = head.fields
        fields += client.pairs
        request_id = self.request_id.encode()
        for name in self._plan.ids.names:
            fields.append((name, request_id))
        path = head.path.encode()
        target = path if head.query is None else b"%b?%b" % (path, head.query)
        return Outgoing(head.method, target, b"", fields, head.length)

    async def _ask(self, route: RouteRuntime, cluster: Cluster, request: Outgoing) -> ResponseHead:
        """Send the request, again where that is safe, until the head of an answer is here."""
        stream = self._stream
        tried: list[Target] = []
        body = b""
        while True:
            self.attempts += 1
            started = monotonic()
            target = cluster.pick(started, tried)
            if target is None:
                raise Failure("no_endpoint", cluster.name)
            self._target = target
            self.endpoint = target.label
            request.authority = target.authority
            try:
                upstream = target.pool.take(request.method in IDEMPOTENT)
                if upstream is None:
                    upstream = await target.pool.connect(route.timeouts.connect)
                self._upstream = upstream
                body += stream.take()
                complete = stream.ended
                answer = upstream.send(request, body, complete, route.timeouts)
                if not complete and not answer.done():
                    upstream.source = stream
                    stream.pipe_to(upstream)
                response = await answer
            except Failure as failure:
                stream.sink = None
                cluster.series.failed(failure.reason)
                replayable = not failure.sent or (stream.ended and stream.bytes_in == len(body))
                if not route.retry.allows(failure, request.method, self.attempts, replayable=replayable):
                    raise
                cluster.series.retried(failure.reason)
                tried.append(target)
                continue
            self.upstream = monotonic() - started
            cluster.series.answered(response.status, self.upstream)
            return response

    async def _answer(self, route: RouteRuntime, response: ResponseHead) -> None:
        """Pass the answer on."""
        stream, upstream = self._stream, self._upstream
        assert upstream is not None
        if response.status == 101:
            self.status = 101
            self._upstream = None
            self.dress(response.fields)
            await self._gateway.tunnel(stream, upstream, response, route.timeouts.tunnel)
            return
        if stream.head.upgrade:
            stream.connection.upgrade_refused()
        self.dress(response.fields)
        if upstream.ended:
            body = upstream.take()
            self.status = response.status
            self._release()
            stream.respond(response, body, True)
            return
        stream.source = upstream
        stream.respond(response, upstream.take(), False)
        self.status = response.status
        await upstream.relay(stream)
        self._release()

    def _release(self) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            self._stream.sink = None
            upstream.release()

    def dress(self, fields: Fields) -> None:
        """Put on what belongs on every answer."""
        request_id = self.request_id.encode()
        for name in self._plan.ids.names:
            fields.append((name, request_id))

    def respond(self, status: int, content_type: bytes, body: bytes, extra: Fields | None = None) -> None:
        """Answer by ourselves."""
        fields: Fields = [(b"Date", http_date()), *(extra or ())]
        if body or status not in (204, 304):
            fields.append((b"Content-Type", content_type))
        self.dress(fields)
        self.status = status
        stream = self._stream
        payload = body if stream.head.method != "HEAD" else b""
        stream.respond(ResponseHead(status, fields, len(body)), payload, True)

    def _fail(self, failure: Failure) -> None:
        """Turn a Failure into an answer, or into a visible cut where one is under way."""
        self._failure = failure
        self.error = failure.reason
        stream = self._stream
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.close()
        if stream.responded:
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
        else:
            series = route.series[self._cluster.name if self._cluster is not None else ""]
        series.finish(self.method, self.status, duration, stream.bytes_in, stream.bytes_out)
        self.wall = wall()
        self._gateway.log(self)
        self._gateway.finished()
