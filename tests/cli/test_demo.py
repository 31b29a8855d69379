"""The demo from its first line to Ctrl-C, as a user has it: every address it names answers, and nothing is left."""

from __future__ import annotations

import argparse
import http.client
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from headgate.cli.demo import CONFIGURATION
from headgate.cli.guide import commands
from headgate.cli.main import main
from headgate.config.loader import load
from tests.control.driver import CEILING, until
from tests.ports import free_port

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "demo.yaml"
END_OF_GUIDE = "Ctrl-C ends everything."


@dataclass
class Demo:
    """A running demo: its ports, the process, and what it has said so far.

    `temporary` is the folder for what it makes for itself, `state` the one that other gateways have.
    """

    port: int
    admin_port: int
    temporary: Path
    state: Path
    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)

    def read_until(self, words: str) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if words in line:
                return
        pytest.fail(f"the demo ended before it said {words!r}:\n{''.join(self.said)}")

    def ask(
        self, method: str, path: str, port: int = 0, fields: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=CEILING)
        connection.request(method, path, headers=fields or {})
        response = connection.getresponse()
        answer = response.status, dict(response.getheaders()), response.read()
        connection.close()
        return answer


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    temporary, state = tmp_path_factory.mktemp("temporary"), tmp_path_factory.mktemp("state")
    port, admin_port = free_port(), free_port()
    command = [sys.executable, "-m", "headgate", "demo", "--port", str(port), "--admin-port", str(admin_port)]
    process = subprocess.Popen(
        [*command, "--workers", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(temporary), "HEADGATE_STATE_DIR": str(state)},
        start_new_session=True,
    )
    with process:
        try:
            running = Demo(port, admin_port, temporary, state, process)
            running.read_until(END_OF_GUIDE)
            yield running
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def test_the_example_is_the_configuration_of_the_demo() -> None:
    assert EXAMPLE.read_bytes() == CONFIGURATION.read_bytes()
    result = load([EXAMPLE], environ={})
    assert (result.problems, result.notices) == ([], [])


def test_the_demo_prints_commands_for_its_own_addresses(demo: Demo) -> None:
    said = "".join(demo.said)
    gateway, admin = f"http://127.0.0.1:{demo.port}", f"http://127.0.0.1:{demo.admin_port}"
    for _, command in commands(gateway, admin, CONFIGURATION, 0):
        # How the program itself is called depends on who calls it, and the sample has any port; the tests of these
        # commands read their lines.
        own = (" explain ", " breaker ", " cache ", " token ", " top ", "/services")
        assert any(word in command for word in own) or f"  {command}\n" in said
    assert f"The dashboard is at {admin}/ui/" in said


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/hello", 200),
        ("POST", "/hello/you?lang=en", 200),
        ("GET", "/split", 200),
        ("GET", "/cached", 200),
        ("GET", "/v1/models/llama/answer", 200),
        ("GET", "/old", 307),
        ("GET", "/nowhere", 404),
        ("DELETE", "/hello", 405),
        ("GET", "/broken", 502),
        ("GET", "/health", 200),
    ],
)
def test_what_it_says_to_try_answers(demo: Demo, method: str, path: str, status: int) -> None:
    assert demo.ask(method, path)[0] == status


def test_both_endpoints_take_turns(demo: Demo) -> None:
    names = {json.loads(demo.ask("GET", "/hello")[2])["service"] for _ in range(2)}
    assert names == {"json-1", "json-2"}


def test_a_header_holds_a_caller_with_one_version(demo: Demo) -> None:
    served = {demo.ask("GET", "/split", fields={"X-User": "ada"})[1]["X-Served-By"] for _ in range(8)}
    assert len(served) == 1


def test_the_path_is_made_anew(demo: Demo) -> None:
    assert json.loads(demo.ask("GET", "/v1/models/llama/answer")[2])["path"] == "/llama/run/answer"


