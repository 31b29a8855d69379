"""Health in a gateway of real processes: who is out, is out in every worker, and stays so through reload and death."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.control import whole
from tests.control.driver import CEILING, until
from tests.control.whole import Service

# So many fresh connections that every worker gets some of them.
MANY = 40


class Gateway(whole.Gateway):
    """A gateway with two workers and two checked endpoints."""

    def __init__(self, folder: Path) -> None:
        self.one, self.other = Service(), Service()
        super().__init__(folder, 2, self.service())

    def service(self, **more: Any) -> dict[str, Any]:
        health = {"interval": 0.02, "timeout": CEILING, "unhealthy_threshold": 2}
        return {"endpoints": [f"http://{self.one.name}", f"http://{self.other.name}"], "health": health, **more}

    def answering(self) -> set[str]:
        """Return who answers now."""
        answers = [self.ask() for _ in range(MANY)]
        assert {status for status, _ in answers} == {200}
        return {body.decode() for _, body in answers}

    def endpoint(self, service: Service) -> dict[str, Any]:
        listed: list[dict[str, Any]] = self.shown("/api/v1/endpoints")["endpoints"]
        return next(each for each in listed if each["endpoint"] == service.name)

    def set_enabled(self, service: Service, enabled: bool) -> None:
        state = "enabled" if enabled else "disabled"
        body = json.dumps({"service": "api", "endpoint": service.name, "state": state})
        assert self.tell("POST", "/api/v1/endpoints", body)[0] == 200

    def begin(self) -> None:
        """Be as at the start, for the next test."""
        for each in (self.one, self.other):
            each.statuses.clear()
            self.set_enabled(each, True)
        self.write(self.service())
        self.reload()
        until(lambda: all(self.endpoint(each)["state"] == "healthy" for each in (self.one, self.other)), "all are well")
        self.forget_log()

    def close(self) -> None:
        super().close()
        self.one.close()
        self.other.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = Gateway(tmp_path_factory.mktemp("health"))
    yield made
    made.close()


@pytest.fixture
def gateway(running: Gateway) -> Gateway:
    running.begin()
    return running


def test_an_endpoint_that_fails_its_checks_gets_nothing_from_any_worker_until_it_is_well(gateway: Gateway) -> None:
    one, other = gateway.one, gateway.other
    assert gateway.answering() == {one.name, other.name}
    one.statuses["/health"] = 500
    gateway.wait_log(f"endpoint {one.name} of api is unhealthy: status 500")
    assert gateway.answering() == {other.name}
    assert gateway.endpoint(one)["state"] == "unhealthy"
    assert 'headgate_health_checks_total{service="api",outcome="status"}' in gateway.metrics()
    one.statuses["/health"] = 200
    gateway.wait_log(f"endpoint {one.name} of api is healthy again")
    assert gateway.answering() == {one.name, other.name}
    assert gateway.endpoint(one)["state"] == "healthy"


def test_what_a_hand_took_out_stays_out_although_it_is_well_and_through_reload_and_death(gateway: Gateway) -> None:
    one, other = gateway.one, gateway.other
    gateway.set_enabled(one, False)
    assert gateway.answering() == {other.name}
    until(lambda: gateway.endpoint(one)["checked"], "it is checked all the same")
    gateway.write(gateway.service(retry={"attempts": 0}))
    gateway.reload()
    gateway.kill_control()
    assert gateway.answering() == {other.name}
    shown = gateway.endpoint(one)
    assert (shown["state"], shown["healthy"]) == ("disabled", True)
    gateway.set_enabled(one, True)
    assert gateway.answering() == {one.name, other.name}


def test_the_last_results_stand_when_control_dies_and_its_successor_checks_on(gateway: Gateway) -> None:
    one, other = gateway.one, gateway.other
    one.statuses["/health"] = 503
    gateway.wait_log(f"endpoint {one.name} of api is unhealthy: status 503")
    gateway.kill_control()
    assert gateway.answering() == {other.name}
    one.statuses["/health"] = 200
    gateway.wait_log(f"endpoint {one.name} of api is healthy again")
    assert gateway.answering() == {one.name, other.name}


def test_everybody_is_back_when_checks_are_removed(gateway: Gateway) -> None:
    one, other = gateway.one, gateway.other
    one.statuses["/health"] = 500
    gateway.wait_log(f"endpoint {one.name} of api is unhealthy")
    assert gateway.answering() == {other.name}
    gateway.write(gateway.service(health=None))
    gateway.reload()
    assert gateway.answering() == {one.name, other.name}


def test_when_all_fail_their_checks_all_are_asked(gateway: Gateway) -> None:
    one, other = gateway.one, gateway.other
    one.statuses["/health"] = other.statuses["/health"] = 500
    gateway.wait_log("is unhealthy", count=2)
    assert gateway.answering() == {one.name, other.name}
