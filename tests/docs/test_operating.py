"""What pages show of commands that ask a running gateway: they are asked of one, and answer so, but for the numbers."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.acceptance.gateway import TOKEN, Gateway
from tests.acceptance.stub import Stub
from tests.control.driver import CEILING, free_port, until

DOCS = Path(__file__).parents[2] / "docs"
_BLOCK = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_ASKING = re.compile(r"headgate (breaker|endpoint|limits|cache|status) |curl ")


def shown() -> Iterator[tuple[str, str, str]]:
    """Yield the page, the command and what it is shown to print."""
    for page in sorted(DOCS.rglob("*.md")):
        for block in _BLOCK.findall(page.read_text()):
            for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, printed = part.replace("\\\n", " ").partition("\n")
                if _ASKING.match(command):
                    yield page.name, command, printed.rstrip("\n")


SHOWN = list(shown())


class Scene:
    """A gateway that has what the pages speak of: two endpoints of chat, whose breaker is open, and tagged answers."""

    def __init__(self, folder: Path, opened: ExitStack) -> None:
        self._stubs = [opened.enter_context(Stub(name)) for name in ("one", "two")]
        endpoints = [stub.url for stub in self._stubs]
        self.gateway = Gateway(
            folder,
            None,
            {
                "cache_store": {"type": "memory", "size": "16MiB"},
                "services": [
                    {
                        "name": "chat",
                        "endpoints": endpoints,
                        "balancer": "least_connections",
                        # It stays open, and they well, however long the commands take.
                        "circuit_breaker": {"threshold": 5, "timeout": 36_000},
                        "health": {"path": "/health", "interval": 1, "timeout": 60},
                        "routes": [{"name": "chat", "match": {"path": "/chat"}}],
                    },
                    {
                        "name": "search",
                        "url": endpoints[0],
                        "circuit_breaker": {"threshold": 20, "window_size": 100},
                        "routes": [{"name": "search", "match": {"path": "/search"}, "cache": {"ttl": 3600}}],
                    },
                    {
                        "name": "gone",
                        "url": f"http://127.0.0.1:{free_port()}",
                        "routes": [{"name": "gone", "match": {"path": "/gone"}}],
                    },
                ],
            },
            port_variable=None,
            options=["--workers", "1"],
        )
        gateway = opened.enter_context(self.gateway)
        for _ in range(5):
            gateway.get("/chat", {"X-Stub-Status": "500"})
        for query in ("a", "b"):
            gateway.get(f"/search?{query}", {"X-Stub-Headers": '{"Cache-Tag": "product-17"}'})
        assert gateway.get("/gone").status == 502
        found = "/api/v1/telemetry/requests?status=5xx"
        until(lambda: "connect_refused" in gateway.tell("GET", found).text, "the failure is recorded")
        until(lambda: all(stub.checks for stub in self._stubs), "both are checked")

    def types(self, command: str) -> str:
        """Run a command in a shell, and return what it printed, with the addresses of the page."""
        for written, stub in zip(("10.0.0.1:8001", "10.0.0.2:8001"), self._stubs, strict=True):
            command = command.replace(written, stub.address)
        path = f"{Path(sys.executable).parent}:{self.gateway.env['PATH']}"
        done = subprocess.run(
            ["bash", "-c", command.replace("127.0.0.1:8081", self.gateway.admin)],
            env=self.gateway.env | {"PATH": path, "HEADGATE_ADMIN": self.gateway.admin, "HEADGATE_ADMIN_TOKEN": TOKEN},
            capture_output=True,
            text=True,
            timeout=CEILING,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        printed = done.stdout
        for written, stub in zip(("10.0.0.1:8001", "10.0.0.2:8001"), self._stubs, strict=True):
            printed = printed.replace(stub.address, written)
        return printed.rstrip("\n")


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    with ExitStack() as opened:
        yield Scene(tmp_path_factory.mktemp("operating"), opened)


@pytest.mark.parametrize(("page", "command", "printed"), SHOWN, ids=[f"{page}: {text[:40]}" for page, text, _ in SHOWN])
def test_a_command_prints_what_is_shown_but_for_the_numbers(
    page: str, command: str, printed: str, scene: Scene
) -> None:
    if "127.0.0.1:9001" in command:
        # An endpoint of the page's own example; the command is that of the others, over HTTP.
        command = command.replace("127.0.0.1:9001", "10.0.0.1:8001")
    said = scene.types(command)
    if command.startswith("curl"):
        known = json.loads(said)
        assert known
        assert set(re.findall(r'"(\w+)": ', printed)) <= set(re.findall(r'"(\w+)": ?', said))
    else:
        lines = [line for line in said.splitlines() if not line.startswith("gone ")]
        assert _form("\n".join(lines)) == _form(printed)


def _form(text: str) -> str:
    """Return a text with one blank for several and N for a number, but those of addresses."""
    return re.sub(r"(?<![\d.:])\d+(?![\d.:])", "N", re.sub(r"(?<=\S) +", " ", text))


def test_there_are_some() -> None:
    assert len(SHOWN) >= 8
