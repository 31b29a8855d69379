"""The processes of a server are the workers of one gateway, whoever of them dies, and all ends with the server.

Each test needs its own server: they kill what it is made of.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.wire.websocket import TEXT, FrameReader, Message, frame
from tests.acceptance.stub import Stub
from tests.asgi.servers import TOKEN, Server
from tests.control.driver import CEILING, free_port, until

SET = "a-secret-that-the-application-sets"
APP = f"""
from headgate.asgi import gateway

app = gateway("gateway.yaml", set=["services.api.headers.request.set.X-Key={SET}"])
"""
GUNICORN = "gunicorn main:app -k uvicorn.workers.UvicornWorker --bind 127.0.0.1:{port} --workers {workers}"
UVICORN = "uvicorn main:app --port {port}"


@pytest.fixture(scope="module")
def stub() -> Iterator[Stub]:
    with Stub() as stub:
        yield stub


def command_line(process: Path) -> bytes:
    """Return what everybody may read of a process; nothing of one that has ended."""
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


class Place:
    """A folder with an application and its configuration."""

    def __init__(self, folder: Path, stub: Stub) -> None:
        self.folder, self.port, self.admin = folder, free_port(), free_port()
        route = {"name": "all", "match": {"path": "/api"}}
        service = {"name": "api", "url": stub.url, "routes": [route], "rate_limit": {"requests": 6, "window": 3600}}
        free = {"name": "free", "url": stub.url, "routes": [{"name": "uncounted", "match": {"path": "/free"}}]}
        self.document: dict[str, Any] = {"admin": {"address": f"127.0.0.1:{self.admin}"}, "services": [service, free]}
        (folder / "main.py").write_text(APP)
        self.write()

    def write(self) -> None:
        """Write the configuration."""
        (self.folder / "gateway.yaml").write_text(json.dumps(self.document))

    def server(self, line: str, workers: int = 1) -> Server:
        """Start one."""
        return Server(self.folder, line.format(port=self.port, workers=workers), self.folder)

    def statuses(self, server: Server, count: int) -> list[int]:
        """Ask so often, each time on a connection of its own, and return how it went."""
        return [server.get(self.port, "/api/x").status for _ in range(count)]

    def shown(self, server: Server, path: str) -> Any:
        """Return what the admin API says."""
        answer = server.get(self.admin, path, Authorization=f"Bearer {TOKEN}")
        assert answer.status == 200, answer
        return answer.json

    def workers(self, server: Server) -> list[int]:
        """Return the processes that control knows as workers; none while it is away."""
        try:
            return [each["pid"] for each in self.shown(server, "/api/v1/status")["workers"] if each["alive"]]
        except OSError:
            return []

    def joined(self, server: Server, count: int) -> list[int]:
        """Wait until so many processes serve."""
        return until(lambda: found if len(found := self.workers(server)) == count else [], f"{count} have joined")

    def left(self, server: Server, pid: int) -> None:
        """Wait until control knows others, and not this one."""
        until(lambda: (found := self.workers(server)) and pid not in found, f"{pid} has left")


@pytest.fixture
def place(tmp_path: Path, stub: Stub) -> Place:
    stub.forget()
    return Place(tmp_path, stub)


def test_all_processes_count_as_one_and_one_that_dies_takes_nothing_along(place: Place) -> None:
    with place.server(GUNICORN, workers=3) as server:
        server.wait(place.port)
        workers = place.joined(server, 3)
        assert place.statuses(server, 4) == [200] * 4
        os.kill(workers[0], signal.SIGKILL)
        place.left(server, workers[0])
        assert set(workers[1:]) < set(place.joined(server, 3)), "the others are those before, and there is a new one"
        # Who joined last counts on where the others are.
        assert place.statuses(server, 8) == [200, 200, 429, 429, 429, 429, 429, 429]
        counted = server.get(place.admin, "/metrics", Authorization=f"Bearer {TOKEN}").body.decode()
        (line,) = [each for each in counted.splitlines() if 'status="429"' in each and "requests_total" in each]
        assert line.endswith(" 6"), "what the dead one counted is there"


def test_what_the_application_sets_is_on_no_command_line(place: Place, stub: Stub) -> None:
    with place.server(UVICORN) as server:
        server.wait(place.port)
        assert server.get(place.port, "/api/x").status == 200
        assert stub.seen[-1].headers["x-key"] == SET
        assert server.companion(), "whose command line tells who it is"
        assert not [pid for pid in Path("/proc").glob("[0-9]*") if SET.encode() in command_line(pid)]


def test_one_process_more_gets_its_share(place: Place) -> None:
    place.document["store"] = "memory"
    place.write()
    with place.server(GUNICORN) as server:
        server.wait(place.port)
        until(lambda: '"workers": "1 of 1"' in server.output, "one has all of each limit")
        os.kill(server.process.pid, signal.SIGTTIN)
        # The plan is cut for two, whether or not the second one has come for it by then.
        cut = re.compile('"reason": "one more worker", "workers": "[12] of 2"')
        until(lambda: cut.search(server.output), "two have a half each")


def test_a_companion_that_dies_takes_nothing_along(place: Place) -> None:
    place.document["surface"] = [{"path": "/own", "view": "status"}]
    place.write()
    with place.server(GUNICORN, workers=2) as server:
        server.wait(place.port)
        workers = place.joined(server, 2)
        assert place.statuses(server, 7) == [200] * 6 + [429]
        companion = server.companion()
        os.kill(companion, signal.SIGKILL)
        # With nobody to ask they serve on, by the last plan.
        assert {server.get(place.port, "/free").status for _ in range(4)} == {200}
        until(lambda: server.output.count("serving on, and joining anew") == 2, "both have noticed")
        # What only control can tell waits for the next one.
        assert {server.get(place.port, "/own/").status for _ in range(4)} == {200}
        until(lambda: server.output.count("joined anew") == 2, "both have joined anew")
        assert server.companion() != companion
        assert sorted(place.joined(server, 2)) == sorted(workers)
        # What is counted begins afresh.
        assert place.statuses(server, 8) == [200] * 6 + [429] * 2


def test_control_that_dies_is_replaced_by_the_companion(place: Place) -> None:
    with place.server(UVICORN) as server:
        server.wait(place.port)
        place.joined(server, 1)
        (control,) = Path(f"/proc/{server.companion()}/task/{server.companion()}/children").read_text().split()
        os.kill(int(control), signal.SIGKILL)
        assert place.statuses(server, 1) == [200]
        until(lambda: "control died and is replaced" in server.output, "the companion has seen it")
        assert place.joined(server, 1) == [server.process.pid]


def test_everything_ends_with_a_server_that_is_killed(place: Place) -> None:
    with place.server(GUNICORN, workers=2) as server:
        server.wait(place.port)
        place.joined(server, 2)
        server.end(signal.SIGKILL)


def test_a_server_that_is_one_process_waits_until_its_ports_are_free(place: Place) -> None:
    with place.server(UVICORN) as server:
        server.wait(place.port)
        os.kill(server.process.pid, signal.SIGTERM)
        server.process.wait()
        assert list(server.runtime.glob("headgate-*")) == []


def test_a_configuration_that_changes_is_followed(place: Place) -> None:
    with place.server(UVICORN) as server:
        server.wait(place.port)
        assert server.get(place.port, "/new").status == 404
        place.document["services"][0]["routes"].append({"name": "new", "match": {"path": "/new"}})
        place.write()
        until(lambda: server.get(place.port, "/new").status == 200, "the new route is there")


def test_a_server_does_not_start_with_a_configuration_that_cannot_be_used(place: Place) -> None:
    place.document["services"][0]["nonsense"] = True
    place.write()
    with place.server(UVICORN) as server:
        assert server.process.wait() == 3
        assert "nonsense: unknown key" in server.output
        assert "headgate: the gateway did not start" in server.output


def test_a_process_that_uvicorn_replaces_finds_what_was_counted(place: Place) -> None:
    with place.server(f"{UVICORN} --reload --reload-delay 0.05") as server:
        server.wait(place.port)
        (before,) = place.joined(server, 1)
        companion = server.companion()
        assert place.statuses(server, 4) == [200] * 4

        def edited() -> bool:
            # Again and again: what changed before uvicorn looked for the first time, it does not notice.
            (place.folder / "main.py").touch()
            return "detected changes" in server.output

        until(edited, "uvicorn has seen it")
        place.left(server, before)
        place.joined(server, 1)
        server.wait(place.port)
        assert server.companion() == companion
        assert place.statuses(server, 3) == [200, 200, 429]


def test_an_application_that_mounts_it_needs_to_tell_nothing(place: Place) -> None:
    (place.folder / "main.py").write_text(
        "from fastapi import FastAPI\n"
        "from headgate.asgi import gateway\n\n"
        "app = FastAPI()\n"
        'app.mount("/gw", gateway("gateway.yaml"))\n'
    )
    with place.server(UVICORN) as server:
        server.wait(place.port)
        assert server.get(place.port, "/gw/api/x").status == 200
        assert server.get(place.port, "/api/x").status == 404


def test_what_stands_beside_the_application_is_not_taken_for_a_library(place: Place) -> None:
    for name in ("yaml", "fastapi", "psutil"):
        (place.folder / f"{name}.py").write_text("raise RuntimeError\n")
    (place.folder / "app").mkdir()
    (place.folder / "main.py").rename(place.folder / "app" / "main.py")
    with place.server(f"{UVICORN} --app-dir app") as server:
        server.wait(place.port)
        assert server.get(place.port, "/api/x").status == 200


def test_the_application_of_the_package_is_configured_by_variables(place: Place) -> None:
    line = f"uvicorn headgate.asgi:app --port {place.port}"
    with Server(place.folder, line, place.folder, {"HEADGATE_CONFIG": "gateway.yaml"}) as server:
        server.wait(place.port)
        assert server.get(place.port, "/api/x").status == 200


def test_another_server_serves_as_well(place: Place) -> None:
    with place.server("hypercorn main:app --bind 127.0.0.1:{port} --workers 2") as server:
        server.wait(place.port)
        place.joined(server, 2)
        body = bytes(300_000)
        answer = server.get(place.port, "/api/x", "POST", body)
        assert answer.status == 200
        assert place.statuses(server, 6) == [200] * 5 + [429]


ECHO = """
async def app(scope, receive, send):
    assert scope["type"] == "websocket"
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"].upper()})
"""
OPENING = (
    b"GET /api/socket HTTP/1.1\r\nHost: gw\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


@pytest.mark.parametrize("line", [UVICORN, "hypercorn main:app --bind 127.0.0.1:{port}"], ids=["uvicorn", "hypercorn"])
def test_a_websocket_passes(line: str, place: Place, tmp_path: Path) -> None:
    echo = tmp_path / "echo"
    echo.mkdir()
    (echo / "echo.py").write_text(ECHO)
    port = free_port()
    place.document["services"][0]["url"] = f"http://127.0.0.1:{port}"
    place.write()
    with Server(echo, f"uvicorn echo:app --lifespan off --port {port}", echo) as service, place.server(line) as server:
        service.wait(port)
        server.wait(place.port)
        with socket.create_connection(("127.0.0.1", place.port), timeout=CEILING) as client:
            client.sendall(OPENING)
            head = b""
            while not head.endswith(b"\r\n\r\n") and (piece := client.recv(1)):
                head += piece
            assert head.startswith(b"HTTP/1.1 101 ")
            client.sendall(frame(TEXT, b"hello"))
            reader = FrameReader(1 << 16)
            found: list[Message] = []
            while not found and (data := client.recv(65536)):
                found = reader.feed(data)
            assert found == [Message(TEXT, b"HELLO")]
