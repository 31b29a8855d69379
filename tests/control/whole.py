"""`headgate run` as an operator runs it, with services behind it that a test tells what to answer."""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.control.driver import CEILING, end, free_port, until
from tests.control.http_server import HttpServer, QuietHandler


class Service:
    """An endpoint that says its name.

    Paths in `statuses` are answered with those, all others with `status`, none before `released` is set. `asked` are
    the paths that were asked for.
    """

    def __init__(self) -> None:
        service = self
        self.status = 200
        self.statuses: dict[str, int] = {}
        self.asked: list[str] = []
        self.released = threading.Event()
        self.released.set()

        class Handler(QuietHandler):
            def do_GET(self) -> None:
                service.asked.append(self.path)
                service.released.wait(CEILING)
                body = service.name.encode()
                self.send_response(service.statuses.get(self.path, service.status))
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

        self._server = HttpServer(Handler)
        self.name = f"127.0.0.1:{self._server.port}"

    def close(self) -> None:
        self.released.set()
        self._server.close()


class Gateway:
    """`headgate run` with the service `api`, up to its end. `service` are the settings of `api`, `more` all others."""

    file_name = "gateway.yaml"
    # What the command line has besides the file.
    arguments: tuple[str, ...] = ()

    def __init__(self, folder: Path, workers: int, service: dict[str, Any], **more: Any) -> None:
        folder.mkdir(exist_ok=True)
        self._more = more
        self.port, self._admin, self._count = free_port(), free_port(), workers
        self._file = folder / self.file_name
        self._errors = folder / "stderr"
        self._said = 0
        self.write(service)
        with self._errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "headgate", "run", str(self._file), *self.arguments],
                stdout=subprocess.DEVNULL,
                stderr=errors,
                env={**os.environ, "XDG_RUNTIME_DIR": str(folder)},
            )
        try:
            self.wait_log("plan 1 is in force")
            until(self._admin_answers, "the admin address answers")
        except BaseException:
            self.close()
            raise

    def write(self, service: dict[str, Any]) -> None:
        document = {
            "listen": [f"127.0.0.1:{self.port}"],
            "admin": {"address": self.admin},
            "workers": self._count,
            "telemetry": {"access_log": {"enabled": False}},
            # Other tests may keep the machine busy: who is refused for that is not the matter here.
            "overload": {"enabled": False},
            "services": [{"name": "api", "routes": [{"name": "all"}], **service}],
            **self._more,
        }
        fresh = self._file.with_suffix(".fresh")
        fresh.write_text(json.dumps(document))
        fresh.replace(self._file)

    @property
    def admin(self) -> str:
        return f"127.0.0.1:{self._admin}"

    def reload(self) -> None:
        assert self.tell("POST", "/api/v1/reload")[0] == 200

    def log(self) -> list[str]:
        """Return what it has said since `forget_log`."""
        lines = self._errors.read_text().splitlines(keepends=True)
        whole = [json.loads(line)["message"] for line in lines if line.startswith("{") and line.endswith("\n")]
        return whole[self._said :]

    def forget_log(self) -> None:
        """Let what it has said so far be another test's."""
        self._said += len(self.log())

    def wait_log(self, message: str, count: int = 1) -> None:
        def said() -> bool:
            assert self.process.poll() is None, self._errors.read_text()
            return sum(message in line for line in self.log()) >= count

        until(said, f"{message!r} is logged")

    def ask(self, path: str = "/", headers: Mapping[str, str] = {}) -> tuple[int, bytes]:
        """Ask once on a connection of its own, which the kernel gives to any worker."""
        return _ask(self.port, "GET", path, headers=headers)

    def tell(self, method: str, path: str, body: str | None = None) -> tuple[int, bytes]:
        """Ask the admin address."""
        headers = {"Authorization": f"Bearer {os.environ['HEADGATE_ADMIN_TOKEN']}", "Content-Type": "application/json"}
        return _ask(self._admin, method, path, body, headers)

    def shown(self, path: str) -> Any:
        """Return what the admin address shows."""
        return json.loads(self.tell("GET", path)[1])

    def metrics(self) -> str:
        return self.tell("GET", "/metrics")[1].decode()

    def workers(self) -> set[int]:
        """Return the process ids of all workers, once they are there."""

        def pids() -> set[int] | None:
            shown = self.shown("/health")["workers"]
            return {worker["pid"] for worker in shown} if all(worker["pid"] for worker in shown) else None

        return until(pids, "all workers are there")

    def kill_control(self) -> None:
        """Kill the child of the master that is no worker."""
        workers = self.workers()
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        (control,) = {int(child) for child in children} - workers
        os.kill(control, signal.SIGKILL)
        self.wait_log("control died and is replaced")
        until(self._admin_answers, "the successor's admin address answers")

    def close(self) -> None:
        end(self.process)

    def _admin_answers(self) -> bool:
        try:
            return self.tell("GET", "/ready")[0] == 200
        except OSError:
            return False


def _ask(
    port: int, method: str, path: str, body: str | None = None, headers: Mapping[str, str] = {}
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CEILING)
    try:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
