"""status and reload: what they ask of the admin address and how they say the answer."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import UnixStreamServer
from typing import Any

import pytest

from headgate.cli.main import main

HEALTH = {
    "status": "healthy",
    "plan": 3,
    "draining": False,
    "workers": [{"worker": 1, "pid": 4711, "uptime": 3725.2, "alive": True}],
    "control_uptime": 1.0,
}


class Admin(BaseHTTPRequestHandler):
    """A gateway's admin address that answers what the test says, and keeps what it was asked."""

    answer: tuple[int, dict[str, Any]] = (200, {})
    asked: list[tuple[str, str, str | None]] = []

    def do_GET(self) -> None:
        self.asked.append((self.command, self.path, self.headers["Authorization"]))
        status, body = self.answer
        payload = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        pass


class UnixHTTPServer(UnixStreamServer):
    """The same on a Unix socket, whose clients have no address."""

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, _ = super().get_request()
        return connection, ("", 0)


@pytest.fixture
def admin() -> Iterator[str]:
    Admin.asked = []
    with HTTPServer(("127.0.0.1", 0), Admin) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}"
        server.shutdown()
        thread.join()


def test_status_shows_plan_and_workers(admin: str, capsys: pytest.CaptureFixture[str]) -> None:
    Admin.answer = (200, HEALTH)
    assert main(["status", "--admin", admin]) == 0
    said = capsys.readouterr().out
    assert said.startswith("healthy, plan 3\n")
    assert said.splitlines()[-1].split() == ["1", "4711", "1:02:05", "yes"]
    assert Admin.asked == [("GET", "/health", None)]


def test_status_of_a_degraded_gateway_is_1_and_json_is_what_it_said(
    admin: str, capsys: pytest.CaptureFixture[str]
) -> None:
    degraded = {**HEALTH, "status": "degraded"}
    Admin.answer = (200, degraded)
    assert main(["status", "--json", "--admin", admin]) == 1
    assert json.loads(capsys.readouterr().out) == degraded


def test_status_over_a_unix_socket(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Admin.answer = (200, HEALTH)
    path = tmp_path / "admin.sock"
    with UnixHTTPServer(str(path), Admin) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        assert main(["status", "--admin", f"unix:{path}"]) == 0
        server.shutdown()
        thread.join()
    assert "plan 3" in capsys.readouterr().out


def test_without_a_gateway_it_is_said_where_it_was_looked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    assert main(["status", "--admin", address]) == 1
    said = capsys.readouterr().err
    assert said.startswith(f"No gateway answers at {address}: Connection refused.")
    assert main(["reload", "--admin", "nonsense:port"]) == 1


def test_reload_shows_the_token_and_says_the_plan(
    admin: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Admin.answer = (200, {"ok": True, "plan": 4, "workers": 2, "problems": []})
    monkeypatch.setenv("HEADGATE_ADMIN_TOKEN", "sesame")
    assert main(["reload", "--admin", admin]) == 0
    assert capsys.readouterr().out == "plan 4 is in force in 2 workers\n"
    assert Admin.asked == [("POST", "/reload", "Bearer sesame")]


def test_a_refused_reload_says_why_and_that_nothing_changed(admin: str, capsys: pytest.CaptureFixture[str]) -> None:
    Admin.answer = (422, {"ok": False, "plan": 3, "workers": 2, "problems": ["a.yaml:1:1: error: x: unknown key"]})
    assert main(["reload", "--admin", admin]) == 1
    said = capsys.readouterr().err
    assert said.startswith("a.yaml:1:1: error: x: unknown key\nNothing changed")


def test_a_reload_that_is_not_allowed_names_the_variable(admin: str, capsys: pytest.CaptureFixture[str]) -> None:
    Admin.answer = (401, {"error": "this needs a token"})
    assert main(["reload", "--admin", admin]) == 1
    assert "HEADGATE_ADMIN_TOKEN" in capsys.readouterr().err
