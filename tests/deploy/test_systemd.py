"""The units: judged by systemd's own tools, and held to what the gateway does."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from headgate.cli import run as run_command
from headgate.cli.arguments import Namespace, Parser
from headgate.config.schema import Shutdown
from headgate.control.listeners import BACKLOG
from headgate.control.watchdog import Watchdog
from headgate.core.address import parse_listen
from tests.control.driver import CEILING, Client, free_port, until
from tests.deploy.installed import ROOT

FOLDER = ROOT / "deploy" / "systemd"
# systemd's own scale, from 0 to 10; a service without any hardening has 9.6.
MOST_EXPOSED = 15


def unit(name: str) -> dict[str, list[str]]:
    """Return the settings of a unit, each with all of its values."""
    found: dict[str, list[str]] = {}
    for line in (FOLDER / name).read_text().splitlines():
        if "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            found.setdefault(key, []).append(value)
    return found


SERVICE, SOCKET = unit("headgate.service"), unit("headgate.socket")


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is missing: .ci/run installs it")
    return found


@pytest.fixture
def units(tmp_path: Path) -> Path:
    """The units, with a program that there is."""
    for path in FOLDER.iterdir():
        text = path.read_text().replace("/opt/headgate/bin/headgate", "/bin/true")
        (tmp_path / path.name).write_text(text)
    return tmp_path


def test_systemd_finds_nothing_wrong(units: Path) -> None:
    command = [tool("systemd-analyze"), "verify", "--man=no", "--recursive-errors=no"]
    done = subprocess.run(
        [*command, str(units / "headgate.service"), str(units / "headgate.socket")],
        capture_output=True,
        text=True,
        timeout=CEILING,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_service_is_exposed_as_little_as_it_says(units: Path) -> None:
    command = [tool("systemd-analyze"), "security", "--offline=true", "--no-pager", f"--threshold={MOST_EXPOSED}"]
    done = subprocess.run(
        [*command, str(units / "headgate.service")], capture_output=True, text=True, timeout=CEILING, check=False
    )
    assert done.returncode == 0, done.stdout[-300:]


def test_the_service_starts_what_there_is() -> None:
    (line,) = SERVICE["ExecStart"]
    program, command, *words = line.split()
    assert (program, command) == ("/opt/headgate/bin/headgate", "run")
    parser = Parser(prog="headgate run", description="")
    run_command.add_arguments(parser)
    parser.parse_args(words, namespace=Namespace())
    # Its two folders are the ones that it is told of.
    environ = dict(value.split("=", 1) for value in SERVICE["Environment"])
    assert environ["HEADGATE_STATE_DIR"] == f"/var/lib/{SERVICE['StateDirectory'][0]}"
    assert environ["XDG_RUNTIME_DIR"] == f"/run/{SERVICE['RuntimeDirectory'][0]}"
    assert SERVICE["StateDirectoryMode"] == ["0700"]


def test_it_has_time_to_end_and_is_not_taken_for_dead() -> None:
    shutdown = Shutdown()
    assert int(SERVICE["TimeoutStopSec"][0]) > shutdown.grace + shutdown.timeout
    # It tells that it lives whenever it looks after its children; systemd wants to hear it in half of the time.
    watchdog = Watchdog()
    assert watchdog.looks(0.0)
    assert watchdog.next_look < int(SERVICE["WatchdogSec"][0]) / 2
    assert SERVICE["Type"] == ["notify"]
    # Only the master decides what a signal means for the others.
    assert SERVICE["KillMode"] == ["mixed"]
    assert SERVICE["ExecReload"] == ["/bin/kill -HUP $MAINPID"]


def test_the_socket_unit_listens_where_the_gateway_can_be_told_to() -> None:
    (address,) = SOCKET["ListenStream"]
    assert parse_listen(address).port == 8080
    assert SOCKET["Accept"] == ["no"]
    assert SOCKET["Backlog"] == [str(BACKLOG)]


@pytest.fixture
def activated(tmp_path: Path) -> Iterator[tuple[int, subprocess.Popen[bytes], Path]]:
    """What systemd does for the units, done by its tool: the first connection starts the gateway."""
    port = free_port()
    file = tmp_path / "headgate.yaml"
    file.write_text(
        f"listen: ['127.0.0.1:{port}']\nadmin: {{address: 'unix:{tmp_path}/admin.sock'}}\nworkers: 2\n"
        "services: [{name: a, url: 'http://127.0.0.1:1', routes: [{name: a}]}]\n"
    )
    said = tmp_path / "said"
    with said.open("wb") as stream:
        process = subprocess.Popen(
            [
                tool("systemd-socket-activate"),
                *("-l", f"127.0.0.1:{port}", "--setenv=PATH", f"--setenv=HOME={tmp_path}"),
                *(f"--setenv=HEADGATE_STATE_DIR={tmp_path}/state", sys.executable, "-m", "headgate", "run", str(file)),
            ],
            stdout=stream,
            stderr=stream,
            cwd=tmp_path,
        )
    yield port, process, said
    if process.poll() is None:
        process.kill()
        process.wait()


def test_the_first_client_starts_the_gateway_and_is_answered(
    activated: tuple[int, subprocess.Popen[bytes], Path],
) -> None:
    port, process, said = activated
    until(lambda: "Listening on" in said.read_text(), "the socket is open")
    client = Client(port)
    client.socket.sendall(b"GET /ready HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert client.socket.recv(15) == b"HTTP/1.1 200 OK"
    client.close()
    assert f"listening on 127.0.0.1:{port}" in said.read_text()
    process.send_signal(signal.SIGTERM)
    assert process.wait(CEILING) == 0
