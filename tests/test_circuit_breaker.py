"""Breakers by the names that other programs know: a record of settings, and the running gateway's own breakers."""

from __future__ import annotations

from typing import Any, cast

import pytest

from headgate.circuit_breaker import CircuitBreakerConfig, CircuitBreakerRegistry
from headgate.client import Client, Refused
from tests.proxy.stage import resolved


class Admin:
    """An admin API that knows one breaker."""

    def __init__(self, status: int = 404) -> None:
        self.status = status
        self.told: list[tuple[str, str]] = []

    def __enter__(self) -> Admin:
        return self

    def __exit__(self, *_: object) -> None:
        self.told.append(("closed", ""))

    def breakers(self) -> dict[str, Any]:
        return {"chat": {"state": "open", "failure_count": 5}}

    def steer_breaker(self, service: str, action: str) -> dict[str, Any]:
        self.told.append((service, action))
        if service != "chat" or self.status != 404:
            raise Refused(self.status, {})
        return {"state": "closed"}


def registry(admin: Admin) -> CircuitBreakerRegistry:
    return CircuitBreakerRegistry(lambda: cast(Client, admin))


def test_a_config_is_what_a_service_says_in_yaml() -> None:
    config = CircuitBreakerConfig(failure_threshold=3, success_threshold=1, timeout=30, window_size=50)
    service = {"name": "chat", "url": "http://127.0.0.1:9", "circuit_breaker": config.settings()}
    (found,) = resolved({"services": [service]}).services
    breaker = found.breaker
    assert breaker is not None
    assert (breaker.threshold, breaker.success_threshold, breaker.timeout, breaker.window_size) == (3, 1, 30, 50)
    assert "window_size" not in CircuitBreakerConfig(window_size=None).settings()


def test_the_defaults_are_those_that_are_shown() -> None:
    assert CircuitBreakerConfig() == CircuitBreakerConfig(5, 2, 60, 100)


def test_a_breaker_is_reset_and_the_client_closed() -> None:
    admin = Admin()
    assert registry(admin).reset_breaker("chat") == {"state": "closed"}
    assert admin.told == [("chat", "reset"), ("closed", "")]


def test_states_are_told() -> None:
    assert registry(Admin()).get_state("chat") == "open"
    assert registry(Admin()).get_states()["chat"]["failure_count"] == 5


def test_a_breaker_that_is_not_there_is_a_key_that_is_not_there() -> None:
    for ask in (registry(Admin()).reset_breaker, registry(Admin()).get_state):
        with pytest.raises(KeyError):
            ask("nobody")


def test_another_refusal_stays_one() -> None:
    with pytest.raises(Refused):
        registry(Admin(401)).reset_breaker("chat")
