"""Whose an answer of the cache is: what a request is looked up by, as the service sees that request.

Law: what the gateway itself, or whom it asks, tells the service of a client counts like what the client says.
"""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from headgate.core.field_names import read_as
from headgate.core.identity import ANONYMOUS
from headgate.core.message import Fields
from headgate.policy.cache.key import Origin, written_origin
from headgate.wire.forwarded import NAMES

if TYPE_CHECKING:
    from headgate.proxy.cached_route import CachedRoute
    from headgate.proxy.exchange import Exchange
    from headgate.proxy.plan import RouteRuntime

# What some applications and frameworks take for another host, path or method than those of the request, and no key
# knows: an answer to a request with one of them must not become everybody's ("practical web cache poisoning").
UNKEYED: Final = frozenset(
    (
        b"front-end-https",
        b"x-forwarded-method",
        b"x-forwarded-path",
        b"x-forwarded-protocol",
        b"x-forwarded-server",
        b"x-forwarded-uri",
        b"x-host",
        b"x-http-host-override",
        b"x-http-method",
        b"x-http-method-override",
        b"x-method-override",
        b"x-original-host",
        b"x-original-method",
        b"x-original-uri",
        b"x-original-url",
        b"x-rewrite-url",
        b"x-scheme",
        b"x-script-name",
        b"x-url-scheme",
    )
)


def primary(exchange: Exchange, way: RouteRuntime, cache: CachedRoute, service: str) -> bytes:
    """Return the key of a request answered by that service, before Vary."""
    head = exchange.stream.head
    partition = cache.keys.partition(exchange.identity) if exchange.identity is not ANONYMOUS else b""
    shown_too = head.get(b"authorization")
    if (
        shown_too is not None
        and cache.private
        and (way.gate is None or not way.gate.has_judged(head, exchange.identity))
    ):
        # Credentials that are the service's to judge: who showed them is not known, but whoever shows them again
        # is the same.
        partition = sha256(repr((partition, shown_too)).encode()).digest()
    if cache.judged and cache.private:
        told = [field for field in head.fields if read_as(field[0]) in cache.taken]
        partition = sha256(repr((partition, told)).encode()).digest()
    if head.forwarding and exchange.peer is not None:
        # The service is told what the client asked a trusted proxy for, and may answer by that.
        prefix = [value for name, value in exchange.peer.pairs if name == b"X-Forwarded-Prefix"]
        asked_for = origin(exchange)
        if prefix or asked_for is not None:
            partition += repr((asked_for, prefix)).encode()
    return cache.primary(head, partition, service, shown(exchange, way, cache.keyed))


def shown(exchange: Exchange, way: RouteRuntime, names: tuple[bytes, ...]) -> Fields:
    """Return the fields of a request; those of these names as the service sees them."""
    fields, peer, edits = exchange.stream.head.fields, exchange.peer, way.edit_request
    if names and peer is not None and not NAMES.isdisjoint(names):
        fields = [*fields, *peer.pairs]
    if names and edits is not None and not edits.touched.isdisjoint(names):
        fields = edits.apply(fields, exchange.value)
    return fields


def known(fields: Fields, way: RouteRuntime, names: tuple[bytes, ...]) -> Fields:
    """Return the fields without those that no key knows; `names` are in it, and the operator writes what he likes."""
    edits = way.edit_request
    kept = {*names, *(edits.touched if edits is not None else ())}
    return [field for field in fields if read_as(field[0]) not in UNKEYED or field[0].lower() in kept]


def origin(exchange: Exchange) -> Origin | None:
    """Return the origin that the client asked a trusted proxy for, as far as it is not the one of the request."""
    peer, head = exchange.peer, exchange.stream.head
    if peer is None or (peer.host == head.host and peer.scheme == head.scheme and peer.port == head.port):
        return None
    return written_origin(peer.scheme, peer.host, peer.port)


def is_authenticated(exchange: Exchange, cache: CachedRoute) -> bool:
    """Tell whether the request showed who asks: to the gateway, to whom that asks, or to the service."""
    known = cache.judged or exchange.identity.kind != "anonymous"
    return known or exchange.stream.head.get(b"authorization") is not None
