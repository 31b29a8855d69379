"""From an entry to a plugin, or to everything that is wrong with the entry."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from headgate.core.plugin_settings import PluginSetting
from headgate.plugin import Pass, Plugin, Request, Response
from headgate.plugin.loading import Unusable, hooks_of, load, make, name_of


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Stand in a folder as an operator does, on whose modules nothing else has an eye."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def entry(module: str, class_: str = "Mine", **config: Any) -> PluginSetting:
    return PluginSetting(module=module, class_=class_, config=config)


def wrong(folder: Path, source: str, **config: Any) -> list[tuple[str, str]]:
    """Return what is said of a module with this source: where, and what."""
    (folder / "mine_alone.py").write_text(dedent(source))
    with pytest.raises(Unusable) as caught:
        load(entry("mine_alone", **config))
    return [(".".join(map(str, each.at)), each.message) for each in caught.value.wrong]


def test_a_module_in_the_folder_is_found_also_when_it_came_later(folder: Path) -> None:
    with pytest.raises(Unusable, match="there is no module late_one, neither installed"):
        load(entry("late_one"))
    source = "from headgate.plugin import *\nclass Mine(Plugin):\n    def on_request(self, request): pass\n"
    (folder / "late_one.py").write_text(source)
    plugin = load(entry("late_one", a=1))
    assert plugin.config == {"a": 1}
    assert hooks_of(plugin) == {"on_request"}
    assert sys.path[-1] == ""


def test_no_file_of_the_folder_takes_the_place_of_a_library(folder: Path) -> None:
    (folder / "colorsys.py").write_text("raise SystemExit('taken in')")
    with pytest.raises(Unusable, match="the module colorsys has no such class"):
        load(entry("colorsys"))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("import nowhere_to_be_found", "importing it failed: ModuleNotFoundError: No module named"),
        ("1 / 0", "importing it failed: ZeroDivisionError: division by zero (.*mine_alone.py:1)"),
        ("def", "importing it failed: SyntaxError: "),
        ("raise SystemExit(3)", "importing it failed: SystemExit: 3"),
    ],
)
def test_a_module_that_cannot_be_imported(folder: Path, source: str, says: str) -> None:
    import re

    [(at, message)] = wrong(folder, source)
    assert at == "module"
    assert re.match(says.replace("(.", r"\(.").replace(":1)", r":1\)"), message), message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("a = 1", "the module mine_alone has no such class"),
        ("class Mine: pass", "expected a class that is derived from headgate.plugin.Plugin"),
        ("Mine = 5", "expected a class that is derived from headgate.plugin.Plugin"),
        ("from headgate.plugin import Plugin\nclass Mine(Plugin): pass", "it has no hook"),
    ],
)
def test_a_class_that_is_no_plugin(folder: Path, source: str, says: str) -> None:
    [(at, message)] = wrong(folder, source)
    assert at == "class"
    assert message.startswith(says)


@pytest.mark.parametrize(
    ("hook", "says"),
    [
        ("async def on_request(self, request): pass", "on_request must be a plain method"),
        ("def on_request(self, request): yield", "on_request must be a plain method"),
        ("async def on_response(self, request, response): yield", "on_response must be a plain method"),
        ("def on_request(self): pass", "on_request must take (self, request)"),
        ("def on_request(self, a, b): pass", "on_request must take (self, request)"),
        ("def on_response(self, response): pass", "on_response must take (self, request, response)"),
        ("on_request = 5", "on_request must be a method"),
        ("def on_respons(self, request, response): pass", "there is no hook on_respons"),
        ("needs_body = -1\n    def on_request(self, request): pass", "needs_body must be"),
        ("needs_body = '1'\n    def on_request(self, request): pass", "needs_body must be"),
        ("needs_body = 1 << 40\n    def on_request(self, request): pass", "needs_body must be"),
        ("body_overflow = 'x'\n    def on_request(self, request): pass", "body_overflow must be"),
        ("Config = 5\n    def on_request(self, request): pass", "its Config must be a dataclass"),
        ("def __init__(self): pass\n    def on_request(self, request): pass", "making it failed: TypeError"),
        ("def __init__(self, c): 1/0\n    def on_request(self, request): pass", "making it failed: ZeroDivisionError"),
    ],
)
def test_hooks_that_cannot_be_called(folder: Path, hook: str, says: str) -> None:
    found = wrong(folder, f"from headgate.plugin import Plugin\nclass Mine(Plugin):\n    {hook}\n")
    assert found[0][0] == "class"
    assert found[0][1].startswith(says)


def test_what_a_constructor_refuses_stands_at_config(folder: Path) -> None:
    source = """
        from headgate.plugin import Plugin
        class Mine(Plugin):
            def __init__(self, config):
                raise ValueError("no such colour")
            def on_request(self, request): pass
    """
    assert wrong(folder, source) == [("config", "no such colour")]


class Typed(Plugin):
    """A plugin that says what it takes."""

    @dataclass
    class Config:
        """Two keys."""

        secret: str
        size: int = 3

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.size = config.size

    def on_response(self, request: Request, response: Response) -> Pass | None:
        return None


def test_a_typed_configuration_is_made_and_checked() -> None:
    made = load(PluginSetting(module=__name__, class_="Typed", config={"secret": "x"}))
    assert isinstance(made, Typed)
    assert made.config == Typed.Config("x", 3)
    assert hooks_of(made) == {"on_response"}
    with pytest.raises(Unusable) as caught:
        load(PluginSetting(module=__name__, class_="Typed", name="sealed", config={"size": "big"}))
    assert [each.at for each in caught.value.wrong] == [("config", "secret"), ("config", "size")]
    assert str(caught.value) == (
        "plugin sealed: config.secret: is required and missing; config.size: expected a whole number, got text"
    )
    with pytest.raises(Unusable, match=r"plugin Typed: config\.secret"):
        make(Typed)


def test_a_plugin_cannot_change_what_the_next_one_of_its_kind_is_made_with() -> None:
    class Greedy(Plugin):
        def __init__(self, config: Any) -> None:
            super().__init__(config.pop("a"))

        def on_request(self, request: Request) -> None:
            return None

    given = {"a": 1}
    assert make(Greedy, given).config == 1
    assert make(Greedy, given).config == 1


def test_names() -> None:
    assert name_of(entry("m", "C")) == "C"
    assert name_of(PluginSetting(module="m", class_="C", name="n")) == "n"
