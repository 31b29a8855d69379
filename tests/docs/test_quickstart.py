"""docs/quickstart.md: its configurations run, and its commands print what it says, in a shell as readers have one."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.gateway import Gateway
from tests.acceptance.stub import Stub
from tests.control.driver import CEILING, free_port

PAGE = (Path(__file__).parents[2] / "docs" / "quickstart.md").read_text()
FIRST, SECOND = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SHELL = re.findall(r"^```sh\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SERVED, ASKED, LOOKED = (next(block for block in SHELL if word in block) for word in ("/nowhere", "token", "status"))


class Reader:
    """Whoever follows the page: a gateway that runs with its file, and a shell in the same folder."""

    def __init__(self, folder: Path, stub: Stub) -> None:
        self.stub = stub
        self._folder = folder
        self._file = folder / "headgate.yaml"
        self.port = free_port()
        self._file.write_text(self._here(FIRST))
        self.gateway = Gateway(folder, None, self._file, port_variable=None, options=["--workers", "1"])
        self.port = self.gateway.port

    def _here(self, text: str) -> str:
        for written, real in ((9001, self.stub.port), (8080, self.port)):
            text = text.replace(f"127.0.0.1:{written}", f"127.0.0.1:{real}")
        return text

    def saves(self, text: str) -> None:
        self._file.write_text(self._here(text))
        self.gateway.wait_log("plan 2 is in force")

    def types(self, block: str) -> str:
        text = self._here(block).replace("127.0.0.1:8081", self.gateway.admin)
        path = f"{Path(sys.executable).parent}:{self.gateway.env['PATH']}"
        done = subprocess.run(
            # Not with pipefail: `head` does not wait for all that curl has for it.
            ["bash", "-eu", "-c", text],
            cwd=self._folder,
            env=self.gateway.env | {"PATH": path, "HEADGATE_ADMIN": self.gateway.admin},
            capture_output=True,
            text=True,
            timeout=CEILING,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    with Stub("files") as stub:
        made = Reader(tmp_path, stub)
        with made.gateway:
            yield made


def test_whoever_follows_the_page_sees_what_it_says(reader: Reader) -> None:
    statuses = re.findall(r"HTTP/1\.1 (\d+)", reader.types(SERVED))
    assert statuses == ["200", "404", "200"]
    assert [request.path for request in reader.stub.seen] == ["/"]
    reader.saves(SECOND)
    answered = reader.types(ASKED)
    assert re.findall(r"HTTP/1\.1 (\d+)", answered) == ["401"]
    assert re.findall(r"^\d+$", answered, re.MULTILINE) == ["200", "200", "200", "429"]
    # `top` waits for keys; what it shows is tested with it.
    looked = reader.types("\n".join(line for line in LOOKED.splitlines() if " top" not in line))
    assert "# HELP" in looked
