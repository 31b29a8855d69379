"""Ask a service whether a request may pass (auth.external), as Traefik's ForwardAuth and Envoy's ext_authz do.

    asked with: the fields of `send`, X-Forwarded-Method, -Uri, -For, -Proto, -Host, -Port, X-Real-IP, X-Request-ID, and
        the trace context, where the gateway takes part in traces
    2xx: pass, with the fields of `take` | 401: 401 with its WWW-Authenticate | other 3xx and 4xx: 403 | else: on_error

Laws: the bodies of requests and answers go nowhere. What `take` names is the service's to say: clients' own fields of
these names are taken off, whether it says anything or not. A verdict is kept under the SHA-256 of all that was sent but
what names the request; what was no verdict is not kept. Of equal questions that may be kept one is asked, and all wait
for it.
"""

from __future__ import annotations

from collections.abc import Awaitable
from hashlib import sha256
from typing import TYPE_CHECKING, NamedTuple

from headgate.auth.settings import ExternalAuth
from headgate.core.clock import monotonic
from headgate.core.failure import Failure
from headgate.core.field_names import read_as
from headgate.core.message import Fields
from headgate.core.steps import Reply, Steps
from headgate.proxy.callout import Answer, Callout, Draft

if TYPE_CHECKING:
    from headgate.proxy.exchange import Exchange

_MOST_VERDICTS = 4096
_UNAVAILABLE = "authorization_unavailable"


class Verdict(NamedTuple):
    """What the service said; `fields`: what the upstream is told on a pass, what the client is asked for on a 401.

    `status` is that of a refusal, 0 on a pass; `until` a moment of the monotonic clock.
    """

    status: int
    fields: Fields
    detail: str
    until: float = 0.0


class Verdicts:
    """What one service has said, and what it is being asked."""

    __slots__ = ("known", "waiting")

    def __init__(self) -> None:
        self.known: dict[bytes, Verdict] = {}
        self.waiting: dict[bytes, list[Reply[Verdict]]] = {}

    def keep(self, digest: bytes, verdict: Verdict) -> None:
        """Remember a verdict; the oldest makes room for it."""
        known = self.known
        known.pop(digest, None)
        if len(known) >= _MOST_VERDICTS:
            del known[next(iter(known))]
        known[digest] = verdict


