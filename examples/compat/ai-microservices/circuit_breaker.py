"""`from circuit_breaker import CircuitBreakerConfig, circuit_breaker_registry`"""

from headgate.circuit_breaker import CircuitBreakerConfig, circuit_breaker_registry

__all__ = ["CircuitBreakerConfig", "circuit_breaker_registry"]
