"""From the fields of an HTTP/2 block to the heads that travel through the gateway: RFC 9113 sections 8.2 and 8.3.

Laws: the same tables and the same normal forms as for HTTP/1 (wire.head, wire.answer_head), so that a request is the
same request in both. Whatever HTTP/1 could write only by changing it is refused (section 10.3). What is malformed ends
its stream alone.
"""

from __future__ import annotations

from headgate.core.message import Fields, RequestHead, ResponseHead
from headgate.wire import http1
from headgate.wire.head import HeadReader


def request_head(heads: HeadReader, fields: Fields, ended: bool) -> RequestHead:
    """Build the head of a request; `ended`: END_STREAM came with it. An extended CONNECT reads GET with `upgrade`.

    Raises:
        Failure: with a reason of the client's side.
    """
    raise NotImplementedError


def refused_head(fields: Fields, scheme: str) -> RequestHead:
    """Build the head of a request that cannot be served, for the log."""
    raise NotImplementedError


def request_trailers(heads: HeadReader, fields: Fields) -> Fields:
    """Return those trailers of a request that may pass.

    Raises:
        Failure: with a reason of the client's side.
    """
    raise NotImplementedError


def response_head(fields: Fields, kinds: http1.FieldKinds, method: str, ended: bool) -> ResponseHead:
    """Build the head of an upstream's answer to `method`; `ended`: END_STREAM came with it.

    Raises:
        Failure: upstream_protocol.
    """
    raise NotImplementedError


def response_trailers(fields: Fields) -> Fields:
    """Return the trailers of an answer, well formed; which may pass is chosen later (HeadReader.passed).

    Raises:
        Failure: upstream_protocol.
    """
    raise NotImplementedError
