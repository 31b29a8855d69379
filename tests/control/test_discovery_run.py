"""Services that are found out, in a gateway of real processes: under load, through reloads, deaths and bad days."""

from __future__ import annotations

import http.client
import json
import os
import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.control import whole
from tests.control.driver import CEILING, until
from tests.control.http_server import HttpServer, QuietHandler
from tests.control.whole import Service

CLIENTS = 4
CHANGES = 30


class Registry:
    """A registry of services over HTTP that says what a test has it say."""

    def __init__(self) -> None:
        registry = self
        self.listed: list[dict[str, Any]] = [{"id": "other", "name": "other", "host": "127.0.0.1", "port": 1}]
        self.status = 200
        self.asked = 0

        class Handler(QuietHandler):
            def do_GET(self) -> None:
                registry.asked += 1
                status = registry.status if self.path == "/api/v1/services" else 404
                body = json.dumps(registry.listed).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = HttpServer(Handler)
        self.port = self._server.port

    def list(self, *services: Service, status: str = "healthy") -> None:
        """Have it list these as instances of `api`, beside another service."""
        found = [{"id": each.name, "name": "api", "host": "127.0.0.1", "port": _port(each)} for each in services]
        self.listed = [self.listed[0], *({**each, "status": status, "metadata": {}} for each in found)]

    def close(self) -> None:
        self._server.close()


def _port(service: Service) -> int:
    return int(service.name.rpartition(":")[2])


class Gateway(whole.Gateway):
    """A gateway with two workers whose service `api` is found out by asking a registry all the time."""

    def __init__(self, folder: Path) -> None:
        self.registry = Registry()
        self.services = [Service() for _ in range(4)]
        self.registry.list(*self.services[:2])
        super().__init__(folder, 2, self.service())

    def service(self, **more: Any) -> dict[str, Any]:
        found = {"type": "http", "host": "127.0.0.1", "port": self.registry.port, "interval": 0.1}
        return {"discovery": found, "retry": {"attempts": 0}, **more}

    def shown_source(self) -> dict[str, Any]:
        (shown,) = self.shown("/api/v1/discovery")["services"]
        return dict(shown)

    def names(self) -> set[str]:
        return {each["endpoint"] for each in self.shown("/api/v1/endpoints")["endpoints"]}

    def until_names(self, *services: Service) -> None:
        until(lambda: self.names() == {each.name for each in services}, f"{len(services)} endpoints are known")

    def until_answering(self, *services: Service) -> None:
        """Wait until workers, which are told what control knows, send requests to these and to no other."""
        until(lambda: self.answering() == {each.name for each in services}, f"{len(services)} endpoints answer")

    def answering(self) -> set[str]:
        until(self.serves, "a worker serves")
        answers = [self.ask() for _ in range(40)]
        assert {status for status, _ in answers} == {200}
        return {body.decode() for _, body in answers}

    def serves(self) -> bool:
        try:
            return self.ask()[0] == 200
        except OSError:
            return False

    def set_enabled(self, service: Service, enabled: bool) -> None:
        state = "enabled" if enabled else "disabled"
        body = json.dumps({"service": "api", "endpoint": service.name, "state": state})
        assert self.tell("POST", "/api/v1/endpoints", body)[0] == 200

    def begin(self) -> None:
        """Be as at the start, for the next test."""
        first = self.services[:2]
        self.registry.status = 200
        self.registry.list(*first)
        for each in self.services:
            each.statuses.clear()
        self.write(self.service())
        self.reload()
        self.until_names(*first)
        for each in first:
            self.set_enabled(each, True)
        self.until_answering(*first)
        until(lambda: self.shown_source()["state"] == "current", "the registry answers")
        self.forget_log()

    def close(self) -> None:
        super().close()
        for each in self.services:
            each.close()
        self.registry.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    made = Gateway(tmp_path_factory.mktemp("discovery"))
    yield made
    made.close()


@pytest.fixture
def gateway(running: Gateway) -> Gateway:
    running.begin()
    return running


class Load:
    """Clients that ask one request after another on connections they keep; `answers` counts statuses and faults."""

    def __init__(self, port: int) -> None:
        self.answers: Counter[int | str] = Counter()
        self.over = False
        self._port = port
        self._threads = [threading.Thread(target=self._ask) for _ in range(CLIENTS)]
        for each in self._threads:
            each.start()

    def _ask(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=CEILING)
        while not self.over:
            try:
                connection.request("GET", "/")
                response = connection.getresponse()
                response.read()
                self.answers[response.status] += 1
            except (OSError, http.client.HTTPException) as error:
                self.answers[type(error).__name__] += 1
                connection.close()
        connection.close()

    def end(self) -> None:
        self.over = True
        for each in self._threads:
            each.join(CEILING)


