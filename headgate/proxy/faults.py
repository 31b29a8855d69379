"""Faults that a route injects on purpose (policy.fault): nothing was sent anywhere when they strike."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.core.failure import Failure
from headgate.policy.fault import FaultInjector
from headgate.proxy.pause import pause

if TYPE_CHECKING:
    from headgate.proxy.exchange import Exchange


class FaultGate:
    """Delay requests of a route, or end them, as the injector chooses."""

    name = "fault"
    __slots__ = ("_injector", "_route")

    def __init__(self, injector: FaultInjector, route: str) -> None:
        self._injector = injector
        self._route = route

    async def enter(self, exchange: Exchange) -> None:
        """Let one request suffer.

        Raises:
            Failure: fault_injected with the configured status.
        """
        seconds, status = self._injector.choose(exchange.stream.head.fields)
        gateway = exchange.gateway
        if seconds:
            gateway.metrics.fault(self._route, "delay")
            await pause(gateway.loop, seconds)
        if status:
            gateway.metrics.fault(self._route, "abort")
            raise Failure("fault_injected", status=status)
