"""Health in a gateway of real processes: who is out, is out in every worker, and stays so through reload and death."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.control.driver import CEILING, free_port, until

# So many fresh connections that every worker gets some of them.
MANY = 40


class Service:
    """An endpoint that says its name, and whatever it is told to say of its health."""

    def __init__(self) -> None:
        service = self
        self.status = 200

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = service.name.encode()
                self.send_response(service.status if self.path == "/health" else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.name = f"127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Gateway:
    """`headgate run` with two workers and two checked endpoints."""

    def __init__(self, folder: Path) -> None:
        self.one, self.other = Service(), Service()
        self._port, self._admin = free_port(), free_port()
        self._file = folder / "gateway.yaml"
        self._errors = folder / "stderr"
        self.write()
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "headgate", "run", str(self._file)],
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, "XDG_RUNTIME_DIR": str(folder)},
            )
        self.wait_log("plan 1 is in force")
        until(self._admin_answers, "the admin address answers")

    def write(self, **more: Any) -> None:
        health = {"interval": 0.02, "timeout": CEILING, "unhealthy_threshold": 2}
        service = {
            "name": "api",
            "endpoints": [f"http://{self.one.name}", f"http://{self.other.name}"],
            "routes": [{"name": "all"}],
            "health": health,
            **more,
        }
        document = {
            "listen": [f"127.0.0.1:{self._port}"],
            "admin": {"address": f"127.0.0.1:{self._admin}"},
            "workers": 2,
            "telemetry": {"access_log": {"enabled": False}},
            "services": [service],
        }
        fresh = self._file.with_suffix(".fresh")
        fresh.write_text(json.dumps(document))
        fresh.replace(self._file)

    def reload(self) -> None:
        assert self._ask(self._admin, "POST", "/reload")[0] == 200

    def log(self) -> list[str]:
        lines = self._errors.read_text().splitlines(keepends=True)
        return [json.loads(line)["message"] for line in lines if line.startswith("{") and line.endswith("\n")]

    def wait_log(self, message: str, count: int = 1) -> None:
        def said() -> bool:
            assert self.process.poll() is None, self._errors.read_text()
            return sum(message in line for line in self.log()) >= count

        until(said, f"{message!r} is logged")

    def asked(self) -> set[str]:
        """Return who answers now."""
        answers = [self._ask(self._port, "GET", "/") for _ in range(MANY)]
        assert {status for status, _ in answers} == {200}
        return {body.decode() for _, body in answers}

    def endpoint(self, service: Service) -> dict[str, Any]:
        listed = json.loads(self._ask(self._admin, "GET", "/endpoints")[1])["endpoints"]
        return next(each for each in listed if each["endpoint"] == service.name)

    def set_enabled(self, service: Service, enabled: bool) -> None:
        body = json.dumps({"service": "api", "endpoint": service.name, "enabled": enabled})
        assert self._ask(self._admin, "POST", "/endpoints", body)[0] == 200

    def metrics(self) -> str:
        return self._ask(self._admin, "GET", "/metrics")[1].decode()

    def kill_control(self) -> None:
        """Kill the process that checks: the child of the master that is no worker."""
        workers = until(self._workers, "both workers are there")
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        (control,) = {int(child) for child in children} - workers
        os.kill(control, signal.SIGKILL)
        self.wait_log("control died and is replaced")
        until(self._admin_answers, "the successor's admin address answers")

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(CEILING)
        self.one.close()
        self.other.close()

    def _workers(self) -> set[int] | None:
        shown = json.loads(self._ask(self._admin, "GET", "/health")[1])["workers"]
        return {worker["pid"] for worker in shown} if all(worker["pid"] for worker in shown) else None

    def _admin_answers(self) -> bool:
        try:
            return self._ask(self._admin, "GET", "/ready")[0] == 200
        except OSError:
            return False

    @staticmethod
    def _ask(port: int, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CEILING)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Gateway]:
    made = Gateway(tmp_path)
    yield made
    made.close()


def test_an_endpoint_that_fails_its_checks_gets_nothing_from_any_worker_until_it_is_well(gateway: Gateway) -> None:
    one, other = gateway.one, gateway.other
    assert gateway.asked() == {one.name, other.name}
    one.status = 500
    gateway.wait_log(f"endpoint {one.name} of api is unhealthy: status 500")
    assert gateway.asked() == {other.name}
    assert gateway.endpoint(one)["state"] == "unhealthy"
    assert 'headgate_health_checks_total{service="api",outcome="status"}' in gateway.metrics()
    one.status = 200
    gateway.wait_log(f"endpoint {one.name} of api is healthy again")
    assert gateway.asked() == {one.name, other.name}
    assert gateway.endpoint(one)["state"] == "healthy"


def test_what_a_hand_took_out_stays_out_although_it_is_well_and_through_reload_and_death(gateway: Gateway) -> None:
    one, other = gateway.one, gateway.other
    gateway.set_enabled(one, False)
    assert gateway.asked() == {other.name}
    until(lambda: gateway.endpoint(one)["checked"], "it is checked all the same")
    gateway.write(retry={"attempts": 0})
    gateway.reload()
    gateway.kill_control()
    assert gateway.asked() == {other.name}
    shown = gateway.endpoint(one)
    assert (shown["state"], shown["healthy"]) == ("disabled", True)
    gateway.set_enabled(one, True)
    assert gateway.asked() == {one.name, other.name}


def test_the_last_results_stand_when_control_dies_and_its_successor_checks_on(gateway: Gateway) -> None:
    one, other = gateway.one, gateway.other
    one.status = 503
    gateway.wait_log(f"endpoint {one.name} of api is unhealthy: status 503")
    gateway.kill_control()
    assert gateway.asked() == {other.name}
    one.status = 200
    gateway.wait_log(f"endpoint {one.name} of api is healthy again")
    assert gateway.asked() == {one.name, other.name}


def test_everybody_is_back_when_checks_are_removed(gateway: Gateway) -> None:
    one, other = gateway.one, gateway.other
    one.status = 500
    gateway.wait_log(f"endpoint {one.name} of api is unhealthy")
    assert gateway.asked() == {other.name}
    gateway.write(health=None)
    gateway.reload()
    assert gateway.asked() == {one.name, other.name}


def test_when_all_fail_their_checks_all_are_asked(gateway: Gateway) -> None:
    one, other = gateway.one, gateway.other
    one.status = other.status = 500
    gateway.wait_log("is unhealthy", count=2)
    assert gateway.asked() == {one.name, other.name}
