"""Circuit breakers from Python, by the names that programs beside a gateway know them by.

    from headgate.circuit_breaker import CircuitBreakerConfig, circuit_breaker_registry

    circuit_breaker_registry.reset_breaker("recommendation-service")

The breakers are those of the running gateway, of all its workers at once: the registry asks its admin API, as
headgate.client does. A config is a record; `settings` is what a service's `circuit_breaker` says in YAML.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from headgate.client import Client, Record, Refused

_UNKNOWN = 404


@dataclass(frozen=True, slots=True)
class CircuitBreakerConfig:
    """How one breaker judges.

    Args:
        failure_threshold: Failures that open it, among the last `window_size` calls.
        success_threshold: Successes in a row that close it again.
        timeout: Seconds it stays open before it lets a trial through.
        window_size: How many of the last calls are counted; None counts failures in a row.
    """

    failure_threshold: int = 5
    success_threshold: int = 2
    timeout: float = 60.0
    window_size: int | None = 100

    def settings(self) -> Record:
        """Return it as a service's `circuit_breaker` in a configuration."""
        window = {} if self.window_size is None else {"window_size": self.window_size}
        return {
            "failure_threshold": self.failure_threshold,
            "success_threshold": self.success_threshold,
            "timeout": self.timeout,
            **window,
        }


class CircuitBreakerRegistry:
    """All breakers of the gateway that `connect` makes a client of; by default this machine's.

    Every method may raise headgate.client.Refused and Unreachable.
    """

    def __init__(self, connect: Callable[[], Client] = Client) -> None:
        self._connect = connect

    def get_states(self) -> dict[str, Record]:
        """Return how all breakers are, by service: `state` and what was counted."""
        with self._connect() as gateway:
            return gateway.breakers()

    def get_state(self, name: str) -> str:
        """Return the state of one breaker: closed, open or half_open.

        Raises:
            KeyError: there is no breaker of this name.
        """
        return str(self.get_states()[name]["state"])

    def reset_breaker(self, name: str) -> Record:
        """Close a breaker and forget what it counted; return how it is then.

        Raises:
            KeyError: there is no breaker of this name.
        """
        with self._connect() as gateway:
            try:
                return gateway.steer_breaker(name, "reset")
            except Refused as refused:
                if refused.status == _UNKNOWN:
                    raise KeyError(name) from None
                raise


circuit_breaker_registry = CircuitBreakerRegistry()
