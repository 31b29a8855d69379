"""Waiting for what another request fetches, and answering with that, by the rules of the one who waits.

Law: whoever may not have the answer of another asks alone from then on (`single`); who was told of a failure that the
other may have brought about himself tries once by himself (`warned`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from headgate.core.clock import wall
from headgate.core.failure import Failure
from headgate.policy.cache import status
from headgate.policy.cache.entry import Entry
from headgate.wire.timers import NEVER

if TYPE_CHECKING:
    from headgate.proxy.caching import Lookup
    from headgate.proxy.filling import Fill
    from headgate.proxy.plan import RouteRuntime
    from headgate.wire.stream import ClientStream

# Failures that have nothing to do with what a request says.
_EVERYBODYS: Final = frozenset(("breaker_open", "no_endpoint", "connect_refused", "connect_timeout", "dns", "tls"))


async def followed(lookup: Lookup, fill: Fill) -> bool:
    """Answer with what another request fetches, if that comes to an answer for this one; tell whether it did.

    Raises:
        Failure: that of the other, or of the time that this one has.
    """
    exchange, entry = lookup.exchange, lookup.entry
    if entry is not None and entry.lifetime <= 0:
        # Nobody may use it without asking himself (RFC 9111 section 4).
        lookup.single = True
        return False
    if fill.state == "asked":
        await fill.settled(exchange.gateway.loop, *_patience(exchange.stream, lookup.way))
    if fill.state == "failed":
        exchange.cache = "collapsed"
        failure = fill.failure
        if await lookup.stale():
            return True
        if failure is None:
            lookup.single = True
            return False
        if failure.reason not in _EVERYBODYS and not lookup.warned:
            lookup.warned = True
            return False
        raise Failure(failure.reason, failure.detail, sent=failure.sent, retry_after=failure.retry_after)
    entry = fill.entry
    if fill.state in ("asked", "left") or (entry is None and fill.state != "passed"):
        return False
    if entry is None:
        lookup.single = True
        return False
    return await _shared(lookup, fill, entry)


async def _shared(lookup: Lookup, fill: Fill, entry: Entry) -> bool:
    if fill.names and lookup.variant(fill.names) != fill.final:
        return False
    verdict = lookup.cache.rules.judge(entry, lookup.asked, wall())
    body = fill.body
    if verdict.use != "fresh" or (body is not None and not (body.keeping and body.from_start)):
        lookup.single = True
        return False
    member = status.forwarded(lookup.reason, collapsed=True)
    if body is None:
        given = lookup.give(entry, fill.whole, verdict.age, member, "collapsed")
        if given is not None:
            await given
    else:
        lookup.exchange.cache = "collapsed"
        reader = lookup.begin(entry, body, verdict.age, member, fill.length)
        if reader is not None:
            reader.pump()
            try:
                await reader.over
            except Failure:
                fill.leave(reader)
                raise
    return True


def _patience(stream: ClientStream, way: RouteRuntime) -> tuple[float, str]:
    """Return until when (monotonic) a request may wait for another one, and the reason of its failure then."""
    until, late = NEVER, ""
    if way.timeouts.total:
        until, late = stream.started + way.timeouts.total, "total_timeout"
    for deadline in way.deadlines:
        said = deadline.read(stream.head.fields, stream.started)
        if said is not None and said < until:
            until, late = said, "deadline_exceeded"
    return until, late
