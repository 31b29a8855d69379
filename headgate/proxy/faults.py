"""Faults that a route injects on purpose (policy.fault): nothing was sent anywhere when they strike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.core.failure import Failure
from headgate.policy.fault import FaultInjector
from headgate.proxy.pause import pause

if TYPE_CHECKING:
    from headgate.proxy.exchange import Exchange
    from headgate.proxy.gateway import Gateway


async def suffer(gateway: Gateway, exchange: Exchange, injector: FaultInjector, route: str) -> None:
    """Delay a request of `route`, or end it, as the injector chooses.

    Raises:
        Failure: fault_injected with the configured status.
    """
    seconds, status = injector.choose(exchange.stream.head.fields)
    if seconds:
        gateway.metrics.fault(route, "delay")
        await pause(gateway.loop, seconds)
    if status:
        gateway.metrics.fault(route, "abort")
        raise Failure("fault_injected", status=status)
