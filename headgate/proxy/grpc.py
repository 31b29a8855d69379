"""Calls of gRPC, where they are not like other requests: how one is refused, how it ends, and as what that counts.

    an answer of our own         -> Trailers-Only: HTTP 200, and grpc-status and grpc-message in the head
    an answer of the upstream    -> passed on; its grpc-status, in the head or behind the body, is how the call ended
    one of these that breaks off -> trailers that say why, in place of a cut

Laws: the status that logs, metrics and breakers know of a refusal is the one of its reason, as with every request;
`exchange.grpc_status` stands beside it. Nothing here is asked for a request that is no call (RequestHead.grpc).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from headgate.core.failure import REASONS, Failure
from headgate.core.message import UNKNOWN_LENGTH, Field, Fields, ResponseHead, first, speaks_grpc
from headgate.policy import grpc
from headgate.wire.http1 import PASSING

if TYPE_CHECKING:
    from headgate.proxy.exchange import Exchange

NOT_TOLD: Final = -1
"""The `grpc_status` of an exchange that has none (yet)."""
_UNDER_WAY: Final = -2
_OK: Final = 200
# The status as which an endpoint's DEADLINE_EXCEEDED counts when the caller chose the deadline: nobody's failure.
_TOO_SHORT: Final = 499
# Bytes of a text that becomes a grpc-message.
_LONGEST_TEXT: Final = 1024


# -- answers of our own --------------------------------------------------------------------------------------------


def words(exchange: Exchange, failure: Failure) -> Fields:
    """Return the fields that tell a caller of a failure."""
    reason = failure.reason
    code = grpc.code_of(failure.status or REASONS[reason].status, reason)
    text = failure.message or exchange.plan.errors.message(reason)
    fields: Fields = [(grpc.STATUS, b"%d" % code), (grpc.MESSAGE, grpc.message(text))]
    if failure.retry_after > 0:
        fields.append(grpc.pushback(failure.retry_after))
    return fields


def trailers_only(exchange: Exchange, head: ResponseHead, body: bytes) -> bytes:
    """Make an answer of our own one of gRPC, which has no body; a text in it becomes the message."""
    fields = head.fields
    said = first(fields, grpc.STATUS)
    if said is not None:
        code = grpc.code_in(said)
    else:
        code = grpc.code_of(head.status)
        fields.append((grpc.STATUS, b"%d" % code))
    exchange.grpc_status = code
    kind = first(fields, b"content-type") or b""
    if first(fields, grpc.MESSAGE) is None and kind.startswith(b"text/plain") and len(body) <= _LONGEST_TEXT:
        fields.append((grpc.MESSAGE, grpc.message(body.decode("utf-8", "replace").strip())))
    head.fields = [field for field in fields if field[0].lower() != b"content-type"]
    head.fields.append((b"Content-Type", grpc.CONTENT_TYPE))
    head.status = _OK
    head.length = UNKNOWN_LENGTH
    return b""


# -- the upstream's answer -----------------------------------------------------------------------------------------


def told(response: ResponseHead) -> int:
    """Return the code in the head of an upstream's answer, which then has no messages; NOT_TOLD where there is none."""
    said = response.get(grpc.STATUS)
    return NOT_TOLD if said is None else grpc.code_in(said)


class CallSink:
    """Passes the messages of an answer on to the caller, and reads behind them how the call ended."""

    __slots__ = ("_exchange", "_is_call", "_stream")

    def __init__(self, exchange: Exchange, response: ResponseHead) -> None:
        self._exchange = exchange
        self._stream = exchange.stream
        # Whoever answers a call with a page of HTML has said all with the status of HTTP.
        self._is_call = speaks_grpc(response.get(b"content-type") or b"")
        if self._is_call and exchange.grpc_status == NOT_TOLD:
            exchange.grpc_status = _UNDER_WAY

    def write(self, data: bytes) -> None:
        """Pass one piece on."""
        self._stream.write(data)

    def finish(self, trailers: Sequence[Field] = ()) -> None:
        """Pass the end on, with its metadata: whatever of it could stand in a head."""
        exchange = self._exchange
        if self._is_call:
            for name, value in trailers:
                if name == grpc.STATUS:
                    exchange.grpc_status = grpc.code_in(value)
        if trailers and exchange.target is not None:
            kinds = exchange.target.pool.answers.kinds
            trailers = [field for field in trailers if kinds[field[0]] in PASSING]
        self._stream.finish(trailers)

    def source_failed(self, failure: Failure) -> None:
        """Tell the caller that no more will come."""
        cut(self._exchange, failure)


def cut(exchange: Exchange, failure: Failure) -> None:
    """End an answer whose rest will not come."""
    stream = exchange.stream
    if exchange.grpc_status != _UNDER_WAY or stream.gone:
        stream.source_failed(failure)
        return
    fields = words(exchange, failure)
    exchange.grpc_status = grpc.code_in(fields[0][1])
    stream.finish(fields)


# -- the books -----------------------------------------------------------------------------------------------------


def settled(exchange: Exchange) -> int:
    """Learn at its end how a call went; returns the status of HTTP as which that counts for breakers and the log."""
    code, error, status = exchange.grpc_status, exchange.error, exchange.status
    if code < 0:
        code = grpc.code_of(REASONS[error].status, error) if error else grpc.concluded(status)
        exchange.grpc_status = code
    if error or status != _OK:
        return status
    if code == grpc.DEADLINE_EXCEEDED and exchange.stream.head.get(grpc.TIMEOUT) is not None:
        return _TOO_SHORT
    return grpc.counts_as(code)
