"""What docs/asgi.md says to write and to start serves."""

from __future__ import annotations

import re

import pytest

from tests.asgi.servers import Server, why_no_network
from tests.docs.test_examples import ROOT

PAGE = (ROOT / "docs" / "asgi.md").read_text()
_CONSOLE = re.compile(r"^```console\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINES = [line for block in _CONSOLE.findall(PAGE) for line in block.splitlines()]


def written(language: str) -> str:
    """Return the one block of a language."""
    (text,) = re.findall(rf"^```{language}\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    return str(text)


@pytest.mark.skipif(bool(why_no_network()), reason=why_no_network() or "never")
@pytest.mark.parametrize("line", LINES)
def test_a_line_serves(line: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("page")
    (folder / "services.yaml").write_text(written("yaml"))
    (folder / "main.py").write_text(written("python"))
    found = re.fullmatch(r"\$ ((?:[A-Z_]+=\S+ )*)(.*)", line)
    assert found is not None
    env = dict(each.split("=", 1) for each in found[1].split())
    with Server(folder, found[2], folder, env, alone=True) as server:
        # The service is away; the gateway is not.
        assert server.wait(8000, "/api").status == 502
        assert server.get(8000, "/").status == 404
