"""status, reload, breaker, endpoint: what they ask of the admin address and how they say the answer."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from socketserver import UnixStreamServer
from typing import Any

import pytest

from headgate.cli.main import main
from headgate.control.admin_token import find_token

PATH_OF_BREAKERS = "/api/v1/circuit-breakers"
PATH_OF_ENDPOINTS = "/api/v1/endpoints"
# The token that all tests have in their environment.
SHOWN = f"Bearer {os.environ['HEADGATE_ADMIN_TOKEN']}"
HEALTH = {
    "status": "healthy",
    "version": "1.2.3",
    "uptime": 3725.2,
    "listeners": ["0.0.0.0:8080"],
    "counts": {
        "services": 2,
        "routes": 3,
        "limits": 0,
        "endpoints": {"healthy": 2, "draining": 1},
        "breakers": {"closed": 1, "half_open": 0},
    },
    "reload": {"at": 1.0, "by": "operator eve", "cause": "PUT /api/v1/config", "ok": True, "problems": []},
    "plan": 3,
    "draining": False,
    "workers": [{"worker": 1, "pid": 4711, "uptime": 3725.2, "alive": True}],
    "control_uptime": 1.0,
}


OPEN = {
    "state": "open",
    "forced": None,
    "failure_count": 5,
    "threshold": 5,
    "success_count": 0,
    "success_threshold": 1,
    "timeout": 30.0,
    "last_failure_time": 1_900_000_000.0,
    "opened_at": 1_900_000_000.0,
    "open_until": 1_900_000_030.0,
    "trials_in_flight": 0,
    "trials": 1,
}
CLOSED = {**OPEN, "state": "closed", "failure_count": 1, "opened_at": None, "open_until": None}
HALF_OPEN = {**OPEN, "state": "half_open", "open_until": None, "threshold": 7, "window_size": 20}
TRYING = {**HALF_OPEN, "success_count": 1, "success_threshold": 3}
RATED = {**CLOSED, "forced": "closed", "threshold": None, "error_rate": 12.5, "window": 10.0, "minimum_requests": 20}

WELL = {
    "service": "chat",
    "endpoint": "10.0.0.1:8001",
    "state": "healthy",
    "enabled": True,
    "healthy": True,
    "ejected": None,
    "checked": {"age": 2.5, "status": 200},
    "in_flight": 3,
}
OUT = {**WELL, "endpoint": "10.0.0.2:8001", "state": "disabled", "enabled": False, "checked": None, "in_flight": None}
EJECTED = {**WELL, "endpoint": "10.0.0.3:8001", "state": "ejected", "ejected": 7.4, "checked": {"age": 1, "status": 0}}


class Admin(BaseHTTPRequestHandler):
    """A gateway's admin address that answers what the test says, and keeps what it was asked.

    `answers` are for the paths they name, `answer` is for all others.
    """

    answer: tuple[int, Any] = (200, {})
    answers: dict[str, tuple[int, Any]] = {}
    asked: list[tuple[str, str, str | None]] = []
    bodies: list[bytes] = []

    def do_GET(self) -> None:
        self.asked.append((self.command, self.path, self.headers["Authorization"]))
        self.bodies.append(self.rfile.read(int(self.headers["Content-Length"] or 0)))
        status, body = self.answers.get(self.path, self.answer)
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


def showing(breakers: dict[str, Any] | None = None, *endpoints: Any) -> None:
    """Let the gateway show these breakers and endpoints."""
    Admin.answers = {PATH_OF_BREAKERS: (200, breakers or {}), PATH_OF_ENDPOINTS: (200, {"endpoints": list(endpoints)})}


@pytest.fixture
def admin() -> Iterator[str]:
    Admin.asked, Admin.bodies = [], []
    showing()
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
    assert said.splitlines()[-1].split() == ["1", "4711", "1", "h", "2", "min", "yes"]
    assert Admin.asked == [("GET", path, SHOWN) for path in ("/api/v1/status", PATH_OF_BREAKERS, PATH_OF_ENDPOINTS)]


def test_status_shows_breakers_that_are_not_closed_and_endpoints_that_are_out(
    admin: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Admin.answer = (200, HEALTH)
    showing({"chat": OPEN, "shop": CLOSED, "mail": RATED}, WELL, OUT)
    assert main(["status", "--admin", admin]) == 0
    _, _, _, breakers, endpoints = capsys.readouterr().out.strip().split("\n\n")
    assert [line.split()[0] for line in breakers.splitlines()] == ["Breakers", "SERVICE", "chat", "mail"]
    assert [line.split()[1] for line in endpoints.splitlines()] == ["that", "ENDPOINT", "10.0.0.2:8001"]


def test_status_of_a_degraded_gateway_is_1_and_json_is_what_it_said(
    admin: str, capsys: pytest.CaptureFixture[str]
) -> None:
    degraded = {**HEALTH, "status": "degraded"}
    Admin.answer = (200, degraded)
    assert main(["status", "--json", "--admin", admin]) == 1
    assert json.loads(capsys.readouterr().out) == {**degraded, "breakers": {}, "endpoints": []}


def test_status_over_a_unix_socket(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Admin.answer = (200, HEALTH)
    showing()
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
    assert Admin.asked == [("POST", "/api/v1/reload", "Bearer sesame")]


COMMANDS = ("status", "reload", "breaker list", "endpoint list", "limits list", "top --once", "explain --request abc")


@pytest.mark.parametrize("command", COMMANDS)
def test_address_and_token_stand_in_the_configuration_that_is_named(
    command: str, admin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Admin.answer = (503, {"error": "not at the moment"})
    Admin.answers = {}
    monkeypatch.delenv("HEADGATE_ADMIN_TOKEN")
    monkeypatch.setenv("OF_THE_FILE", "token-of-the-configuration")
    file = tmp_path / "gateway.yaml"
    file.write_text(f"admin: {{address: '{admin}', token: '${{OF_THE_FILE}}'}}\nstate_dir: {tmp_path}/none\n")
    main([*command.split(), "-c", str(file)])
    assert {shown for _, _, shown in Admin.asked} == {"Bearer token-of-the-configuration"}
    monkeypatch.setenv("HEADGATE_ADMIN", "127.0.0.1:1")
    Admin.asked.clear()
    main([*command.split(), "--config", str(file)])
    assert Admin.asked


def test_the_token_is_the_one_that_the_gateway_made_in_the_state_dir_of_the_configuration(
    admin: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Admin.answer = (200, {"ok": True, "plan": 4, "workers": 2, "problems": []})
    monkeypatch.delenv("HEADGATE_ADMIN_TOKEN")
    made = find_token("", {}, str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
    Path("headgate.yaml").write_text(f"admin: {{address: '{admin}'}}\nstate_dir: {tmp_path}/state\n")
    assert main(["reload", "-c", "headgate.yaml"]) == 0
    assert main(["reload", "--set", f"state_dir={tmp_path}/state", "--admin", admin]) == 0
    assert Admin.asked == [("POST", "/api/v1/reload", f"Bearer {made}")] * 2
    # Whoever put a file into this folder is not told a token, nor asked in place of the gateway.
    monkeypatch.setenv("HEADGATE_ADMIN_TOKEN", "of another")
    monkeypatch.setenv("HEADGATE_ADMIN", "127.0.0.1:1")
    Admin.asked.clear()
    assert main(["reload"]) == 1
    assert not Admin.asked
    Path("headgate.yaml").write_text("admin: {adress: x}")
    capsys.readouterr()
    assert main(["reload", "-c", "headgate.yaml"]) == 1
    assert "unknown key" in capsys.readouterr().err


def test_a_refused_reload_says_why_and_that_nothing_changed(admin: str, capsys: pytest.CaptureFixture[str]) -> None:
    Admin.answer = (422, {"ok": False, "plan": 3, "workers": 2, "problems": ["a.yaml:1:1: error: x: unknown key"]})
    assert main(["reload", "--admin", admin]) == 1
    said = capsys.readouterr().err
    assert said.startswith("a.yaml:1:1: error: x: unknown key\nNothing changed")


def test_a_reload_that_is_not_allowed_names_the_variable(admin: str, capsys: pytest.CaptureFixture[str]) -> None:
    Admin.answer = (401, {"error": "this needs a token"})
    assert main(["reload", "--admin", admin]) == 1
    assert "HEADGATE_ADMIN_TOKEN" in capsys.readouterr().err


# -- breaker --------------------------------------------------------------------------------------------------------


def test_breakers_are_listed(admin: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1_900_000_010.4)
    showing({"chat": OPEN, "shop": CLOSED, "mail": RATED, "news": HALF_OPEN, "maps": TRYING})
    assert main(["breaker", "list", "--admin", admin]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "SERVICE  STATE            FAILURES                    TRIES AGAIN",
        "chat     open             5 of 5                      in 20 s",
        "shop     closed           1 of 5",
        "mail     closed, by hand  1, opens at 12.5 % in 10 s",
        "news     half-open        5 of 7 in 20 calls          now",
        "maps     half-open        5 of 7 in 20 calls          now, 1 of 3 succeeded",
    ]
    assert main(["breaker", "list", "shop", "--json", "--admin", admin]) == 0
    assert json.loads(capsys.readouterr().out) == {"shop": CLOSED}
    assert main(["breaker", "list", "nobody", "--admin", admin]) == 1
    assert capsys.readouterr().err == "There is no circuit breaker of a service nobody.\n"


def test_without_breakers_that_is_said(admin: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["breaker", "list", "--admin", admin]) == 0
    assert capsys.readouterr().out == "No service has a circuit_breaker.\n"


@pytest.mark.parametrize(
    ("action", "said"),
    [
        ("reset", "breaker chat is closed, and calls decide\n"),
        ("open", "breaker chat refuses every request until `headgate breaker reset chat`\n"),
        ("close", "breaker chat lets every request through until `headgate breaker reset chat`\n"),
    ],
)
def test_a_breaker_is_told_what_to_do(action: str, said: str, admin: str, capsys: pytest.CaptureFixture[str]) -> None:
    Admin.answer = (200, {"service": "chat", **CLOSED})
    assert main(["breaker", action, "chat", "--admin", admin]) == 0
    assert capsys.readouterr().out == said
    assert Admin.asked == [("POST", f"{PATH_OF_BREAKERS}/chat/{action}", SHOWN)]
    assert main(["breaker", action, "chat", "--json", "--admin", admin]) == 0
    assert json.loads(capsys.readouterr().out)["service"] == "chat"


def test_a_service_of_any_name_is_one_part_of_the_path(admin: str) -> None:
    Admin.answer = (404, {"error": "there is no circuit breaker of a service a/b c"})
    assert main(["breaker", "reset", "a/b c", "--admin", admin]) == 1
    assert Admin.asked[0][1] == f"{PATH_OF_BREAKERS}/a%2Fb%20c/reset"


def test_what_the_gateway_does_not_do_it_says(admin: str, capsys: pytest.CaptureFixture[str]) -> None:
    Admin.answer = (404, {"error": "there is no circuit breaker of a service shop"})
    assert main(["breaker", "open", "shop", "--admin", admin]) == 1
    assert capsys.readouterr().err == "there is no circuit breaker of a service shop\n"
    Admin.answers[PATH_OF_ENDPOINTS] = (401, {"error": "this needs a token"})
    assert main(["endpoint", "enable", "chat", "10.0.0.1:8001", "--admin", admin]) == 1
    places = "the variable HEADGATE_ADMIN_TOKEN, or admin.token in the state_dir; or -c CONFIG, which says either"
    assert capsys.readouterr().err == f"this needs a token (here: {places})\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["breaker"], "headgate breaker: an action is missing: list, reset, open, close"),
        (["breaker", "rest", "chat"], 'there is no action "rest"; did you mean "reset"?'),
        (["endpoint", "remove"], 'there is no action "remove": list, disable, enable, drain'),
    ],
)
def test_a_wrong_command_line_is_said(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["breaker", "reset"], "Of which service? Write headgate breaker reset SERVICE.\n"),
        (["endpoint", "disable", "chat"], "Which one? Write headgate endpoint disable SERVICE ENDPOINT.\n"),
    ],
)
def test_who_is_meant_has_to_be_said(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err == said


# -- endpoint -------------------------------------------------------------------------------------------------------


def test_endpoints_are_listed(admin: str, capsys: pytest.CaptureFixture[str]) -> None:
    showing({}, WELL, OUT, EJECTED, {**WELL, "service": "shop"})
    assert main(["endpoint", "list", "chat", "--admin", admin]) == 0
    assert capsys.readouterr().out.splitlines() == [
        "SERVICE  ENDPOINT       STATE              IN FLIGHT  LAST CHECK",
        "chat     10.0.0.1:8001  healthy            3          200, 2 s ago",
        "chat     10.0.0.2:8001  disabled",
        "chat     10.0.0.3:8001  ejected, 7 s left  3          1 s ago",
    ]
    assert main(["endpoint", "list", "--json", "--admin", admin]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 4
    assert main(["endpoint", "list", "mail", "--admin", admin]) == 1
    assert capsys.readouterr().out == "There are no endpoints of a service mail.\n"


def test_an_endpoint_is_taken_out_and_put_back(admin: str, capsys: pytest.CaptureFixture[str]) -> None:
    Admin.answers = {}
    for known, left in ((3, "; 3 in flight"), (None, "")):
        Admin.answer = (200, {**OUT, "in_flight": known})
        assert main(["endpoint", "disable", "chat", "10.0.0.2:8001", "--admin", admin]) == 0
        again = "gets no new requests until `headgate endpoint enable chat 10.0.0.2:8001`"
        assert capsys.readouterr().out == f"10.0.0.2:8001 of chat {again}{left}\n"
    Admin.answer = (200, {**WELL, "state": "unhealthy"})
    assert main(["endpoint", "enable", "chat", "10.0.0.2:8001", "--admin", admin]) == 0
    assert capsys.readouterr().out == "10.0.0.2:8001 of chat is enabled; it is unhealthy\n"
    assert main(["endpoint", "enable", "chat", "10.0.0.2:8001", "--json", "--admin", admin]) == 0
    assert json.loads(capsys.readouterr().out)["state"] == "unhealthy"
    assert {path for _, path, _ in Admin.asked} == {PATH_OF_ENDPOINTS}
    assert json.loads(Admin.bodies[0]) == {"service": "chat", "endpoint": "10.0.0.2:8001", "state": "disabled"}
    assert json.loads(Admin.bodies[-1])["state"] == "enabled"


LIMIT = {
    "limit": "few",
    "scope": "gateway",
    "key": ["identity"],
    "type": "sliding_window",
    "requests": 5,
    "window": 60.0,
    "burst": None,
    "tiers": [],
    "shadow": True,
    "on_error": "local",
    "store": "shared",
}


def test_limits_are_listed(admin: str, capsys: pytest.CaptureFixture[str]) -> None:
    Admin.answer = (200, {"limits": [LIMIT, {**LIMIT, "limit": "all", "key": [], "window": None}]})
    assert main(["limits", "list", "--admin", admin]) == 0
    first, second = capsys.readouterr().out.splitlines()[1:]
    assert first.split("  ")[0] == "few"
    assert "sliding_window, shadow" in first
    assert "nothing" in second
    assert main(["limits", "list", "none", "--admin", admin]) == 1


def test_the_counts_of_one_caller_begin_afresh(admin: str, capsys: pytest.CaptureFixture[str]) -> None:
    Admin.answer = (200, {"limits": ["few", "more"], "scopes": ["gateway"], "found": 1})
    assert main(["limits", "reset", "few", "identity=user:a=b", "--scope", "gateway", "--admin", admin]) == 0
    assert capsys.readouterr().out == "few, more of gateway begin afresh for this key\n"
    assert Admin.asked == [("POST", "/api/v1/limits/reset", SHOWN)]
    assert json.loads(Admin.bodies[0]) == {"limit": "few", "scope": "gateway", "key": {"identity": "user:a=b"}}
    Admin.answer = (200, {"limits": ["few"], "scopes": ["gateway"], "found": 0})
    assert main(["limits", "reset", "few", "--admin", admin]) == 0
    assert capsys.readouterr().out == "There was nothing counted for this key.\n"
    assert main(["limits", "reset", "--admin", admin]) == 2


def test_a_recorded_request_is_explained(admin: str, capsys: pytest.CaptureFixture[str]) -> None:
    Admin.answer = (200, RECORD)
    assert main(["explain", "--request", "r/1", "--admin", admin]) == 0
    said = capsys.readouterr().out
    assert Admin.asked == [("GET", "/api/v1/telemetry/requests/r%2F1", SHOWN)]
    assert said.startswith("GET http://a/chat?[2J was answered with 504 in 30012.0 ms: upstream_timeout\n")
    assert "\x1b" not in said
    for words in ("user ada of home, with staff", "all to chat", "few    4 of 5", "10.0.0.1:80", "connect_refused"):
        assert words in said, words
    Admin.answer = (404, {"error": "no request of this id was recorded"})
    assert main(["explain", "--request", "none", "--admin", admin]) == 1


RECORD = {
    "request_id": "r/1",
    "trace_id": "t" * 32,
    "span_id": "s" * 16,
    "traced": True,
    "sampled": "slow",
    "worker": 2,
    "plan": 7,
    "started": 1_900_000_000.5,
    "duration": 30.012,
    "scheme": "http",
    "method": "GET",
    "host": "a",
    "path": "/chat\x1b[2J",
    "client": "10.9.9.9",
    "version": "1.1",
    "status": 504,
    "bytes_in": 1,
    "bytes_out": 2,
    "route": "all",
    "service": "chat",
    "balancer": "round_robin",
    "identity": {"kind": "user", "id": "ada", "tenant": "home", "roles": ["staff"]},
    "gates": [{"gate": "limits", "verdict": "pass", "at": 0.001, "seconds": 0.002}],
    "limits": [
        {"name": "few", "limit": 5, "remaining": 4, "reset": 3, "window": 60, "type": "fixed_window", "allowed": True}
    ],
    "candidates": [{"endpoint": "10.0.0.1:80", "weight": 1, "in_flight": 2}],
    "attempts": [{"endpoint": "10.0.0.1:80", "span_id": "x", "at": 0.0, "end": 0.1, "error": "connect_refused"}],
    "error": "upstream_timeout",
    "spans": [],
}
