"""`headgate run --preset NAME` as its user runs it: real processes, an environment of the test's own, real sockets.

with Gateway(tmp_path, "service-mesh", {"services": [...]}, env={"LOG_LEVEL": "DEBUG"}) as gateway:
    assert gateway.ask("GET", "/api/v1/health").status == 200

Nothing of the environment of the tests is seen but PATH. The working directory is the folder, so a `.env` that the test
wrote there is read. The port is set by the preset's own variable, `port_variable`.
"""

from __future__ import annotations

import http.client
import json
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jwt
import yaml

from tests.control.driver import CEILING, LONGEST, free_port, until

TOKEN = "the admin token of all tests"
Document = Mapping[str, Any] | str | Path
_METRIC = re.compile(r"^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; names of headers are in lower case, and of one that came twice the values are joined."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def text(self) -> str:
        return self.body.decode()


class Gateway:
    """A running gateway.

    Args:
        folder: Where it keeps everything; its working directory.
        preset: The name of a preset; None for none.
        files: The user's own files: documents (mappings), texts of YAML, or paths.
        env: The environment, besides PATH, HOME, the state_dir and the admin token.
        port_variable: The variable of the preset that says the port; None to say it by --port.
        options: More of the command line.
        ready: Whether to wait until it serves.
    """

    def __init__(
        self,
        folder: Path,
        preset: str | None,
        *files: Document,
        env: Mapping[str, str] = {},
        port_variable: str | None = "PORT",
        options: Sequence[str] = (),
        ready: bool = True,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.port, self._admin = folder, free_port(), free_port()
        port = {port_variable: str(self.port)} if port_variable else {}
        self.env = environment(folder) | port | {"HEADGATE_ADMIN_TOKEN": TOKEN} | dict(env)
        self.paths = [written(folder, index, each) for index, each in enumerate(files)]
        command = [sys.executable, "-m", "headgate", "run", *map(str, self.paths)]
        command += ["--preset", preset] if preset else []
        command += [] if port_variable else ["--port", str(self.port)]
        command += ["--admin", self.admin, *options]
        with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
            self.process = subprocess.Popen(
                command, cwd=folder, env=self.env, stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )
        if ready:
            try:
                self.wait_ready()
            except BaseException:
                self.close()
                raise

    @property
    def admin(self) -> str:
        """Where the admin API is, HOST:PORT."""
        return f"127.0.0.1:{self._admin}"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    # As a client

    def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] = (),
        *,
        bearer: str | None = None,
    ) -> Answer:
        """Send one request on a connection of its own; a body that is no bytes goes as JSON."""
        return _ask(self.port, method, path, body, headers, bearer)

    def get(self, path: str, headers: Mapping[str, str] | Iterable[tuple[str, str]] = (), **more: Any) -> Answer:
        return self.ask("GET", path, None, headers, **more)

    def shown(self, path: str, **more: Any) -> Any:
        """Return what a path answers with 200, as JSON."""
        answer = self.get(path, **more)
        assert answer.status == 200, (path, answer)
        return answer.json

    def connect(self) -> socket.socket:
        """Return a bare connection."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=CEILING)

    # As an operator

    def tell(self, method: str, path: str, body: object = None) -> Answer:
        """Ask the admin API."""
        return _ask(self._admin, method, path, body, (), TOKEN)

    def write(self, document: Document, index: int = 0) -> None:
        """Replace one of the user's files."""
        written(self.folder, index, document)

    def reload(self) -> None:
        answer = self.tell("POST", "/api/v1/reload")
        assert answer.status == 200, answer

    def command(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run another command of headgate's in the same place and environment."""
        return headgate(self.folder, *words, env=self.env)

    @property
    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    @property
    def stdout(self) -> str:
        return (self.folder / "stdout").read_text()

    def log(self) -> list[dict[str, Any]]:
        """Return the lines of the gateway's own log that are JSON."""
        return _lines(self.stderr)

    def access_log(self) -> list[dict[str, Any]]:
        """Return the lines of the access log that are JSON."""
        return _lines(self.stdout)

    def metrics(self, path: str = "/metrics", *, public: bool = False) -> dict[str, list[tuple[dict[str, str], float]]]:
        """Return the series of each metric, of the admin address or of a public path."""
        answer = self.get(path, {"Accept": "text/plain"}) if public else self.tell("GET", path)
        assert answer.status == 200, answer
        found: dict[str, list[tuple[dict[str, str], float]]] = {}
        for name, labels, value in _METRIC.findall(answer.text):
            found.setdefault(name, []).append((dict(_LABEL.findall(labels)), float(value)))
        return found

    def wait_ready(self) -> None:
        """Wait until it serves. Raises AssertionError with all that it said, when it ended instead."""

        def served() -> bool:
            assert self.process.poll() is None, self.stderr
            try:
                return self.tell("GET", "/ready").status == 200
            except OSError:
                return False

        until(served, "it is ready")

    def wait_log(self, text: str) -> None:
        """Wait until the gateway's own log says this."""
        until(lambda: text in self.stderr, f"{text!r} is logged")

    def ended(self) -> int:
        """Wait for its end; return the exit status."""
        return self.process.wait(CEILING)

    def close(self) -> None:
        """End it, its children with it."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(CEILING)
            finally:
                self.process.kill()
                self.process.wait()

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def environment(folder: Path) -> dict[str, str]:
    """Return an environment in which nothing is set but what every process needs."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "HEADGATE_STATE_DIR": str(folder / "state"),
        "XDG_RUNTIME_DIR": str(folder),
    }


def headgate(folder: Path, *words: str, env: Mapping[str, str] = {}) -> subprocess.CompletedProcess[str]:
    """Run a command of headgate's to its end, in this folder."""
    return subprocess.run(
        [sys.executable, "-m", "headgate", *words],
        cwd=folder,
        env=environment(folder) | dict(env),
        capture_output=True,
        text=True,
        timeout=LONGEST,
        check=False,
    )


def mint(secret: str, *, expires: float = 3600, **claims: Any) -> str:
    """Make a token signed with HS256, `expires` seconds from now."""
    now = int(time.time())
    return jwt.encode({"iat": now, "exp": now + int(expires), **claims}, secret, algorithm="HS256")


def written(folder: Path, index: int, document: Document) -> Path:
    """Write one of the user's files, unless it is a path already; return the path."""
    if isinstance(document, Path):
        return document
    path = folder / f"own-{index}.yaml"
    fresh = path.with_suffix(".fresh")
    fresh.write_text(document if isinstance(document, str) else yaml.safe_dump(dict(document), sort_keys=False))
    fresh.replace(path)
    return path


def _lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.startswith("{") and line.endswith("\n")]


def _ask(
    port: int,
    method: str,
    path: str,
    body: object,
    headers: Mapping[str, str] | Iterable[tuple[str, str]],
    bearer: str | None,
) -> Answer:
    fields = list(headers.items() if isinstance(headers, Mapping) else headers)
    if bearer is not None:
        fields.append(("Authorization", f"Bearer {bearer}"))
    raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    if raw is not None:
        fields.append(("Content-Length", str(len(raw))))
        if not isinstance(body, bytes) and not any(name.lower() == "content-type" for name, _ in fields):
            fields.append(("Content-Type", "application/json"))
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CEILING)
    try:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in fields:
            connection.putheader(name, value)
        connection.endheaders(raw)
        answer = connection.getresponse()
        found: dict[str, str] = {}
        for name, value in answer.getheaders():
            found[name.lower()] = f"{found[name.lower()]}, {value}" if name.lower() in found else value
        return Answer(answer.status, found, answer.read())
    finally:
        connection.close()
