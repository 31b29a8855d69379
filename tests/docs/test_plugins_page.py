"""The worked example of docs/plugins.md works as the page says."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headgate.config.loader import load
from headgate.plugin import Pass
from headgate.plugin.base import Plugin
from headgate.plugin.testing import PluginContract

PAGE = (Path(__file__).parent.parent.parent / "docs" / "plugins.md").read_text()
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SOURCE, API, TESTS = (text for kind, text in BLOCKS if kind == "python")
ENTRY, SAID = (text for kind, text in BLOCKS if kind == "text")
SERVICES = "services: [{name: a, url: 'http://127.0.0.1:1', routes: [{name: all}]}]\n"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "my_gates.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path, ""])
    yield tmp_path
    sys.modules.pop("my_gates", None)


def loaded(folder: Path, entry: str) -> list[str]:
    (folder / "gw.yaml").write_text(entry + SERVICES)
    return [str(problem) for problem in load([Path("gw.yaml")], environ={}).problems]


def test_the_entry_loads_and_a_slip_is_said_as_it_is_shown(folder: Path) -> None:
    assert loaded(folder, ENTRY) == []
    assert loaded(folder, ENTRY.replace("tenants:", "tennants:")) == SAID.splitlines()


def test_its_tests_pass_and_are_tests() -> None:
    names: dict[str, Any] = {}
    exec(compile(TESTS, "docs/plugins.md", "exec"), names)
    names["test_strangers_see_nothing"]()
    contract = names["TestBeta"]()
    assert isinstance(contract, PluginContract)
    ran = [getattr(contract, name)() for name in dir(contract) if name.startswith("test_")]
    assert len(ran) == 3
    beta, caller = names["load_plugin"](names["Beta"], {"tenants": ["acme"]}), names["Identity"]("user", "u", "acme")
    assert names["ask"](beta, names["a_request"](identity=caller)) == Pass(set_headers={"X-Beta": "1"})


def test_the_api_is_as_it_is_shown() -> None:
    for name, value in re.findall(r"^    (\w+): \w+ = (\S+)", API, re.MULTILINE):
        assert repr(getattr(Plugin, name)) == value.replace('"', "'")
    assert re.findall(r"def (\w+)", API) == ["__init__", "on_request", "on_response"]
