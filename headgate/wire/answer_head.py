"""From what the parser collected to a ResponseHead: every rule that llhttp leaves to us.

Law: an answer that is framed in no one way, or in two, is refused: the upstream is not believed more than a client.
"""

from __future__ import annotations

from headgate.core.failure import Failure
from headgate.core.message import UNKNOWN_LENGTH, Fields, ResponseHead, may_have_body
from headgate.wire import http1
from headgate.wire.dates import http_date

MAX_INTERIM = 16
"""Interim answers (1xx) that may come before one answer."""


def response_head(status: int, fields: Fields, kinds: http1.FieldKinds, method: str) -> tuple[ResponseHead, bool, int]:
    """Build the head of an upstream's answer; the flag tells that its body ends where the connection does.

    The number is how long the upstream keeps an idle connection, in seconds; -1 if it did not say.

    Raises:
        Failure: upstream_protocol.
    """
    framing: http1.Framing | None = None
    kept: Fields = []
    dated = limited = False
    length: int | None = None
    try:
        for field in fields:
            kind = kinds[field[0]]
            if not kind:
                kept.append(field)
            elif kind == http1.DATE:
                dated = True
                kept.append(field)
            elif kind == http1.LIMIT:
                limited = True
                kept.append(field)
            elif kind != http1.DROP and not (kind == http1.CONNECTION and field[1] in http1.PLAIN_CONNECTION):
                framing = framing or http1.Framing()
                framing.note(kind, field[1])
        if framing is not None:
            length = framing.body_length()
    except ValueError as error:
        raise Failure("upstream_protocol", str(error)) from None
    if not 100 <= status <= 999:
        raise Failure("upstream_protocol", "status")
    head = ResponseHead(status, kept)
    head.limited = limited
    if framing is not None and framing.connection:
        head.fields = http1.without_named(kept, framing.connection)
        head.upgrade = framing.upgrade.strip().lower()
    if not dated and status >= 200:
        # RFC 9110 section 6.6.1: whoever forwards an answer without a date gives it the one of its arrival.
        head.fields.append((b"Date", http_date()))
    if not may_have_body(method, status):
        # HEAD and 304 tell the length that GET would have had; UNKNOWN_LENGTH then means "not told".
        head.length = UNKNOWN_LENGTH if length is None or status == 204 or status < 200 else length
        until_close = False
    else:
        head.length = UNKNOWN_LENGTH if length is None else length
        until_close = length is None
    return head, until_close, framing.keep_alive if framing is not None else -1