def test_a_web_socket_passes_through(demo: Demo) -> None:
    with socket.create_connection(("127.0.0.1", demo.port), timeout=CEILING) as client:
        client.sendall(
            b"GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        received = b""
        while b"connected to socket" not in received:
            piece = client.recv(65536)
            assert piece, received
            received += piece
    assert received.startswith(b"HTTP/1.1 101 ")
    assert b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in received


def test_events_come_through_whole(demo: Demo) -> None:
    status, fields, body = demo.ask("GET", "/stream")
    assert status == 200
    assert fields["Content-Type"] == "text/event-stream"
    events = body.decode().split("\n\n")
    assert len(events) == 12
    assert json.loads(events[0].partition("data: ")[2])["word"] == "Each"
    assert events[-2:] == ["data: [DONE]", ""]


def test_a_limit_refuses_the_fourth_request(demo: Demo) -> None:
    began, answers = time.monotonic(), [demo.ask("GET", "/limited")]
    while answers[-1][0] == 200:
        answers.append(demo.ask("GET", "/limited"))
        # Three in any ten seconds, of which a slow machine may need some more.
        assert len(answers) <= 4 + 3 * int((time.monotonic() - began) / 10)
    assert (len(answers) > 3, answers[-1][0]) == (True, 429)
    assert [fields["X-RateLimit-Remaining"] for _, fields, _ in (answers[0], *answers[-2:])] == ["2", "0", "0"]
    assert 1 <= int(answers[-1][1]["Retry-After"]) <= 10


def test_a_breaker_opens_and_the_command_that_is_shown_says_so(demo: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    answers = [demo.ask("GET", "/broken") for _ in range(4)]
    assert answers[0][0] in (502, 503)
    assert answers[-1][0] == 503
    assert json.loads(answers[-1][2])["breaker"] == "broken"
    line = next(line for line in demo.said if " breaker " in line)
    words = shlex.split(line.rpartition("; ")[2])
    assert main(words[words.index("breaker") :]) == 0
    assert re.search(r"^broken +open +3 of 3 +in \d+ s$", capsys.readouterr().out, re.MULTILINE)


def test_an_answer_is_kept_and_the_command_that_is_shown_forgets_it(
    demo: Demo, capsys: pytest.CaptureFixture[str]
) -> None:
    said = [demo.ask("GET", "/cached")[1]["Cache-Status"] for _ in range(2)]
    assert said[1].startswith("headgate; hit")
    line = next(line for line in demo.said if " cache purge " in line)
    for command in line.split("; "):
        words = shlex.split(command)
        assert main(words[words.index("cache") :]) == 0
    status, purged = capsys.readouterr().out.rstrip().rsplit("\n", 1)
    assert "1 answer" in status
    assert purged == "purged 1 answer of all routes"


def test_the_admin_address_counts_and_reports(demo: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    demo.ask("GET", "/hello")
    assert (
        b'headgate_requests_total{route="hello",service="hello",method="GET",status="200"}'
        in demo.ask("GET", "/metrics", demo.admin_port)[2]
    )
    assert main(["status", "--admin", f"127.0.0.1:{demo.admin_port}"]) == 0
    assert capsys.readouterr().out.startswith("healthy, plan 1")


def test_a_recorded_request_is_explained_by_the_command_that_is_shown(
    demo: Demo, capsys: pytest.CaptureFixture[str]
) -> None:
    line = next(line for line in demo.said if "--request" in line)
    sent, _, asked = line.partition("; ")
    name, _, value = shlex.split(sent)[3].partition(": ")
    demo.ask("GET", "/broken", fields={name: value})
    words = shlex.split(asked)
    # Workers tell control of requests a few times in a second.
    until(lambda: main(words[words.index("explain") :]) == 0, "the request is known to control")
    said = capsys.readouterr().out
    assert said.startswith("GET http://127.0.0.1/broken was answered with 50")
    assert re.search(rf"^ +request +{value}$", said, re.MULTILINE)


def printed(command: str) -> str:
    """Return what a command of the shell prints."""
    return subprocess.run(
        command, shell=True, capture_output=True, text=True, timeout=CEILING, check=True
    ).stdout.strip()


def test_an_instance_registers_and_is_asked(demo: Demo) -> None:
    assert demo.ask("GET", "/joined")[0] == 503
    line = next(line for line in demo.said if line.rstrip().endswith("/services"))
    before, _, rest = line.partition("$(")
    inner, _, after = rest.partition(")")
    words = shlex.split(before + printed(inner) + after)
    options = dict(zip(words[1:-1:2], words[2:-1:2], strict=True))
    assert list(options) == ["-H", "-d"]
    fields = dict(word.split(": ", 1) for word in words[1:] if ": " in word and not word.startswith("{"))
    connection = http.client.HTTPConnection("127.0.0.1", demo.admin_port, timeout=CEILING)
    connection.request("POST", words[-1].removeprefix(f"http://127.0.0.1:{demo.admin_port}"), options["-d"], fields)
    assert (answer := connection.getresponse()).status == 201, answer.read()
    connection.close()
    until(lambda: demo.ask("GET", "/joined")[0] == 200, "requests reach it")


def test_what_it_keeps_is_in_a_folder_of_its_own(demo: Demo) -> None:
    assert list(demo.state.iterdir()) == []
    (own,) = demo.temporary.glob("headgate-demo-*")
    assert any(own.glob("*.db"))


def test_top_shows_the_services_of_the_demo(demo: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    words = shlex.split(next(line for line in demo.said if " top " in line))
    assert main([*words[words.index("top") :], "--once"]) == 0
    assert re.search(r"^hello-next ", capsys.readouterr().out, re.MULTILINE)


def test_the_dashboard_is_where_it_says_and_takes_the_token_it_names(demo: Demo) -> None:
    line = next(line for line in demo.said if "The dashboard is at" in line)
    assert demo.ask("GET", "/ui/", demo.admin_port)[0] == 200
    fields = {"Authorization": f"Bearer {printed(line.rpartition('prints: ')[2])}"}
    assert demo.ask("GET", "/api/v1/status", demo.admin_port, fields)[0] == 200


def test_explain_and_the_gateway_agree(demo: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    said = []
    for line in (line for line in demo.said if " explain " in line and "--request" not in line):
        words = shlex.split(line)
        assert main(words[words.index("explain") :]) == 0
        said.append(capsys.readouterr().out.partition("\n")[0])
    assert said == [
        "refused with 403 (forbidden) by route admin: needs the role admin",
        "sent to hello or hello-next by route split",
    ]


def curl(demo: Demo, what: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, str], bytes]:
    """Do what the curl command says that stands below the line `# what`, as far as the demo's commands go."""
    line = demo.said[next(place for place, said in enumerate(demo.said) if what in said) + 1]
    inner = re.search(r"\$\((.*)\)", line)
    if inner is not None:
        words = shlex.split(inner[1])
        assert main(words[words.index("token") :]) == 0
        line = line.replace(inner[0], capsys.readouterr().out.strip())
    parser = argparse.ArgumentParser()
    parser.add_argument("-i", action="store_true")
    parser.add_argument("-X", default="GET")
    parser.add_argument("-H", action="append", default=[])
    parser.add_argument("url")
    words = shlex.split(line)
    assert words[0] == "curl"
    options = parser.parse_args(words[1:])
    fields = dict(field.split(": ", 1) for field in options.H)
    return demo.ask(options.X, options.url.removeprefix(f"http://127.0.0.1:{demo.port}"), fields=fields)


def test_who_asks_is_found_out_by_the_commands_that_are_shown(demo: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    status, fields, body = curl(demo, "# a route that asks who is there", capsys)
    assert (status, json.loads(body)["reason"]) == (401, "missing_credentials")
    assert 'realm="headgate"' in fields["WWW-Authenticate"]
    status, _, body = curl(demo, "# with a token", capsys)
    told = json.loads(body)["headers"]
    assert (status, told["x-user-id"], told["x-tenant"]) == (200, "ada", "acme")
    status, _, body = curl(demo, "# with an API key", capsys)
    told = json.loads(body)["headers"]
    assert (status, told["x-user-id"], told["x-tenant"]) == (200, "demo-key", "acme")


def test_a_role_is_missing_or_there_in_the_commands_that_are_shown(
    demo: Demo, capsys: pytest.CaptureFixture[str]
) -> None:
    status, _, body = curl(demo, "# a role that is missing", capsys)
    assert (status, json.loads(body)["reason"]) == (403, "forbidden")
    assert b"admin" not in body
    assert curl(demo, "# with that role", capsys)[0] == 200


def test_a_preflight_is_answered_in_the_command_that_is_shown(demo: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    status, fields, body = curl(demo, "# what a browser asks first", capsys)
    assert (status, body) == (204, b"")
    assert fields["Access-Control-Allow-Origin"] == "https://app.example.com"
    assert "PUT" in fields["Access-Control-Allow-Methods"]


# The last of this file's tests of the running demo: it ends it.
def test_ctrl_c_ends_all_of_it_cleanly(demo: Demo) -> None:
    sample = json.loads(demo.ask("GET", "/hello")[2])["headers"]["host"]
    os.killpg(demo.process.pid, signal.SIGINT)
    assert demo.process.stderr is not None
    rest = demo.process.stderr.read()
    assert demo.process.wait(CEILING) == 0, rest
    assert "Traceback" not in "".join(demo.said) + rest
    assert list(demo.temporary.glob("headgate-demo-*")) == []
    assert list(demo.state.iterdir()) == []
    for port in (demo.port, demo.admin_port, int(sample.rpartition(":")[2])):
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=CEILING)


def test_commands_find_the_token_where_this_demo_keeps_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADGATE_STATE_DIR", "/tmp/a demo")
    monkeypatch.delenv("HEADGATE_ADMIN_TOKEN")
    asking = [command for _, command in commands("http://g", "http://a", CONFIGURATION, 0) if "--admin " in command]
    assert len(asking) == 4
    assert all("; HEADGATE_STATE_DIR='/tmp/a demo' " in f"; {command}" for command in asking)


def test_a_port_that_is_taken_is_said_with_what_to_do(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["demo", "--port", str(port)]) == 1
    said = capsys.readouterr().err
    assert re.fullmatch(
        rf"Port {port} is taken by another program. Choose another one: headgate demo --port \d+\n", said
    )