class ExternalGate:
    """Let a request pass as another service says."""

    name = "external"
    __slots__ = ("_cached", "_callout", "_method", "_open", "_send", "_take", "_verdicts")

    def __init__(self, settings: ExternalAuth, callout: Callout, verdicts: Verdicts) -> None:
        self._callout = callout
        self._verdicts = verdicts
        self._method = settings.method
        self._send = frozenset(name.lower().encode() for name in settings.send)
        self._take = frozenset(read_as(name.encode()) for name in settings.take)
        self._cached = settings.cache
        self._open = settings.on_error == "open"

    def enter(self, exchange: Exchange) -> Awaitable[None] | None:
        """Ask, or remember.

        Raises:
            Failure: denied_externally or authorization_unavailable; also from the wait.
        """
        fields = self._question(exchange)
        if not self._cached:
            return self._alone(exchange, fields)
        digest = _digest(fields)
        known = self._verdicts.known.get(digest)
        if known is not None and monotonic() < known.until:
            self._obey(exchange, known)
            return None
        return self._together(exchange, fields, digest)

    async def _alone(self, exchange: Exchange, fields: Fields) -> None:
        self._obey(exchange, await self._ask([*fields, *_names_of(exchange)]))

    async def _together(self, exchange: Exchange, fields: Fields, digest: bytes) -> None:
        reply: Reply[Verdict] = Reply()
        waiting = self._verdicts.waiting.get(digest)
        if waiting is not None:
            waiting.append(reply)
        else:
            self._verdicts.waiting[digest] = [reply]
            # A course of its own: others wait for it, whatever becomes of this request.
            Steps(self._find_out([*fields, *_names_of(exchange)], digest)).go_on()
        self._obey(exchange, await reply)

    async def _find_out(self, fields: Fields, digest: bytes) -> None:
        verdict = Verdict(503, [], "the question failed")
        try:
            verdict = await self._ask(fields)
        finally:
            if verdict.status != 503:
                verdict = verdict._replace(until=monotonic() + self._cached)
                self._verdicts.keep(digest, verdict)
            for reply in self._verdicts.waiting.pop(digest):
                reply.set(verdict)

    async def _ask(self, fields: Fields) -> Verdict:
        """Ask the service; a 503 stands for no verdict at all.

        Raises:
            Failure: of the client's side: the request that asks is over.
        """
        try:
            answer = await self._callout.ask(self._method, fields)
        except Failure as failure:
            if failure.side == "client":
                raise
            return Verdict(503, [], str(failure))
        return self._read(answer)

    def _read(self, answer: Answer) -> Verdict:
        status, detail = answer.status, f"{self._callout.name} answered {answer.status}"
        if 200 <= status < 300:
            return Verdict(0, [field for field in answer.fields if read_as(field[0]) in self._take], detail)
        if status == 401:
            return Verdict(401, [field for field in answer.fields if field[0].lower() == b"www-authenticate"], detail)
        return Verdict(403 if 300 <= status < 500 else 503, [], detail)

    def _obey(self, exchange: Exchange, verdict: Verdict) -> None:
        """Do as the service said.

        Raises:
            Failure: denied_externally or authorization_unavailable.
        """
        status = verdict.status
        if status == 503:
            if not self._open:
                raise Failure(_UNAVAILABLE, verdict.detail)
        elif status:
            reason = "denied_externally"
            exchange.gateway.metrics.auth_failed(reason)
            raise Failure(reason, verdict.detail, status=status, fields=verdict.fields)
        if self._take:
            head, take = exchange.stream.head, self._take
            head.fields = [field for field in head.fields if read_as(field[0]) not in take]
            head.fields += verdict.fields

    def _question(self, exchange: Exchange) -> Fields:
        """Return the fields of the question, all but those that name the request."""
        head, client, send = exchange.stream.head, exchange.peer, self._send
        assert client is not None
        fields = [field for field in (*head.fields, *exchange.forwarded) if field[0].lower() in send]
        fields += [pair for pair in client.pairs if pair[0] != b"Via"]
        path = head.path.encode()
        fields.append((b"X-Forwarded-Method", head.method.encode()))
        fields.append((b"X-Forwarded-Uri", path if head.query is None else b"%b?%b" % (path, head.query)))
        return fields


def _names_of(exchange: Exchange) -> Fields:
    """Return what names the request: its id, and the trace that the question is a part of."""
    trace, tracer = exchange.trace, exchange.plan.tracer
    if trace is None or tracer is None:
        return exchange.ids
    lines = tracer.lines(trace, trace.span_id, trace.parent.span_id).split(b"\r\n")
    return [*exchange.ids, *((name, value) for name, _, value in (line.partition(b": ") for line in lines))]


def _digest(fields: Fields) -> bytes:
    # A field holds no line break, so no two lists of fields read the same.
    return sha256(b"\n".join([b"%b:%b" % field for field in fields])).digest()


class ExternalServices:
    """What services have said, over reloads that change nothing about how one is asked."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        self._kept: dict[str, Verdicts] = {}

    def draft(self, callouts: Draft) -> ExternalDraft:
        """Begin with what a new Plan will ask."""
        return ExternalDraft(self._kept, callouts)

    def use(self, draft: ExternalDraft) -> None:
        """Keep what this draft asks, and forget the rest."""
        self._kept = draft.verdicts


class ExternalDraft:
    """The gates of a Plan that is being built; routes with equal settings share one."""

    __slots__ = ("_callouts", "_gates", "_kept", "verdicts")

    def __init__(self, kept: dict[str, Verdicts], callouts: Draft) -> None:
        self._kept = kept
        self._callouts = callouts
        self._gates: dict[str, ExternalGate] = {}
        self.verdicts: dict[str, Verdicts] = {}

    def gate(self, settings: ExternalAuth) -> ExternalGate:
        """Return the gate for these settings.

        Raises:
            ValueError: with a sentence, for a URL or a file that cannot be used.
        """
        # Settings hold lists and cannot be a key themselves; none of these is a secret.
        key = repr(settings)
        if key not in self._gates:
            self.verdicts[key] = self._kept.get(key) or Verdicts()
            callout = self._callouts.to(settings.url, settings.timeout, settings.ca)
            self._gates[key] = ExternalGate(settings, callout, self.verdicts[key])
        return self._gates[key]
