"""`headgate run` with a configuration of own endpoints, and a service behind it."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.control.driver import CEILING, end, free_port, until
from tests.control.whole import Service

SEEDS = Path(__file__).parent / "seeds"


class Answer(NamedTuple):
    """One answer."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Running:
    """A gateway at work. `service` is the one behind `chat`; `away` has an endpoint that nobody listens on."""

    def __init__(self, port: int, process: subprocess.Popen[bytes], service: Service) -> None:
        self.port = port
        self.process = process
        self.service = service

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Ask a public listener."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=CEILING)
        try:
            raw = None if body is None else json.dumps(body)
            connection.request(method, path, raw, {name.replace("_", "-"): each for name, each in headers.items()})
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, found, answer.read())
        finally:
            connection.close()

    def shown(self, path: str, **headers: str) -> Any:
        """Return what a path answers with 200."""
        answer = self.ask("GET", path, **headers)
        assert answer.status == 200, (path, answer)
        return answer.json

    def kill_control(self, workers: set[int]) -> None:
        """Kill the child of the master that is none of the workers."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        (control,) = {int(child) for child in children} - workers
        os.kill(control, signal.SIGKILL)


def seed(name: str) -> dict[str, Any]:
    """Read the own endpoints of one seed."""
    document: dict[str, Any] = yaml.safe_load((SEEDS / f"{name}.yaml").read_text())
    return document


@contextmanager
def running(folder: Path, document: dict[str, Any]) -> Iterator[Running]:
    """Run a gateway with this and two services, `chat` and `away`; both have a breaker and a limit."""
    folder.mkdir(exist_ok=True)
    port, service = free_port(), Service()
    guarded: dict[str, Any] = {
        "circuit_breaker": {"threshold": 5, "timeout": 3600},
        "rate_limit": {"enabled": True, "requests": 100, "window": 60},
        "retry": {"attempts": 0},
    }
    routes = [{"name": "chat-route", "match": {"path": "/chat", "method": "GET"}}]
    services = [
        {"name": "chat", "url": f"http://{service.name}", "routes": routes, **guarded},
        {"name": "away", "url": "http://127.0.0.1:1", "routes": [{"name": "away-route", "match": {"path": "/away"}}]}
        | guarded,
    ]
    whole = {
        "listen": [f"127.0.0.1:{port}"],
        "workers": 2,
        "services": services,
        **document,
        "admin": {"address": f"unix:{folder}/admin.sock", **document.get("admin", {})},
        "telemetry": {**document.get("telemetry", {}), "access_log": {"enabled": False}},
    }
    (folder / "gateway.yaml").write_text(json.dumps(whole))
    errors = folder / "stderr"
    with errors.open("wb") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-m", "headgate", "run", str(folder / "gateway.yaml")],
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            env={**os.environ, "XDG_RUNTIME_DIR": str(folder), "HEADGATE_STATE_DIR": str(folder / "state")},
        )
    found = Running(port, process, service)
    try:
        until(lambda: process.poll() is not None or "is in force" in errors.read_text(), "the first plan")
        assert process.poll() is None, errors.read_text()
        yield found
    finally:
        service.released.set()
        end(process)
        service.close()