@contextmanager
def load(gateway: Gateway) -> Iterator[Load]:
    """Keep it busy; no request may fail."""
    busy = Load(gateway.port)
    try:
        yield busy
    finally:
        busy.end()
    assert set(busy.answers) == {200}, busy.answers


def test_lists_that_change_under_load_fail_no_request(gateway: Gateway) -> None:
    one, two, three, four = gateway.services
    turns = [(one, two), (two, three), (three, four), (one,), (one, two, three, four)]
    with load(gateway) as busy:
        for turn in range(CHANGES):
            services = turns[turn % len(turns)]
            gateway.registry.list(*services)
            gateway.until_names(*services)
        before = busy.answers.total()
        until(lambda: busy.answers.total() > before + 100, "there is traffic")
    gateway.until_answering(*gateway.services)


def test_a_reload_and_the_death_of_control_under_load_fail_no_request(gateway: Gateway) -> None:
    with load(gateway):
        gateway.write(gateway.service(timeout={"response": 9}))
        gateway.reload()
        gateway.kill_control()
        gateway.registry.list(*gateway.services[2:])
        gateway.until_names(*gateway.services[2:])
    gateway.until_answering(*gateway.services[2:])


def test_a_registry_that_is_gone_takes_nothing_away_not_even_with_control(gateway: Gateway) -> None:
    names = {each.name for each in gateway.services[:2]}
    assert gateway.answering() == names
    assert gateway.shown_source()["state"] == "current"
    gateway.registry.status = 500
    until(lambda: gateway.shown_source()["state"] == "failing", "the registry fails")
    assert gateway.shown_source()["last_error"]["message"] == "status 500"
    assert gateway.answering() == names
    gateway.kill_control()
    until(lambda: gateway.shown_source()["state"] == "failing", "it still fails for the successor")
    assert gateway.names() == names
    assert gateway.answering() == names
    metrics = gateway.metrics()
    assert 'headgate_discovery_failing{service="api"} 1' in metrics
    gateway.registry.status = 200
    gateway.registry.list(gateway.services[3])
    gateway.until_names(gateway.services[3])
    gateway.until_answering(gateway.services[3])


def test_a_worker_that_comes_up_knows_whom_the_others_know(gateway: Gateway) -> None:
    gateway.registry.list(*gateway.services[2:])
    gateway.until_names(*gateway.services[2:])
    # Sets and plan reach a worker without the registry.
    gateway.registry.status = 500
    dead = gateway.workers()
    for each in dead:
        os.kill(each, signal.SIGKILL)
    until(lambda: gateway.workers().isdisjoint(dead), "both workers are replaced")
    gateway.until_answering(*gateway.services[2:])


def test_whom_the_registry_calls_unhealthy_gets_nothing(gateway: Gateway) -> None:
    gateway.registry.list(*gateway.services[:2])
    gateway.registry.listed[1]["status"] = "unhealthy"
    gateway.until_names(gateway.services[1])
    gateway.until_answering(gateway.services[1])


def test_those_who_are_found_are_checked_and_taken_out_by_hand_like_all_others(gateway: Gateway) -> None:
    one, two, three, _ = gateway.services
    three.statuses["/health"] = 500
    health = {"interval": 0.02, "timeout": CEILING, "unhealthy_threshold": 1}
    gateway.write(gateway.service(health=health))
    gateway.reload()
    gateway.registry.list(one, two, three)
    gateway.wait_log(f"endpoint {three.name} of api is unhealthy: status 500")
    assert gateway.answering() == {one.name, two.name}
    gateway.set_enabled(one, False)
    assert gateway.answering() == {two.name}
    # Away for a moment, it is still out by hand.
    gateway.registry.list(two, three)
    gateway.until_names(two, three)
    gateway.registry.list(one, two)
    gateway.until_names(one, two)
    assert gateway.answering() == {two.name}


def test_a_start_waits_for_the_first_set_so_nobody_gets_503(tmp_path: Path) -> None:
    made = Gateway(tmp_path)
    try:
        # The first of all requests, right behind the line that says that the plan is in force.
        assert made.ask()[0] == 200
        assert made.log().index("api has 2 endpoints (http)") < made.log().index("plan 1 is in force")
    finally:
        made.close()
