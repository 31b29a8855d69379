"""Requests turned away before they had a route: strangers as such, where only callers are told what is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.core.failure import Failure

if TYPE_CHECKING:
    from headgate.proxy.exchange import Exchange


async def turned_away(exchange: Exchange, failure: Failure) -> Failure:
    """Return what a request is refused for that failed; limits have counted it where they count such, too."""
    gate = exchange.plan.stranger_gate
    if gate is not None and exchange.way is None and failure.reason == "route_not_found":
        try:
            pending = gate.enter(exchange)
            if pending is not None:
                await pending
        except Failure as instead:
            failure = instead
    return await exchange.gateway.limiter.turn_away(exchange, failure)
