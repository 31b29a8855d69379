"""The pairs of examples/migrate: Headgate answers with its file as the other gateway does with its own.

Both stand before the same services and are asked the same, nginx and Envoy as they come from their makers. Envoy is the
bench's (`python -m bench.setup`). Kong cannot run here: its routes and credentials are asked of Headgate alone.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from tests.acceptance.gateway import Answer, Gateway, _ask
from tests.acceptance.stub import Stub
from tests.control.driver import free_port, until

ROOT = Path(__file__).parents[2]
PAIRS = ROOT / "examples" / "migrate"
BENCH_ENVOY = ROOT / "bench" / ".venv-peers" / "bin" / "envoy"


class Question(NamedTuple):
    """A request, how often in turn, and which fields of the answer count."""

    method: str
    path: str
    headers: dict[str, str] = {}
    body: bytes | None = None
    times: int = 1
    fields: tuple[str, ...] = ("x-frame-options",)


COMMON = [
    Question("GET", "/api/users?x=1&y=%2F"),
    Question("POST", "/api/users", {"Content-Type": "text/plain"}, b"hello"),
    Question("DELETE", "/api/users/7"),
    Question("GET", "/api/broken", {"X-Stub-Status": "418"}),
    Question("GET", "/healthz"),
    Question("GET", "/internal/keys"),
    # Envoy puts nothing on an answer of its own to a path without a route.
    Question("GET", "/nowhere", fields=()),
]
NGINX = [
    *COMMON,
    Question("GET", "/old", fields=("location",)),
    Question("POST", "/api/upload", body=b"x" * (2 << 20)),
    Question("GET", "/api/slow/report", times=8),
    Question("GET", "/api/users", {"X-Stub-Close": "head"}),
]
ENVOY = [
    *COMMON,
    Question("GET", "/old"),
    Question("GET", "/api/beta/x", {"X-Beta": "1"}),
    Question("GET", "/apiary", fields=()),
]


class Scene:
    """The services of a pair, and the text of a file with the ports that are free here."""

    def __init__(self) -> None:
        self.stubs = [Stub("one"), Stub("two")]

    def file(self, path: Path, port: int) -> str:
        ports = {"9001": self.stubs[0].port, "9002": self.stubs[1].port, "8080": port}
        text = path.read_text()
        for written, real in ports.items():
            text = text.replace(f"127.0.0.1:{written}", f"127.0.0.1:{real}").replace(
                f"port_value: {written}", f"port_value: {real}"
            )
        return text

    def asked(self, port: int, question: Question) -> list[dict[str, Any]]:
        """Return what a client and a service see of it."""
        seen = []
        for _ in range(question.times):
            for stub in self.stubs:
                stub.seen.clear()
            answer = _ask(port, question.method, question.path, question.body, question.headers, None)
            came = [request for stub in self.stubs for request in stub.seen]
            shown = {name: answer.headers.get(name, "") for name in question.fields}
            seen.append(
                {
                    "status": answer.status,
                    "to the service": [(request.method, request.target, request.body) for request in came[:1]],
                    "own text": answer.text if answer.status == 200 and not came else "",
                    **shown,
                }
            )
        return seen

    def close(self) -> None:
        for stub in self.stubs:
            stub.close()


@pytest.fixture(scope="module")
def scene() -> Iterator[Scene]:
    made = Scene()
    yield made
    made.close()


def started(command: list[str], port: int, folder: Path) -> subprocess.Popen[bytes]:
    """Start another gateway, and wait until it listens."""
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)

    def listens() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) == 0

    try:
        until(listens, f"{command[0]} listens")
    except BaseException:
        process.kill()
        process.wait()
        raise
    return process


def nginx(file: Path) -> list[str]:
    return ["nginx", "-e", "stderr", "-g", "daemon off; pid nginx.pid;", "-p", str(file.parent), "-c", str(file)]


def envoy(file: Path) -> list[str]:
    program = shutil.which("envoy") or str(BENCH_ENVOY)
    return [program, "-c", str(file), "--disable-hot-restart", "--concurrency", "1", "--log-level", "error"]


@pytest.fixture(scope="module")
def ours(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], int]]:
    """Start Headgate with the file of a pair; return its port."""
    running: list[Gateway] = []

    def start(name: str) -> int:
        gateway = Gateway(
            tmp_path_factory.mktemp(name),
            None,
            scene.file(PAIRS / name / "headgate.yaml", free_port()),
            port_variable=None,
            options=["--workers", "1"],
        )
        running.append(gateway)
        return gateway.port

    yield start
    for gateway in running:
        gateway.close()


@pytest.mark.parametrize(
    ("name", "file", "command", "questions"),
    [("nginx", "nginx.conf", nginx, NGINX), ("envoy", "envoy.yaml", envoy, ENVOY)],
    ids=["nginx", "envoy"],
)
def test_both_answer_alike(
    name: str,
    file: str,
    command: Callable[[Path], list[str]],
    questions: list[Question],
    scene: Scene,
    ours: Callable[[str], int],
    tmp_path: Path,
) -> None:
    port = free_port()
    copied = tmp_path / file
    copied.write_text(scene.file(PAIRS / name / file, port))
    if shutil.which(command(copied)[0]) is None:
        pytest.skip(f"{name} is not installed (Envoy: python -m bench.setup)")
    theirs = started(command(copied), port, tmp_path)
    try:
        own = ours(name)
        for question in questions:
            expected = [_without_text(each, question) for each in scene.asked(port, question)]
            assert [_without_text(each, question) for each in scene.asked(own, question)] == expected, question
    finally:
        theirs.terminate()
        theirs.wait()


def _without_text(seen: dict[str, Any], question: Question) -> dict[str, Any]:
    """The words of a redirect's page are each gateway's own."""
    return seen | {"own text": ""} if question.path == "/old" else seen


def test_the_routes_and_credentials_of_kong(scene: Scene, ours: Callable[[str], int]) -> None:
    theirs = yaml.safe_load((PAIRS / "kong" / "kong.yaml").read_text())
    keys = {each["username"]: each["keyauth_credentials"][0]["key"] for each in theirs["consumers"]}
    port = ours("kong")

    def get(path: str, **headers: str) -> Answer:
        for stub in scene.stubs:
            stub.seen.clear()
        return _ask(port, "GET", path, None, {name.replace("_", "-"): value for name, value in headers.items()}, None)

    def seen() -> Any:
        return next(request for stub in scene.stubs for request in stub.seen)

    assert get("/api/users?x=1").status == 200
    assert seen().target == "/users?x=1"
    answer = get("/api/users", Origin="https://app.example.com", X_Request_ID="abc")
    assert (answer.headers["access-control-allow-origin"], answer.headers["x-request-id"]) == (
        "https://app.example.com",
        "abc",
    )
    assert answer.headers["x-frame-options"] == "DENY"
    assert get("/api/private/x").status == 401
    assert get("/api/private/x", X_API_Key=keys["bob"]).status == 403
    answers = [get("/api/private/x", X_API_Key=keys["ada"]) for _ in range(6)]
    assert [each.status for each in answers] == [200] * 5 + [429]
    assert get("/api/private/x", X_API_Key="guessed").status == 401


def test_keys_of_kong_are_not_shown_to_the_service(scene: Scene, ours: Callable[[str], int]) -> None:
    key = yaml.safe_load((PAIRS / "kong" / "kong.yaml").read_text())["consumers"][0]["keyauth_credentials"][0]["key"]
    for stub in scene.stubs:
        stub.seen.clear()
    answer = _ask(ours("kong"), "GET", "/api/private/x?y=1", None, {"X-API-Key": key}, None)
    assert answer.status == 200
    request = next(request for stub in scene.stubs for request in stub.seen)
    assert request.target == "/api/private/x?y=1"
    assert "x-api-key" not in request.headers
