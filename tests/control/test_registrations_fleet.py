"""Instances that register with a gateway of real processes, and with one that another gateway asks for them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.control.driver import until
from tests.control.whole import Gateway, Service

REGISTRY = {"discovery": {"type": "registry"}}


@pytest.fixture
def other() -> Iterator[Service]:
    made = Service()
    yield made
    made.close()


def start(folder: Path, state: Path, service: dict[str, Any], workers: int = 1, **more: Any) -> Gateway:
    # Nobody sends heartbeats here, and a minute may pass.
    return Gateway(folder, workers, service, state_dir=str(state), **{"registrations": {"ttl": 3600}, **more})


def register(gateway: Gateway, service: Service, **more: Any) -> str:
    """Register an instance of `api`; return its id."""
    host, _, port = service.name.partition(":")
    body = {"name": "api", "host": host, "port": int(port), "health_check": "", **more}
    status, answer = gateway.tell("POST", "/services", json.dumps(body))
    assert status in (200, 201), answer
    return str(json.loads(answer)["id"])


def answered(gateway: Gateway) -> set[str]:
    """Return who answers, of eight requests."""
    answers = [gateway.ask() for _ in range(8)]
    return {body.decode() if status == 200 else str(status) for status, body in answers}


def wait_for(gateway: Gateway, *names: str) -> None:
    until(lambda: answered(gateway) == set(names), f"{names} answer")


def test_instances_get_requests_from_their_registration_to_their_leave(
    tmp_path: Path, service: Service, other: Service
) -> None:
    own: dict[str, Any] = {"database": f"sqlite:///{tmp_path}/own.db"}
    gateway = start(tmp_path / "run", tmp_path / "state", REGISTRY, workers=2, **own)
    try:
        assert answered(gateway) == {"503"}
        first = register(gateway, service)
        wait_for(gateway, service.name)
        second = register(gateway, other)
        wait_for(gateway, service.name, other.name)
        # Nobody asks control for each request, and its successor knows what it knew.
        gateway.kill_control()
        assert answered(gateway) == {service.name, other.name}
        until(lambda: len(gateway.shown("/services")) == 2, "the successor knows both")
        assert gateway.tell("PUT", f"/services/{first}/heartbeat", '{"status": "unhealthy"}')[0] == 200
        wait_for(gateway, other.name)
        assert gateway.tell("DELETE", f"/services/{second}")[0] == 204
        wait_for(gateway, "503")
        assert gateway.tell("PUT", f"/services/{first}/heartbeat", '{"status": "healthy"}')[0] == 200
        wait_for(gateway, service.name)
        assert 'headgate_registered_instances{status="healthy"} 1' in gateway.metrics()
    finally:
        gateway.close()
    # Nor did the successor of control, which knew its configuration from memory, look into another database.
    assert not (tmp_path / "state" / "keys.db").exists()
    again = start(tmp_path / "again", tmp_path / "state", REGISTRY, **own)
    try:
        # From its first moment on: the plan waited for the database.
        assert answered(again) == {service.name}
        assert [each["id"] for each in again.shown("/services")] == [first]
    finally:
        again.close()


def test_an_instance_that_does_not_answer_its_checks_gets_no_requests_and_is_dropped(
    tmp_path: Path, service: Service, other: Service
) -> None:
    service.statuses["/up"] = 500
    gateway = start(tmp_path / "run", tmp_path / "state", REGISTRY, registrations={"check_interval": 0.2})
    try:
        ill = register(gateway, service, health_check="/up", ttl=600)
        register(gateway, other, health_check="/up", ttl=600)
        wait_for(gateway, other.name)
        health = until(
            lambda: (said := gateway.shown(f"/services/{ill}/health"))["status"] == "unhealthy" and said, "it is ill"
        )
        assert health["checked"]["reason"] == "status 500"
        # It says itself that it is there, once more, and then no longer; nor do its checks.
        register(gateway, service, health_check="/up", ttl=1)
        until(lambda: len(gateway.shown("/services")) == 1, "who was not heard of is dropped")
        assert answered(gateway) == {other.name}
    finally:
        gateway.close()


def test_one_gateway_is_the_registry_of_another(tmp_path: Path, service: Service, other: Service) -> None:
    registry = start(tmp_path / "registry", tmp_path / "state", {"url": f"http://{other.name}"})
    try:
        register(registry, service, weight=3, zone="a")
        discovery = {
            "type": "http",
            "url": f"http://{registry.admin}/api/v1/services",
            "token": os.environ["HEADGATE_ADMIN_TOKEN"],
            "interval": 0.1,
        }
        gateway = start(tmp_path / "run", tmp_path / "other", {"discovery": discovery})
        try:
            assert answered(gateway) == {service.name}
            id_ = register(registry, other)
            wait_for(gateway, service.name, other.name)
            assert registry.tell("PUT", f"/services/{id_}/heartbeat", '{"status": "unhealthy"}')[0] == 200
            wait_for(gateway, service.name)
        finally:
            gateway.close()
    finally:
        registry.close()
