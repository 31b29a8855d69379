"""The gates of a route, in the order of the design: from where, who asks, what they may; later what else is configured.

A gate lets a request pass by returning None, makes it wait by returning something to wait for, refuses it by raising a
Failure, and answers it by raising Answered. It may set what belongs to it on the exchange.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING, Protocol

from headgate.auth.settings import Auth, IdentitySettings
from headgate.core.clock import monotonic
from headgate.core.failure import Failure
from headgate.core.identity import Identity
from headgate.core.message import Field, Fields, RequestHead
from headgate.core.steps import Reply
from headgate.proxy.way import UNAVAILABLE, Verdict, Way
from headgate.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from headgate.proxy.exchange import Exchange


# Reasons of a 401 for what may stand behind Bearer.
_OF_TOKENS = frozenset(("invalid_token", "expired_token", "invalid_api_key"))


class Answered(Exception):
    """A gate has an answer of its own."""

    def __init__(self, status: int, content_type: bytes, body: bytes, fields: Fields) -> None:
        super().__init__(status)
        self.status = status
        self.content_type = content_type
        self.body = body
        self.fields = fields


class Gate(Protocol):
    """What stands in the way of a request; `name` is how records call it (telemetry.record)."""

    @property
    def name(self) -> str:
        """Return it."""

    def enter(self, exchange: Exchange) -> Awaitable[None] | None:
        """Let it pass, or not; what is returned, if anything, is to be waited for.

        Raises:
            Failure: it is refused; also from the wait.
            Answered: it is answered here; also from the wait.
        """


class Entry(Protocol):
    """What judges a request before its route is known."""

    def answered(self, exchange: Exchange) -> bool:
        """Tell whether the request was answered here.

        Raises:
            Failure: it is refused.
        """


class IdentityGate:
    """Learn who asks, and whether they may."""

    name = "identity"
    __slots__ = (
        "_by_authorization",
        "_cells",
        "_hides",
        "_in_headers",
        "_reads_authorization",
        "_reads_certificate",
        "_required",
        "_strict",
        "_ways",
        "challenges",
    )

    def __init__(self, auth: Auth, ways: Sequence[Way], identity: IdentitySettings, metrics: Metrics) -> None:
        """Take the ways that count on this route, in their order."""
        self._ways = tuple((way, metrics.counter("headgate_auth_total", way.method.name, "known")) for way in ways)
        self._cells = metrics.cells
        self._required = auth.mode == "required"
        self._hides = identity.hide_credentials
        # Then one field alone tells which way takes it, and whose it is.
        self._in_headers = all(way.method.in_headers for way in ways)
        # A credential in this field that no way takes is a wrong one: it is not for somebody else.
        self._by_authorization = frozenset(way.method.name for way in ways if way.method.challenge)
        self._reads_authorization = bool(self._by_authorization)
        self._strict = identity.strict and self._reads_authorization
        self._reads_certificate = any(way.method.kind == "certificate" for way in ways)
        schemes = dict.fromkeys(way.method.challenge for way in ways if way.method.challenge)
        self.challenges = tuple((scheme, _challenge(scheme, identity.realm)) for scheme in schemes)

    def enter(self, exchange: Exchange) -> Awaitable[None] | None:
        """Set `exchange.identity`, or refuse.

        Raises:
            Failure: with a reason of 401, 403 or 503; also from the wait.
        """
        shown = exchange.stream.head.shown
        if not self._in_headers or shown is None or len(shown) != 1:
            return self._ask(exchange, None)
        field = shown[0]
        for way, cell in self._ways:
            verdict = way.recalled(field)
            if verdict is not None:
                self._cells[cell] += 1
                exchange.identity = verdict.identity
                exchange.forwarded = verdict.forwarded
                if self._hides:
                    way.method.hide(exchange.stream.head)
                return None
        return self._ask(exchange, field)

    def knows(self, identity: Identity) -> bool:
        """Tell whether a caller was made known by a way that counts here."""
        return any(way.method.name == identity.method for way, _ in self._ways)

    def _ask(self, exchange: Exchange, field: Field | None) -> Awaitable[None] | None:
        """Have the first way judge that finds a credential; `field` is all that may hold one, if it is one."""
        head = exchange.stream.head
        if self._reads_certificate:
            head.certificate = exchange.stream.connection.certificate
        for way, cell in self._ways:
            credential = way.find(head)
            if credential is None:
                continue
            if self._strict and stands_elsewhere(head, credential):
                # A credential that is shown and wrong is never passed over.
                self._without(exchange)
            verdict = way.verdict(credential)
            if self._hides:
                way.method.hide(head)
            if isinstance(verdict, Reply):
                return self._wait(exchange, way, cell, verdict)
            self._judge(exchange, way, cell, verdict)
            if field is not None:
                way.recall(field, verdict)
            return None
        self._without(exchange)
        return None

    async def _wait(self, exchange: Exchange, way: Way, cell: int, reply: Reply[Verdict]) -> None:
        began = monotonic()
        verdict = await reply
        exchange.gateway.metrics.auth_waited(way.method.name, monotonic() - began)
        self._judge(exchange, way, cell, verdict)

    def _judge(self, exchange: Exchange, way: Way, cell: int, verdict: Verdict) -> None:
        refused = verdict.refused
        metrics, method = exchange.gateway.metrics, way.method
        if refused is not None:
            metrics.auth(method.name, "unavailable" if refused.reason == UNAVAILABLE else "refused")
            metrics.auth_failed(refused.reason, method.kind)
            raise Failure(refused.reason, f"{method.name}: {refused.detail}")
        self._cells[cell] += 1
        exchange.identity = verdict.identity
        exchange.forwarded = verdict.forwarded

    def _without(self, exchange: Exchange) -> None:
        failure = without_credential(exchange.stream.head, self._reads_authorization, self._required)
        if failure is not None:
            exchange.gateway.metrics.auth_failed(failure.reason)
            raise failure

    def has_judged(self, head: RequestHead, identity: Identity) -> bool:
        """Tell whether that caller was known by Authorization for certain: if not, that field is for the service."""
        alone = self._in_headers and head.shown is not None and len(head.shown) == 1
        return alone and identity.method in self._by_authorization

    def challenge(self, reason: str) -> Fields:
        """Return the WWW-Authenticate fields of a 401 (RFC 9110 section 11.6.1, RFC 6750 section 3)."""
        fields: list[Field] = []
        for scheme, parts in self.challenges:
            # RFC 6750 section 3.1: no error code where no token was shown, but nothing or a password.
            wrong = b', error="invalid_token"' if scheme == "Bearer" and reason in _OF_TOKENS else b""
            fields.append((b"WWW-Authenticate", parts + wrong))
        return fields


def stands_elsewhere(head: RequestHead, credential: bytes) -> bool:
    """Tell whether there is an Authorization that says something, and a credential is not the one in it."""
    shown = head.get(b"authorization") or credential
    return not shown.endswith(credential)


def without_credential(head: RequestHead, reads_authorization: bool, required: bool) -> Failure | None:
    """Return why a request that shows no credential of any way that counts is refused; None when it may pass."""
    shown = head.get(b"authorization") if reads_authorization else None
    # An empty one is none: whoever wrote it had nothing to show.
    if shown:
        reason = "invalid_token" if shown[:7].lower() == b"bearer " else "invalid_credentials"
        return Failure(reason, "no way that counts here takes this Authorization")
    return Failure("missing_credentials") if required else None


def _challenge(scheme: str, realm: str) -> bytes:
    # RFC 7617 section 2.1: user names and passwords are UTF-8 here.
    charset = ', charset="UTF-8"' if scheme == "Basic" else ""
    return f'{scheme} realm="{realm}"{charset}'.encode("latin-1", "replace")
